"""The shapes of the pool on the wire: what an operator sends, and what is shown.

A secret comes in and never goes out; of a stored one its end is shown. A key's configuration is
read by `vendors.settings`, which names its fields as `config.…`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from aipool.audit.desk import Sent, SentId
from aipool.kit.clock import iso, iso_ms
from aipool.pool.health import Health
from aipool.pool.types import (
    HealthRow,
    KeyListed,
    LineResult,
    StoredKeyword,
    UpstreamKey,
    Vendor,
)
from aipool.vendors.base import Vendor as VendorType
from aipool.vendors.settings import settings_schema, shown

#: Ids of one bulk action.
MANY_MAX = 1000

_CHARACTERS_MAX = 8192
_SHORT_MAX = 100


class KeySent(Sent):
    """A new key. name: "" = `key` and a number.  expires_at: never (or null), 7d, 30d, a date
    or a moment."""

    name: str = Field(default="", max_length=_CHARACTERS_MAX)
    api_key: str = ""
    expires_at: str | None = Field(default=None, max_length=_SHORT_MAX)
    config: dict[str, Any] = {}


class KeyChange(Sent):
    """What becomes other of a key; the rest stays. api_key: another secret.  config: fields that
    are not in it stay as well, and null sets one back to its default."""

    name: str = Field(default="", max_length=_CHARACTERS_MAX)
    api_key: str = ""
    expires_at: str | None = Field(default=None, max_length=_SHORT_MAX)
    config: dict[str, Any] = {}


class KeysPasted(Sent):
    """Many keys, one a line: the secret, or a name and the secret. All are configured alike."""

    lines: list[str]
    expires_at: str | None = Field(default=None, max_length=_SHORT_MAX)
    config: dict[str, Any] = {}


class VendorSent(Sent):
    """A new vendor with its default key. base_url: "" = the usual one of its type.
    key_name, api_key, config: of the default key, which does not expire."""

    name: str = Field(max_length=_CHARACTERS_MAX)
    type: str = Field(max_length=_SHORT_MAX)
    base_url: str = Field(default="", max_length=_CHARACTERS_MAX)
    ordering: str = Field(default="priority", max_length=_SHORT_MAX)
    concurrency: int = 0
    low_balance: str = Field(default="", max_length=_SHORT_MAX)
    key_name: str = Field(default="", max_length=_CHARACTERS_MAX)
    api_key: str = ""
    config: dict[str, Any] = {}


class VendorChange(Sent):
    """What becomes other of a vendor; the rest stays. Its type does not change.
    base_url: "" = the usual one of its type."""

    name: str = Field(default="", max_length=_CHARACTERS_MAX)
    base_url: str = Field(default="", max_length=_CHARACTERS_MAX)
    ordering: str = Field(default="priority", max_length=_SHORT_MAX)
    concurrency: int = 0
    low_balance: str = Field(default="", max_length=_SHORT_MAX)


class BulkSent(Sent):
    """One action for many keys."""

    action: Literal["enable", "disable", "delete", "test"]
    ids: list[SentId] = Field(max_length=MANY_MAX)


class OrderSent(Sent):
    """The keys of a vendor, first = tried first. version: of the order that was looked at."""

    version: int
    keys: list[int]


class DefaultSent(Sent):
    """Which key is the vendor's default one."""

    key: SentId


class KeywordSent(Sent):
    """These words in the message of such a vendor mean this. vendor_type: "" = every vendor."""

    phrase: str = Field(max_length=_CHARACTERS_MAX)
    action: str = Field(max_length=_SHORT_MAX)
    vendor_type: str = Field(default="", max_length=_SHORT_MAX)


# --- what is shown ---------------------------------------------------------------------------


def vendor_type_shown(vendor: VendorType) -> dict[str, Any]:
    """A kind of vendor, with the form that asks for a key of it."""
    return {
        "type": vendor.type,
        "title": vendor.title,
        "base_url": vendor.base_url if vendor.socket is None else None,
        "fields": [
            {
                "name": field.name,
                "kind": field.kind.value,
                "required": field.required,
                "help": field.help,
                "default": field.default,
            }
            for field in settings_schema(vendor)
        ],
        "key_page": vendor.key_page,
        "dialects": [dialect.value for dialect in vendor.dialects],
        "lists_models": bool(vendor.models_path),
        "tells_balance": vendor.balance is not None,
        "verified": vendor.verified,
        "sources": [source._asdict() for source in vendor.sources],
    }


def vendor_shown(vendor: Vendor) -> dict[str, Any]:
    """A vendor as the operator set it up."""
    return {
        "id": vendor.id,
        "name": vendor.name,
        "type": vendor.type,
        "base_url": vendor.base_url,
        "ordering": vendor.ordering.value,
        "concurrency": vendor.concurrency,
        "low_balance": vendor.low_balance,
        "order_version": vendor.order_version,
    }


def key_shown(key: UpstreamKey) -> dict[str, Any]:
    """What people set of a key. priority: its place in the order of trying, 1 first."""
    return {
        "id": key.id,
        "vendor_id": key.vendor_id,
        "name": key.name,
        "priority": key.position + 1,
        "default": key.default,
        "enabled": key.enabled,
        "secret": secret_shown(key),
        "secret_missing": key.secret_missing,
        "config": shown(key.settings),
        "expires_at": iso(key.expires_at) if key.expires_at else None,
        "edited_at": iso_ms(key.edited_at_ms),
        "created_at": iso_ms(key.created_at_ms),
    }


def secret_shown(key: UpstreamKey) -> str:
    """The end of a secret; of a short one only that it is there."""
    if key.secret_missing:
        return ""
    return f"…{key.last4}"


def listed_shown(listed: KeyListed) -> dict[str, Any]:
    """A key with how it fares. why: a stable word.  until: when it is tried again, None = not by
    itself or it need not.  models: those that rest on it, while the key itself may be called."""
    health = listed.health
    rests = health is not None and health.health is not Health.NORMAL
    return {
        **key_shown(listed.key),
        "vendor": listed.vendor.name,
        "status": listed.status.value,
        "why": health.why if health is not None and rests else "",
        "since": iso_ms(health.since_ms) if health is not None and rests else None,
        "until": _until(health) if health is not None and rests else None,
        "models": [
            {
                "model": row.model,
                "health": row.health.value,
                "why": row.why,
                "until": _until(row),
            }
            for row in listed.models
        ],
    }


def line_shown(result: LineResult) -> dict[str, Any]:
    """What became of one line."""
    shown: dict[str, Any] = {"line": result.line, "state": result.state.value}
    for name in ("name", "key_id", "code", "message"):
        if value := getattr(result, name):
            shown[name] = value
    return shown


def keyword_shown(stored: StoredKeyword) -> dict[str, Any]:
    """A keyword that an operator added."""
    return {
        "id": stored.id,
        "vendor_type": stored.keyword.vendor_type,
        "phrase": stored.keyword.phrase,
        "action": stored.keyword.action.value,
        "created_at": iso_ms(stored.created_at_ms),
    }


def _until(row: HealthRow) -> str | None:
    return iso_ms(row.until_ms) if row.until_ms else None
