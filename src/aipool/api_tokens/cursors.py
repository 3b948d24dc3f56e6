"""Where a page of the list of tokens ended, as opaque text."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from aipool.api_tokens.types import Asked, Place, Sort
from aipool.kit.errors import Invalid

#: The longest has a name of a hundred characters of four bytes.
CURSOR_CHARACTERS_MAX = 1000
_INT64_MAX = 2**63 - 1


def cursor_of(place: Place, asked: Asked) -> str:
    """The place as text, with the order in which it is one."""
    written = msgspec.json.encode([asked.sort, asked.descending, place.key, place.token_id])
    return base64.urlsafe_b64encode(written).rstrip(b"=").decode("ascii")


def place_of(cursor: str, asked: Asked) -> Place:
    """What cursor_of has written; raises Invalid for anything else, and for another order."""
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        sort, descending, key, token_id = _read(padded)
    except (ValueError, TypeError, binascii.Error, msgspec.MsgspecError):
        raise _invalid() from None
    is_key = _is_name(key) if asked.sort is Sort.NAME else _is_whole(key)
    if (
        not is_key
        or not _is_whole(token_id)
        or (sort, descending) != (asked.sort, asked.descending)
    ):
        raise _invalid()
    return Place(key, token_id)


def _read(padded: str) -> Any:
    return msgspec.json.decode(base64.b64decode(padded.encode("ascii"), b"-_", validate=True))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_whole(value: object) -> bool:
    return type(value) is int and -_INT64_MAX <= value <= _INT64_MAX


def _invalid() -> Invalid:
    return Invalid(
        "invalid_cursor", "this is no cursor of this list: begin at its first page", field="cursor"
    )
