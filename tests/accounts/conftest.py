"""Hashes that cost little: what is tested is who may come in, not what a hash costs."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from aipool.accounts import passwords

_cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if request.module.__name__.endswith("test_rules"):
        return
    monkeypatch.setattr(passwords, "_hasher", _cheap)
    monkeypatch.setattr(passwords, "NOBODYS_HASH", _cheap.hash("of nobody"))
