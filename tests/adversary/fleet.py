"""Several workers' funds, the real decisions of the ledger, and links that keep their order.

Everything between them is in the hands of the test: nothing arrives before `deliver` or
`settle_down` says so. The books are rows in memory, changed only by what `decide` gives back.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Any

from aipool.doors.frames import Acquire, Collect, Grant, Granted
from aipool.doors.records import Returned
from aipool.gateway.funds import Chain, Denied, Funds
from aipool.ledger.core import decide
from aipool.ledger.rules import LIFETIME, Unit, unit_of
from aipool.ledger.types import (
    BudgetRow,
    Command,
    GiveBack,
    Lend,
    LendRule,
    Lent,
    Rows,
    SetCap,
    Settle,
    WalletRow,
    is_wallet,
)

DAY = 20_000
SLICE_MAX_NANO = 2_000


@dataclass(frozen=True)
class End:
    """A call's end as the journal has it: what CallEnd asks for."""

    rid: str
    user_id: int
    token_id: int
    hold_nano: int
    charge_nano: int
    budgets: tuple[tuple[str, int], ...]
    at_ms: int = 0


class Books:
    """The rows."""

    def __init__(self) -> None:
        self.wallets: dict[str, WalletRow] = {}
        self.budgets: dict[tuple[str, int], BudgetRow] = {}
        self.leases: dict[tuple[int, str, int], int] = {}
        self.written_off = 0

    def apply(self, *commands: Command) -> tuple[Any, ...]:
        """Decides and writes."""
        effects = decide(Rows(self.wallets, self.budgets, self.leases), commands)
        for move in effects.wallets:
            row = self.wallets[move.account]
            self.wallets[move.account] = row._replace(
                balance_nano=row.balance_nano + move.balance_nano,
                leased_nano=row.leased_nano + move.leased_nano,
            )
        for one in effects.budgets:
            self.budgets[one.budget, one.window] = BudgetRow(*one[:5])
            assert one.used >= 0 <= one.leased
            assert one.frozen or one.cap is None or one.used + one.leased <= one.cap
        for lease in effects.leases:
            key = lease[:3]
            if lease.remaining:
                self.leases[key] = lease.remaining
            else:
                self.leases.pop(key, None)
        for row in self.wallets.values():
            assert 0 <= row.leased_nano <= row.balance_nano
        self.written_off += sum(t.amount_nano for t in effects.transfers if t.kind == "writeoff")
        return effects.answers

    def room(self, budget: str, window: int, cap: int) -> int:
        """What is not used of a budget, lent or not. cap: of a budget of calls."""
        if is_wallet(budget):
            return self.wallets[budget].balance_nano
        row = self.budgets.get((budget, window))
        if unit_of(budget) is not Unit.MONEY:
            return cap - (row.used if row else 0)
        return 0 if row is None or row.cap is None else row.cap - row.used


class Call:
    """A call at a worker. said: None while it waits, then whether it holds."""

    def __init__(self, place: Place, chain: Chain, amount: int) -> None:
        self.place = place
        self.chain = chain
        self.hold = amount
        self.said: bool | None = None
        self.denied: Denied | None = None
        self.leave: Any = None
        if place.funds.hold(chain, amount):
            self.said = True
        else:
            self.leave = place.funds.wait(chain, amount, self._answered)

    def _answered(self, denied: Denied | None) -> None:
        assert self.said is None, "answered twice"
        self.said, self.denied = denied is None, denied


