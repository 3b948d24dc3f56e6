"""Money in a worker's hands, against a naive model of the ledger process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.doors.frames import Acquire, Grant, Granted
from aipool.doors.records import Returned
from aipool.gateway.funds import IDLE_SECONDS, WAIT_SECONDS, Chain, Denied, Funds, Lease, Shortage
from aipool.ledger.core import slice_of
from aipool.ledger.types import SliceRule

WALLET, LIMIT, OTHER = ("wallet:1", 0), ("token:1", 0), ("token:2", 0)
CHAINS = ((WALLET,), (WALLET, LIMIT), (WALLET, OTHER))
SLICE_MAX = 2_000


@dataclass(eq=False)
class Call:
    """A call as the model sees it: waiting, held, or over in one of three ways."""

    chain: Chain
    amount: int
    state: str = "waiting"
    leave: Callable[[], None] | None = None
    denied: Denied | None = None


@dataclass
class Bank:
    """The ledger process: budgets, what of them is leased to the one worker, what was spent."""

    cap: dict[str, int]
    leased: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)

    def free(self, budget: str) -> int:
        return self.cap[budget] - self.leased.get(budget, 0) - self.spent.get(budget, 0)

    def answer(self, acquire: Acquire) -> Granted:
        chains = []
        for needs in acquire.chains:
            grants, before = [], dict(self.leased)
            for need in needs:
                assert 0 < need.least_nano <= need.want_nano
                free = self.free(need.budget)
                given = slice_of(free, need, SliceRule(1, SLICE_MAX))
                self.leased[need.budget] = self.leased.get(need.budget, 0) + given.amount_nano
                grants.append(Grant(given.amount_nano, free, given.low))
            if not all(grant.amount_nano for grant in grants):
                self.leased = before
                grants = [Grant(0, grant.free_nano, grant.low) for grant in grants]
            chains.append(tuple(grants))
        return Granted(acquire.number, tuple(chains))


class World:
    """A Funds and everything it talks to. Messages are delivered when the test says so."""

    def __init__(self, cap: int = 10_000, limit: int = 10_000, other: int = 10_000) -> None:
        self.bank = Bank({"wallet:1": cap, "token:1": limit, "token:2": other})
        self.sent: list[Acquire] = []
        self.journal: list[tuple[str, int, int]] = []  # budget, given back, spent
        self.recorded = 0
        self.granted: dict[str, int] = {}
        self.returned: dict[str, int] = {}
        self.settled: dict[str, int] = {}
        self.calls: list[Call] = []
        self.admitted: list[Call] = []
        self.answers: dict[int, Granted] = {}
        self.funds = Funds(self.sent.append, self._give_back)

    def _give_back(self, returned: Returned) -> int:
        assert returned.amount_nano > 0
        self.journal.append((returned.budget, returned.amount_nano, 0))
        held = self.returned.get(returned.budget, 0)
        self.returned[returned.budget] = held + returned.amount_nano
        return len(self.journal)

    def call(self, amount: int, chain: int = 0) -> Call:
        call = Call(self.funds.chain(CHAINS[chain]), amount)
        self.calls.append(call)
        if self.funds.hold(call.chain, amount):
            call.state = "held"
            self.admitted.append(call)
            return call

        def done(denied: Denied | None) -> None:
            assert call.state == "waiting", "told twice, or after it left"
            call.state, call.denied = ("held", None) if denied is None else ("denied", denied)
            if denied is None:
                self.admitted.append(call)

        call.leave = self.funds.wait(call.chain, amount, done)
        return call

    def settle(self, call: Call, charge: int) -> None:
        assert call.state == "held"
        call.state = "over"
        for lease in call.chain:
            within = min(charge, call.amount)
            self.settled[lease.budget] = self.settled.get(lease.budget, 0) + within
            self.journal.append((lease.budget, within, within))
        self.funds.settle(call.chain, call.amount, charge)

    def answer(self) -> bool:
        """The bank answers the newest question, if there is one it has not answered."""
        if not self.sent or self.sent[-1].number in self.answers:
            return False
        acquire = self.sent[-1]
        answer = self.answers[acquire.number] = self.bank.answer(acquire)
        for needs, grants in zip(acquire.chains, answer.chains, strict=True):
            for need, grant in zip(needs, grants, strict=True):
                self.granted[need.budget] = self.granted.get(need.budget, 0) + grant.amount_nano
        self.funds.granted(answer)
        return True

    def record(self) -> bool:
        """All of the journal gets into the books."""
        if self.recorded == len(self.journal):
            return False
        for budget, less, spent in self.journal[self.recorded :]:
            self.bank.leased[budget] = self.bank.leased.get(budget, 0) - less
            self.bank.spent[budget] = self.bank.spent.get(budget, 0) + spent
            assert self.bank.leased[budget] >= 0
        self.recorded = len(self.journal)
        self.funds.recorded(self.recorded)
        return True

    def rest(self) -> None:
        """Everything is delivered."""
        while self.answer() or self.record():
            pass

    def leases(self) -> dict[str, Lease]:
        keys = {key for chain in CHAINS for key in chain}
        return {key[0]: self.funds.chain((key,))[0] for key in keys}

    def check(self) -> None:
        for budget, lease in self.leases().items():
            held = sum(
                call.amount
                for call in self.calls
                if call.state == "held" and budget in [one.budget for one in call.chain]
            )
            assert lease.free_nano >= 0
            assert self.granted.get(budget, 0) == (
                lease.free_nano + held + self.settled.get(budget, 0) + self.returned.get(budget, 0)
            ), budget
            assert self.bank.free(budget) >= 0


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(1, 400), st.integers(0, 2)),
        st.tuples(st.just("settle"), st.integers(0, 30), st.integers(0, 120)),
        st.tuples(st.just("leave"), st.integers(0, 30), st.just(0)),
        st.sampled_from(
            [("answer", 0, 0), ("record", 0, 0), ("tick", 0, 0), ("reconnect", 0, 0)]
        ),
    ),
    max_size=60,
)


def _do(world: World, what: str, first: int, second: int) -> None:
    held = [call for call in world.calls if call.state == "held"]
    waiting = [call for call in world.calls if call.state == "waiting"]
    if what == "call":
        world.call(first, second)
    elif what == "settle" and held:
        call = held[first % len(held)]
        world.settle(call, call.amount * second // 100)
    elif what == "leave" and waiting:
        call = waiting[first % len(waiting)]
        call.state = "left"
        assert call.leave is not None
        call.leave()
    elif what == "answer":
        world.answer()
    elif what == "record":
        world.record()
    elif what == "tick":
        world.funds.tick()
    elif what == "reconnect":
        before = list(world.sent)
        world.funds.reconnected()
        if before and before[-1].number not in world.answers:
            assert world.sent == [*before, before[-1]]


@settings(max_examples=300, deadline=None)
@given(
    cap=st.integers(0, 3_000),
    limit=st.integers(0, 3_000),
    other=st.integers(0, 3_000),
    steps=_steps,
)
def test_not_a_nano_is_lost_or_made_whatever_happens_in_whatever_order(
    cap: int, limit: int, other: int, steps: list[tuple[str, int, int]]
) -> None:
    world = World(cap, limit, other)

    for step in steps:
        _do(world, *step)
        world.check()

    # Then everything ends, and all of it is back.
    for _ in range(WAIT_SECONDS + 1):
        world.rest()
        world.funds.tick()
    assert not [call for call in world.calls if call.state == "waiting"]
    for call in world.calls:
        if call.state == "held":
            world.settle(call, call.amount // 2)
    world.funds.close()
    world.rest()
    world.check()
    assert not any(world.bank.leased.values())


@settings(max_examples=200, deadline=None)
@given(
    cap=st.integers(0, 3_000),
    limit=st.integers(0, 3_000),
    steps=_steps,
    amount=st.integers(1, 3_000),
    chain=st.integers(0, 1),
)
def test_at_rest_a_call_is_refused_if_and_only_if_a_budget_does_not_cover_it(
    cap: int, limit: int, steps: list[tuple[str, int, int]], amount: int, chain: int
) -> None:
    world = World(cap, limit)
    for step in steps:
        _do(world, *step)
    for _ in range(WAIT_SECONDS + 1):
        world.rest()
        world.funds.tick()
    for call in world.calls:
        if call.state == "held":
            world.settle(call, call.amount // 3)
    for _ in range(IDLE_SECONDS + 1):
        world.rest()
        world.funds.tick()
    world.rest()

    call = world.call(amount, chain)
    world.rest()

    covered = all(
        world.bank.cap[budget] - world.bank.spent.get(budget, 0) >= amount
        for budget, _ in CHAINS[chain]
    )
    assert (call.state == "held") == covered, call
    if not covered:
        assert call.denied is not None
        assert call.denied.why is Shortage.FUNDS
        assert call.denied.available_nano < amount


@settings(max_examples=200, deadline=None)
@given(amounts=st.lists(st.integers(1, 500), min_size=2, max_size=12), cap=st.integers(500, 5_000))
def test_calls_of_one_chain_are_served_in_the_order_they_came(
    amounts: list[int], cap: int
) -> None:
    world = World(cap)

    calls = [world.call(amount) for amount in amounts]
    world.rest()

    order = [calls.index(call) for call in world.admitted]
    assert order == sorted(order)


def test_a_small_call_does_not_overtake_a_large_one_that_waits() -> None:
    world = World(cap=100_000)
    world.settle(_held(world, 10), 10)
    large = world.call(50_000)

    small = world.call(1)

    assert (large.state, small.state) == ("waiting", "waiting")
    world.rest()
    assert world.admitted[-2:] == [large, small]


def _held(world: World, amount: int, chain: int = 0) -> Call:
    call = world.call(amount, chain)
    world.rest()
    assert call.state == "held", call
    return call


def test_a_rich_budget_is_asked_once_for_many_calls() -> None:
    world = World(cap=1_000_000)

    for _ in range(100):
        world.settle(_held(world, 10), 10)

    assert len(world.sent) == 1


def test_one_frame_asks_for_all_who_wait() -> None:
    world = World(cap=100)
    first = world.call(30)

    second, third = world.call(30, 1), world.call(30)

    assert len(world.sent) == 1  # one question at a time
    world.answer()
    assert first.state == "held"
    assert len(world.sent) == 2
    assert [need.want_nano for needs in world.sent[1].chains for need in needs]
    world.rest()
    assert (second.state, third.state) == ("held", "held")


def test_in_low_mode_what_a_settle_leaves_goes_straight_back() -> None:
    world = World(cap=100)

    world.settle(_held(world, 100), 40)

    assert world.returned == {"wallet:1": 60}
    world.record()
    assert world.bank.free("wallet:1") == 60


def test_in_low_mode_what_nobody_came_for_goes_straight_back() -> None:
    world = World(cap=100)
    call = world.call(100)
    call.state = "left"
    assert call.leave is not None
    call.leave()

    world.rest()

    assert world.bank.free("wallet:1") == 100


def test_a_call_right_after_another_finds_what_that_one_left() -> None:
    # Its question must not overtake the money on its way back.
    world = World(cap=100)
    world.settle(_held(world, 100), 10)

    second = world.call(90)
    world.answer()
    world.rest()

    assert second.state == "held"


def test_a_lease_that_is_idle_goes_back() -> None:
    world = World(cap=100_000)
    world.settle(_held(world, 10), 10)
    assert world.leases()["wallet:1"].free_nano > 0

    for _ in range(IDLE_SECONDS):
        world.funds.tick()
    world.record()

    assert world.leases()["wallet:1"].free_nano == 0
    assert world.bank.leased["wallet:1"] == 0


def test_a_lease_in_use_stays() -> None:
    world = World(cap=100_000)
    for _ in range(3 * IDLE_SECONDS):
        world.settle(_held(world, 10), 10)
        world.funds.tick()

    assert len(world.sent) == 1
    assert world.returned == {}


def test_a_refusal_says_what_a_smaller_hold_could_get() -> None:
    world = World(cap=100, limit=70)

    call = world.call(80, 1)
    world.rest()

    assert call.denied == Denied(Shortage.FUNDS, "token:1", 70)
    smaller = world.call(70, 1)
    world.rest()
    assert smaller.state == "held"


def test_one_refusal_does_not_refuse_those_who_can_pay() -> None:
    world = World(cap=100)

    large, small = world.call(200), world.call(50)
    world.rest()

    assert (large.state, small.state) == ("denied", "held")


def test_a_chain_takes_from_all_its_budgets_or_from_none() -> None:
    world = World(cap=1_000, limit=10)

    call = world.call(50, 1)
    world.rest()

    assert call.state == "denied"
    assert world.bank.free("wallet:1") == 1_000


def test_silence_is_no_refusal() -> None:
    world = World()
    call = world.call(10)

    for _ in range(WAIT_SECONDS):
        assert call.state == "waiting"
        world.funds.tick()

    assert call.denied is not None
    assert call.denied.why is Shortage.SILENCE
    world.check()
    # The answer that comes in the end is not lost.
    world.rest()
    world.check()
    assert _held(world, 10)


def test_a_reconnected_link_gets_the_same_question_and_a_repeated_answer_counts_once() -> None:
    world = World()
    call = world.call(10)

    world.funds.reconnected()

    assert world.sent == [world.sent[0]] * 2
    world.rest()
    assert call.state == "held"
    free = world.leases()["wallet:1"].free_nano
    world.funds.granted(world.answers[1])
    assert world.leases()["wallet:1"].free_nano == free


def test_who_left_the_queue_is_told_nothing_and_holds_nothing() -> None:
    world = World()
    call = world.call(10)
    assert call.leave is not None
    call.leave()
    call.state = "left"

    world.rest()

    assert world.admitted == []
    world.check()


def test_a_charge_above_the_hold_uses_it_up() -> None:
    world = World(cap=100_000)
    call = _held(world, 10)

    world.settle(call, 500)

    world.check()


def test_a_closing_worker_gives_back_what_is_free_and_then_what_settles() -> None:
    world = World(cap=100_000)
    call = _held(world, 10)

    world.funds.close()
    assert world.leases()["wallet:1"].free_nano == 0
    world.settle(call, 4)

    world.record()
    assert world.bank.leased["wallet:1"] == 0
    assert world.bank.spent["wallet:1"] == 4


def test_a_lease_outlives_the_token_that_named_it_while_it_holds_money() -> None:
    world = World(cap=100_000)
    world.settle(_held(world, 10), 10)
    free = world.leases()["wallet:1"].free_nano
    world.calls.clear()
    world.admitted.clear()

    chain: Any = world.funds.chain((WALLET,))

    assert chain[0].free_nano == free > 0
