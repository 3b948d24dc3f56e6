"""One installation for all tests of a file, and a person for each that asks over the interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from aipool.groups import service as groups
from aipool.groups.types import CallLimits
from tests.api_tokens.spending import kept_day
from tests.control.api_rig import Api, api
from tests.world import World, open_world


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An installation with three models and two groups beside the default one."""
    with api(tmp_path_factory.mktemp("tokens") / "data") as served:
        world = served.world
        with world.database.write() as tx:
            vendor = world.vendor(tx)
            for name in ("m1", "m2", "m3"):
                world.model(tx, vendor, name)
            groups.default_group(tx, world.act)
            groups.put_group(
                tx,
                world.act,
                name="vip",
                multiplier_ppm=800_000,
                models=["m1", "m2"],
                each_user=CallLimits(rpm=60, tpm=100_000),
            )
            groups.put_group(tx, world.act, name="enterprise", multiplier_ppm=500_000, models=None)
        yield served


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One for all: every test has users of its own."""
    with open_world(tmp_path_factory.mktemp("world"), request.param) as opened:
        yield opened


@pytest.fixture
def person(opened: Api) -> Api:
    """Somebody new who has just logged in."""
    return opened.signed_in()


@pytest.fixture
def on(opened: Api) -> Iterator[Callable[[int], None]]:
    """Says which day it is, in days since 1970-01-01."""
    with kept_day(opened.world) as said:
        yield said
