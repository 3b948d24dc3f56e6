"""Four workers over real sockets: at rest the last nano can be spent, the last place taken."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from aipool.api_tokens.types import Reset
from aipool.groups.types import CallLimits
from tests.platform import (
    PRICE,
    Customer,
    Platform,
    charge,
    eventually,
    head,
    platform,
    simple_catalogue,
    wish,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def four() -> Iterator[Platform]:
    with platform(catalogue=simple_catalogue, workers=4) as it:
        yield it


def statuses(it: Platform, customer: Customer, bodies: list[dict], at_once: int) -> list[int]:
    with ThreadPoolExecutor(at_once) as pool:
        return [reply.status for reply in pool.map(lambda b: it.chat(customer, b), bodies)]


def test_one_place_serves_call_after_call_wherever_they_come(four: Platform) -> None:
    customer = four.customer("10", limits=CallLimits(concurrency=1))
    for number in range(40):
        body = wish(f"place-{number}", {"events": 3}, stream=number % 2 == 0, max_tokens=50)
        assert four.chat(customer, body).status == 200, number


def test_of_a_days_requests_exactly_as_many_pass_and_refused_ones_count_for_nothing(
    four: Platform,
) -> None:
    customer = four.customer("0.3", limits=CallLimits(requests_per_day=9))
    too_dear = [wish(f"dear-{n}", {}, max_tokens=90_000) for n in range(6)]
    assert set(statuses(four, customer, too_dear, 3)) == {402}
    unknown = [wish("none", {}) | {"model": "none"} for _ in range(6)]
    assert set(statuses(four, customer, unknown, 3)) == {404}

    bodies = [wish(f"day-{n}", {}, max_tokens=20) for n in range(40)]
    said = statuses(four, customer, bodies, 8)
    rest = [four.chat(customer, body).status for body in bodies[:12]]

    assert set(said + rest) == {200, 429}
    assert (said + rest).count(200) == 9


@pytest.mark.parametrize("by", ["wallet", "limit", "total"])
@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_the_last_nano_is_spent_wherever_the_rest_lies(four: Platform, by: str, spare: int) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    small = wish(f"small-{by}-{spare + 1}", {"usage": usage}, max_tokens=40)
    large = wish(f"large-{by}-{spare + 1}", {"usage": usage}, max_tokens=30_000)
    room = charge((len(json.dumps(large)), 30_000), PRICE) + 24 * charge((3, 5), PRICE) + spare
    by_kind: dict[str, dict[str, Any]] = {
        "wallet": {},
        "limit": {"limit_nano": room, "reset": Reset.DAILY},
        "total": {"total_nano": room},
    }
    customer = four.customer(room if by == "wallet" else "9000", **by_kind[by])
    assert set(statuses(four, customer, [small] * 24, 6)) == {200}

    assert four.chat(customer, large).status == (402 if spare < 0 else 200)


def test_a_lowered_limit_of_calls_in_flight_stays_lowered(four: Platform) -> None:
    """Though a call under the old one is still sending its body: at whichever worker it is."""
    customer = four.customer("10", limits=CallLimits(concurrency=50))
    body = json.dumps(wish("slow-body", {}, max_tokens=20)).encode()
    slow: list[socket.socket] = []
    for _ in range(24):
        sock = four.connect()
        sock.sendall(head(customer.token, len(body)) + body[:10])
        slow.append(sock)
    # All of them are known to their workers when a call of each has been answered.
    eventually(lambda: four.chat(customer, wish("known", {}, max_tokens=20)).status == 200, "known")
    four.cli("token", "set", str(customer.token_id), "--concurrency", "1")
    for number in range(12):
        assert four.chat(customer, wish(f"new-{number}", {}, max_tokens=20)).status in (200, 429)
    for sock in slow:
        sock.sendall(body[10:])
        sock.recv(65536)
        sock.close()

    bodies = [wish(f"many-{n}", {"delay": 0.7}, max_tokens=20) for n in range(12)]
    said = statuses(four, customer, bodies, 12)

    assert said.count(200) == 1, f"{said.count(200)} calls at once where one may be in flight"
