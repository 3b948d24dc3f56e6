"""One limit of requests or tokens a minute as a worker knows it, and the chains of them. Pure.

    RateChain   what a call must pass, and who waits for it
      Rate      one limit of one bucket; what is left of it, for the headers
        Lot     permits of one grant, used by Tickets

What happens to them is decided in gateway.limits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING

from aipool.doors.frames import EXACT_LIMIT_MAX, Permit
from aipool.gateway import errors
from aipool.gateway.errors import Refusal

if TYPE_CHECKING:
    from aipool.gateway.admission import Admitted

#: A chunk is what this worker lets pass in 1/4 s.
CHUNKS_PER_SECOND = 4
#: Bytes of text that make a token, about; the input that a call reserves is estimated so.
BYTES_PER_TOKEN = 4

#: Whose limit it is, by who shares it.
SCOPES = {"user": "of this user in this group", "group": "of the group", "token": "of this token"}


def reserved_tokens(admitted: Admitted) -> int:
    """What a call counts for until it is known what it used: its input, about, and the
    output that is held for."""
    return max(admitted.input_tokens // BYTES_PER_TOKEN + admitted.held_tokens, 1)


class Lot:
    """Permits of one grant. mark: under which they were counted.  dies: when they do."""

    __slots__ = ("dies", "free", "granted", "mark", "rate", "tokens")

    def __init__(self, rate: Rate, mark: float, dies: float, amount: int) -> None:
        self.rate = rate
        self.tokens = rate.tokens
        self.mark = mark
        self.dies = dies
        self.granted = self.free = amount


class Rate:
    """One limit, as this worker knows it.

    tokens: it counts tokens, not requests.  exact: nothing is had in advance.  counted: how
    much the last minute had, when it was last said, and what this worker changed since.
    empty_at: when nothing of it counts any more.  returned_at: when unused permits of it were
    handed back last.
    """

    __slots__ = (
        "__weakref__",
        "_pace",
        "_since",
        "counted",
        "empty_at",
        "exact",
        "key",
        "limit",
        "lot",
        "returned_at",
        "scope",
        "tokens",
        "used",
    )

    def __init__(self, key: str, scope: str, *, tokens: bool) -> None:
        self.key = key
        self.scope = scope
        self.tokens = tokens
        self.limit = 0
        self.exact = True
        self.lot = Lot(self, 0.0, 0.0, 0)
        self.counted = 0
        self.empty_at = 0.0
        self.returned_at = 0.0
        self.used = 0
        self._pace = 0
        self._since = 0.0

    @property
    def unit(self) -> str:
        """What it counts, as people and headers call it."""
        return "tokens" if self.tokens else "requests"

    def set_limit(self, limit: int) -> None:
        """The limit of the catalogue in force."""
        if limit != self.limit:
            self.limit = limit
            self.exact = limit <= EXACT_LIMIT_MAX

    def ahead(self, now: float) -> int:
        """How much to have in advance: a chunk of the traffic of the last second or so."""
        if self.exact:
            return 0
        seconds = now - self._since
        if seconds >= 1.0:
            self._pace, self.used, self._since = int(self.used / seconds), 0, now
        return max(self._pace, self.used) // CHUNKS_PER_SECOND or 1

    def remaining(self, now: float) -> int:
        """How much could still pass, as far as this worker knows."""
        if now >= self.empty_at:
            return self.limit
        left = self.limit - self.counted + self.lot.free
        return 0 if left < 0 else min(left, self.limit)

    def template(self, now: float) -> tuple[bytes, float]:
        """OpenAI's three lines, but for how much remains; and until when they are right."""
        seconds, unit = self.empty_at - now, self.unit.encode()
        lines = (
            b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\n"
            b"x-ratelimit-reset-%b: %b\r\n" % (unit, self.limit, unit, unit, duration(seconds))
        )
        return lines, now + (seconds - ceil(seconds) + 1 if seconds > 1 else 0)

    def said(self, permit: Permit, now: float) -> None:
        """What the ledger process says of it."""
        self.counted = permit.counted
        self.empty_at = now + permit.empty_seconds


class Ticket:
    """What one call took, of which lots. tokens: what it reserved of each rate of tokens.
    widened: what was counted in addition while its answer grew."""

    __slots__ = ("lots", "tokens", "widened")

    def __init__(self, lots: tuple[Lot, ...], tokens: int) -> None:
        self.lots = lots
        self.tokens = tokens
        self.widened = 0


#: What is told a call that waits.
Done = Callable[["Ticket | Refusal"], None]


class Waiter:
    """A call that waits. tokens: what it reserves.  left: its client has."""

    __slots__ = ("done", "left", "since", "tokens")

    def __init__(self, tokens: int, done: Done, now: float) -> None:
        self.tokens = tokens
        self.done = done
        self.since = now
        self.left = False


class RateChain:
    """The rates that a call must pass, and the calls that wait for permits of them.

    counts_tokens: is one of them of tokens?  number: of the question that is out, 0 = none.
    """

    __slots__ = (
        "__weakref__",
        "_by_unit",
        "_fresh_until",
        "_shown",
        "_template",
        "asked",
        "asked_at",
        "counts_tokens",
        "lots",
        "number",
        "rates",
        "rest_until",
        "waiters",
    )

    def __init__(self, rates: tuple[Rate, ...]) -> None:
        self.rates = rates
        tokens = tuple(rate for rate in rates if rate.tokens)
        requests = tuple(rate for rate in rates if not rate.tokens)
        self._by_unit = tuple(part for part in (requests, tokens) if part)
        self._shown: tuple[Rate, ...] = ()
        self._template = b""
        self._fresh_until = 0.0
        self.counts_tokens = bool(tokens)
        self.lots = tuple(rate.lot for rate in rates)
        self.waiters: deque[Waiter] = deque()
        self.number = 0
        self.asked: tuple[Rate, ...] = ()
        self.asked_at = 0.0
        self.rest_until = 0.0

    def too_large(self, tokens: int) -> Refusal | None:
        """No, if waiting could never help a call that reserves this much."""
        for rate in self.rates:
            if rate.tokens and tokens > rate.limit:
                return errors.rate_limited(
                    f"This call may use {tokens} tokens, more than the limit of {rate.limit} "
                    f"tokens per minute {rate.scope}; a smaller `max_tokens` may help.",
                    0,
                )
        return None

    def headers(self, now: float) -> bytes:
        """The header lines of an answer: of each unit the rate that is nearest to its limit.

        They are of every answer: what is the same for a second is made once a second.
        """
        if now >= self._fresh_until:
            self._refresh(now)
        shown = self._shown
        if len(shown) == 1:
            return self._template % shown[0].remaining(now)
        return self._template % (shown[0].remaining(now), shown[1].remaining(now))

    def renew(self) -> None:
        """A limit may have changed."""
        self._fresh_until = 0.0

    def _refresh(self, now: float) -> None:
        self._shown = tuple(
            min(rates, key=lambda one: one.remaining(now) / one.limit) for rates in self._by_unit
        )
        templates = [rate.template(now) for rate in self._shown]
        self._template = b"".join(lines for lines, _ in templates)
        # Where there is a choice, it is made at every answer.
        is_only = len(self._shown) == len(self.rates)
        self._fresh_until = min(until for _, until in templates) if is_only else 0.0


def duration(seconds: float) -> bytes:
    """As OpenAI writes it: `20ms`, `1s`, `6m0s`; rounded up."""
    if seconds <= 0:
        return b"0s"
    if seconds <= 0.999:
        return b"%dms" % ceil(seconds * 1000)
    minutes, rest = divmod(ceil(seconds), 60)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest
