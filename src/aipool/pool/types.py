"""The words of the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

VendorId = NewType("VendorId", int)
KeyId = NewType("KeyId", int)

#: How many characters at the end of a secret may be shown.
SHOWN_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor as the operator set it up. type: one of aipool.vendors."""

    id: VendorId
    name: str
    type: str
    base_url: str


@dataclass(frozen=True, slots=True)
class UpstreamKey:
    """A credential at a vendor, without its secret.

    position: its place in the order of trying, 0 first.  default: the one of the vendor's
    own settings, which cannot be deleted.  enabled: what people want; how the key fares is
    another matter.  last4: the end of its secret.
    """

    id: KeyId
    vendor_id: VendorId
    name: str
    position: int
    default: bool
    enabled: bool
    last4: str
    proxy_url: str


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What an operator says about a key. secret: plain, "" where a vendor needs none."""

    name: str
    secret: str
    proxy_url: str = ""


def last4(secret: str) -> str:
    """The end of a secret that may be shown; nothing of a short one."""
    return secret[-SHOWN_CHARACTERS:] if len(secret) >= 4 * SHOWN_CHARACTERS else ""
