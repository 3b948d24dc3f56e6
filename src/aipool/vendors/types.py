"""The words in which vendors are described: what a key is configured with, what a failure means.

Everything here is plain data, so that a vendor's file is a table and not a program.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

import msgspec

# --- a key's configuration ------------------------------------------------------------------


class Timeouts(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Seconds; None = as of the model, else as set for the installation.

    first_byte: until a whole answer begins.  first_event: until a stream says something.
    idle: between two pieces of an answer.
    """

    first_byte: float | None = None
    first_event: float | None = None
    idle: float | None = None


NO_TIMEOUTS = Timeouts()


class KeySettings(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an upstream key needs besides its secret. "" and {} = nothing, as of the vendor.

    base_url: another address than its vendor's.  api_version, region, project: where the
    vendor asks for them.  model_map: by the name in a route, the name this key is called with
    (an Azure deployment, an Ark endpoint).  models: the names in routes that it serves, None =
    all.  headers, query: sent with every call.  body_set: top-level fields of the body that are
    put in or replaced; body_strip: those that are taken out.  proxy: an HTTP proxy.
    capabilities: what it can do otherwise than its vendor, such as {"stream_options": false}.
    weight: its share where a vendor's keys are called by weight.  concurrency: the most calls
    in flight on it, 0 = any number.  cost_ppm: what calls through it cost us, in parts per million
    of the route's cost: an account with a discount of 20 % has 800,000.
    """

    base_url: str = ""
    api_version: str = ""
    region: str = ""
    project: str = ""
    model_map: dict[str, str] = {}
    models: tuple[str, ...] | None = None
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    body_set: dict[str, Any] = {}
    body_strip: tuple[str, ...] = ()
    proxy: str = ""
    timeouts: Timeouts = NO_TIMEOUTS
    capabilities: dict[str, bool] = {}
    weight: int = 1
    concurrency: int = 0
    cost_ppm: int = 1_000_000


NO_SETTINGS = KeySettings()


class Ordering(Enum):
    """In which order the keys of a vendor are tried."""

    PRIORITY = "priority"
    """As a person arranged them; the next one only when those before it cannot be called."""
    WEIGHTED = "weighted"
    """By chance, each as often as its weight says."""
    LEAST_LATENCY = "least_latency"
    """The one that answered soonest of late."""


# --- failures -------------------------------------------------------------------------------


class Action(Enum):
    """What a failure means for the call, and for the key."""

    PASS = "pass"
    """The request is at fault: the client is told, no other key is tried."""
    STOP = "stop"
    """The vendor may have done the work, so nothing is repeated."""
    NEXT = "next"
    """The next key; enough of these in a short time trip the key's breaker."""
    COOL = "cool"
    """The next key; this one rests, whole or for this model only (`Scope`)."""
    EXCEEDED = "exceeded"
    """The next key; this one has no quota left, until a known time or until a person says."""
    INVALID = "invalid"
    """The next key; the vendor does not accept this one any more."""
    DROP_MODEL = "drop_model"
    """The next key; this one does not have the model."""
    STRIP = "strip"
    """The same key once more, without what it did not take."""


class Scope(Enum):
    """How much of a key rests."""

    KEY = "key"
    MODEL = "model"


class Reset(Enum):
    """When a vendor gives new quota, where it is known."""

    UNKNOWN = "unknown"
    UTC_MIDNIGHT = "utc_midnight"
    PACIFIC_MIDNIGHT = "pacific_midnight"
    CHINA_MIDNIGHT = "china_midnight"


class Said(NamedTuple):
    """What a vendor said of a failure, by the parts that mean something.

    reason: the further word some vendors give (Google's `reason` or `quotaId`, Azure's
    `innererror.code`, Anthropic's `details.error_code`), several joined by blanks.
    param: the request's field that is at fault.  retry_seconds: when to come again, if it says.
    """

    status: int
    code: str = ""
    type: str = ""
    message: str = ""
    reason: str = ""
    param: str = ""
    retry_seconds: float | None = None


class Rule(NamedTuple):
    """One line of a vendor's table. Every condition that is given must hold; () = any.

    codes, types, reasons: one of them, compared without regard to case; a reason may be a part
    of what was said.  contains: one of these words stands in the message, in lower case.
    why: a stable word for the trail.
    """

    action: Action
    why: str
    statuses: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    scope: Scope = Scope.KEY
    reset: Reset = Reset.UNKNOWN
    strip: str = ""


class Keyword(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An operator's own line: these words in the message of such a vendor mean this.

    vendor_type: "" = every vendor.  phrase: in lower case.
    """

    vendor_type: str
    phrase: str
    action: Action


class Verdict(NamedTuple):
    """What is to be done about a failure.

    why: a stable word, such as "rate_limited".  seconds: how long the key rests or has no
    quota, where the vendor says; None = it does not.  strip: what is to be left out, a
    top-level field of the body or "reasoning".
    """

    action: Action
    why: str
    scope: Scope = Scope.KEY
    seconds: float | None = None
    strip: str = ""


# --- what else a vendor's file says ------------------------------------------------------------


class Source(NamedTuple):
    """Where a vendor's facts come from: a document and the day it was read."""

    title: str
    read_on: str


class Money(NamedTuple):
    """A balance at a vendor. amount: a decimal number as text.  currency: as "CNY"; "" = that of
    the account, which the vendor does not say."""

    amount: str
    currency: str
