"""The pool as an operator and his customers meet it: keys fail, rest, expire, come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aipool.pool import service
from tests.platform import (
    PRICE_YAML,
    Customer,
    Platform,
    Reply,
    VendorThread,
    eventually,
    platform,
    wish,
)

pytestmark = pytest.mark.slow

KEYS = ("a", "b", "c")
B = "sk-canary-b-0123456789abcdef"
SECRETS = {f"sk-canary-{name}-0123456789abcdef": name for name in KEYS}
COOLDOWN_SECONDS = 1.0


def _catalogue(vendors: list[VendorThread]) -> str:
    first, second = (vendor.base_url for vendor in vendors)
    keys = ", ".join(f"{{name: {name}, api_key: {key}}}" for key, name in SECRETS.items())
    return f"""
vendors:
  - {{name: first, type: openai_compatible, base_url: {first}, keys: [{keys}]}}
  - {{name: second, type: openai_compatible, base_url: {second},
     keys: [{{name: d, api_key: sk-canary-d-0123456789abcdef}}]}}
groups:
  - {{name: vip}}
models:
  - {{name: m, context: 100000, max_output_tokens: 1000, price: {PRICE_YAML},
     routes: [{{vendor: first}}, {{vendor: second}}]}}
  - {{name: by-group, context: 100000, max_output_tokens: 1000, price: {PRICE_YAML},
     routes: [{{vendor: second, model: m, groups: [vip]}}, {{vendor: first, model: m}}]}}