class Place:
    """One worker."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.journal: list[Returned | End] = []
        self.recorded = 0
        self.to_books: deque[Any] = deque()
        self.to_worker: deque[Any] = deque()
        self.funds = Funds(self.to_books.append, self._give_back)

    def _give_back(self, returned: Returned) -> int:
        assert returned.amount > 0
        self.journal.append(returned)
        return len(self.journal)


class Fleet:
    """All of it."""

    def __init__(self, workers: int, chance: random.Random) -> None:
        self.chance = chance
        self.books = Books()
        self.places = [Place(epoch) for epoch in range(1, workers + 1)]
        self.calls: list[Call] = []
        self._rounds: dict[int, tuple[Place, int, dict[int, int | None]]] = {}
        self._round = 0
        self._rid = 0

    # --- people -------------------------------------------------------------------------------

    def wallet(self, user: int, nano: int) -> None:
        """A wallet with so much in it."""
        name = f"wallet:{user}"
        self.books.wallets[name] = WalletRow(name, nano, 0, 0)

    def cap(self, budget: str, cap: int | None) -> None:
        """A limit is set or changed, and what is lent of it unused is asked back."""
        self.books.apply(SetCap(budget, LIFETIME, cap))
        for place in self.places:
            place.to_worker.append(("recall", 0, ((budget, LIFETIME),)))

    # --- calls --------------------------------------------------------------------------------

    def call(self, place: Place, named: list[tuple[str, int, int]], amount: int) -> Call:
        """A call begins: it holds, or waits."""
        call = Call(place, place.funds.chain(named), amount)
        self.calls.append(call)
        return call

    def held(self) -> list[Call]:
        """Calls that hold now."""
        return [call for call in self.calls if call.said]

    def end(self, call: Call, charge: int) -> None:
        """A call that holds ends."""
        self.calls.remove(call)
        self._rid += 1
        budgets = tuple(lease.key for lease in call.chain)
        user = int(budgets[0][0].partition(":")[2])
        tokens = [name for name, _ in budgets if name.startswith("token:")]
        token = int(tokens[0].partition(":")[2].partition("/")[0]) if tokens else 99
        end = End(f"r{self._rid}", user, token, call.hold, charge, budgets)
        call.place.journal.append(end)
        call.place.funds.settle(call.chain, call.hold, charge)

    def room(self, named: list[tuple[str, int, int]], amount: int) -> bool:
        """Is there, of every budget, what this call needs, beside what running calls hold?"""
        for budget, window, cap in named:
            money = unit_of(budget) is Unit.MONEY
            held = sum(
                (call.hold if money else 1)
                for call in self.held()
                if any(lease.key == (budget, window) for lease in call.chain)
            )
            if self.books.room(budget, window, cap) - held < (amount if money else 1):
                return False
        return True

    # --- the links ----------------------------------------------------------------------------

    def ship(self, place: Place) -> None:
        """What is in the journal is on its way."""
        place.to_books.append(len(place.journal))

    def settle_down(self) -> None:
        """Everything that is on its way arrives, in any order between workers."""
        while True:
            for place in self.places:
                if place.recorded < len(place.journal) and not place.to_books:
                    self.ship(place)
            open_ends = [p for p in self.places if p.to_books or p.to_worker]
            if not open_ends:
                return
            self.deliver(self.chance.choice(open_ends))

    def deliver(self, place: Place) -> None:
        """One message of this worker's link arrives."""
        if place.to_books and (not place.to_worker or self.chance.random() < 0.5):
            self._hear(place, place.to_books.popleft())
        elif place.to_worker:
            self._tell(place, place.to_worker.popleft())

    def _hear(self, place: Place, message: Any) -> None:
        books = self.books
        match message:
            case int():
                for entry in place.journal[place.recorded : message]:
                    if isinstance(entry, Returned):
                        back = GiveBack(place.epoch, entry.budget, entry.window, entry.amount)
                        books.apply(back)
                    else:
                        books.apply(Settle(place.epoch, entry))
                place.recorded = max(place.recorded, message)
                place.to_worker.append(place.recorded)
                for number in list(self._rounds):
                    self._look(number, place.epoch)
            case Acquire():
                rule = LendRule(len(self.places), SLICE_MAX_NANO, DAY)
                (lent,) = books.apply(Lend(place.epoch, message.chains, rule))
                assert isinstance(lent, Lent)
                chains = tuple(tuple(Grant(*g) for g in chain) for chain in lent.chains)
                place.to_worker.append(Granted(message.number, chains))
            case Collect():
                holders = {
                    epoch: None
                    for epoch, budget, window in books.leases
                    if (budget, window) in message.budgets and epoch != place.epoch
                }
                self._round += 1
                self._rounds[self._round] = (place, message.number, dict(holders))
                for other in self.places:
                    if other.epoch in holders:
                        other.to_worker.append(("recall", self._round, message.budgets))
                self._end_if_done(self._round)
            case ("given back", number, position):
                if number in self._rounds:
                    self._rounds[number][2][place.epoch] = position
                    self._look(number, place.epoch)

    def _look(self, number: int, epoch: int) -> None:
        _, _, positions = self._rounds[number]
        position = positions.get(epoch)
        if position is not None and position <= self.places[epoch - 1].recorded:
            del positions[epoch]
            self._end_if_done(number)

    def _end_if_done(self, number: int) -> None:
        place, theirs, positions = self._rounds[number]
        if not positions:
            del self._rounds[number]
            place.to_worker.append(("collected", theirs))

    def _tell(self, place: Place, message: Any) -> None:
        match message:
            case Granted():
                place.funds.granted(message)
            case int():
                place.funds.recorded(message)
            case ("recall", number, budgets):
                position = place.funds.recall(budgets)
                place.to_books.append(("given back", number, position))
                self.ship(place)
            case ("collected", number):
                place.funds.collected(number, complete=True)
