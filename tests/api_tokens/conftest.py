"""One installation for all tests of a file that ask over the interface, and a person for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aipool.groups import service as groups
from aipool.groups.types import CallLimits
from tests.control.api_rig import Api, api


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


@pytest.fixture
def person(opened: Api) -> Api:
    """Somebody new who has just logged in."""
    return opened.signed_in()
