"""Which upstream keys may serve a model, in which order, and which of them is next.

An offer has routes in order, and each route the keys of its vendor in theirs. Nearly every call
goes to the first key that is well; so that one is kept at hand, together with what it stands on:
the turn of the board (nothing was learned of any key since) and a time until which no lane before
it can come back and no key expires. As long as both hold, choosing costs two comparisons.

Whatever else happens, `gateway.attempts` looks at every key in order. Candidates are made when they
are first needed and kept, so a thousand keys under two thousand models are no two million objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, overload

import msgspec

from aipool.dialects.estimate import CounterMaker, TokenCounter
from aipool.doors.snapshot import RouteView
from aipool.gateway.board import FOREVER, Board, Standing, Tally
from aipool.rating.types import Price
from aipool.vendors.base import OnDisconnect, Vendor, chat_path, vocabulary_of
from aipool.vendors.types import NO_TIMEOUTS, KeySettings, Keyword, Ordering, Timeouts
from aipool.wire.request import Origin

#: The maker of counters for text of a vocabulary.
Counters = Callable[[str], CounterMaker]


class KeyParts(NamedTuple):
    """An upstream key with what all requests to it have in common.

    base_url: its own, else its vendor's.  lines: the request's header lines that are the same for
    every call.  caps: the names and limits of what bounds its calls in flight.
    keywords: the operator's own lines of the table of failures, for this vendor.
    """

    vendor_id: int
    vendor_name: str
    id: int
    name: str
    secret: str
    generation: int
    expires_at: int
    settings: KeySettings
    base_url: str
    origin: Origin
    lines: bytes
    caps: tuple[tuple[str, int], ...]
    traits: Vendor
    ordering: Ordering
    tally: Tally
    keywords: tuple[Keyword, ...]
    counters: Counters


class Candidate(NamedTuple):
    """One upstream key at one route: everything a request to it needs, prebuilt.

    place: its index in the order.  head: the request's head up to the headers that differ from
    call to call.  upstream_model: the name in the route; called_model: the name this key is
    called with; model_json: the latter as JSON text, None = same as ours.
    fails_beside: may it report a failure beside what looks like an answer?
    is_plain: does it get whole answers' bodies as the client wrote them?
    put, strip: top-level fields of the body that the key's configuration sets or takes out.
    timeouts: the key's own, else the model's; None in it = the installation's.
    new_counter: counts what this model says, when the vendor does not report it.
    """

    place: int
    key: KeyParts
    head: bytes
    upstream_model: str
    called_model: str
    model_json: bytes | None
    is_plain: bool
    cap_field: str
    takes_stream_options: bool
    on_disconnect: OnDisconnect
    fails_beside: bool
    cost: Price
    cost_ppm: int
    timeouts: Timeouts
    put: dict[str, bytes]
    strip: frozenset[str]
    new_counter: CounterMaker = TokenCounter

    @property
    def key_id(self) -> int:
        """The id of the upstream key."""
        return self.key.id

    @property
    def vendor_id(self) -> int:
        """The id of its vendor."""
        return self.key.vendor_id


class Way(NamedTuple):
    """A route and the keys that serve it, in the order a person gave them."""

    route: RouteView
    keys: tuple[KeyParts, ...]


class Candidates(Sequence[Candidate]):
    """The keys that may serve a model, in the order in which they are tried."""

    __slots__ = (
        "_made",
        "_model",
        "_out",
        "_ready",
        "_turn",
        "_until",
        "board",
        "is_plain",
        "ways",
    )

    def __init__(
        self, model: str, ways: Iterable[Way], board: Board, timeouts: Timeouts = NO_TIMEOUTS
    ) -> None:
        self.board = board
        self._model = (model, timeouts)
        #: The routes with their keys; routes without any are left out.
        self.ways = tuple(way for way in ways if way.keys)
        self._made: dict[int, Candidate] = {}
        self._ready: Candidate | None = None
        self._out = False  # may nobody be called?
        self._turn = -1
        self._until = 0.0
        #: Is the order the same for every call, and are there no caps to mind?
        self.is_plain = all(
            key.ordering is Ordering.PRIORITY and not key.caps
            for way in self.ways
            for key in way.keys
        )

    def __len__(self) -> int:
        return sum(len(way.keys) for way in self.ways)

    def __bool__(self) -> bool:
        return bool(self.ways)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Candidate, ...]: ...

    def __getitem__(self, index: int | slice) -> Candidate | tuple[Candidate, ...]:
        if isinstance(index, slice):
            return tuple(self[one] for one in range(*index.indices(len(self))))
        candidate = self._made.get(index)
        if candidate is None:
            candidate = self._made[index] = self._make(index)
        return candidate

    def ready(self, now: float) -> Candidate | None:
        """The first key that may be called without further ado; None = somebody has to look
        closer (`gateway.attempts`), or nobody can be called (`out_until`)."""
        if self._turn == self.board.turn and now < self._until:
            return self._ready
        return self._look(now)

    def out_until(self, now: float) -> float:
        """Until when no key at all may be called, as far as is known; 0.0 = one may."""
        if self.ready(now) is None and self._out and now < self._until:
            return self._until
        return 0.0

    def _look(self, now: float) -> Candidate | None:
        """Look anew, and remember until when that holds."""
        board = self.board
        self._ready, self._turn, self._until, self._out = None, board.turn, 0.0, False
        soonest = FOREVER
        index = 0
        for route, keys in self.ways:
            for key in keys:
                standing, until = board.look(key, route.upstream_model, now)
                soonest = min(soonest, until)
                if standing is Standing.DUE:
                    return None
                if standing is Standing.WELL:
                    self._until = soonest
                    if self.is_plain:
                        self._ready = self[index]
                    return self._ready
                index += 1
        self._until, self._out = soonest, True
        return None

    def _make(self, index: int) -> Candidate:
        place = index
        for route, keys in self.ways:
            if 0 <= place < len(keys):
                return _candidate(index, self._model, route, keys[place])
            place -= len(keys)
        raise IndexError(index)


def _candidate(
    index: int, model: tuple[str, Timeouts], route: RouteView, key: KeyParts
) -> Candidate:
    name, timeouts = model
    settings, traits = key.settings, key.traits
    upstream_model = route.upstream_model
    called_model = settings.model_map.get(upstream_model, upstream_model)
    path = chat_path(traits, key.base_url, settings, called_model)
    return Candidate(
        index,
        key,
        b"POST %b HTTP/1.1\r\n%b" % (path.encode(), key.lines),
        upstream_model,
        called_model,
        None if called_model == name else msgspec.json.encode(called_model),
        called_model == name and not settings.body_set and not settings.body_strip,
        traits.max_tokens_field,
        settings.capabilities.get("stream_options", traits.supports_stream_options),
        traits.on_disconnect,
        traits.fails_beside,
        route.cost,
        settings.cost_ppm,
        _first_of(settings.timeouts, timeouts),
        {field: msgspec.json.encode(value) for field, value in settings.body_set.items()},
        frozenset(settings.body_strip),
        key.counters(vocabulary_of(traits, upstream_model)),
    )


def _first_of(one: Timeouts, other: Timeouts) -> Timeouts:
    """Each time-out of the one, or where it has none, of the other."""
    if one == NO_TIMEOUTS:
        return other
    return Timeouts(
        *(
            getattr(other, name) if getattr(one, name) is None else getattr(one, name)
            for name in Timeouts.__struct_fields__
        )
    )
