"""A way in, where hashes and challenges cost little: what is tested is who may come in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from aipool.accounts import entry, passwords, throttle
from tests.accounts.people import BITS, People, open_people

_cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def people(tmp_path: Path, kind: str) -> Iterator[People]:
    with open_people(tmp_path, kind) as opened:
        yield opened


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[People]:
    with open_people(tmp_path) as opened:
        yield opened


@pytest.fixture
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A challenge asks for BITS at the least."""
    for module in (entry, throttle):
        monkeypatch.setattr(module, "BITS_LEAST", BITS)


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if request.module.__name__.endswith("test_rules"):
        return
    monkeypatch.setattr(passwords, "_hasher", _cheap)
    monkeypatch.setattr(passwords, "NOBODYS_HASH", _cheap.hash("of nobody"))
