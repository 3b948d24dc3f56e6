"""A worker's permits: had in chunks, dead after a second, handed back when they are not used."""

from __future__ import annotations

from typing import Any

import pytest

from aipool.doors.frames import AskPermits, Permit, Permits, PermitsBack
from aipool.doors.snapshot import CallLimits
from aipool.gateway.errors import Refusal
from aipool.gateway.limits import REST_SECONDS, WAIT_SECONDS, Rates
from aipool.gateway.rate import RateChain, Ticket, duration

USER = "group-1-user-2"


class Rig:
    """A worker's rates whose ledger process is the test."""

    def __init__(self) -> None:
        self.sent: list[AskPermits | PermitsBack] = []
        self.wakes: list[float] = []
        self.up = True
        self.now = 5_000.0
        self.got: list[Ticket | Refusal] = []
        self.rates = Rates(self._send, self.wakes.append)

    def _send(self, message: AskPermits | PermitsBack) -> bool:
        if self.up:
            self.sent.append(message)
        return self.up

    def chain(self, rpm: int = 0, tpm: int = 0, bucket: str = USER) -> RateChain:
        chain = self.rates.chain([(bucket, CallLimits(rpm=rpm, tpm=tpm))])
        assert chain is not None
        return chain

    def take(self, chain: RateChain, tokens: int = 0) -> Ticket | None:
        return self.rates.take(chain, tokens, self.now)

    def wait(self, chain: RateChain, tokens: int = 0) -> Any:
        return self.rates.wait(chain, tokens, self.got.append, self.now)

    def ask(self) -> AskPermits:
        """The newest question."""
        return [message for message in self.sent if isinstance(message, AskPermits)][-1]

    def grant(self, *amounts: int, mark: float = 77.0, counted: int = 0) -> None:
        permits = tuple(Permit(amount, mark, counted or amount, 0.0, 60.0) for amount in amounts)
        self.rates.granted(Permits(self.ask().number, permits), self.now)

    def refuse(self, wait_seconds: float, counted: int = 0, needs: int = 1) -> None:
        permits = (Permit(0, 0.0, counted, wait_seconds, 60.0),) * needs
        self.rates.granted(Permits(self.ask().number, permits), self.now)

    def back(self) -> list[tuple[str, float, int]]:
        """Everything that was said to count no more."""
        entries: list[tuple[str, float, int]] = []
        for message in self.sent:
            entries += message.back if isinstance(message, AskPermits) else message.entries
        return entries


def test_a_token_without_limits_of_this_kind_has_no_rates() -> None:
    assert Rig().rates.chain([(USER, CallLimits(requests_per_day=5))]) is None


def test_calls_pass_from_local_memory_until_the_chunk_is_used_up_or_a_second_old() -> None:
    rig = Rig()
    chain = rig.chain(rpm=6_000)
    assert rig.take(chain) is None
    rig.wait(chain)
    rig.grant(4)
    assert len(rig.got) == 1

    assert rig.take(chain) is not None
    rig.now += 0.99
    assert rig.take(chain) is not None
    rig.now += 0.01
    assert rig.take(chain) is None
    assert len(rig.sent) == 1


def test_a_permit_dies_a_second_after_it_was_asked_for_however_late_it_came() -> None:
    rig = Rig()
    chain = rig.chain(rpm=6_000)
    rig.wait(chain)
    rig.now += 1.0
    rig.grant(4)
    assert rig.got == []
    assert rig.ask().number == 2
    assert rig.ask().back == (("rpm:" + USER, 77.0, 4),)


def test_a_call_takes_of_all_its_rates_or_of_none() -> None:
    rig = Rig()
    chain = rig.chain(rpm=6_000, tpm=9_000)
    rig.wait(chain, 100)
    rig.grant(5, 500)

    assert rig.take(chain, 401) is None
    assert rig.take(chain, 400) is not None
    assert [lot.free for lot in chain.lots] == [3, 0]


def test_what_is_left_of_a_rate_goes_back_with_the_next_question_for_it() -> None:
    rig = Rig()
    chain = rig.chain(tpm=9_000)
    rig.wait(chain, 100)
    rig.grant(300, mark=12.0)
    rig.wait(chain, 500)

    assert rig.ask().back == (("tpm:" + USER, 12.0, 200),)
    assert rig.ask().needs[0].least == 500


def test_limits_up_to_120_are_asked_for_exactly_the_calls_that_wait() -> None:
    rig = Rig()
    exact, ahead = rig.chain(rpm=120), rig.chain(rpm=121, bucket="token-9")
    rig.wait(exact)
    assert rig.ask().needs[0].want == 1
    rig.wait(ahead)
    assert rig.ask().needs[0].want == 2


