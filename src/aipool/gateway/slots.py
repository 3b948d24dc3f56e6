"""How many calls may be in flight on an upstream key, or on a vendor: a worker's slots.

The ledger process counts for all workers (books.slots) and grants slots to each; a call takes one
under every cap of its key, and frees them when it has ended. What is free is kept for a second,
so a steady load asks nobody; after that, or when another worker needs it, it is handed back.

    take ──▶ free           from memory
      └─ none ──▶ wait      asks: one question a cap at a time, for all that wait
                    └──▶ True, with a slot under every cap; or False, after 100 ms at the latest

Nothing is ever counted twice, whatever is lost or late: the answer to any but the newest question
of a cap is not taken; and while a question is out, this worker says of the cap what it may hold
after the answer, or nothing. On a new connection it says of every cap what it holds, and then that
this was all. When the link is down there is what is held, and no more.

A limit that is lowered is kept by new calls: what is unused goes back, and what is freed too, until
the ledger process grants under the new limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aipool.doors.frames import AskSlots, SlotsBack
from aipool.doors.frames import Slots as Answer

#: How long a call waits for a slot.
WAIT_SECONDS = 0.1
#: After a refusal, so long nobody is asked again.
REST_SECONDS = 0.01
#: A loop's timers may go off this much early.
_EARLY_SECONDS = 0.002

Caps = Sequence[tuple[str, int]]


class _Cap:
    """held: slots of this worker.  used: those that calls have.  least: the fewest that were
    unused since the last tick.  strict: nothing that is freed is kept.

    number: of the question that is out, 0 = none; want, asked_at, asked_for: what it asks for,
    when and for whom.  restate: something is to be said of it once the answer is there.
    """

    __slots__ = (
        "asked_at",
        "asked_for",
        "held",
        "least",
        "limit",
        "name",
        "number",
        "rest_until",
        "restate",
        "strict",
        "used",
        "waiters",
        "want",
    )

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.held = 0
        self.used = 0
        self.least = 0
        self.strict = False
        self.number = 0
        self.want = 0
        self.asked_at = 0.0
        self.asked_for: tuple[_Waiter, ...] = ()
        self.restate = False
        self.rest_until = 0.0
        self.waiters: dict[_Waiter, None] = {}

    @property
    def unused(self) -> int:
        """Slots that the next call may take."""
        return min(self.held, self.limit) - self.used

    def use(self) -> None:
        """One more call."""
        self.used += 1
        self.least = min(self.least, self.held - self.used)

    def drop(self, count: int) -> None:
        """So many less are held."""
        self.held -= count
        self.least = min(self.least, self.held - self.used)


class _Waiter:
    """A call that waits for a slot under each of its caps."""

    __slots__ = ("caps", "ended", "then")

    def __init__(self, caps: tuple[_Cap, ...], then: Callable[[bool], None]) -> None:
        self.caps = caps
        self.then = then
        self.ended = False


class Slots:
    """The slots of one worker.

    send: hands a message to the link, False = it is down.  now: the monotonic clock.  later:
    calls back after so many seconds.
    """

    def __init__(
        self,
        send: Callable[[AskSlots | SlotsBack], bool],
        now: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._send = send
        self._now = now
        self._later = later
        self._caps: dict[str, _Cap] = {}
        self._number = 0

    # --- calls ----------------------------------------------------------------------------

    def take(self, cap_name: str, limit: int) -> bool:
        """A slot, now; False = `wait` for it. Waiting calls go first."""
        if not self.has_room(cap_name, limit):
            return False
        self._caps[cap_name].use()
        return True

    def has_room(self, cap_name: str, limit: int) -> bool:
        """May the next call take a slot at once?"""
        cap = self._cap(cap_name, limit)
        return not cap.waiters and cap.unused >= 1

    def wait(self, caps: Caps, then: Callable[[bool], None]) -> Callable[[], None]:
        """Have a slot under each of these caps (name, limit): then(True); or then(False). Not
        before this returns. Returns what takes the call out of the queue (its client left)."""
        waiter = _Waiter(tuple(self._cap(name, limit) for name, limit in caps), then)
        for cap in waiter.caps:
            cap.waiters[waiter] = None
        self._later(0.0, lambda: self._begin(waiter))
        self._later(WAIT_SECONDS, lambda: self._expire(waiter))
        return lambda: self._leave(waiter)

    def free(self, cap_name: str) -> None:
        """The call has ended."""
        cap = self._caps[cap_name]
        cap.used -= 1
        if cap.strict:
            self._give_back(cap, 1)
        else:
            self._serve(cap)

    # --- the ledger process -----------------------------------------------------------------

    def granted(self, answer: Answer) -> None:
        """The answer to a question."""
        cap = self._caps.get(answer.cap_name)
        if cap is None or cap.number != answer.number:
            # Given up meanwhile: it was granted in vain. A question that is out has said so.
            if answer.amount and (cap is None or not cap.number):
                self._send(SlotsBack(answer.cap_name, 0 if cap is None else cap.held))
            return
        asked_for, cap.asked_for, cap.number = cap.asked_for, (), 0
        cap.held += answer.amount
        if answer.amount:
            cap.strict = False
        else:
            cap.rest_until = self._now() + REST_SECONDS
        if cap.restate:
            self._state(cap)
        self._serve(cap)
        if cap.unused < 1:
            for waiter in asked_for:
                self._end(waiter, has_room=False)
        self._ask_on(cap)

    def recall(self, cap_name: str) -> int:
        """Somebody else needs room under this cap: hands back what is unused. How many slots
        this worker keeps, with those that it may have been granted and has not heard of."""
        cap = self._caps.get(cap_name)
        if cap is None:
            return 0
        cap.drop(cap.held - cap.used)
        if cap.number:
            cap.restate = True
            return cap.held + cap.want
        return cap.held

    def reconnected(self) -> None:
        """The link is up again: says what is held, and asks anew."""
        for cap in self._caps.values():
            cap.number = 0
            self._state(cap)
        self._send(SlotsBack("", 0))
        for cap in tuple(self._caps.values()):
            self._ask_on(cap)

    def tick(self) -> None:
        """A second has passed: hands back what nobody needed in it."""
        for name, cap in tuple(self._caps.items()):
            spare = min(cap.least, cap.held - cap.used)
            if spare and not cap.waiters:
                self._give_back(cap, spare)
            cap.least = cap.held - cap.used
            if not (cap.held or cap.number or cap.waiters):
                del self._caps[name]

    # --- inside ---------------------------------------------------------------------------

    def _cap(self, name: str, limit: int) -> _Cap:
        cap = self._caps.get(name)
        if cap is None:
            cap = self._caps[name] = _Cap(name, limit)
        elif limit != cap.limit:
            lowered = limit < cap.limit
            cap.limit = limit
            if lowered:
                cap.strict = True
                # What is granted under the old limit is not taken.
                cap.number = 0
                cap.drop(cap.held - cap.used)
                self._ask_on(cap)
                if not cap.number:
                    self._state(cap)
        return cap

    def _begin(self, waiter: _Waiter) -> None:
        if not waiter.ended and not self._serve_one(waiter):
            for cap in waiter.caps:
                if cap.unused < 1 and not self._ask(cap):
                    self._end(waiter, has_room=False)
                    return

    def _serve(self, cap: _Cap) -> None:
        """Gives to those that wait, in their order, as far as it goes."""
        for waiter in tuple(cap.waiters):
            if cap.unused < 1:
                return
            self._serve_one(waiter)

    def _serve_one(self, waiter: _Waiter) -> bool:
        if waiter.ended or any(cap.unused < 1 for cap in waiter.caps):
            return waiter.ended
        for cap in waiter.caps:
            cap.use()
        self._end(waiter, has_room=True)
        return True

    def _end(self, waiter: _Waiter, *, has_room: bool) -> None:
        if not waiter.ended:
            self._leave(waiter)
            waiter.then(has_room)

    def _leave(self, waiter: _Waiter) -> None:
        waiter.ended = True
        for cap in waiter.caps:
            cap.waiters.pop(waiter, None)

    def _expire(self, waiter: _Waiter) -> None:
        """It has waited long enough; and a question as old as that is not answered any more."""
        if waiter.ended:
            return
        late = self._now() - WAIT_SECONDS + _EARLY_SECONDS
        self._end(waiter, has_room=False)
        for cap in waiter.caps:
            if cap.number and cap.asked_at <= late:
                cap.number = 0
                self._ask_on(cap)
                if not cap.number:
                    self._state(cap)

    def _ask_on(self, cap: _Cap) -> None:
        """Asks for those that still wait for this cap; if that cannot be, they wait no more."""
        waiting = tuple(cap.waiters)
        if waiting and cap.unused < 1 and not self._ask(cap):
            for waiter in waiting:
                self._end(waiter, has_room=False)

    def _ask(self, cap: _Cap) -> bool:
        """Asks, unless a question is out. False: it cannot be asked now."""
        if cap.number:
            return True
        now = self._now()
        if now < cap.rest_until:
            return False
        self._number += 1
        want = len(cap.waiters)
        if not self._send(AskSlots(self._number, cap.name, cap.limit, cap.held, want)):
            return False
        cap.number, cap.want, cap.asked_at = self._number, want, now
        cap.asked_for = tuple(cap.waiters)
        cap.restate = False
        return True

    def _give_back(self, cap: _Cap, count: int) -> None:
        cap.drop(count)
        self._state(cap)

    def _state(self, cap: _Cap) -> None:
        """Says what is held; of a cap of which a question is out, once it is answered."""
        cap.restate = bool(cap.number)
        if not cap.restate:
            self._send(SlotsBack(cap.name, cap.held))
