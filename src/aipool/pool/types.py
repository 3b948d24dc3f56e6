"""The words of the pool."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from aipool.pool.health import Health, Status
from aipool.vendors.types import NO_SETTINGS, KeySettings, Keyword, Ordering

VendorId = NewType("VendorId", int)
KeyId = NewType("KeyId", int)

#: How many characters at the end of a secret may be shown.
SHOWN_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor as the operator set it up. type: one of aipool.vendors.

    concurrency: the most calls in flight over all its keys, 0 = any number.  low_balance:
    below which balance people are told, a decimal number in the key's currency, "" = never.
    order_version: of the order of its keys.
    """

    id: VendorId
    name: str
    type: str
    base_url: str
    ordering: Ordering = Ordering.PRIORITY
    concurrency: int = 0
    low_balance: str = ""
    order_version: int = 0


@dataclass(frozen=True, slots=True)
class UpstreamKey:
    """A credential at a vendor, without its secret.

    position: its place in the order of trying, 0 first.  default: the one of the vendor's
    own settings, which cannot be deleted and does not expire.  enabled: what people want; how
    the key fares is another matter (pool.health).  last4: the end of its secret.
    secret_missing: the secret was dropped when the key's address changed.
    expires_at: unix seconds, 0 = never.  generation: see pool.health.
    edited_at_ms: when a person last changed it.
    """

    id: KeyId
    vendor_id: VendorId
    name: str
    position: int
    default: bool
    enabled: bool
    last4: str
    secret_missing: bool
    settings: KeySettings
    expires_at: int
    generation: int
    edited_at_ms: int
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What an operator says about a key. secret: plain, "" where a vendor needs none.
    expires_at: unix seconds, 0 = never."""

    name: str
    secret: str = field(repr=False)
    settings: KeySettings = NO_SETTINGS
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class HealthRow:
    """What is known of a lane (pool.health), as it is kept.

    until_ms: unix milliseconds, 0 = not by itself.  since_ms: when it became so.
    """

    key_id: KeyId
    model: str
    generation: int
    step: int
    health: Health
    until_ms: int
    since_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class KeyListed:
    """A key as the pool page lists it.

    health: what is known of the whole key in its generation, None = nothing.  models: the
    models that rest or are gone on it, while the key as a whole may be called.
    """

    key: UpstreamKey
    vendor: Vendor
    status: Status
    health: HealthRow | None
    models: tuple[HealthRow, ...]


class LineState(StrEnum):
    """What became of one line of many keys that were pasted."""

    CREATED = "created"
    BLANK = "blank"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class LineResult:
    """What became of one line. line: counted from 1.  name: of the key that was made, or
    that has this secret already; "" where there is none.  code, message: why it was
    refused, never with what stood in the line's secret."""

    line: int
    state: LineState
    name: str = ""
    key_id: KeyId | None = None
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class StoredKeyword:
    """A keyword (vendors.types) that an operator added."""

    id: int
    keyword: Keyword
    created_at_ms: int


def last4(secret: str) -> str:
    """The end of a secret that may be shown; nothing of a short one."""
    return secret[-SHOWN_CHARACTERS:] if len(secret) >= 4 * SHOWN_CHARACTERS else ""
