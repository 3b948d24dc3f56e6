"""Tokens on demand: what changed is asked for again, and guessing has a limit."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aipool.doors.frames import FetchToken, TokenAnswer
from aipool.doors.snapshot import Snapshot, TokenView
from aipool.gateway import tokens as module
from aipool.gateway.catalogue import Catalogue
from aipool.gateway.funds import Funds
from aipool.gateway.limits import Rates
from aipool.gateway.tokens import (
    FETCH_SECONDS,
    MISSES_PER_SECOND,
    MISSES_PER_SECOND_PER_ADDRESS,
    NEGATIVE_SECONDS,
    Digester,
    Token,
    Tokens,
)
from aipool.kit.digests import digest, generate
from tests.gateway.offers import Boards, view

DAY = 20_000
DIGEST, OTHER = b"d" * 32, b"e" * 32


class Rig:
    """A cache, and the ledger process at the other end played by the test."""

    def __init__(self) -> None:
        self.asked: list[FetchToken] = []
        self.up = True
        self.said: list[tuple[Token | None, bool]] = []
        self.tokens = Tokens(b"pepper", self._ask)

    def _ask(self, question: FetchToken) -> bool:
        if self.up:
            self.asked.append(question)
        return self.up

    def fetch(self, of: bytes = DIGEST, address: str | None = None) -> None:
        self.tokens.fetch(of, address, lambda found, answered: self.said.append((found, answered)))

    def answer(self, found: TokenView | None, revision: int = 1, index: int = -1) -> None:
        self.tokens.answered(TokenAnswer(self.asked[index].number, revision, found))

    def seconds(self, count: int) -> None:
        for _ in range(count):
            self.tokens.tick()


@given(st.binary(max_size=200), st.binary(max_size=200))
@example(b"longer than a block" * 9, b"secret")
def test_the_quick_digest_is_the_digest(pepper: bytes, secret: bytes) -> None:
    digester = Digester(pepper)

    assert digester.digest(secret) == digester.digest(secret) == digest(pepper, secret)


def test_what_has_not_the_form_of_a_token_is_seen_without_asking() -> None:
    good = generate().encode()

    assert Tokens.is_well_formed(good)
    for bad in (b"", b"sk-", good[:-1], b"pk" + good[2:], good[:-1] + b"\n", good + b"a" * 200):
        assert not Tokens.is_well_formed(bad)


def test_a_token_is_asked_for_once_and_kept() -> None:
    rig = Rig()
    rig.fetch()
    rig.fetch()
    assert rig.tokens.get(DIGEST) is None

    rig.answer(view(models=("m",), ips=("10.0.0.0/8",)))

    assert [question.digest for question in rig.asked] == [DIGEST]
    kept = rig.tokens.get(DIGEST)
    assert rig.said == [(kept, True)] * 2
    assert kept is not None
    assert kept.models == frozenset({"m"})
    assert "10.1.2.3" in kept.addresses


def test_tokens_of_one_user_share_the_lease_of_the_wallet() -> None:
    first, second = Token(view()), Token(view(id=8, budgets=("wallet:3", "token:8")))
    funds, catalogue = (
        Funds(lambda _: None, lambda _: 0),
        Catalogue(Snapshot(1, (), (), ()), Boards().board, str),
    )
    rates = Rates(lambda _: True, lambda _: None)

    first.renew(funds, rates, catalogue, DAY)
    second.renew(funds, rates, catalogue, DAY)

    assert [lease.budget for lease in first.chain] == ["wallet:3", "token:7"]
    assert first.chain[0] is second.chain[0]
    assert first.chain[1] is not second.chain[1]


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOKENS_MAX", 3)
    rig = Rig()
    for number in range(9):
        rig.fetch(b"%032d" % number)
        rig.answer(view(id=number))

    assert [rig.tokens.get(b"%032d" % n) is not None for n in range(9)] == [False] * 6 + [True] * 3


# --- unknown ones ---------------------------------------------------------------------------------


def test_an_unknown_token_is_remembered_for_some_seconds_and_no_longer() -> None:
    rig = Rig()
    rig.fetch()
    rig.answer(None)

    assert rig.said == [(None, True)]
    for _ in range(NEGATIVE_SECONDS):
        assert rig.tokens.is_unknown(DIGEST)
        rig.seconds(1)
    assert not rig.tokens.is_unknown(DIGEST)
    assert not rig.tokens._unknown


@pytest.mark.parametrize("everything", [True, False])
def test_a_token_that_was_just_made_is_not_called_unknown(everything: bool) -> None:
    rig = Rig()
    rig.fetch()
    rig.answer(None)

    rig.tokens.forget(() if everything else (DIGEST,), everything=everything, revision=2)

    assert not rig.tokens.is_unknown(DIGEST)


def test_guessing_is_limited_for_each_address_and_over_all() -> None:
    rig = Rig()

    def guess(number: int, address: str | None) -> None:
        rig.fetch(b"%032d" % number, address)
        rig.answer(None)

    for number in range(MISSES_PER_SECOND_PER_ADDRESS):
        assert rig.tokens.may_look_up("1.2.3.4")
        guess(number, "1.2.3.4")
    assert not rig.tokens.may_look_up("1.2.3.4")
    assert rig.tokens.may_look_up("5.6.7.8")
    for number in range(MISSES_PER_SECOND_PER_ADDRESS, MISSES_PER_SECOND):
        assert rig.tokens.may_look_up(None), "proxies and loopback have no limit of their own"
        guess(number, None)
    assert not rig.tokens.may_look_up("5.6.7.8")
    assert not rig.tokens.may_look_up(None)

    rig.seconds(1)
    assert rig.tokens.may_look_up("1.2.3.4")


def test_look_ups_that_find_a_token_do_not_count() -> None:
    rig = Rig()
    for number in range(2 * MISSES_PER_SECOND):
        rig.fetch(b"%032d" % number, "1.2.3.4")
        rig.answer(view(id=number))

    assert rig.tokens.may_look_up("1.2.3.4")


# --- changes --------------------------------------------------------------------------------------


def test_a_token_that_changed_is_forgotten_alone() -> None:
    rig = Rig()
    for of in (DIGEST, OTHER):
        rig.fetch(of)
        rig.answer(view())

    rig.tokens.forget((DIGEST,), everything=False, revision=5)
    assert rig.tokens.get(DIGEST) is None
    assert rig.tokens.get(OTHER) is not None

    rig.tokens.forget((), everything=True, revision=6)
    assert rig.tokens.get(OTHER) is None


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize(
    ("revision", "is_believed"), [(4, False), (5, True), (6, True)], ids=["older", "same", "newer"]
)
def test_an_answer_older_than_the_change_is_asked_for_again(
    everything: bool, revision: int, is_believed: bool
) -> None:
    rig = Rig()
    rig.fetch()
    rig.tokens.forget(() if everything else (DIGEST,), everything=everything, revision=5)

    rig.answer(view(), revision)

    assert (rig.tokens.get(DIGEST) is not None) is is_believed
    assert len(rig.said) == is_believed
    assert len(rig.asked) == (1 if is_believed else 2)
    if not is_believed:
        rig.answer(view(blocked="disabled"), 5)
        kept = rig.tokens.get(DIGEST)
        assert kept is not None
        assert kept.view.blocked == "disabled"
        assert rig.said == [(kept, True)]


def test_an_old_no_is_asked_for_again_too() -> None:
    rig = Rig()
    rig.fetch()
    rig.tokens.forget((DIGEST,), everything=False, revision=5)

    rig.answer(None, 4)

    assert not rig.tokens.is_unknown(DIGEST)
    assert len(rig.asked) == 2


def test_when_the_link_breaks_while_asking_again_nobody_waits_for_ever() -> None:
    rig = Rig()
    rig.fetch()
    rig.tokens.forget((DIGEST,), everything=False, revision=5)
    rig.up = False

    rig.answer(view(), 4)

    assert rig.said == [(None, False)]
    assert rig.tokens.get(DIGEST) is None


# --- nobody answers -------------------------------------------------------------------------------


def test_with_the_link_down_nothing_is_said_about_a_token() -> None:
    rig = Rig()
    rig.up = False

    rig.fetch()

    assert rig.said == [(None, False)]
    assert not rig.tokens.is_unknown(DIGEST)
    assert not rig.tokens._numbers, "nothing is kept of what could not be asked"


def test_when_the_link_breaks_all_who_wait_are_told() -> None:
    rig = Rig()
    rig.fetch()
    rig.fetch(OTHER)

    rig.tokens.link_down()
    rig.answer(view(), index=0)

    assert rig.said == [(None, False)] * 2
    assert rig.tokens.get(DIGEST) is None, "an answer to what nobody asks any more"


def test_a_look_up_has_a_deadline() -> None:
    rig = Rig()
    rig.fetch()

    rig.seconds(FETCH_SECONDS - 1)
    assert rig.said == []
    rig.seconds(1)
    assert rig.said == [(None, False)]


def test_an_answer_after_the_deadline_does_not_bring_back_what_changed_meanwhile() -> None:
    rig = Rig()
    rig.fetch()
    rig.seconds(FETCH_SECONDS)
    rig.tokens.forget((DIGEST,), everything=False, revision=5)
    rig.fetch()

    rig.answer(view(), 4, index=0)
    assert rig.tokens.get(DIGEST) is None

    rig.answer(view(blocked="disabled"), 5)
    kept = rig.tokens.get(DIGEST)
    assert kept is not None
    assert kept.view.blocked == "disabled"
    assert rig.said == [(None, False), (kept, True)]
