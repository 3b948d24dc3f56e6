"""What the gateway has to know about an AI vendor: a table, and how it becomes a request.

A vendor is one file with one `Vendor` in it, and one line in the list of `aipool.vendors`. The
address and the key come from the pool; the table says how they are used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any
from urllib.parse import urlencode, urlsplit

from aipool.vendors.types import KeySettings, Money, Rule, Said, Source

CHAT_RESOURCE = "/chat/completions"

# /v1, /v3, /v1beta, /v2alpha1: what vendors put in a path to name the version of their interface.
_VERSION = re.compile(r"v\d+((alpha|beta)\d*)?", re.ASCII)
# A balance: more digits than these are no amount of money.
_DECIMAL = re.compile(r"-?\d{1,18}(\.\d{1,18})?", re.ASCII)
_INTEGER_MAX = 10**18


class OnDisconnect(Enum):
    """What becomes of the vendor's answer when the client has gone, by what the vendor does then.

                    DRAIN               CANCEL, BILL_RELAYED
    a stream        read on, bounded    hung up
      is charged    the report, else    what was relayed
                    what was relayed
    a whole answer  read to its end     read to its end
      is charged    the report, else 0  the report, else 0

    A report that had come before the client left wins everywhere. A whole answer is one piece,
    asked for and made, and vendors make it to its end whoever hangs up: were it free, leaving just
    before the end would make every answer free to the client and none to the operator.
    """

    DRAIN = "drain"
    """The usual vendor: only its own report, at the end, says what it bills.

    Of a stream 10 seconds or 2,000 tokens more are read, whichever ends first, of at most 64
    streams a worker at a time; beyond that it is hung up on.
    """
    CANCEL = "cancel"
    """A vendor that stops a stream when it is hung up on, and bills what it had generated or
    nothing: hanging up at once is the cheapest."""
    BILL_RELAYED = "bill_relayed"
    """A vendor that generates, and bills, to the end whatever the gateway does.

    Reading a stream on would save nothing, and would have the client pay for what it never got:
    it pays what was relayed, although a report could be had.
    """


@dataclass(frozen=True, slots=True)
class Auth:
    """Where the key goes: `header: prefix + key`."""

    header: str
    prefix: str = ""


BEARER = Auth("Authorization", "Bearer ")


class Dialect(Enum):
    """In which a vendor can be asked without translation."""

    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"
    GEMINI = "gemini"


@dataclass(frozen=True, slots=True)
class BalanceProbe:
    """How a vendor is asked what is left. path: after the host.  read: the answer's JSON value to
    the balance, None when it says none."""

    path: str
    read: Callable[[Any], Money | None]


def _no_reading(_status: int, _value: Any) -> Said | None:
    return None


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
    fields: which of `KeySettings`' api_version, region and project mean something here;
        required: which of those a key must have.
    chat_path: makes path and query of chat completions from (base address, settings, the name
        of the model); None = the usual way of joining.
    models_path: the list of models, joined like the chat path; "" = there is none.
    balance: how to ask what is left, or None.
    rules: the vendor's own lines of the table of failures, the first that fits counts.
    read_error: what the vendor says where it does not say it like OpenAI: (status, JSON value) to
        Said, None = read it like OpenAI's.  Asked about answers with status 200 too.
    fails_beside: does it report failures in `base_resp`, beside what looks like an answer?
    key_page: where a person gets a key.
    dialects: spoken natively; only chat is called so far.
    sources: the documents the file rests on.  verified: tried against the live vendor?
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
    fields: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    chat_path: Callable[[str, KeySettings, str], str] | None = None
    models_path: str = "/models"
    balance: BalanceProbe | None = None
    rules: tuple[Rule, ...] = ()
    read_error: Callable[[int, Any], Said | None] = _no_reading
    fails_beside: bool = False
    key_page: str = ""
    dialects: tuple[Dialect, ...] = (Dialect.CHAT,)
    sources: tuple[Source, ...] = ()
    verified: bool = False


def vocabulary_of(vendor: Vendor, model: str) -> str:
    """The public vocabulary by which this model cuts text; "" when none is known."""
    for beginning, vocabulary in vendor.vocabularies:
        if model.startswith(beginning):
            return vocabulary
    return ""


def chat_path(vendor: Vendor, base_url: str, settings: KeySettings, model: str) -> str:
    """Path and query of chat completions of this model at this address, the key's own query
    included. base_url: the key's, else the vendor's."""
    made = vendor.chat_path or _usual_chat_path
    return with_query(made(base_url, settings, model), settings.query)


def models_path(vendor: Vendor, base_url: str, settings: KeySettings) -> str:
    """Path and query of the list of models; "" when the vendor has none."""
    if not vendor.models_path:
        return ""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    if path.endswith(CHAT_RESOURCE):
        # Whoever writes the resource says thereby what stands before it, a version or none.
        path = path.removesuffix(CHAT_RESOURCE) + vendor.models_path
    beside = parts._replace(path=path).geturl()
    return with_query(joined(beside, vendor.models_path), settings.query)


def joined(base_url: str, resource: str) -> str:
    """The path, with the query if it has one, of a resource under this base address.

    A base address that names a version in its path (`…/v1`, `…/api/paas/v4`, `…/v1/openai`) gets
    only the resource appended; one that names none gets `/v1` as well; one that already ends in
    the resource is taken as it stands.
    """
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    if not path.endswith(resource):
        versioned = any(_VERSION.fullmatch(segment) for segment in path.split("/"))
        path += resource if versioned else "/v1" + resource
    return f"{path}?{parts.query}" if parts.query else path


def with_query(path: str, query: Mapping[str, str]) -> str:
    """The path with these parameters added to its query."""
    if not query:
        return path
    return path + ("&" if "?" in path else "?") + urlencode(query)


def decimal_text(value: Any) -> str:
    """A number of JSON, or one written as text, as a plain decimal; "" for anything else."""
    if isinstance(value, float):
        value = f"{Decimal(repr(value)):f}"  # repr: 49.58894 is meant, not the binary next to it.
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INTEGER_MAX:
        value = str(value)
    return value if isinstance(value, str) and _DECIMAL.fullmatch(value) else ""


def _usual_chat_path(base_url: str, _settings: KeySettings, _model: str) -> str:
    return joined(base_url, CHAT_RESOURCE)


def auth_headers(vendor: Vendor, api_key: str) -> bytes:
    """The header lines that present this key; none for an empty key (self-hosted servers).

    Raises ValueError for a key that cannot stand in a header: it would end the line.
    """
    if not api_key:
        return b""
    if not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("an API key is printable ASCII")
    return f"{vendor.auth.header}: {vendor.auth.prefix}{api_key}\r\n".encode("ascii")
