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

from aipool.doors.snapshot import GroupView, KeyView, ModelView, Snapshot, VendorView
from aipool.rating.types import TokenPrice
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.base import OnDisconnect, Vendor, auth_headers, chat_url
from aipool.wire.request import Origin

SocketPath = Callable[[str], str]


class Candidate(NamedTuple):
    """One upstream key at one route: everything a request to it needs, prebuilt.

    head: the request's head up to the headers that differ from call to call.
    model_json: the vendor's name for the model as JSON text; None = same as ours.
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


class Offer(NamedTuple):
    """A model as one group is sold it.

    input_nano: the dearest an input token can be (cached or not), for holds.
    """

    model: str
    model_json: bytes
    price: TokenPrice
    multiplier_ppm: int
    input_nano: int
    context_tokens: int
    max_output_tokens: int
    candidates: tuple[Candidate, ...]


class Catalogue:
    """One snapshot.

    socket_path: the path of a Unix socket in the run directory by its name.
    """

    def __init__(self, snapshot: Snapshot, socket_path: SocketPath) -> None:
        self.revision = snapshot.revision
        self.groups: dict[int, GroupView] = {group.id: group for group in snapshot.groups}
        self.models: dict[str, ModelView] = {model.name: model for model in snapshot.models}
        self._allowed = {
            group.id: None if group.models is None else frozenset(group.models)
            for group in snapshot.groups
        }
        self._vendors = {vendor.id: vendor for vendor in snapshot.vendors}
        self._socket_path = socket_path
        self._offers: dict[tuple[int, str], Offer | None] = {}

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
        candidates = tuple(
            self._candidate(vendor, key, route.upstream_model, route.cost, name)
            for route in model.routes
            if (not route.groups or group_id in route.groups)
            and (vendor := self._vendors.get(route.vendor_id)) is not None
            for key in vendor.keys
        )
        price = model.price
        return Offer(
            name,
            msgspec.json.encode(name),
            price,
            self.groups[group_id].multiplier_ppm,
            max(price.input_nano, price.cached_input_nano),
            model.context_tokens,
            model.max_output_tokens,
            candidates,
        )

    def _candidate(
        self, vendor: VendorView, key: KeyView, upstream_model: str, cost: TokenPrice, name: str
    ) -> Candidate:
        traits = VENDORS_BY_TYPE[vendor.type]
        return Candidate(
            vendor.id,
            key.id,
            key.name,
            vendor.name,
            self._origin(vendor, traits, key),
            _head(vendor.base_url, traits, key.secret),
            key.secret,
            upstream_model,
            None if upstream_model == name else msgspec.json.encode(upstream_model),
            traits.max_tokens_field,
            traits.supports_stream_options,
            traits.on_disconnect,
            cost,
        )

    def _origin(self, vendor: VendorView, traits: Vendor, key: KeyView) -> Origin:
        url = urlsplit(vendor.base_url)
        tls = url.scheme == "https"
        return Origin(
            host=url.hostname or "",
            port=url.port or (443 if tls else 80),
            tls=tls,
            unix_path=self._socket_path(traits.socket) if traits.socket else None,
            proxy=key.proxy_url or None,
        )


def _head(base_url: str, traits: Vendor, secret: str) -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nHost: %b\r\n%bContent-Type: application/json\r\n"
        b"Accept-Encoding: identity\r\n"
    ) % (
        chat_url(base_url).encode(),
        urlsplit(base_url).netloc.rpartition("@")[2].encode(),
        auth_headers(traits, secret),
    )
