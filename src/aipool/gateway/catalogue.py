"""The snapshot, indexed for the hot path: what a group may call, and over which keys.

Built anew for every snapshot and replaced by one assignment; a call keeps the offer it was
admitted with, whatever is published meanwhile. Offers are made on first use, so two
thousand models cost nothing until somebody calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, overload
from urllib.parse import urlsplit

import msgspec

from aipool.dialects.estimate import CounterMaker, TokenCounter, estimated
from aipool.doors.snapshot import GroupView, ModelView, RouteView, Snapshot, VendorView
from aipool.rating.types import TokenPrice
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.base import OnDisconnect, Vendor, auth_headers, chat_url, vocabulary_of
from aipool.wire.request import Origin

SocketPath = Callable[[str], str]
#: The maker of counters for text of a vocabulary.
Counters = Callable[[str], CounterMaker]


class KeyParts(NamedTuple):
    """An upstream key with what all requests to it have in common.

    head: the request's head up to the headers that differ from call to call.
    """

    vendor_id: int
    vendor_name: str
    id: int
    name: str
    secret: str
    origin: Origin
    head: bytes
    traits: Vendor
    counters: Counters


class Candidate(NamedTuple):
    """One upstream key at one route: everything a request to it needs, prebuilt.

    head: the request's head up to the headers that differ from call to call.
    model_json: the vendor's name for the model as JSON text; None = same as ours.
    new_counter: counts what this model says, when the vendor does not report it.
    """

    vendor_id: int
    key_id: int
    key_name: str
    vendor_name: str
    origin: Origin
    head: bytes
    secret: str
    upstream_model: str
    model_json: bytes | None
    cap_field: str
    takes_stream_options: bool
    on_disconnect: OnDisconnect
    cost: TokenPrice
    new_counter: CounterMaker = TokenCounter


class Candidates(Sequence[Candidate]):
    """The keys that may serve a model, in the order in which they are tried.

    Only the first is at hand, since it serves nearly every call; the others are made when
    they are asked for. So a thousand keys under two thousand models are no two million
    objects.
    """

    __slots__ = ("_first", "_model", "_routes")

    def __init__(
        self, model: str, routes: Iterable[tuple[RouteView, tuple[KeyParts, ...]]]
    ) -> None:
        self._model = model
        self._routes = tuple(routes)
        self._first = self._made(0) if self._routes else None

    def __len__(self) -> int:
        return sum(len(keys) for _, keys in self._routes)

    def __bool__(self) -> bool:
        return self._first is not None

    @property
    def first(self) -> Candidate:
        """The one that is tried first; there must be one."""
        assert self._first is not None
        return self._first

    @overload
    def __getitem__(self, index: int) -> Candidate: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Candidate, ...]: ...

    def __getitem__(self, index: int | slice) -> Candidate | tuple[Candidate, ...]:
        if isinstance(index, slice):
            return tuple(self._made(one) for one in range(*index.indices(len(self))))
        return self._made(index)

    def _made(self, index: int) -> Candidate:
        for route, keys in self._routes:
            if 0 <= index < len(keys):
                return _candidate(self._model, route, keys[index])
            index -= len(keys)
        raise IndexError(index)


def _candidate(model: str, route: RouteView, key: KeyParts) -> Candidate:
    upstream_model, traits = route.upstream_model, key.traits
    return Candidate(
        key.vendor_id,
        key.id,
        key.name,
        key.vendor_name,
        key.origin,
        key.head,
        key.secret,
        upstream_model,
        None if upstream_model == model else msgspec.json.encode(upstream_model),
        traits.max_tokens_field,
        traits.supports_stream_options,
        traits.on_disconnect,
        route.cost,
        key.counters(vocabulary_of(traits, upstream_model)),
    )


class Offer(NamedTuple):
    """A model as one group is sold it.

    input_nano: the dearest an input token can be (cached or not), for holds.
    rolls: may a stream hold as it goes, because what it has used is to be seen?
    """

    model: str
    model_json: bytes
    price: TokenPrice
    multiplier_ppm: int
    input_nano: int
    context_tokens: int
    max_output_tokens: int
    rolls: bool
    candidates: Candidates


class Catalogue:
    """One snapshot.

    socket_path: the path of a Unix socket in the run directory by its name.
    counters: how text is counted that no vendor counted.
    """

    def __init__(
        self, snapshot: Snapshot, socket_path: SocketPath, counters: Counters = estimated
    ) -> None:
        self.revision = snapshot.revision
        self.groups: dict[int, GroupView] = {group.id: group for group in snapshot.groups}
        self.models: dict[str, ModelView] = {model.name: model for model in snapshot.models}
        self._allowed = {
            group.id: None if group.models is None else frozenset(group.models)
            for group in snapshot.groups
        }
        self._vendors = {vendor.id: vendor for vendor in snapshot.vendors}
        self._socket_path = socket_path
        self._counters = counters
        self._offers: dict[tuple[int, str], Offer | None] = {}
        self._keys: dict[int, tuple[KeyParts, ...]] = {}

    def offer(self, group_id: int, name: str) -> Offer | None:
        """What this group is sold under this name; None when the model is not sold to it."""
        key = (group_id, name)
        try:
            return self._offers[key]
        except KeyError:
            offer = self._build(group_id, name)
            if name in self.models:
                self._offers[key] = offer
            return offer

    def sold_to(self, group_id: int, chosen: frozenset[str] | None) -> list[ModelView]:
        """The models a token of this group may call, in the catalogue's order."""
        return [
            model
            for name, model in self.models.items()
            if (chosen is None or name in chosen) and self._is_allowed(group_id, name)
        ]

    def _is_allowed(self, group_id: int, name: str) -> bool:
        if group_id not in self._allowed:
            return False
        allowed = self._allowed[group_id]
        return allowed is None or name in allowed

    def _build(self, group_id: int, name: str) -> Offer | None:
        model = self.models.get(name)
        if model is None or not self._is_allowed(group_id, name):
            return None
        routes = [
            (route, parts)
            for route in model.routes
            if (not route.groups or group_id in route.groups)
            and (parts := self._parts(route.vendor_id))
        ]
        price = model.price
        return Offer(
            name,
            msgspec.json.encode(name),
            price,
            self.groups[group_id].multiplier_ppm,
            max(price.input_nano, price.cached_input_nano),
            model.context_tokens,
            model.max_output_tokens,
            not model.hidden_reasoning,
            Candidates(name, routes),
        )

    def _parts(self, vendor_id: int) -> tuple[KeyParts, ...]:
        """The keys of a vendor, made once however many models it serves."""
        parts = self._keys.get(vendor_id)
        if parts is None:
            vendor = self._vendors.get(vendor_id)
            parts = () if vendor is None else self._keys_of(vendor)
            self._keys[vendor_id] = parts
        return parts

    def _keys_of(self, vendor: VendorView) -> tuple[KeyParts, ...]:
        traits = VENDORS_BY_TYPE[vendor.type]
        url = urlsplit(vendor.base_url)
        tls = url.scheme == "https"
        path = chat_url(vendor.base_url).encode()
        host = url.netloc.rpartition("@")[2].encode()
        return tuple(
            KeyParts(
                vendor.id,
                vendor.name,
                key.id,
                key.name,
                key.secret,
                Origin(
                    host=url.hostname or "",
                    port=url.port or (443 if tls else 80),
                    tls=tls,
                    unix_path=self._socket_path(traits.socket) if traits.socket else None,
                    proxy=key.proxy_url or None,
                ),
                b"POST %b HTTP/1.1\r\nHost: %b\r\n%bContent-Type: application/json\r\n"
                b"Accept-Encoding: identity\r\n" % (path, host, auth_headers(traits, key.secret)),
                traits,
                self._counters,
            )
            for key in vendor.keys
        )
