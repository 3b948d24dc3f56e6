"""What every test may rely on: no setting of the person who runs the tests leaks in."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith("AIPOOL_"):
            monkeypatch.delenv(name)
