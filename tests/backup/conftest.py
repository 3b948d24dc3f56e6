"""What is backed up, with keys that are made quickly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.backup import keys
from tests.backup.rig import lived_in
from tests.world import World


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_ARGON2_KIB", 1024)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with lived_in(tmp_path / "data") as lived:
        yield lived