def test_one_question_is_out_for_all_calls_that_wait_on_the_same_rates() -> None:
    rig = Rig()
    chain = rig.chain(rpm=60)
    for _ in range(3):
        rig.wait(chain)
    assert len(rig.sent) == 1
    rig.grant(1)
    assert len(rig.got) == 1
    assert (rig.ask().needs[0].least, rig.ask().needs[0].all) == (1, 2)


def test_a_refusal_names_the_limit_and_says_when_there_is_room_again() -> None:
    rig = Rig()
    chain = rig.chain(rpm=60)
    rig.wait(chain)
    rig.refuse(2.1, counted=60)

    (refusal,) = rig.got
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
    assert refusal.retry_after_seconds == 3
    assert "60 requests per minute of this user in this group" in refusal.message


def test_who_came_after_the_question_is_not_refused_by_its_answer() -> None:
    rig = Rig()
    chain = rig.chain(rpm=60)
    rig.wait(chain)
    rig.now += 0.001
    rig.wait(chain)
    rig.refuse(2.1)
    assert len(rig.got) == 1
    assert len(rig.sent) == 1

    rig.now += REST_SECONDS
    rig.rates.poll(rig.now)
    assert len(rig.sent) == 2


def test_a_call_that_needs_less_tokens_is_not_refused_with_a_large_one() -> None:
    rig = Rig()
    chain = rig.chain(tpm=1_000)
    rig.wait(chain, 900)
    rig.wait(chain, 100)
    rig.refuse(30.0, counted=500)
    assert len(rig.got) == 1

    rig.now += REST_SECONDS
    rig.rates.poll(rig.now)
    assert rig.ask().needs[0].least == 100


def test_more_than_the_whole_limit_is_refused_without_a_time_to_come_again() -> None:
    chain = Rig().chain(tpm=1_000)
    assert chain.too_large(1_000) is None
    refusal = chain.too_large(1_001)
    assert refusal is not None
    assert (refusal.status, refusal.retry_after_seconds) == (429, 0)
    assert "1000 tokens per minute" in refusal.message


def test_a_call_refused_elsewhere_gives_its_permit_to_the_next() -> None:
    rig = Rig()
    chain = rig.chain(rpm=6_000)
    rig.wait(chain)
    rig.grant(1)
    (ticket,) = rig.got
    assert isinstance(ticket, Ticket)
    assert rig.take(chain) is None

    rig.rates.give_back(ticket, rig.now)

    assert rig.take(chain) is not None
    assert len(rig.sent) == 1


@pytest.mark.parametrize(("limit", "seconds"), [(60, 0.0), (6_000, 1.0)])
def test_a_permit_given_back_too_late_or_of_an_exact_limit_is_uncounted(
    limit: int, seconds: float
) -> None:
    rig = Rig()
    chain = rig.chain(rpm=limit)
    rig.wait(chain)
    rig.grant(1, mark=33.0)
    (ticket,) = rig.got
    assert isinstance(ticket, Ticket)
    rig.now += seconds
    rig.rates.give_back(ticket, rig.now)
    rig.rates.poll(rig.now)
    assert rig.back() == [("rpm:" + USER, 33.0, 1)]


@pytest.mark.parametrize(("used", "entry"), [(40, (33.0, 60)), (130, (0.0, -30))])
def test_a_settlement_uncounts_what_was_not_used_and_adds_what_was_used_above(
    used: int, entry: tuple[float, int]
) -> None:
    rig = Rig()
    chain = rig.chain(tpm=6_000)
    rig.wait(chain, 100)
    rig.grant(100, mark=33.0)
    (ticket,) = rig.got
    assert isinstance(ticket, Ticket)
    rig.wait(chain, 100)
    rig.grant(100, mark=34.0)
    rig.rates.settle(ticket, used)
    assert rig.back() == []
    rig.rates.poll(rig.now)
    assert rig.back() == [("tpm:" + USER, *entry)]


def test_corrections_are_gathered_into_one_message() -> None:
    rig = Rig()
    chain = rig.chain(tpm=6_000)
    rig.wait(chain, 10)
    rig.grant(100, mark=33.0)
    tickets = [rig.take(chain, 10) for _ in range(5)]
    for ticket in tickets:
        assert ticket is not None
        rig.rates.settle(ticket, 16)
    rig.rates.poll(rig.now)
    assert [type(message) for message in rig.sent] == [AskPermits, PermitsBack]
    assert rig.back() == [("tpm:" + USER, 0.0, -30)]


def test_tokens_that_were_not_used_are_there_for_the_next_call_at_once() -> None:
    rig = Rig()
    chain = rig.chain(tpm=6_000)
    rig.wait(chain, 100)
    rig.grant(100)
    (ticket,) = rig.got
    assert isinstance(ticket, Ticket)
    assert rig.take(chain, 60) is None
    rig.rates.settle(ticket, 40)
    assert rig.take(chain, 60) is not None
    assert len(rig.sent) == 1


