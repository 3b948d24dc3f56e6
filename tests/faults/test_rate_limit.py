"""Limits of requests and tokens a minute on the real platform, with several workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from aipool.groups import service as groups
from aipool.groups.types import CallLimits
from aipool.kit.money import PPM
from tests.platform import Customer, Platform, Reply, eventually, platform, simple_catalogue, wish

pytestmark = pytest.mark.slow

RPM = 10
TPM = 100_000


@pytest.fixture(scope="module")
def running() -> Iterator[Platform]:
    with platform(catalogue=simple_catalogue, workers=3) as made:
        session = made.session()
        with session.change() as tx:
            for name, limits in {
                "requests": CallLimits(rpm=RPM),
                "tokens": CallLimits(tpm=TPM),
                "both": CallLimits(rpm=1_000, tpm=TPM),
            }.items():
                groups.put_group(
                    tx, session.act, name=name, multiplier_ppm=PPM, models=None, each_user=limits
                )
        yield made


def _at_once(running: Platform, customer: Customer, count: int, **more: object) -> list[Reply]:
    """Calls on connections of their own, which the kernel spreads over the workers."""
    body = wish("limited", {"events": 1}, max_tokens=50, **more)
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda _: running.chat(customer, body), range(count)))


def _statuses(replies: list[Reply]) -> list[int]:
    return sorted(reply.status for reply in replies)


def test_three_workers_together_let_exactly_the_limit_pass_and_a_killed_ledger_process_no_more(
    running: Platform,
) -> None:
    customer = running.customer(group="requests")
    before = len(running.vendors[0].books.entries)

    replies = _at_once(running, customer, 30)

    assert _statuses(replies) == [200] * RPM + [429] * 20
    assert len(running.vendors[0].books.entries) - before == RPM
    for reply in replies:
        assert reply.headers["x-ratelimit-limit-requests"] == str(RPM)
        assert 0 <= int(reply.headers["x-ratelimit-remaining-requests"]) < RPM
        assert reply.headers["x-ratelimit-reset-requests"].endswith("s")
        assert "x-ratelimit-limit-tokens" not in reply.headers
        if reply.status == 429:
            assert reply.error["code"] == "rate_limit_exceeded"
            assert (
                "limit of 10 requests per minute of this user in this group"
                in (reply.error["message"])
            )
            assert 1 <= int(reply.headers["retry-after"]) <= 61

    os.kill(running.pids("books")[0], signal.SIGKILL)

    def answered() -> list[Reply] | None:
        again = _at_once(running, customer, 6)
        return again if all(reply.status != 503 for reply in again) else None

    assert _statuses(eventually(answered, "the new ledger process answers", 10)) == [429] * 6


def test_all_tokens_of_a_user_share_the_groups_limit_and_another_user_has_its_own(
    running: Platform,
) -> None:
    first, second = running.customer(group="requests"), running.customer(group="requests")

    assert _statuses(_at_once(running, first, 12)) == [200] * 10 + [429] * 2
    assert _statuses(_at_once(running, second, 3)) == [200] * 3


def test_a_call_refused_for_want_of_money_counts_for_nothing(running: Platform) -> None:
    poor = running.customer(1, group="requests")

    replies = [_at_once(running, poor, 1)[0] for _ in range(RPM + 3)]

    assert _statuses(replies) == [402] * (RPM + 3)
    assert replies[-1].headers["x-ratelimit-limit-requests"] == str(RPM)


def test_reserved_tokens_that_were_not_used_come_back(running: Platform) -> None:
    customer = running.customer(group="tokens")
    body = wish("little", {"events": 1}, max_tokens=60_000)

    for _ in range(4):  # one after the other they fit; two at once would not
        eventually(lambda: running.chat(customer, body).status == 200, "tokens are back", 3)

    def nearly_all_is_left() -> bool:
        last = running.chat(customer, wish("last", {"events": 1}, max_tokens=10))
        return int(last.headers["x-ratelimit-remaining-tokens"]) > TPM - 5_000

    # Also what workers had in advance is handed back, once it is a second old.
    eventually(nearly_all_is_left, "what was not used counts no more", 5)


def test_a_call_that_reserves_more_than_the_limit_is_told_so_and_not_to_come_again(
    running: Platform,
) -> None:
    customer = running.customer(group="tokens")

    reply = running.chat(customer, wish("large", {"events": 1}, max_tokens=TPM + 1))

    assert reply.status == 429
    assert f"more than the limit of {TPM} tokens per minute" in reply.error["message"]
    assert "retry-after" not in reply.headers
    assert reply.headers["x-should-retry"] == "false"


def test_a_stream_says_how_much_is_left_of_requests_and_of_tokens(running: Platform) -> None:
    customer = running.customer(group="both")

    reply = running.chat(customer, wish("s", {"events": 3}, max_tokens=50, stream=True))

    assert reply.status == 200
    assert reply.headers["x-ratelimit-limit-requests"] == "1000"
    assert reply.headers["x-ratelimit-remaining-requests"] == "999"
    assert reply.headers["x-ratelimit-limit-tokens"] == str(TPM)
    assert int(reply.headers["x-ratelimit-remaining-tokens"]) < TPM


def test_without_the_ledger_process_a_limited_call_is_told_503_and_never_429(
    running: Platform,
) -> None:
    customer = running.customer(group="requests")
    assert _at_once(running, customer, 1)[0].status == 200
    books = running.pids("books")[0]
    os.kill(books, signal.SIGSTOP)
    try:
        reply = _at_once(running, customer, 1)[0]
    finally:
        os.kill(books, signal.SIGCONT)

    assert (reply.status, reply.error["code"]) == (503, "ledger_unavailable")
    assert reply.headers["retry-after"] == "1"
