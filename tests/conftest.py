"""What every test may rely on: no setting of the person who runs the tests leaks in."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kinds of databases: what asks for one is done on each (tests.postgres.place)."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith("AIPOOL_"):
            monkeypatch.delenv(name)
