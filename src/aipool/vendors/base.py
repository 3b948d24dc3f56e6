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
    """What becomes of the vendor's answer when the client has gone, by what the vendor does then.

                    DRAIN               CANCEL              BILL_RELAYED
    a stream        read on, bounded    hung up             hung up
      is charged    the report, else    what was relayed    what was relayed
                    what was relayed
    a whole answer  read to its end     hung up             read to its end
      is charged    the report, else 0  0                   the report, else 0

    A report that had come before the client left wins everywhere.
    """

    DRAIN = "drain"
    """The usual vendor: only its own report, at the end, says what it bills.

    Of a stream 10 seconds or 2,000 tokens more are read, whichever ends first, of at most 64
    streams a worker at a time; beyond that it is hung up on.
    """
    CANCEL = "cancel"
    """A vendor that stops when it is hung up on, and then bills what it had generated or nothing.

    So hanging up at once is the cheapest. Of a whole answer the client had nothing, and nobody
    reports what was generated of it: it is free.
    """
    BILL_RELAYED = "bill_relayed"
    """A vendor that generates, and bills, to the end whatever the gateway does.

    Reading a stream on would save nothing, and would have the client pay for what it never got:
    it pays what was relayed, although a report could be had. A whole answer is one piece, asked
    for and made, and its report comes with it: it is paid, or leaving just before the end would
    make every answer free to the client and none to the operator.
    """


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
    vocabularies: by which public vocabulary its models cut text, as (beginning of the model's
        name, vocabulary), the first that fits; () = by none that is known.
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
    vocabularies: tuple[tuple[str, str], ...] = ()


def vocabulary_of(vendor: Vendor, model: str) -> str:
    """The public vocabulary by which this model cuts text; "" when none is known."""
    for beginning, vocabulary in vendor.vocabularies:
        if model.startswith(beginning):
            return vocabulary
    return ""


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
