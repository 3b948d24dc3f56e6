"""The shapes of the pool on the wire: what is shown (what is sent: pool.schemas).

A secret comes in and never goes out; of a stored one its end is shown.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from aipool.audit.desk import Shown
from aipool.audit.types import Entry
from aipool.kit.clock import iso, iso_ms
from aipool.pool.health import Health, Status
from aipool.pool.types import (
    HealthRow,
    KeyListed,
    LineResult,
    LineState,
    StoredKeyword,
    UpstreamKey,
    Vendor,
)
from aipool.vendors.base import Vendor as VendorType
from aipool.vendors.settings import settings_schema, shown

Moment = Annotated[str, Field(description="ISO 8601 in UTC.")]
Config = Annotated[
    dict[str, Any],
    Field(
        description="What differs from the defaults of the vendor's type; see /api/vendor-types."
    ),
]


class FieldShown(Shown):
    """A field of the form that asks for a key."""

    name: str
    kind: str
    required: bool
    help: str
    default: Any


class SourceShown(Shown):
    """A document from which what is known of a kind of vendor was read, and the day."""

    title: str
    read_on: str


class VendorTypeShown(Shown):
    """A kind of vendor, with the form that asks for a key of it."""

    type: str
    title: str
    base_url: str | None = Field(description="The usual address; null where there is none.")
    fields: list[FieldShown]
    key_page: str = Field(description="Where a key is had.")
    dialects: list[str]
    lists_models: bool
    tells_balance: bool
    verified: bool = Field(description="Was it tried with a real key?")
    sources: list[SourceShown]


class VendorTypesShown(Shown):
    """Every kind of vendor."""

    vendor_types: list[VendorTypeShown]


class VendorShown(Shown):
    """A vendor as the operator set it up."""

    id: int
    name: str
    type: str
    base_url: str = Field(description="Empty: the usual one of its type.")
    ordering: str
    concurrency: int = Field(description="The most calls in flight over all its keys; 0: any.")
    low_balance: str = Field(description="Below which balance people are told; empty: never.")
    order_version: int


class VendorsShown(Shown):
    """All vendors."""

    vendors: list[VendorShown]


class KeyShown(Shown):
    """What people set of an upstream key."""

    id: int
    vendor_id: int
    name: str
    priority: int = Field(description="Its place in the order of trying, 1 first.")
    default: bool
    enabled: bool
    secret: str = Field(description="The end of the secret, if that.")
    secret_missing: bool = Field(description="The secret was dropped when its address changed.")
    config: Config
    expires_at: Moment | None
    edited_at: Moment
    created_at: Moment


class VendorCreated(VendorShown):
    """A new vendor, with its default key."""

    default_key: KeyShown


class VendorWithKeys(VendorShown):
    """A vendor, and which keys it has, in the order of trying."""

    default_key: int | None
    keys: list[int]
    resolved_url: str = Field(
        description="The whole address of chat completions, with MODEL for the name of a model."
    )


class VendorChanged(VendorShown):
    """A vendor after a change."""

    secrets_dropped: list[str] = Field(
        description="Names of keys that would have gone to another host: enter them again."
    )


class OrderShown(Shown):
    """The order in which the keys of a vendor are tried."""

    version: int
    keys: list[int]


class DefaultKeyShown(Shown):
    """The vendor's default key."""

    default_key: int


class KeyChanged(KeyShown):
    """A key after a change."""

    changed: list[str] = Field(description="What became other.")


class ModelRests(Shown):
    """A model that rests on a key, while the key itself may be called."""

    model: str
    health: str
    why: str
    until: Moment | None


class KeyListedShown(KeyShown):
    """A key with how it fares."""

    vendor: str = Field(description="The vendor's name.")
    status: Status
    why: str = Field(description="A stable word for why it rests; empty when it does not.")
    since: Moment | None
    until: Moment | None = Field(description="When it is tried again; null: not by itself.")
    models: list[ModelRests]


class LineShown(Shown):
    """What became of one pasted line."""

    line: int
    state: LineState
    name: str = ""
    key_id: int | None = None
    code: str = ""
    message: str = ""


