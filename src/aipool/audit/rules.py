"""How the trail is a chain: what a row's digest is taken of.

Each row carries the digest of the row before it, and its own digest covers that one and all of
its fields. So a row that is changed, taken away or put in between breaks the chain at its place;
and who notes the newest digest elsewhere holds a proof of everything before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from aipool.audit.types import Entry

#: What stands before the first row.
BEGINNING = bytes(32)

_encoder = msgspec.json.Encoder(order="sorted")


def plain(fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Fields as a database gives them back: texts, numbers, lists and dictionaries."""
    if fields is None:
        return None
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(fields)))
    return decoded


def digest_of(entry: Entry) -> bytes:
    """SHA-256 over the digest of the row before and this row as one line of JSON, whose objects
    have their members in the order of their names."""
    line = _encoder.encode(
        [
            entry.id,
            entry.at_ms,
            entry.actor,
            entry.role,
            entry.ip,
            entry.user_agent,
            entry.request_id,
            entry.action,
            entry.target,
            entry.before,
            entry.after,
        ]
    )
    return hashlib.sha256(entry.previous + line).digest()
