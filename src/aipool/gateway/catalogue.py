"""The snapshot, indexed for the hot path: what a group may call, and over which keys.

Built anew for every snapshot and replaced by one assignment; a call keeps the offer it was
admitted with, whatever is published meanwhile. Offers are made on first use, so two
thousand models cost nothing until somebody calls them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from aipool.dialects.estimate import estimated
from aipool.doors.snapshot import GroupView, KeyView, ModelView, Snapshot, VendorView
from aipool.gateway.board import Board
from aipool.gateway.candidates import Candidates, Counters, KeyParts, Way
from aipool.rating.rate import Dearest, dearest
from aipool.rating.types import Price
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.base import auth_headers
from aipool.wire.request import Origin

SocketPath = Callable[[str], str]


class Offer(NamedTuple):
    """A model as one group is sold it.

    dearest: what its tokens can cost at most, by the length of the input, for holds.
    rolls: may a stream hold as it goes, because what it has used is to be seen?
    """

    model: str
    model_json: bytes
    price: Price
    multiplier_ppm: int
    dearest: tuple[Dearest, ...]
    context_tokens: int
    max_output_tokens: int
    rolls: bool
    is_chat: bool
    candidates: Candidates


class Catalogue:
    """One snapshot.

    board: how the upstream keys stand.  socket_path: the path of a Unix socket in the run
    directory by its name.  counters: how text is counted that no vendor counted.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        board: Board,
        socket_path: SocketPath,
        counters: Counters = estimated,
    ) -> None:
        self.revision = snapshot.revision
        self.groups: dict[int, GroupView] = {group.id: group for group in snapshot.groups}
        self.models: dict[str, ModelView] = {model.name: model for model in snapshot.models}
        self._allowed = {
            group.id: None if group.models is None else frozenset(group.models)
            for group in snapshot.groups
        }
        #: The groups that have a route to it, of a model whose every route is for some only.
        self._routed = {
            model.name: frozenset(group for route in model.routes for group in route.groups)
            for model in snapshot.models
            if all(route.groups for route in model.routes)
        }
        self._vendors = {vendor.id: vendor for vendor in snapshot.vendors}
        self._board = board
        self._keywords = snapshot.keywords
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
        if group_id not in self._allowed or group_id not in self._routed.get(name, (group_id,)):
            return False
        allowed = self._allowed[group_id]
        return allowed is None or name in allowed

    def _build(self, group_id: int, name: str) -> Offer | None:
        model = self.models.get(name)
        if model is None or not self._is_allowed(group_id, name):
            return None
        ways = [
            Way(route, parts)
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
            dearest(price),
            model.context_tokens,
            model.max_output_tokens,
            not model.hidden_reasoning,
            model.kind == "chat",
            Candidates(name, ways, self._board, model.timeouts),
        )

    def _parts(self, vendor_id: int) -> tuple[KeyParts, ...]:
        """The keys of a vendor, made once however many models it serves."""
        parts = self._keys.get(vendor_id)
        if parts is None:
            vendor = self._vendors.get(vendor_id)
            parts = () if vendor is None else self._keys_of(vendor)
            self._keys[vendor_id] = parts
        return parts

    def key_ids(self) -> frozenset[int]:
        """The ids of all upstream keys."""
        return frozenset(key.id for vendor in self._vendors.values() for key in vendor.keys)

    def _keys_of(self, vendor: VendorView) -> tuple[KeyParts, ...]:
        return tuple(self._key(vendor, key) for key in vendor.keys)

    def _key(self, vendor: VendorView, key: KeyView) -> KeyParts:
        traits, settings = VENDORS_BY_TYPE[vendor.type], key.settings
        base_url = settings.base_url or vendor.base_url
        url = urlsplit(base_url)
        tls = url.scheme == "https"
        lines = b"Host: %b\r\n%bContent-Type: application/json\r\nAccept-Encoding: identity\r\n" % (
            url.netloc.rpartition("@")[2].encode(),
            auth_headers(traits, key.secret),
        )
        for name, value in settings.headers.items():
            lines += f"{name}: {value}\r\n".encode("ascii")
        caps = []
        if settings.concurrency:
            caps.append((f"key:{key.id}", settings.concurrency))
        if vendor.concurrency:
            caps.append((f"vendor:{vendor.id}", vendor.concurrency))
        return KeyParts(
            vendor.id,
            vendor.name,
            key.id,
            key.name,
            key.secret,
            key.generation,
            key.expires_at,
            settings,
            base_url,
            Origin(
                host=url.hostname or "",
                port=url.port or (443 if tls else 80),
                tls=tls,
                unix_path=self._socket_path(traits.socket) if traits.socket else None,
                proxy=settings.proxy or None,
            ),
            lines,
            tuple(caps),
            traits,
            vendor.ordering,
            self._board.tally(key.id),
            tuple(
                keyword for keyword in self._keywords if keyword.vendor_type in ("", vendor.type)
            ),
            self._counters,
        )
