"""DOOR: money in a worker's hands. Holds and settles in memory, asks only when dry.

A lease is a part of one budget (a wallet, a token's limit, the calls a user may have in
flight) that the ledger process has set aside for this worker: it is in nobody else's
balance, so what is promised from it can never be promised twice.

    granted = free + held + settled + returned        (for each lease, at any moment)

A call must fit every budget of its chain. `hold` takes its worst case from the free part
of each lease of money, and one of each lease of calls, or waits while more is asked for;
`settle` gives back what was not used. Every hold ends in exactly one settle (a void is a
settle of 0).

When money is scarce the ledger process grants exactly what is needed and says so (low).
Such a lease keeps nothing for later: what a settle leaves free goes straight back, so that
it can be spent at any worker. Otherwise a lease idle for ten seconds goes back. What goes
back travels with the settlements, and a question may overtake it; so a *no* counts only
once everything is back that this worker gave.

A no is not yet a no when others hold leases on the budget: they are asked to give back what
is free of them (`Collect`), and only then, if it is still too little, is the call refused.

Pure: the world is four callbacks and a count of seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import NamedTuple
from weakref import WeakValueDictionary

from aipool.doors.frames import Acquire, Collect, Grant, Granted, Need
from aipool.doors.records import Returned
from aipool.kit.money import AMOUNT_NANO_MAX
from aipool.ledger.rules import Unit, unit_of
from aipool.ledger.types import Note

#: A lease that no call touched for this long goes back.
IDLE_SECONDS = 10
#: How long a call waits for the ledger process before it is told to come again. A
#: restart takes one second.
WAIT_SECONDS = 3
#: A call whose money was taken by others this often between grant and hold is refused.
_TRIES_MAX = 3


class Lease:
    """What this worker holds of one budget.

    cap: of a budget of calls, its limit by the snapshot; 0 for money.  low: granted in
    low-balance mode.  returned: where the journal says that some of it went back, the last
    time.  each: what every call takes of it, 0 = its hold.  back: how much of `each` is
    free again when the call has ended.
    """

    __slots__ = (
        "__weakref__",
        "back",
        "budget",
        "cap",
        "each",
        "free",
        "low",
        "returned",
        "touched",
        "window",
    )

    def __init__(self, budget: str, window: int) -> None:
        unit = unit_of(budget)
        self.budget = budget
        self.window = window
        self.cap = 0
        self.each = 0 if unit is Unit.MONEY else 1
        self.back = 1 if unit is Unit.CONCURRENCY else 0
        self.free = 0
        self.low = False
        self.touched = 0
        self.returned = 0

    @property
    def key(self) -> tuple[str, int]:
        """Budget and window."""
        return self.budget, self.window


Chain = tuple[Lease, ...]


class Shortage(Enum):
    """Why a hold was not had."""

    FUNDS = "funds"  # the budget does not cover it
    SILENCE = "silence"  # the ledger process, or another holder, did not answer
    WINDOW = "window"  # a limit has begun anew meanwhile: hold again on today's chain


class Denied(NamedTuple):
    """budget: the one that was short.  available: what a smaller hold could get of it."""

    why: Shortage
    budget: str
    available: int


class _Waiter:
    __slots__ = ("amount", "done", "left", "since", "tries")

    def __init__(self, amount: int, done: Callable[[Denied | None], None], now: int) -> None:
        self.amount = amount
        self.done = done
        self.since = now
        self.tries = 0
        self.left = False


class _Collection:
    """What others were asked for on behalf of a chain. complete: all of them answered."""

    __slots__ = ("chain", "complete", "keys")

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.keys: set[tuple[str, int]] = set()
        self.complete = True


class Funds:
    """The leases of one epoch.

    send: hands an Acquire (at most one is outstanding) or a Collect to the link.
    give_back: journals and ships a Returned; gives the position of its end.
    """

    def __init__(
        self, send: Callable[[Acquire | Collect], object], give_back: Callable[[Returned], int]
    ) -> None:
        self._send = send
        self._give_back = give_back
        # One lease a budget for as long as any token's chain names it; those that may have
        # money, or lately had, are kept alive whoever names them.
        self._known: WeakValueDictionary[tuple[str, int], Lease] = WeakValueDictionary()
        self._active: dict[Lease, None] = {}
        self._waiting: dict[Chain, deque[_Waiter]] = {}
        # Chains that are not asked for before the books have what went back up to here.
        self._resting: dict[Chain, int] = {}
        self._recorded = 0
        self._recorded_when_asked = 0
        self._outstanding: Acquire | None = None
        self._asked: list[tuple[Chain, tuple[Lease, ...]]] = []
        self._number = 0
        # For what others are being asked to give back, by the number of the Collect; and what
        # came of it for a chain, until its next answer.
        self._collecting: dict[int, _Collection] = {}
        self._collected: dict[Chain, _Collection] = {}
        self._now = 0
        self._closing = False
        self._busy = False

    def chain(self, budgets: Iterable[tuple[str, int, int]], *, up_to_date: bool = True) -> Chain:
        """The leases of a chain of (budget, window, cap), made empty when new.

        up_to_date: else the caps are of what a token was, and never replace those that are:
        many tokens share a lease.
        """
        known = self._known
        found: list[Lease] = []
        for budget, window, cap in budgets:
            lease = known.get((budget, window))
            if lease is None:
                lease = known[budget, window] = Lease(budget, window)
                lease.cap = cap
            elif up_to_date:
                lease.cap = cap
            found.append(lease)
        return tuple(found)

    def hold(self, chain: Chain, amount: int) -> bool:
        """Take the amount from every lease of money of the chain at once and one of every
        lease of calls, or take nothing.

        False: it is not there; `wait` asks for it. Waiting calls go first, so that a
        stream of small calls cannot starve a large one.
        """
        if self._waiting and chain in self._waiting:
            return False
        for lease in chain:
            if lease.free < (lease.each or amount):
                return False
        now = self._now
        for lease in chain:
            lease.free -= lease.each or amount
            lease.touched = now
        return True

    def wait(
        self, chain: Chain, amount: int, done: Callable[[Denied | None], None]
    ) -> Callable[[], None]:
        """Hold as soon as the ledger process has answered; `done(None)` = held.

        Returns what takes the call out of the queue again (its client left): done is
        then not called.
        """
        waiter = _Waiter(amount, done, self._now)
        self._waiting.setdefault(chain, deque()).append(waiter)
        self._active.update(dict.fromkeys(chain))
        if any(lease.low for lease in chain):
            self._rest(chain)
        self._ask()

        def leave() -> None:
            waiter.left = True

        return leave

    def settle(self, chain: Chain, hold: int, charge: int) -> None:
        """End a hold: what the charge leaves of it is free again.

        A charge above the hold uses the hold up; the recorder takes the rest elsewhere.
        """
        rest = hold - charge
        active = self._active
        for lease in chain:
            back = lease.back if lease.each else rest
            if back > 0:
                lease.free += back
                active[lease] = None
        waiters = self._waiting.get(chain) if self._waiting else None
        if waiters:
            self._admit(chain, waiters)
        self._return_low(chain)

    def release(self, chain: Chain, hold: int) -> None:
        """End a hold of a call that nobody heard of: it counts for nothing."""
        for lease in chain:
            lease.free += lease.each - lease.back
            self._active[lease] = None
        self.settle(chain, hold, 0)

    def granted(self, answer: Granted) -> None:
        """The ledger process's answer. A repeated answer to an old number is ignored."""
        outstanding = self._outstanding
        if outstanding is None or answer.number != outstanding.number:
            return
        self._outstanding = None
        asked, self._asked = self._asked, []
        for (_, leases), grants in zip(asked, answer.chains, strict=True):
            for lease, grant in zip(leases, grants, strict=True):
                if grant.amount:
                    self._active[lease] = None
                    lease.free += grant.amount
                    lease.low = grant.low
                    lease.touched = self._now
        self._busy = True
        try:
            for (chain, leases), grants in zip(asked, answer.chains, strict=True):
                self._serve(chain, leases, grants)
        finally:
            self._busy = False
        for chain, _ in asked:
            if chain not in self._waiting:
                # What was granted in low mode and not taken: the call had left meanwhile.
                self._return_low(chain)
        self._ask()

    def reconnected(self) -> None:
        """The link is up again: repeat what was not answered, under its number.

        Of a Collect nobody knows whether it was heard; who still waits asks for money again,
        and is told again that others have some.
        """
        self._collecting.clear()
        self._collected.clear()
        if self._outstanding is not None:
            self._send(self._outstanding)
        else:
            self._ask()

    def recorded(self, high_water: int) -> None:
        """The journal up to here is in the books, and what went back is back."""
        self._recorded = high_water
        if self._resting:
            self._resting = {c: at for c, at in self._resting.items() if at > high_water}
            if self._outstanding is None:
                self._ask()

    def recall(self, budgets: Iterable[tuple[str, int]]) -> int:
        """Somebody else needs these: give back all that is free, and keep nothing for later.

        Gives the position of the journal at which everything that was given back is in it.
        """
        position = 0
        for key in budgets:
            lease = self._known.get(key)
            if lease is not None:
                lease.low = True
                if lease.free:
                    self._return(lease)
                position = max(position, lease.returned)
        return position

    def collected(self, number: int, *, complete: bool) -> None:
        """The others gave back what they had free. complete: all of them answered."""
        collection = self._collecting.pop(number, None)
        if collection is not None and collection.chain in self._waiting:
            collection.complete &= complete
            self._collected[collection.chain] = collection
            self._ask()

    def tick(self) -> None:
        """A second has passed."""
        self._now += 1
        for lease in list(self._active):
            idle = self._now - lease.touched >= IDLE_SECONDS
            if lease.free and (idle or self._closing):
                self._return(lease)
            elif idle:
                del self._active[lease]
        late = self._now - WAIT_SECONDS
        for chain, waiters in list(self._waiting.items()):
            while waiters and waiters[0].since <= late:
                waiter = waiters.popleft()
                if not waiter.left:
                    waiter.done(Denied(Shortage.SILENCE, "", 0))
            if not waiters and self._waiting.get(chain) is waiters:
                self._forget(chain)

    def close(self) -> None:
        """The worker is going: everything free goes back now, the rest as it settles."""
        self._closing = True
        for lease in self._active:
            if lease.free:
                self._return(lease)

    # --- asking -----------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask for every waiting chain in one frame, unless one is on its way."""
        if self._busy or self._outstanding is not None:
            return
        while self._waiting:
            self._busy = True
            try:
                needs = self._needs()
            finally:
                self._busy = False
            if needs:
                self._number += 1
                self._outstanding = Acquire(self._number, needs)
                self._recorded_when_asked = self._recorded
                self._send(self._outstanding)
                return
            stuck = self._resting.keys() | {one.chain for one in self._collecting.values()}
            if stuck >= self._waiting.keys():
                return

    def _rest(self, chain: Chain) -> int:
        """Do not ask before what went back is in the books; where the last of it stands."""
        returned = max(lease.returned for lease in chain)
        if returned > self._recorded:
            self._resting.setdefault(chain, returned)
        return returned

    def _needs(self) -> tuple[tuple[Need, ...], ...]:
        """What the waiting chains lack, after admitting whom the leases can carry.

        A call that is admitted or refused here may queue another one; it is seen on the
        next turn.
        """
        chains: list[tuple[Need, ...]] = []
        collecting = {one.chain for one in self._collecting.values()}
        for chain, waiters in list(self._waiting.items()):
            self._admit(chain, waiters)
            if not waiters or chain in self._resting or chain in collecting:
                continue
            first = waiters[0].amount
            total = min(sum(waiter.amount for waiter in waiters), AMOUNT_NANO_MAX)
            short = tuple(lease for lease in chain if lease.free < (lease.each or first))
            self._asked.append((chain, short))
            chains.append(
                tuple(
                    Need(
                        lease.budget,
                        lease.window,
                        (lease.each or first) - lease.free,
                        (lease.each * len(waiters) or total) - lease.free,
                        lease.cap,
                    )
                    for lease in short
                )
            )
        return tuple(chains)

    def _admit(self, chain: Chain, waiters: deque[_Waiter]) -> None:
        """Hold for the calls at the front of the queue, as far as the leases go."""
        while waiters:
            waiter = waiters[0]
            if not waiter.left:
                amount = waiter.amount
                for lease in chain:
                    if lease.free < (lease.each or amount):
                        return
                for lease in chain:
                    lease.free -= lease.each or amount
                    lease.touched = self._now
            waiters.popleft()
            if not waiter.left:
                waiter.done(None)
        if self._waiting.get(chain) is waiters:
            self._forget(chain)

    def _serve(self, chain: Chain, asked: Chain, grants: tuple[Grant, ...]) -> None:
        """What an answer means for the calls of one chain.

        If the answer is no, those go that could not be had even with all there is, unless
        some of it was on its way back; the others ask again, but not for ever.
        """
        collected = self._collected.pop(chain, None)
        waiters = self._waiting.get(chain)
        if waiters is None:
            return
        self._admit(chain, waiters)
        short = [(lease, grant) for lease, grant in zip(asked, grants, strict=True) if grant.note]
        if not waiters or not short:
            return
        queued = tuple(waiters)
        if any(grant.note is Note.OTHER_WINDOW for _, grant in short):
            self._refuse(chain, queued, Denied(Shortage.WINDOW, "", 0))
            return
        if self._rest(chain) > self._recorded_when_asked:
            return  # what this worker gave back was not counted: ask again when it is
        elsewhere = {lease.key for lease, grant in short if grant.note is Note.ELSEWHERE}
        if elsewhere and (collected is None or not elsewhere <= collected.keys):
            self._collect(collected or _Collection(chain), elsewhere)
            return
        # Only of what was short is it known how much there is; of calls there is none.
        available, narrow = min(
            (
                (0 if lease.each else lease.free + grant.free, lease.budget)
                for lease, grant in short
            ),
            key=lambda found: found[0],
        )
        silent = elsewhere and collected is not None and not collected.complete
        denied = Denied(Shortage.SILENCE if silent else Shortage.FUNDS, narrow, available)
        for waiter in queued:
            waiter.tries += 1
        # Those go whom all there is would not cover, or whose money others take time and again.
        self._refuse(
            chain,
            [one for one in queued if one.amount > available or one.tries >= _TRIES_MAX],
            denied,
        )

    def _collect(self, collection: _Collection, keys: set[tuple[str, int]]) -> None:
        """Have the others give back what is free of these, before anybody is refused."""
        collection.keys |= keys
        self._number += 1
        self._collecting[self._number] = collection
        self._send(Collect(self._number, tuple(sorted(keys))))

    def _refuse(self, chain: Chain, refused: Sequence[_Waiter], denied: Denied) -> None:
        waiters = self._waiting.get(chain)
        if waiters is None:
            return
        for waiter in refused:
            waiters.remove(waiter)
        if not waiters:
            self._forget(chain)
        for waiter in refused:
            if not waiter.left:
                waiter.done(denied)

    def _forget(self, chain: Chain) -> None:
        """Nobody waits on this chain any more; what came back for it counts no longer."""
        del self._waiting[chain]
        self._collected.pop(chain, None)

    def _return_low(self, chain: Chain) -> None:
        for lease in chain:
            if (lease.low or self._closing) and lease.free:
                self._return(lease)

    def _return(self, lease: Lease) -> None:
        amount, lease.free = lease.free, 0
        lease.returned = self._give_back(Returned(lease.budget, lease.window, amount))