def test_a_recall_takes_what_is_unused() -> None:
    rig = Rig()
    chain = rig.chain(rpm=6_000)
    rig.wait(chain)
    rig.grant(5, mark=33.0)
    assert rig.rates.recall(["rpm:" + USER], rig.now) == (("rpm:" + USER, 33.0, 4),)
    assert rig.take(chain) is None


def test_what_nobody_used_within_its_second_is_handed_back() -> None:
    rig = Rig()
    chain = rig.chain(rpm=6_000)
    rig.wait(chain)
    rig.grant(5, mark=33.0)
    rig.now += 1.0
    rig.rates.tick(rig.now)
    rig.rates.poll(rig.now)
    assert rig.back() == [("rpm:" + USER, 33.0, 4)]


def test_a_client_that_left_takes_no_permit() -> None:
    rig = Rig()
    chain = rig.chain(rpm=60)
    leave = rig.wait(chain)
    leave()
    rig.grant(1, mark=33.0)
    rig.rates.poll(rig.now)
    assert rig.got == []
    assert rig.back() == [("rpm:" + USER, 33.0, 1)]


def test_silence_is_told_503_and_never_429() -> None:
    rig = Rig()
    chain = rig.chain(rpm=60)
    rig.up = False
    rig.wait(chain)
    rig.now += WAIT_SECONDS
    rig.rates.tick(rig.now)
    (refusal,) = rig.got
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (503, "ledger_unavailable")
    assert refusal.retry_after_seconds == 1


def test_after_a_break_of_the_link_who_waits_asks_anew_and_nothing_handed_back_is_lost() -> None:
    rig = Rig()
    chain = rig.chain(tpm=6_000)
    rig.wait(chain, 100)
    rig.grant(100, mark=33.0)
    (ticket,) = rig.got
    assert isinstance(ticket, Ticket)
    rig.up = False
    rig.rates.settle(ticket, 50)
    rig.wait(chain, 200)
    rig.rates.poll(rig.now)
    rig.up = True
    rig.rates.reconnected(rig.now)

    assert rig.ask().needs[0].least == 200
    assert rig.back() == [("tpm:" + USER, 33.0, 50)]
    rig.grant(200)
    assert len(rig.got) == 2


def test_an_answer_to_a_question_of_before_the_break_is_ignored() -> None:
    rig = Rig()
    chain = rig.chain(rpm=60)
    rig.wait(chain)
    old = rig.ask().number
    rig.rates.reconnected(rig.now)
    rig.rates.granted(Permits(old, (Permit(1, 33.0, 1, 0.0, 60.0),)), rig.now)
    assert rig.got == []


def test_the_headers_tell_of_the_rate_that_is_nearest_to_its_limit() -> None:
    rig = Rig()
    buckets = [(USER, CallLimits(rpm=1_000, tpm=5_000)), ("group-1", CallLimits(rpm=200))]
    chain = rig.rates.chain(buckets)
    assert chain is not None
    rig.wait(chain, 100)
    permits = tuple(
        Permit(amount, 33.0, counted, 0.0, 61.5)
        for amount, counted in ((1, 900), (100, 100), (1, 190))
    )
    rig.rates.granted(Permits(rig.ask().number, permits), rig.now)

    assert chain.headers(rig.now).split(b"\r\n") == [
        b"x-ratelimit-limit-requests: 200",
        b"x-ratelimit-remaining-requests: 10",
        b"x-ratelimit-reset-requests: 1m2s",
        b"x-ratelimit-limit-tokens: 5000",
        b"x-ratelimit-remaining-tokens: 4900",
        b"x-ratelimit-reset-tokens: 1m2s",
        b"",
    ]


def test_what_is_left_is_never_below_nothing_nor_above_the_limit() -> None:
    rig = Rig()
    chain = rig.chain(rpm=60)

    def left() -> bytes:
        return chain.headers(rig.now).split(b"\r\n")[1].partition(b": ")[2]

    rig.wait(chain)
    rig.refuse(2.0, counted=75)
    assert left() == b"0"
    rig.now += 60.0
    assert left() == b"60"
    rig.now -= 60.0
    chain.rates[0].counted = -5
    assert left() == b"60"
    chain.rates[0].counted = 12
    assert left() == b"48"


def test_times_are_written_as_openai_writes_them() -> None:
    seconds = (0.0, 0.0201, 0.9999, 1.0, 59.2, 60.0, 361.0)
    assert [duration(one) for one in seconds] == [
        b"0s",
        b"21ms",
        b"1s",
        b"1s",
        b"1m0s",
        b"1m0s",
        b"6m1s",
    ]
