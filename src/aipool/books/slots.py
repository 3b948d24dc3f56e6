"""How many calls may be in flight on an upstream key, or on a vendor: exact over all workers.

For each cap the ledger process knows what every worker holds. Who needs more asks; when nothing
is free, the others are asked to hand back what no call of theirs is using, and the answer waits a
moment for that. A worker whose epoch is over holds nothing: its calls died with it.

What a worker holds only it can say, for an answer may be lost with a connection. It says so with
every question and whenever it hands something back; and after Welcome it says it of every cap and
then that this was all. Before a worker has said that, nothing is granted to anybody: after a
restart of the ledger process it may hold whatever there is.

    held as said  +  granted since  >=  what the worker holds

A worker takes only the answer to its newest question of a cap, and between its question and the
answer it says at least what the answer may bring it to (gateway.slots). So the sum over the
workers is never below what is in flight, whatever is lost or late.

Workers hear of a new limit one after the other: for a second the lowest one counts that anybody
has named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aipool.doors.frames import AskSlots, RecallSlots, Slots

#: How long who is short waits for the others.
PATIENCE_SECONDS = 0.05
#: In this time every worker hears of a new limit.
NEWS_SECONDS = 1.0


class _Asked:
    """A question that is not answered yet. recalled: the workers whose word is awaited; None =
    nobody was asked yet."""

    __slots__ = ("limit", "number", "recalled", "want")

    def __init__(self, message: AskSlots) -> None:
        self.number = message.number
        self.limit = message.limit
        self.want = message.want
        self.recalled: set[int] | None = None


class _Cap:
    """held: at most what each worker (epoch) holds.  asked: by worker, in the order they came.
    lowest: the lowest limit that was named of late; named_at: when it was named last."""

    __slots__ = ("asked", "held", "lowest", "named_at")

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.asked: dict[int, _Asked] = {}
        self.lowest = 0
        self.named_at = 0.0

    def names(self, limit: int, now: float) -> None:
        """Somebody names a limit."""
        if limit <= self.lowest or now >= self.named_at + NEWS_SECONDS:
            self.lowest, self.named_at = limit, now


class SlotKeeper:
    """The authority in the ledger process. In memory only.

    live: the epochs that may hold something.  tell: says something to a worker.  now: the
    monotonic clock.  later: calls back after so many seconds.
    """

    def __init__(
        self,
        live: Callable[[], Iterable[int]],
        tell: Callable[[int, Slots | RecallSlots], None],
        now: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._live = live
        self._tell = tell
        self._now = now
        self._later = later
        self._caps: dict[str, _Cap] = {}
        # The workers that have said all they hold.
        self._known: set[int] = set()

    def ask(self, epoch: int, message: AskSlots) -> None:
        """A worker needs more."""
        name = message.cap_name
        cap = self._caps.get(name)
        if cap is None:
            cap = self._caps[name] = _Cap()
        cap.names(message.limit, self._now())
        cap.held[epoch] = message.held
        asked = cap.asked[epoch] = _Asked(message)
        self._heard(cap, epoch)
        self._serve(name)
        if cap.asked.get(epoch) is not asked:
            return
        # Who waits for an answer has nothing unused.
        asked.recalled = {one for one, held in cap.held.items() if held and one not in cap.asked}
        for holder in asked.recalled:
            self._tell(holder, RecallSlots(name))
        self._serve(name)
        if cap.asked.get(epoch) is asked:
            self._later(PATIENCE_SECONDS, lambda: self._give_up(name, epoch, asked))

    def back(self, epoch: int, name: str, held: int) -> None:
        """A worker says what it holds; of no cap (""): that was all."""
        if not name:
            self._known.add(epoch)
            for other in tuple(self._caps):
                self._serve(other)
            return
        cap = self._caps.get(name)
        if cap is None:
            if not held:
                return
            cap = self._caps[name] = _Cap()
        # Of a question that is not answered, the word that counts is in the question.
        if epoch not in cap.asked:
            cap.held[epoch] = held
        self._heard(cap, epoch)
        self._serve(name)

    def connected(self, epoch: int) -> None:
        """A worker has a new connection: what it asked on the old one is asked anew."""
        for cap in self._caps.values():
            cap.asked.pop(epoch, None)

    def over(self, epoch: int) -> None:
        """A worker is gone."""
        self._known.discard(epoch)
        for name, cap in tuple(self._caps.items()):
            cap.held.pop(epoch, None)
            cap.asked.pop(epoch, None)
            self._heard(cap, epoch)
            self._serve(name)

    # --- inside ---------------------------------------------------------------------------

    def _heard(self, cap: _Cap, epoch: int) -> None:
        for asked in cap.asked.values():
            if asked.recalled is not None:
                asked.recalled.discard(epoch)

    def _serve(self, name: str) -> None:
        """Answers those that wait and can be answered now, the oldest first."""
        cap = self._caps[name]
        if any(one not in self._known for one in self._live()):
            return
        for epoch, asked in tuple(cap.asked.items()):
            free = min(asked.limit, cap.lowest) - sum(cap.held.values())
            if free > 0:
                self._answer(name, epoch, min(free, asked.want))
            elif asked.recalled is not None and not asked.recalled:
                self._answer(name, epoch, 0)
        if not cap.asked and not any(cap.held.values()):
            del self._caps[name]

    def _give_up(self, name: str, epoch: int, asked: _Asked) -> None:
        cap = self._caps.get(name)
        if cap is not None and cap.asked.get(epoch) is asked:
            self._answer(name, epoch, 0)

    def _answer(self, name: str, epoch: int, amount: int) -> None:
        cap = self._caps[name]
        asked = cap.asked.pop(epoch)
        cap.held[epoch] = cap.held.get(epoch, 0) + amount
        self._tell(epoch, Slots(asked.number, name, amount))
