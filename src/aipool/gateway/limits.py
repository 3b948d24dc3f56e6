"""How many calls and tokens may pass in any 60 seconds: a worker's permits. Pure.

A *rate* is one limit of one bucket (chains.buckets_of): requests or tokens of a user in a
group, of the group as a whole, or of a token. The ledger process counts (books.rates); a
worker asks it for permits and lets calls pass on them:

    take ──▶ Ticket ──▶ settle     the tokens that were reserved and not used are uncounted
      │         └─────▶ give_back  the call was refused: it counted for nothing
      └─ none left ──▶ wait: asks, and answers with a Ticket or with a Refusal

A call takes one permit of every rate of requests and what it reserves of every rate of
tokens, or nothing at all. Permits are had in chunks of a quarter of a second of this worker's
own traffic, so the ordinary call asks nobody. A permit counts from its grant on and is dead
one second after the worker *asked*, so no two processes compare their clocks. What is unused
by then is handed back under the mark it was counted under, and so is everything that is left
before more is asked for: a worker that is alone is never refused for what it holds itself.

Limits up to 120 a minute are granted for exactly the calls that wait.

Silence of the ledger process is not a limit: who waits in vain is told 503, never 429.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from math import ceil
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from aipool.doors.frames import (
    PERMIT_SECONDS,
    AskPermits,
    Permit,
    PermitNeed,
    Permits,
    PermitsBack,
)
from aipool.gateway import errors
from aipool.gateway.rate import SCOPES, Done, Lot, Rate, RateChain, Ticket, Waiter

if TYPE_CHECKING:
    from aipool.doors.snapshot import CallLimits

#: What is no longer counted gathers this long before it is sent.
GATHER_SECONDS = 0.05
#: After a refusal, calls that come gather this long before the next question.
REST_SECONDS = 0.01
#: A loop's timers may go off this much early.
_EARLY_SECONDS = 0.002
#: How long a call waits for the ledger process before it is told to come again.
WAIT_SECONDS = 3.0


class Rates:
    """The permits of one worker. `now`: seconds that really passed, of a clock nobody sets.

    send: hands a message to the link, False = it is down.  wake: calls `poll` after so many
    seconds.
    """

    def __init__(
        self,
        send: Callable[[AskPermits | PermitsBack], bool],
        wake: Callable[[float], object],
    ) -> None:
        self._send = send
        self._wake = wake
        self._rates: WeakValueDictionary[str, Rate] = WeakValueDictionary()
        self._chains: WeakValueDictionary[tuple[str, ...], RateChain] = WeakValueDictionary()
        self._active: dict[Rate, None] = {}
        self._asked: dict[int, RateChain] = {}
        self._resting: dict[RateChain, None] = {}
        self._number = 0
        self._back: dict[tuple[str, float], int] = {}
        self._gathering = False

    def chain(
        self, buckets: Iterable[tuple[str, CallLimits]], *, up_to_date: bool = True
    ) -> RateChain | None:
        """What a call must pass that shares these buckets; None = no limit at all.

        up_to_date: else the limits are of what a token was, and never replace those that are.
        """
        rates: list[Rate] = []
        for bucket, limits in buckets:
            if limits.rpm:
                rates.append(self._rate("rpm", bucket, limits.rpm, up_to_date))
            if limits.tpm:
                rates.append(self._rate("tpm", bucket, limits.tpm, up_to_date))
        if not rates:
            return None
        keys = tuple(rate.key for rate in rates)
        chain = self._chains.get(keys)
        if chain is None:
            chain = self._chains[keys] = RateChain(tuple(rates))
        chain.renew()
        return chain

    def take(self, chain: RateChain, tokens: int, now: float) -> Ticket | None:
        """One permit and these tokens, now; None = `wait` for them. Waiting calls go first."""
        if chain.waiters:
            return None
        lots = chain.lots
        for lot in lots:
            if lot.free < (tokens if lot.tokens else 1) or now >= lot.dies:
                return self._retake(chain, tokens, now)
        for lot in lots:
            lot.free -= tokens if lot.tokens else 1
        return Ticket(lots, tokens)

    def wait(self, chain: RateChain, tokens: int, done: Done, now: float) -> Callable[[], None]:
        """Have a ticket as soon as the ledger process has answered, or a refusal; not before
        this returns. Returns what takes the call out of the queue (its client left)."""
        waiter = Waiter(tokens, done, now)
        chain.waiters.append(waiter)
        if len(chain.waiters) == 1:
            self._ask(chain, now)

        def leave() -> None:
            waiter.left = True

        return leave

    def give_back(self, ticket: Ticket, now: float) -> None:
        """The call was refused elsewhere, before a vendor heard of it: it counts for nothing."""
        for lot in ticket.lots:
            amount = ticket.tokens if lot.tokens else 1
            rate = lot.rate
            if lot is rate.lot and not rate.exact and now < lot.dies:
                lot.free += amount
            else:
                self._uncount(rate, lot.mark, amount)

    def settle(self, ticket: Ticket, used_tokens: int) -> None:
        """The call has ended: what it reserved gives way to what it used."""
        unused = ticket.tokens - used_tokens
        if unused < 0:
            unused = min(0, unused + ticket.widened)
        if not unused:
            return
        for lot in ticket.lots:
            if lot.tokens:
                rate = lot.rate
                if unused < 0:
                    self._uncount(rate, 0.0, unused)
                elif lot is rate.lot and not rate.exact:
                    lot.free += unused  # for the next call, or handed back with the rest
                else:
                    self._uncount(rate, lot.mark, unused)

    def widen(self, ticket: Ticket, tokens: int) -> None:
        """An answer goes on: so many more tokens of it are held for, and count from now."""
        ticket.widened += tokens
        for lot in ticket.lots:
            if lot.tokens:
                self._uncount(lot.rate, 0.0, -tokens)

    def granted(self, answer: Permits, now: float) -> None:
        """The ledger process's answer."""
        chain = self._asked.pop(answer.number, None)
        if chain is None:
            return
        asked, chain.asked, chain.number = chain.asked, (), 0
        for rate, permit in zip(asked, answer.permits, strict=True):
            rate.said(permit, now)
            if permit.amount:
                self._put(rate, permit, chain.asked_at + PERMIT_SECONDS, now)
        self._serve(chain, now)
        if not answer.permits[0].amount:
            waits = [permit.wait_seconds for permit in answer.permits]
            short = asked[waits.index(max(waits))]
            # Unless another chain was granted some of it, or handed some back, meanwhile.
            spare = short.lot.free and now < short.lot.dies
            if not spare and short.returned_at < chain.asked_at:
                self._refuse(chain, short, max(waits), now)
        for rate in asked:
            if rate.exact:
                self._drop(rate, now)
        self._ask(chain, now)

    def recall(self, keys: Iterable[str], now: float) -> tuple[tuple[str, float, int], ...]:
        """Somebody else needs these: everything unused of them, and what else has gathered."""
        for key in keys:
            rate = self._rates.get(key)
            if rate is not None:
                self._drop(rate, now)
        return self._take_back()

    def reconnected(self, now: float) -> None:
        """The link is up again. What was asked is asked anew: an answer that was lost stays
        counted until it leaves the minute."""
        asked, self._asked = self._asked, {}
        for chain in asked.values():
            chain.number = 0
            self._ask(chain, now)
        self._flush()

    def poll(self, now: float) -> None:
        """What was to be done after a while, if its time has come."""
        if self._gathering:
            self._gathering = False
            self._flush()
        for chain in [one for one in self._resting if one.rest_until <= now + _EARLY_SECONDS]:
            del self._resting[chain]
            chain.rest_until = 0.0
            self._ask(chain, now)

    def tick(self, now: float) -> None:
        """A second has passed: hand back what has died, and let nobody wait for ever."""
        for rate in [one for one in self._active if one.lot.dies <= now]:
            del self._active[rate]
            self._drop(rate, now)
        late = now - WAIT_SECONDS
        for chain in [*self._asked.values(), *self._resting]:
            waiters = chain.waiters
            while waiters and waiters[0].since <= late:
                waiter = waiters.popleft()
                if not waiter.left:
                    waiter.done(errors.unavailable("ledger_unavailable", _SILENCE))

    def close(self, now: float) -> None:
        """The worker is going: hand back what is unused."""
        for rate in self._active:
            self._drop(rate, now)
        self._active.clear()
        self._flush()

    # --- asking ---------------------------------------------------------------------------

    def _rate(self, kind: str, bucket: str, limit: int, up_to_date: bool) -> Rate:
        key = f"{kind}:{bucket}"
        rate = self._rates.get(key)
        if rate is None:
            shared_by = "user" if "-user-" in bucket else bucket.partition("-")[0]
            rate = self._rates[key] = Rate(key, SCOPES[shared_by], tokens=kind == "tpm")
            rate.set_limit(limit)
        elif up_to_date:
            rate.set_limit(limit)
        return rate

    def _retake(self, chain: RateChain, tokens: int, now: float) -> Ticket | None:
        """Take after looking for newer lots, which another chain may have been granted."""
        chain.lots = lots = tuple(rate.lot for rate in chain.rates)
        for lot in lots:
            if lot.free < (tokens if lot.tokens else 1) or now >= lot.dies:
                return None
        for lot in lots:
            lot.free -= tokens if lot.tokens else 1
        return Ticket(lots, tokens)

    def _ask(self, chain: RateChain, now: float) -> None:
        """Ask for all that wait, unless a question is out."""
        waiters = chain.waiters
        while waiters and waiters[0].left:
            waiters.popleft()
        if not waiters or chain.number:
            return
        if now < chain.rest_until:
            self._resting[chain] = None
            self._wake(chain.rest_until - now)
            return
        first = waiters[0].tokens
        tokens = sum(waiter.tokens for waiter in waiters)
        needs: list[PermitNeed] = []
        asked: list[Rate] = []
        for rate in chain.rates:
            least = first if rate.tokens else 1
            if rate.lot.free < least or now >= rate.lot.dies:
                self._drop(rate, now)
                everybody = tokens if rate.tokens else len(waiters)
                want = everybody + rate.ahead(now)
                needs.append(PermitNeed(rate.key, rate.limit, least, everybody, want))
                asked.append(rate)
        if not needs:  # another chain was granted some meanwhile
            self._serve(chain, now)
            self._ask(chain, now)
            return
        self._number += 1
        chain.number, chain.asked, chain.asked_at = self._number, tuple(asked), now
        self._asked[self._number] = chain
        self._tell(lambda back: AskPermits(chain.number, tuple(needs), back))

    def _serve(self, chain: RateChain, now: float) -> None:
        """Let those at the front of the queue pass, as far as the permits go."""
        waiters = chain.waiters
        while waiters:
            waiter = waiters[0]
            if waiter.left:
                waiters.popleft()
                continue
            ticket = self._retake(chain, waiter.tokens, now)
            if ticket is None:
                return
            waiters.popleft()
            waiter.done(ticket)

    def _refuse(self, chain: RateChain, rate: Rate, wait_seconds: float, now: float) -> None:
        """Refuse those that were asked for: the first, and all that need no less of the rate
        that was short. Later ones ask again, since something may have come back meanwhile."""
        refused: list[Waiter] = []
        kept: deque[Waiter] = deque()
        for waiter in chain.waiters:
            if waiter.left:
                continue
            small = rate.tokens and refused and waiter.tokens < refused[0].tokens
            (kept if small or waiter.since > chain.asked_at else refused).append(waiter)
        chain.waiters = kept
        chain.rest_until = now + REST_SECONDS
        refusal = errors.rate_limited(
            f"The limit of {rate.limit} {rate.unit} per minute {rate.scope} is reached.",
            max(1, ceil(wait_seconds)),
        )
        for waiter in refused:
            waiter.done(refusal)

    # --- handing back ---------------------------------------------------------------------

    def _put(self, rate: Rate, permit: Permit, dies: float, now: float) -> None:
        """Have what was granted. Two grants of one mark are one lot."""
        lot = rate.lot
        if lot.free and lot.mark == permit.mark:
            lot.granted += permit.amount
            lot.free += permit.amount
            lot.dies = min(lot.dies, dies)
            return
        self._drop(rate, now)
        rate.lot = Lot(rate, permit.mark, dies, permit.amount)
        self._active[rate] = None

    def _drop(self, rate: Rate, now: float) -> None:
        """Hand back what is unused of a rate."""
        lot = rate.lot
        if lot.granted:
            rate.used += lot.granted - lot.free
            if lot.free:
                self._uncount(rate, lot.mark, lot.free)
                lot.free = 0
                rate.returned_at = now
            rate.lot = Lot(rate, 0.0, 0.0, 0)

    def _uncount(self, rate: Rate, mark: float, amount: int) -> None:
        rate.counted -= amount
        key = rate.key, mark
        back = self._back
        back[key] = back.get(key, 0) + amount
        if not self._gathering or rate.exact:
            self._gathering = True
            self._wake(0.0 if rate.exact else GATHER_SECONDS)

    def _flush(self) -> None:
        if self._back:
            self._tell(lambda back: PermitsBack(0, back))

    def _tell(
        self, message: Callable[[tuple[tuple[str, float, int], ...]], AskPermits | PermitsBack]
    ) -> None:
        """Say something, and with it what is no longer counted; it is kept if nobody hears."""
        back, self._back = self._back, {}
        if not self._send(message(_entries(back))):
            self._back = back

    def _take_back(self) -> tuple[tuple[str, float, int], ...]:
        back, self._back = self._back, {}
        return _entries(back)


_SILENCE = "Rate limits cannot be checked just now."


def _entries(back: dict[tuple[str, float], int]) -> tuple[tuple[str, float, int], ...]:
    return tuple((key, mark, amount) for (key, mark), amount in back.items())
