"""A repeat under the same Idempotency-Key is never charged again, whichever worker it comes to."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest

from aipool.doors.frames import Claim, Claimed, Unclaim, Verdict
from aipool.gateway.claims import ANSWER_SECONDS, KEY_BYTES_MAX, Claims, Held, digest_of, is_key
from aipool.gateway.errors import Refusal
from tests import postgres
from tests.chats import wish
from tests.platform import Platform, Reply, platform, simple_catalogue
from tests.world import prepared

RID = "req_1"


class Desk:
    """One worker's claims, with everything they say and hear."""

    def __init__(self, *, up: bool = True) -> None:
        self.up = up
        self.now = 0.0
        self.sent: list[Claim | Unclaim] = []
        self.found: list[Held | Refusal] = []
        self.claims = Claims(self._send, lambda: self.now)

    def _send(self, message: Claim | Unclaim) -> bool:
        self.sent.append(message)
        return self.up

    def ask(self) -> None:
        self.claims.ask(7, b"order-1", digest_of(b"{}"), RID, self.found.append)


@pytest.mark.parametrize(
    ("verdict", "status", "code"),
    [
        (Verdict.RUNNING, 409, "idempotency_key_in_use"),
        (Verdict.ENDED, 409, "idempotency_key_used"),
        (Verdict.OTHER, 422, "idempotency_key_reused"),
        (Verdict.UNKNOWN, 503, "ledger_unavailable"),
    ],
)
def test_a_key_that_is_not_free_is_refused_in_words(
    verdict: Verdict, status: int, code: str
) -> None:
    desk = Desk()
    desk.ask()
    desk.claims.answered(Claimed(1, verdict, "req_0", 1_500_000_000))

    (refusal,) = desk.found
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (status, code)
    if verdict is Verdict.ENDED:
        assert "req_0" in refusal.message
        assert "1.5 CNY" in refusal.message


def test_a_free_key_is_the_calls() -> None:
    desk = Desk()
    desk.ask()
    desk.claims.answered(Claimed(1, Verdict.NEW, RID, 0))
    desk.claims.answered(Claimed(1, Verdict.NEW, RID, 0))

    (held,) = desk.found
    assert held == Held(7, digest_of(b"order-1"))
    desk.claims.let_go(held, RID)
    assert desk.sent[-1] == Unclaim(7, held.key, RID)


def test_a_key_that_is_let_go_while_the_link_goes_down_is_let_go_when_it_is_up() -> None:
    desk = Desk()
    desk.claims.let_go(Held(7, b"long ago"), "req_0")
    desk.now = 100.0
    desk.claims.tick()
    desk.claims.let_go(Held(7, b"unheard"), "req_2")
    desk.ask()
    desk.claims.link_down()
    desk.up = False
    desk.claims.let_go(Held(7, b"unsaid"), "req_3")
    desk.now = 1000.0
    desk.claims.tick()
    desk.up, desk.sent = True, []

    desk.claims.reconnected()

    assert [one.rid for one in desk.sent if isinstance(one, Unclaim)] == ["req_2", RID, "req_3"]
    desk.now = 1100.0
    desk.claims.tick()
    desk.sent = []
    desk.claims.reconnected()
    assert desk.sent == []


def test_nobody_waits_for_a_ledger_process_that_is_not_there() -> None:
    away, silent, lost = Desk(up=False), Desk(), Desk()
    away.ask()
    silent.ask()
    silent.now = ANSWER_SECONDS
    silent.claims.tick()
    lost.ask()
    lost.claims.link_down()

    for desk in (away, silent, lost):
        (refusal,) = desk.found
        assert isinstance(refusal, Refusal)
        assert refusal.status == 503
        assert refusal.retry_after_seconds


@pytest.mark.parametrize(
    ("key", "is_good"),
    [
        (b"a", True),
        (b"x" * KEY_BYTES_MAX, True),
        (b"x" * (KEY_BYTES_MAX + 1), False),
        (b"", False),
        (b"\xc3\xa9", False),
        (b"a\tb", False),
    ],
)
def test_what_a_key_may_be(key: bytes, *, is_good: bool) -> None:
    assert is_key(key) is is_good


# --- against the whole platform -----------------------------------------------------------------


def ask(
    running: Platform, customer: Any, key: str, wishes: Any, marker: str = "once", **more: Any
) -> Reply:
    body = wish(marker, wishes, **more)
    return running.chat(customer, body, {"idempotency-key": key})


@pytest.mark.slow
def test_a_repeated_key_is_answered_with_what_the_first_call_cost(kind: str) -> None:
    with (
        postgres.fresh(prepared) if kind == "postgres" else nullcontext("") as url,
        platform(
            catalogue=simple_catalogue,
            workers=2,
            environment={"AIPOOL_DATABASE_URL": url} if url else {},
        ) as running,
    ):
        customer = running.customer("10")
        first = ask(running, customer, "order-1", {})
        running.row(first.rid)  # it is in the books
        again = [ask(running, customer, "order-1", {}) for _ in range(6)]
        other = ask(running, customer, "order-1", {}, marker="twice")
        stranger = ask(running, running.customer("10"), "order-1", {})

        assert first.status == 200
        for reply in again:
            assert (reply.status, reply.json["error"]["code"]) == (409, "idempotency_key_used")
            assert first.rid in reply.json["error"]["message"]
            assert first.headers["x-aipool-charge"] in reply.json["error"]["message"]
        assert (other.status, other.json["error"]["code"]) == (422, "idempotency_key_reused")
        assert stranger.status == 200, "another token's key is another key"
        asked = [one for vendor in running.vendors for one in vendor.books.marked("once")]
        assert len(asked) == 2


@pytest.mark.slow
def test_of_many_at_once_one_is_made() -> None:
    with platform(catalogue=simple_catalogue, workers=2) as running:
        customer = running.customer("10")

        def one(_: int) -> Reply:
            return ask(running, customer, "at-once", {"delay": 0.5})

        with ThreadPoolExecutor(12) as pool:
            replies = list(pool.map(one, range(12)))

        assert sorted(reply.status for reply in replies) == [200] + [409] * 11
        codes = {reply.json["error"]["code"] for reply in replies if reply.status == 409}
        assert codes == {"idempotency_key_in_use"}


@pytest.mark.slow
def test_a_call_that_came_to_nothing_may_be_repeated_under_its_key() -> None:
    with platform(catalogue=simple_catalogue) as running:
        poor = running.customer("0")
        refused = ask(running, poor, "order-2", {})
        running.cli("user", "adjust", poor.phone, "10", "--reason", "for the test")
        made = ask(running, poor, "order-2", {})
        stream = running.chat(
            poor, wish("streamed", {}, stream=True), {"idempotency-key": "order-2"}
        )
        bad = running.chat(poor, json.dumps(wish("bad", {})).encode(), {"idempotency-key": "é"})

        assert refused.status == 402
        assert made.status == 200
        assert stream.status == 200, "a stream takes no notice of keys"
        assert (bad.status, bad.json["error"]["code"]) == (400, "invalid_idempotency_key")