class LinesShown(Shown):
    """What became of each line."""

    lines: list[LineShown]


class EntryShown(Shown):
    """What somebody did to a key, or a call showed of it."""

    id: int
    at: Moment
    actor: str
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class EntriesShown(Shown):
    """The trail of a key, newest first."""

    entries: list[EntryShown]


class KeywordShown(Shown):
    """A keyword that an operator added."""

    id: int
    vendor_type: str
    phrase: str
    action: str
    created_at: Moment


class KeywordsShown(Shown):
    """All keywords that operators added."""

    keywords: list[KeywordShown]


def vendor_type_shown(vendor: VendorType) -> VendorTypeShown:
    """A kind of vendor, with the form that asks for a key of it."""
    return VendorTypeShown(
        type=vendor.type,
        title=vendor.title,
        base_url=vendor.base_url if vendor.socket is None else None,
        fields=[
            FieldShown(
                name=field.name,
                kind=field.kind.value,
                required=field.required,
                help=field.help,
                default=field.default,
            )
            for field in settings_schema(vendor)
        ],
        key_page=vendor.key_page,
        dialects=[dialect.value for dialect in vendor.dialects],
        lists_models=bool(vendor.models_path),
        tells_balance=vendor.balance is not None,
        verified=vendor.verified,
        sources=[SourceShown(**source._asdict()) for source in vendor.sources],
    )


def vendor_shown(vendor: Vendor) -> VendorShown:
    """A vendor as the operator set it up."""
    return VendorShown(
        id=vendor.id,
        name=vendor.name,
        type=vendor.type,
        base_url=vendor.base_url,
        ordering=vendor.ordering.value,
        concurrency=vendor.concurrency,
        low_balance=vendor.low_balance,
        order_version=vendor.order_version,
    )


def key_shown(key: UpstreamKey) -> KeyShown:
    """What people set of a key."""
    return KeyShown(
        id=key.id,
        vendor_id=key.vendor_id,
        name=key.name,
        priority=key.position + 1,
        default=key.default,
        enabled=key.enabled,
        secret=secret_shown(key),
        secret_missing=key.secret_missing,
        config=shown(key.settings),
        expires_at=iso(key.expires_at) if key.expires_at else None,
        edited_at=iso_ms(key.edited_at_ms),
        created_at=iso_ms(key.created_at_ms),
    )


def secret_shown(key: UpstreamKey) -> str:
    """The end of a secret; of a short one only that it is there."""
    if key.secret_missing:
        return ""
    return f"…{key.last4}"


def listed_shown(listed: KeyListed) -> KeyListedShown:
    """A key with how it fares."""
    health = listed.health
    rests = health is not None and health.health is not Health.NORMAL
    return KeyListedShown(
        **dict(key_shown(listed.key)),
        vendor=listed.vendor.name,
        status=listed.status,
        why=health.why if health is not None and rests else "",
        since=iso_ms(health.since_ms) if health is not None and rests else None,
        until=_until(health) if health is not None and rests else None,
        models=[
            ModelRests(model=row.model, health=row.health.value, why=row.why, until=_until(row))
            for row in listed.models
        ],
    )


def line_shown(result: LineResult) -> LineShown:
    """What became of one line."""
    return LineShown(
        line=result.line,
        state=result.state,
        name=result.name,
        key_id=result.key_id,
        code=result.code,
        message=result.message,
    )


def entry_shown(entry: Entry) -> EntryShown:
    """A row of the trail."""
    return EntryShown(
        id=entry.id,
        at=iso_ms(entry.at_ms),
        actor=entry.actor,
        action=entry.action,
        before=None if entry.before is None else dict(entry.before),
        after=None if entry.after is None else dict(entry.after),
    )


def keyword_shown(stored: StoredKeyword) -> KeywordShown:
    """A keyword that an operator added."""
    return KeywordShown(
        id=stored.id,
        vendor_type=stored.keyword.vendor_type,
        phrase=stored.keyword.phrase,
        action=stored.keyword.action.value,
        created_at=iso_ms(stored.created_at_ms),
    )


def _until(row: HealthRow) -> str | None:
    return iso_ms(row.until_ms) if row.until_ms else None