"""


@contextmanager
def running(**environment: str) -> Iterator[Platform]:
    """Two workers, two vendors, a cooldown that a test can wait for."""
    settings = {"AIPOOL_KEY_COOLDOWN_SECONDS": str(COOLDOWN_SECONDS), **environment}
    with platform(catalogue=_catalogue, vendors=2, workers=2, environment=settings) as it:
        yield it


@pytest.fixture(scope="module")
def pool() -> Iterator[Platform]:
    with running() as it:
        yield it


@pytest.fixture
def customer(pool: Platform) -> Iterator[Customer]:
    """A customer of keys of which nothing bad is known, nor afterwards."""
    yield pool.customer()
    session = pool.session()
    with session.change() as tx:
        vendor = service.get_vendor(tx.connection, "first")
        for key in service.list_keys(tx.connection, vendor):
            service.enable_key(tx, session.act, key)
        service.put_first(tx, session.act, vendor, KEYS)


def answered_by(pool: Platform, reply: Reply) -> str:
    """The name of the key whose answer this is."""
    row = pool.row(reply.rid)
    if row.vendor_id == 2:
        return "d"
    number = int(row.upstream_request_id.removeprefix("req-fake-"))
    return SECRETS[pool.vendors[0].books.entries[number - 1].key]


def only(status: int, *names: str, **error: Any) -> dict[str, Any]:
    """What to tell the fake vendor: these keys fail, the others answer."""
    failing: dict[str, Any] = {"status": status, **error}
    chosen = {key: failing for key, name in SECRETS.items() if name in names}
    return {"keys": {**chosen, "*": {}}}


def ask(pool: Platform, customer: Customer, wishes: dict[str, Any], **more: Any) -> Reply:
    return pool.chat(customer, wish("pool", wishes, **more))


def test_s1_05_the_key_of_the_highest_priority_is_called_first(
    pool: Platform, customer: Customer
) -> None:
    assert answered_by(pool, ask(pool, customer, {})) == "a"

    pool.cli("key", "move", "first", "c", "1")

    for _ in range(4):
        assert answered_by(pool, ask(pool, customer, {})) == "c"


QUOTA = {"error": {"message": "no", "type": "insufficient_quota", "code": "insufficient_quota"}}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_s1_06_when_a_key_is_exceeded_the_next_answers_in_the_same_request(
    pool: Platform, customer: Customer, stream: bool
) -> None:
    reply = ask(pool, customer, only(429, "a", **QUOTA), stream=stream)

    assert reply.status == 200
    assert reply.text if stream else reply.json["choices"]
    assert answered_by(pool, reply) == "b"
    assert reply.headers["x-aipool-attempts"] == "2"
    # Nobody asks it any more, on any worker.
    for _ in range(6):
        assert ask(pool, customer, {}).headers["x-aipool-attempts"] == "1"
    listed = eventually(lambda: _listed(pool, "a", "exceeded"))
    assert listed["reason"] == "quota_exceeded"


def _listed(pool: Platform, name: str, status: str) -> dict[str, Any] | None:
    rows = json.loads(pool.cli("key", "list", "-o", "json"))
    row: dict[str, Any] = next(row for row in rows if row["name"] == name)
    return row if row["status"] == status else None


def test_s1_07_calls_are_reallocated_from_one_vendor_to_another(
    pool: Platform, customer: Customer
) -> None:
    pool.cli("route", "move", "m", "2", "1")
    assert answered_by(pool, ask(pool, customer, {})) == "d"

    pool.cli("route", "move", "m", "2", "1")
    assert answered_by(pool, ask(pool, customer, {})) == "a"


def test_s1_13_after_its_expiry_a_key_is_not_called(pool: Platform, customer: Customer) -> None:
    pool.cli("key", "order", "first", "b", "a", "c")
    moment = datetime.now(UTC) + timedelta(seconds=3)
    pool.cli("key", "set", "first", "b", "--expires", moment.isoformat(timespec="seconds"))
    assert answered_by(pool, ask(pool, customer, {})) == "b"

    eventually(lambda: answered_by(pool, ask(pool, customer, {})) == "a")
    for _ in range(4):
        assert answered_by(pool, ask(pool, customer, {})) == "a"
    assert _listed(pool, "b", "expired")
    pool.cli("key", "enable", "first", "b", status=1)
    pool.cli("key", "delete", "first", "b", "--yes")
    pool.cli("key", "create", "first", "--name", "b", "--api-key-stdin", stdin=f"{B}\n")


def test_s1_16_a_disabled_key_is_never_called_and_the_next_one_is(
    pool: Platform, customer: Customer
) -> None:
    pool.cli("key", "disable", "first", "a")

    for _ in range(6):
        assert answered_by(pool, ask(pool, customer, {})) == "b"


def test_s1_17_a_key_that_is_enabled_again_is_used_from_the_very_next_call(
    pool: Platform, customer: Customer
) -> None:
    ask(pool, customer, only(429, "a", **QUOTA))
    ask(pool, customer, only(401, "b"))
    for _ in range(4):
        assert answered_by(pool, ask(pool, customer, {})) == "c"

    pool.cli("key", "enable", "first", "b")
    for _ in range(4):
        assert answered_by(pool, ask(pool, customer, {})) == "b"
    pool.cli("key", "enable", "first", "a")
    for _ in range(4):
        assert answered_by(pool, ask(pool, customer, {})) == "a"


def test_a_key_that_cools_comes_back_in_its_place_by_itself(
    pool: Platform, customer: Customer
) -> None:
    ask(pool, customer, only(429, "a"))
    assert answered_by(pool, ask(pool, customer, {})) == "b"

    eventually(lambda: answered_by(pool, ask(pool, customer, {})) == "a")
    for _ in range(4):
        assert answered_by(pool, ask(pool, customer, {})) == "a"


def test_a_session_stays_with_the_key_that_served_it(pool: Platform, customer: Customer) -> None:
    named = {"prompt_cache_key": "conversation-1"}
    assert answered_by(pool, ask(pool, customer, only(429, "a"), **named)) == "b"
    eventually(lambda: answered_by(pool, ask(pool, customer, {})) == "a")

    # The one worker of the two that served it remembers; the other begins at the top.
    seen = {answered_by(pool, ask(pool, customer, {}, **named)) for _ in range(12)}
    assert "b" in seen
    assert answered_by(pool, ask(pool, customer, only(429, "b"), **named)) in ("a", "c")


def test_a_route_may_be_for_some_groups_only(pool: Platform, customer: Customer) -> None:
    vip = pool.customer(group="vip")

    assert answered_by(pool, ask(pool, vip, {}, model="by-group")) == "d"
    assert answered_by(pool, ask(pool, customer, {}, model="by-group")) == "a"
    # For the others it is no way out either.
    reply = ask(pool, customer, only(401, *KEYS), model="by-group")
    assert reply.status == 503


def test_the_trail_of_tries_is_the_operators_and_the_client_gets_the_count(
    pool: Platform, customer: Customer
) -> None:
    reply = ask(pool, customer, only(401, "a", "b"))

    assert reply.headers["x-aipool-attempts"] == "3"
    assert b"credential" not in reply.body
    said = pool.row(reply.rid).attempts
    tries = json.loads(said)
    assert [(status, why) for _, _, status, why, *_ in tries] == [
        (401, "credential_refused"),
        (401, "credential_refused"),
        (200, ""),
    ]
    shown = pool.cli("call", "show", reply.rid)
    assert shown.count("credential_refused") == 2


def test_no_more_calls_are_in_flight_than_a_key_may_have(pool: Platform) -> None:
    customer = pool.customer("100")
    pool.cli("key", "set", "first", "a", "--set", "concurrency=3")
    try:
        with ThreadPoolExecutor(24) as crowd:
            calls = [
                crowd.submit(ask, pool, customer, {"delay": 0.2, "content": "x"}) for _ in range(48)
            ]
            replies = [call.result() for call in calls]
    finally:
        pool.cli("key", "set", "first", "a", "--set", "concurrency=0")

    assert {reply.status for reply in replies} == {200}
    entries = [entry for entry in pool.vendors[0].books.entries if SECRETS.get(entry.key) == "a"]
    ours = entries[-48:]
    moments = sorted(
        [(entry.time, 1) for entry in ours]
        + [(entry.ended_time, -1) for entry in ours if entry.ended_time]
    )
    in_flight = most = 0
    for _, step in moments:
        in_flight += step
        most = max(most, in_flight)
    assert 1 <= most <= 3
