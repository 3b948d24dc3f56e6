"""Whoever moves in goes on calling: with the old key, over the old channel, from what was left."""

from __future__ import annotations

import json

import pytest

from tests.moving.dumps import KEYS, Dump, as_mysql, channel, token, user
from tests.platform import platform

pytestmark = pytest.mark.slow


def shop(base_url: str) -> Dump:
    """A customer with a dollar and a key, and a channel to this vendor."""
    ratios = {"ModelRatio": {"gpt-4o": 1.25}, "CompletionRatio": {"gpt-4o": 4}}
    return {
        "users": [user(2, "alice", quota=500_000)],
        "tokens": [token(1, 2)],
        "channels": [channel(1, 8, base_url=base_url, models="gpt-4o")],
        "options": [{"key": key, "value": json.dumps(value)} for key, value in ratios.items()],
    }


def test_an_old_key_works_at_once_in_a_platform_that_runs() -> None:
    with platform(workers=2, verify_books=True) as town:
        vendor = town.vendors[0]
        path = as_mysql(town.run_dir / "dump.sql", shop(vendor.base_url))
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
        assert town.chat(f"sk-{KEYS[1]}", body).status == 401

        dry = town.cli("import", "new-api", str(path), "--cny-per-usd", "7", "--dry-run")
        assert town.chat(f"sk-{KEYS[1]}", body).status == 401
        told = town.cli("import", "new-api", str(path), "--cny-per-usd", "7")
        reply = town.chat(f"sk-{KEYS[1]}", body)
        again = town.cli("import", "new-api", str(path), "--cny-per-usd", "7")

        assert reply.status == 200, reply.body
        assert float(reply.headers["x-aipool-charge"]) > 0
        assert "5 would be created, 0 refused" in dry
        assert "0 created, 0 refused" in again
        assert "balance 7 CNY" in told
        assert KEYS[1] not in told + town.log
