"""What the gateway has to know about an AI vendor: a table, and how it becomes a request.

A vendor is one file with one `Vendor` in it, and one line in the list of `aipool.vendors`. The
address and the key come from the pool; the table says how they are used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

CHAT_RESOURCE = "/chat/completions"

# /v1, /v3, /v1beta, /v2alpha1: what vendors put in a path to name the version of their interface.
_VERSION = re.compile(r"v\d+((alpha|beta)\d*)?")


class OnDisconnect(Enum):
    """What becomes of the vendor's answer when the client has gone."""

    DRAIN = "drain"
    """Read on, within bounds, for the usage the vendor will bill."""
    CANCEL = "cancel"
    """Hang up: the vendor stops, and bills what it had generated."""
    BILL_RELAYED = "bill_relayed"
    """Hang up, and count what was relayed."""


@dataclass(frozen=True, slots=True)
class Auth:
    """Where the key goes: `header: prefix + key`."""

    header: str
    prefix: str = ""


BEARER = Auth("Authorization", "Bearer ")


@dataclass(frozen=True, slots=True)
class Vendor:
    """One kind of AI vendor.

    type: its name in configuration and in the database.
    base_url: where it usually is; None when only the operator can know.
    max_tokens_field: under which name it takes a cap on the answer's tokens.
    supports_stream_options: does it report usage in a stream when asked to?
    socket: the Unix socket in the run directory that answers instead of the network, or None.
    """

    type: str
    title: str
    base_url: str | None
    auth: Auth = BEARER
    max_tokens_field: str = "max_tokens"
    on_disconnect: OnDisconnect = OnDisconnect.DRAIN
    supports_stream_options: bool = True
    socket: str | None = None


def chat_url(base_url: str) -> str:
    """The path, with the query if it has one, of chat completions under this base address.

    A base address that names a version in its path (`…/v1`, `…/api/paas/v4`, `…/v1/openai`) gets
    only the resource appended; one that names none gets `/v1` as well; one that already ends in
    the resource is taken as it stands.
    """
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    if not path.endswith(CHAT_RESOURCE):
        versioned = any(_VERSION.fullmatch(segment) for segment in path.split("/"))
        path += CHAT_RESOURCE if versioned else "/v1" + CHAT_RESOURCE
    return f"{path}?{parts.query}" if parts.query else path


def auth_headers(vendor: Vendor, api_key: str) -> bytes:
    """The header lines that present this key; none for an empty key (self-hosted servers).

    Raises ValueError for a key that cannot stand in a header: it would end the line.
    """
    if not api_key:
        return b""
    if not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("an API key is printable ASCII")
    return f"{vendor.auth.header}: {vendor.auth.prefix}{api_key}\r\n".encode("ascii")
