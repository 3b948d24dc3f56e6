"""Money in a worker's hands against a naive model of it: whatever is done in whatever order."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aipool.doors.frames import Acquire, Collect, Grant, Granted
from aipool.doors.records import Returned
from aipool.gateway.funds import IDLE_SECONDS, Chain, Denied, Funds, Lease, Shortage
from aipool.ledger.types import Note


@dataclass
class Account:
    """A budget in the books: what is not lent, and what this worker has of it."""

    unleased_nano: int
    leased_nano: int = 0


@dataclass
class Books:
    """A naive ledger process: everything in order, the last reply kept."""

    accounts: dict[str, Account]
    slice_nano: int
    last: Granted | None = None

    def answer(self, asked: Acquire) -> Granted:
        if self.last is None or self.last.number != asked.number:
            self.last = Granted(asked.number, tuple(self._lend(chain) for chain in asked.chains))
        return self.last

    def _lend(self, chain: tuple) -> tuple[Grant, ...]:
        free = [self.accounts[need.budget].unleased_nano for need in chain]
        if any(there < need.least for there, need in zip(free, chain, strict=True)):
            notes = [there < need.least for there, need in zip(free, chain, strict=True)]
            return tuple(
                Grant(0, there, True, Note.SHORT if short else Note.FINE)
                for there, short in zip(free, notes, strict=True)
            )
        grants = []
        for there, need in zip(free, chain, strict=True):
            low = there < 8 * need.least
            most = min(there, max(need.want, self.slice_nano))
            amount = need.least if low else max(need.least, most)
            self.accounts[need.budget].unleased_nano -= amount
            self.accounts[need.budget].leased_nano += amount
            grants.append(Grant(amount, there, low))
        return tuple(grants)

    def book(self, entry: Returned | tuple[str, int, int]) -> None:
        """What goes back, or (budget, charge, hold)."""
        if isinstance(entry, Returned):
            account = self.accounts[entry.budget]
            account.unleased_nano += entry.amount
            account.leased_nano -= entry.amount
        else:
            budget, charge_nano, hold_nano = entry
            self.accounts[budget].leased_nano -= min(charge_nano, hold_nano)
        assert all(account.leased_nano >= 0 for account in self.accounts.values())


@dataclass(eq=False)
class Waiting:
    """A call in the queue."""

    chain: Chain
    amount: int
    noes: int = 0
    said: list[Denied | None] = field(default_factory=list)
    left: bool = False


class Money(RuleBasedStateMachine):
    """One worker's funds, a ledger process that knows only what reached it, and a link between
    them that keeps the order and sometimes loses everything on it."""

    @initialize(
        balances=st.lists(st.integers(0, 400), min_size=3, max_size=3),
        slice_nano=st.sampled_from([1, 50, 1_000]),
    )
    def begin(self, balances: list[int], slice_nano: int) -> None:
        names = ["wallet:1", "token:1", "token:2"]
        self.books = Books(
            {name: Account(nano) for name, nano in zip(names, balances, strict=True)}, slice_nano
        )
        self.worth = dict(zip(names, balances, strict=True))
        self.funds = Funds(self._send, self._give_back)
        self.chains = [
            self.funds.chain((name, 0, 0) for name in chain)
            for chain in (names[:1], names[:2], [names[0], names[2]])
        ]
        self.up = True
        self.closed = False
        self.to_books: deque[Acquire | int] = deque()  # questions, or: shipped up to here
        self.to_worker: deque[Granted | int] = deque()  # answers, or: recorded up to here
        self.journal: list[Returned | tuple[str, int, int]] = []
        self.recorded = 0
        self.held: list[tuple[Chain, int]] = []
        self.waiting: list[Waiting] = []
        self.granted: dict[str, int] = defaultdict(int)
        self.settled: dict[str, int] = defaultdict(int)
        self.returned: dict[str, int] = defaultdict(int)

    # --- the worker ---------------------------------------------------------------------------

    def _send(self, asked: Acquire | Collect) -> None:
        assert isinstance(asked, Acquire), "nobody else holds anything here"
        if self.up:
            self.to_books.append(asked)

    def _give_back(self, returned: Returned) -> int:
        assert returned.amount > 0
        self.returned[returned.budget] += returned.amount
        self.journal.append(returned)
        return len(self.journal)

    @precondition(lambda self: not self.closed)
    @rule(which=st.integers(0, 2), amount=st.integers(0, 120))
    def call(self, which: int, amount: int) -> None:
        chain = self.chains[which]
        queued = [w for w in self.waiting if w.chain == chain and not w.left]
        if self.funds.hold(chain, amount):
            assert not queued, "it overtook a call that waits"
            self.held.append((chain, amount))
            return
        waiting = Waiting(chain, amount)
        self.waiting.append(waiting)
        leave = self.funds.wait(chain, amount, lambda denied: self._said(waiting, denied))
        waiting.leave = leave  # type: ignore[attr-defined]

    def _said(self, waiting: Waiting, denied: Denied | None) -> None:
        assert not waiting.left, "answered after it had left"
        assert not waiting.said, "answered twice"
        waiting.said.append(denied)
        if denied is None:
            for other in self.waiting:
                if other is waiting:
                    break
                assert other.chain != waiting.chain or other.left, "it overtook a call that waits"
            self.held.append((waiting.chain, waiting.amount))
        elif denied.why is Shortage.FUNDS:
            covered = all(self._within_reach(lease) >= waiting.amount for lease in waiting.chain)
            assert not covered or waiting.noes >= 3, "refused although the money is there"
        self.waiting.remove(waiting)

    def _within_reach(self, lease: Lease) -> int:
        """What the worker could get of this budget if it asked once more."""
        on_its_way = sum(
            entry.amount
            for entry in self.journal[self.recorded :]
            if isinstance(entry, Returned) and entry.budget == lease.budget
        )
        return lease.free + self.books.accounts[lease.budget].unleased_nano + on_its_way

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        chain, hold_nano = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        charge_nano = data.draw(st.integers(0, hold_nano + 20) | st.just(0))
        for lease in chain:
            self.settled[lease.budget] += min(charge_nano, hold_nano)
            self.journal.append((lease.budget, charge_nano, hold_nano))
        self.funds.settle(chain, hold_nano, charge_nano)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        waiting = self.waiting[data.draw(st.integers(0, len(self.waiting) - 1))]
        waiting.left = True
        waiting.leave()  # type: ignore[attr-defined]

    @rule(seconds=st.integers(1, IDLE_SECONDS))
    def tick(self, seconds: int) -> None:
        for _ in range(seconds):
            self.funds.tick()

    @precondition(lambda self: not self.closed)
    @rule(really=st.integers(0, 9))
    def close(self, really: int) -> None:
        if not really:
            self.closed = True
            self.funds.close()

    # --- the link and the books -----------------------------------------------------------------

    @precondition(lambda self: self.up)
    @rule()
    def ship(self) -> None:
        self.to_books.append(len(self.journal))

    @precondition(lambda self: self.to_books)
    @rule(count=st.integers(1, 5))
    def hear(self, count: int) -> None:
        """The ledger process takes what has arrived, in order."""
        for _ in range(min(count, len(self.to_books))):
            message = self.to_books.popleft()
            if isinstance(message, Acquire):
                self.to_worker.append(self.books.answer(message))
            else:
                while self.recorded < message:
                    self.books.book(self.journal[self.recorded])
                    self.recorded += 1
                self.to_worker.append(self.recorded)

    @precondition(lambda self: self.to_worker)
    @rule(count=st.integers(1, 5))
    def listen(self, count: int) -> None:
        """The worker takes what was answered, in order."""
        for _ in range(min(count, len(self.to_worker))):
            message = self.to_worker.popleft()
            if isinstance(message, Granted):
                self._take(message)
            else:
                self.funds.recorded(message)

    def _take(self, answer: Granted) -> None:
        outstanding = self.funds._outstanding
        if outstanding is not None and outstanding.number == answer.number:
            for (chain, leases), grants in zip(self.funds._asked, answer.chains, strict=True):
                for lease, grant in zip(leases, grants, strict=True):
                    self.granted[lease.budget] += grant.amount
                if not all(grant.amount for grant in grants):
                    for waiting in self.waiting:
                        waiting.noes += waiting.chain == chain
        self.funds.granted(answer)

    @precondition(lambda self: self.up)
    @rule()
    def lose_the_link(self) -> None:
        self.up = False
        self.to_books.clear()
        self.to_worker.clear()

    @precondition(lambda self: not self.up)
    @rule()
    def connect_again(self) -> None:
        self.up = True
        self.funds.recorded(self.recorded)
        self.funds.reconnected()

    # --- what is always true --------------------------------------------------------------------

    @invariant()
    def nothing_is_promised_twice(self) -> None:
        for lease in {lease for chain in self.chains for lease in chain}:
            name = lease.budget
            held = sum(amount for chain, amount in self.held if lease in chain)
            assert lease.free >= 0
            assert self.granted[name] == (
                lease.free + held + self.settled[name] + self.returned[name]
            )

    @invariant()
    def the_books_never_lend_more_than_there_is(self) -> None:
        for name, account in self.books.accounts.items():
            booked = sum(
                min(entry[1], entry[2])
                for entry in self.journal[: self.recorded]
                if not isinstance(entry, Returned) and entry[0] == name
            )
            assert account.unleased_nano >= 0
            assert account.unleased_nano + account.leased_nano + booked == self.worth[name]

    def teardown(self) -> None:
        """Everybody goes home: all are answered, and all money is where it was or was spent."""
        if not hasattr(self, "funds"):
            return
        if not self.up:
            self.connect_again()
        for _ in range(2 * IDLE_SECONDS):
            while self.to_books or self.to_worker or self.recorded < len(self.journal):
                self.ship()
                self.hear(100)
                self.listen(100)
            while self.held:
                chain, hold_nano = self.held.pop()
                for lease in chain:
                    self.journal.append((lease.budget, 0, hold_nano))
                self.funds.settle(chain, hold_nano, 0)
            self.funds.tick()
        assert not [waiting for waiting in self.waiting if not waiting.left], "nobody told them"
        assert not self.funds._waiting
        for name, account in self.books.accounts.items():
            assert account.leased_nano == 0, "lent for ever"
            assert account.unleased_nano == self.worth[name] - self.settled[name]


@pytest.mark.parametrize("steps", [12, 60])
def test_money_is_conserved_and_everybody_is_answered_once(steps: int) -> None:
    run_state_machine_as_test(
        Money,
        settings=settings(max_examples=120 if steps < 20 else 60, stateful_step_count=steps),
    )
