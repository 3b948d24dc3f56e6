"""Money where it is asked for twice, at once, and by calls that are of more than text."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from aipool.adjustments import service as adjustments
from aipool.adjustments.types import Asked
from aipool.audit import service as audit
from aipool.audit.tables import audit_entries
from aipool.calls import claims
from aipool.calls.types import KeyAsked
from aipool.control.adjusting import Adjusted, adjust, adjust_or_ask, agree
from aipool.doors.frames import Claim, Unclaim
from aipool.gateway.admission import _most
from aipool.gateway.claims import ANSWER_SECONDS, Claims
from aipool.kit.errors import Conflict
from aipool.kit.money import AMOUNT_NANO_MAX, PPM
from aipool.ledger import service as ledger
from aipool.ledger.service import wallet_balance
from aipool.rating.rate import dearest, lines_of, rate, worst_case
from aipool.rating.types import TOKENS_MAX, Extras, Price, Tier, Units, Usage
from tests.platform import VendorThread, charge, platform, simple_catalogue, wish
from tests.world import World, open_world


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path / "data", kind) as opened:
        yield opened


# --- adjustments --------------------------------------------------------------------------------


def at_once(world: World, wishes: list[tuple[int, str]]) -> list[Adjusted | Conflict]:
    """What comes of adjustments (amount, key) of one user that are asked for at the same time."""
    with world.database.write() as tx:
        user = world.user(tx)
    start = threading.Barrier(len(wishes))
    came: list[Adjusted | Conflict] = []

    def ask(amount_nano: int, key: str) -> None:
        start.wait()
        try:
            made = adjust(
                world.database,
                lambda _budgets: None,
                world.act,
                user,
                amount_nano=amount_nano,
                reason="r",
                key=key,
            )
        except Conflict as refused:
            came.append(refused)
        else:
            came.append(made)

    threads = [threading.Thread(target=ask, args=wish) for wish in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return came


def left(world: World) -> tuple[int, int]:
    """Of the one user: the balance, and how many rows of the trail tell of adjustments."""
    with world.database.read() as connection:
        (user_id,) = connection.execute(sa.text("SELECT id FROM users")).scalars().all()
        wallet = wallet_balance(connection, user_id)
        told = sa.select(sa.func.count()).where(audit_entries.c.action == "user.adjust")
        assert audit.verify(connection).problem == ""
        return wallet.balance_nano if wallet else 0, int(connection.execute(told).scalar_one())


def test_one_key_many_times_at_once_moves_money_once(world: World) -> None:
    came = at_once(world, [(7, "k")] * 6)

    assert {one.balance_nano for one in came if isinstance(one, Adjusted)} == {7}
    assert len([one for one in came if isinstance(one, Adjusted)]) == 6
    assert left(world) == (7, 1)


def test_two_keys_at_once_never_take_more_than_there_is(world: World) -> None:
    came = at_once(world, [(7, "in"), *[(-7, f"out{number}") for number in range(4)]])

    balance, told = left(world)
    taken = len([one for one in came if isinstance(one, Adjusted)]) - 1
    assert balance == 7 - 7 * taken >= 0
    assert told == taken + 1


def test_one_key_for_another_amount_or_the_largest_twice_is_refused(world: World) -> None:
    came = at_once(world, [(AMOUNT_NANO_MAX, "a"), (1, "a")])

    assert len([one for one in came if isinstance(one, Conflict)]) == 1
    assert left(world)[1] == 1


def test_who_may_move_so_much_alone_does_not_move_more_at_once(world: World) -> None:
    with world.database.write() as tx:
        user = world.user(tx)
    start = threading.Barrier(5)
    came: list[Adjusted | Asked] = []

    def ask(key: str) -> None:
        start.wait()
        came.append(
            adjust_or_ask(
                world.database,
                lambda _budgets: None,
                world.act,
                user,
                amount_nano=6,
                reason="r",
                key=key,
                alone_max_nano=10,
            )
        )

    threads = [threading.Thread(target=ask, args=(f"k{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(type(one).__name__ for one in came) == ["Adjusted"] + ["Asked"] * 4
    assert left(world) == (6, 1)


def test_two_who_agree_at_once_book_it_once(world: World) -> None:
    with world.database.write() as tx:
        user = world.user(tx)
        asked = adjustments.ask(tx, world.act, user, amount_nano=6, reason="r", key="k")
    start = threading.Barrier(4)
    came: list[str] = []

    def agree_as(number: int) -> None:
        start.wait()
        act = replace(world.act, actor=f"user:{number}")
        try:
            agree(world.database, lambda _budgets: None, act, user, asked)
        except Conflict as refused:
            came.append(refused.code)
        else:
            came.append("")

    threads = [threading.Thread(target=agree_as, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(came) == [""] + ["adjustment_decided"] * 3
    assert left(world) == (6, 1)


# --- keys of clients ------------------------------------------------------------------------------


def test_a_key_of_an_epoch_that_nobody_could_read_is_not_free(world: World) -> None:
    first = KeyAsked(1, b"k" * 32, b"b" * 32, "req_1", 5)
    again = KeyAsked(1, b"k" * 32, b"b" * 32, "req_2", 6)
    with world.database.write() as tx:
        ledger.open_epoch(tx, 5, worker=0, pid=1, at_ms=1)
        assert claims.claim(tx, first, at_ms=10) is None
        ledger.freeze_epoch(tx, 5, 11)
        owner = claims.claim(tx, again, at_ms=12)
        assert owner == claims.Owner("req_1", same_body=True, charge_nano=None)
        late = claims.claim(tx, again, at_ms=10 + claims.KEPT_MS)
        assert late is None


def test_a_call_that_waited_too_long_for_its_key_gives_it_back() -> None:
    sent: list[Claim | Unclaim] = []
    now = [0.0]

    def send(message: Claim | Unclaim) -> bool:
        sent.append(message)
        return True

    keeper = Claims(send, lambda: now[0])
    keeper.ask(7, b"order-1", b"b" * 32, "req_1", lambda _found: None)
    now[0] = ANSWER_SECONDS
    keeper.tick()

    asked, back = sent
    assert isinstance(asked, Claim)
    assert back == Unclaim(7, asked.key, "req_1")


# --- what is held and what is charged -------------------------------------------------------------

NANO = st.integers(0, 10**12)
MAYBE = st.none() | NANO


@st.composite
def prices(draw: st.DrawFn) -> Price:
    """Any price of a model that chats."""
    above = sorted(draw(st.sets(st.integers(1, 300), max_size=3)))
    tiers = tuple(Tier(one, draw(NANO), draw(NANO), draw(NANO)) for one in above)
    extras = Extras(
        draw(MAYBE),
        draw(MAYBE),
        draw(MAYBE),
        draw(MAYBE),
        draw(MAYBE),
        draw(MAYBE),
        call_nano=draw(NANO),
        tiers=tiers,
    )
    return Price(1, draw(NANO), draw(NANO), draw(NANO), draw(st.sampled_from([None, extras])))


@st.composite
def usages(draw: st.DrawFn) -> tuple[Usage, int, int]:
    """What a call used, whose parts are disjoint, and what it was admitted for."""
    parts = [draw(st.integers(0, 100)) for _ in range(6)]
    _text, cached, write, long_write, audio, image = parts
    text, said, drawn = (draw(st.integers(0, 100)) for _ in range(3))
    units = Units(write, long_write, audio, image, said, drawn)
    used = Usage(sum(parts), cached, text + said + drawn, 0, units)
    more = st.integers(0, 100)
    return used, used.input_tokens + draw(more), used.output_tokens + draw(more)


class Offered:
    """Of an offer, what a hold is made of."""

    def __init__(self, price: Price) -> None:
        self.dearest = dearest(price)


@given(prices(), usages(), st.integers(0, 5 * PPM))
def test_no_call_within_what_it_was_admitted_for_costs_more_than_its_hold(
    price: Price, used: tuple[Usage, int, int], multiplier_ppm: int
) -> None:
    usage, input_max, output_max = used
    most = _most(Offered(price), input_max)  # type: ignore[arg-type]

    charge = rate(usage, price, multiplier_ppm)

    assert 0 <= charge <= worst_case(most, input_max, output_max, multiplier_ppm)
    lines = sum(quantity * per for _, quantity, per in lines_of(usage, price))
    assert charge == -(-lines * multiplier_ppm // 10**12)


# --- what calls cost us -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_report_at_the_dearest_cost_holds_up_nothing(stream: bool) -> None:
    def dearest_cost(threads: list[VendorThread]) -> str:
        text = simple_catalogue(threads)
        text = text.replace("0123456789}", "0123456789, config: {cost_ppm: 100000000}}")
        return text.replace("vendor: v0", "vendor: v0, cost: {input: 1000000, output: 1000000}")

    broken = {"prompt_tokens": TOKENS_MAX, "completion_tokens": TOKENS_MAX}
    with platform(catalogue=dearest_cost) as running:
        first = running.chat(running.customer(), wish("broken-", {"usage": broken}, stream=stream))
        running.odd.add(first.rid)
        second = running.chat(running.customer(), wish("sound-", {}))

        assert (first.status, second.status) == (200, 200)
        row = running.row(first.rid)
        assert (row.input_tokens, row.cost_nano) == (TOKENS_MAX, AMOUNT_NANO_MAX)
        assert row.charged_nano + row.written_off_nano == charge((TOKENS_MAX, TOKENS_MAX))
        assert running.row(second.rid).charged_nano > 0
