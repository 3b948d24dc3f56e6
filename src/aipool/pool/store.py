"""The statements of the pool, one function each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.pool.tables import failure_keywords, upstream_keys, vendors
from aipool.pool.types import KeyId, StoredKeyword, UpstreamKey, Vendor, VendorId
from aipool.vendors.types import NO_SETTINGS, Action, KeySettings, Keyword, Ordering

_VENDOR_COLUMNS = (
    vendors.c.id,
    vendors.c.name,
    vendors.c.type,
    vendors.c.base_url,
    vendors.c.ordering,
    vendors.c.concurrency,
    vendors.c.low_balance,
    vendors.c.order_version,
)
_KEY_COLUMNS = (
    upstream_keys.c.id,
    upstream_keys.c.vendor_id,
    upstream_keys.c.name,
    upstream_keys.c.position,
    upstream_keys.c.is_default,
    upstream_keys.c.enabled,
    upstream_keys.c.last4,
    (upstream_keys.c.sealed_secret == "").label("secret_missing"),
    # As text: most keys are configured with nothing and need no decoding.
    sa.cast(upstream_keys.c.config, sa.Text).label("config"),
    upstream_keys.c.expires_at,
    upstream_keys.c.generation,
    upstream_keys.c.edited_at_ms,
    upstream_keys.c.created_at_ms,
)
_KEYWORD_COLUMNS = (
    failure_keywords.c.id,
    failure_keywords.c.vendor_type,
    failure_keywords.c.phrase,
    failure_keywords.c.action,
    failure_keywords.c.created_at_ms,
)

_ORDERINGS = {ordering.value: ordering for ordering in Ordering}
_SETTINGS = msgspec.json.Decoder(KeySettings)


# --- vendors --------------------------------------------------------------------------------


def insert_vendor(
    connection: Connection,
    *,
    name: str,
    vendor_type: str,
    base_url: str,
    at_ms: int,
    ordering: Ordering = Ordering.PRIORITY,
    concurrency: int = 0,
    low_balance: str = "",
) -> Vendor:
    """A new vendor, without keys."""
    row = connection.execute(
        sa.insert(vendors)
        .values(
            name=name,
            type=vendor_type,
            base_url=base_url,
            ordering=ordering.value,
            concurrency=concurrency,
            low_balance=low_balance,
            order_version=0,
            created_at_ms=at_ms,
        )
        .returning(*_VENDOR_COLUMNS)
    ).one()
    return _vendor(row)


def update_vendor(connection: Connection, vendor: Vendor) -> None:
    """What can be changed of a vendor, as it is here. The version of its order is apart."""
    connection.execute(
        sa.update(vendors)
        .where(vendors.c.id == vendor.id)
        .values(
            name=vendor.name,
            base_url=vendor.base_url,
            ordering=vendor.ordering.value,
            concurrency=vendor.concurrency,
            low_balance=vendor.low_balance,
        )
    )


def bump_order_version(connection: Connection, vendor_id: int) -> None:
    """Whoever knows the order of its keys knows an old one."""
    connection.execute(
        sa.update(vendors)
        .where(vendors.c.id == vendor_id)
        .values(order_version=vendors.c.order_version + 1)
    )


def delete_vendor(connection: Connection, vendor_id: int) -> None:
    """The vendor and all its keys are gone."""
    connection.execute(sa.delete(upstream_keys).where(upstream_keys.c.vendor_id == vendor_id))
    connection.execute(sa.delete(vendors).where(vendors.c.id == vendor_id))


def vendor_by_name(connection: Connection, name: str) -> Vendor | None:
    """The vendor of this name."""
    query = sa.select(*_VENDOR_COLUMNS).where(vendors.c.name == name)
    row = connection.execute(query).one_or_none()
    return _vendor(row) if row else None


def vendor_by_id(connection: Connection, vendor_id: int) -> Vendor | None:
    """The vendor with this id."""
    query = sa.select(*_VENDOR_COLUMNS).where(vendors.c.id == vendor_id)
    row = connection.execute(query).one_or_none()
    return _vendor(row) if row else None


def list_vendors(connection: Connection) -> list[Vendor]:
    """Every vendor, in the order they were made."""
    query = sa.select(*_VENDOR_COLUMNS).order_by(vendors.c.id)
    return [_vendor(row) for row in connection.execute(query).all()]


# --- keys -----------------------------------------------------------------------------------


def insert_key(
    connection: Connection,
    *,
    vendor_id: int,
    name: str,
    position: int,
    default: bool,
    settings: KeySettings,
    expires_at: int,
    at_ms: int,
) -> UpstreamKey:
    """A new, enabled key, whose secret is sealed with its id in a second step."""
    row = connection.execute(
        sa.insert(upstream_keys)
        .values(
            vendor_id=vendor_id,
            name=name,
            position=position,
            is_default=default,
            enabled=True,
            sealed_secret="",
            last4="",
            config=_config(settings),
            expires_at=expires_at,
            generation=1,
            edited_at_ms=at_ms,
            created_at_ms=at_ms,
        )
        .returning(*_KEY_COLUMNS)
    ).one()
    return _key(row)


def update_key(connection: Connection, key: UpstreamKey) -> None:
    """What a person can change of a key, as it is here. Secret, place and which one is the
    default are apart."""
    connection.execute(
        sa.update(upstream_keys)
        .where(upstream_keys.c.id == key.id)
        .values(
            name=key.name,
            enabled=key.enabled,
            config=_config(key.settings),
            expires_at=key.expires_at,
            generation=key.generation,
            edited_at_ms=key.edited_at_ms,
        )
    )


def update_secret(connection: Connection, key_id: int, *, sealed_secret: str, last4: str) -> None:
    """Another secret from now on; "" = none is stored."""
    connection.execute(
        sa.update(upstream_keys)
        .where(upstream_keys.c.id == key_id)
        .values(sealed_secret=sealed_secret, last4=last4)
    )


def update_positions(connection: Connection, key_ids: Sequence[int]) -> None:
    """The keys in this order."""
    if not key_ids:
        return
    connection.execute(
        sa.update(upstream_keys)
        .where(upstream_keys.c.id == sa.bindparam("key_id"))
        .values(position=sa.bindparam("place")),
        [{"key_id": key_id, "place": place} for place, key_id in enumerate(key_ids)],
    )


def update_default(connection: Connection, vendor_id: int, key_id: int) -> None:
    """This key, and no other of the vendor, is the default one."""
    connection.execute(
        sa.update(upstream_keys)
        .where(upstream_keys.c.vendor_id == vendor_id)
        .values(is_default=upstream_keys.c.id == key_id)
    )


def delete_key(connection: Connection, key_id: int) -> None:
    """The key is gone, secret and all."""
    connection.execute(sa.delete(upstream_keys).where(upstream_keys.c.id == key_id))


def list_keys(connection: Connection, vendor_id: int | None = None) -> list[UpstreamKey]:
    """The keys of a vendor (or of all) in the order of trying."""
    query = sa.select(*_KEY_COLUMNS)
    if vendor_id is not None:
        query = query.where(upstream_keys.c.vendor_id == vendor_id)
    query = query.order_by(upstream_keys.c.vendor_id, upstream_keys.c.position, upstream_keys.c.id)
    return [_key(row) for row in connection.execute(query).all()]


def key_by_id(connection: Connection, key_id: int) -> UpstreamKey | None:
    """The key with this id."""
    query = sa.select(*_KEY_COLUMNS).where(upstream_keys.c.id == key_id)
    row = connection.execute(query).one_or_none()
    return _key(row) if row else None


def sealed_secrets(
    connection: Connection, *, enabled_only: bool = False, vendor_id: int | None = None
) -> list[tuple[int, str]]:
    """(id, sealed secret) of the keys that have one."""
    query = sa.select(upstream_keys.c.id, upstream_keys.c.sealed_secret).where(
        upstream_keys.c.sealed_secret != ""
    )
    if enabled_only:
        query = query.where(upstream_keys.c.enabled)
    if vendor_id is not None:
        query = query.where(upstream_keys.c.vendor_id == vendor_id)
    return [(row[0], row[1]) for row in connection.execute(query).all()]


def sealed_secret_of(connection: Connection, key_id: int) -> str:
    """The sealed secret of an existing key; "" = it was dropped."""
    query = sa.select(upstream_keys.c.sealed_secret).where(upstream_keys.c.id == key_id)
    return str(connection.execute(query).scalar_one())


# --- keywords -------------------------------------------------------------------------------


def insert_keyword(connection: Connection, keyword: Keyword, *, at_ms: int) -> StoredKeyword:
    """A new keyword."""
    row = connection.execute(
        sa.insert(failure_keywords)
        .values(
            vendor_type=keyword.vendor_type,
            phrase=keyword.phrase,
            action=keyword.action.value,
            created_at_ms=at_ms,
        )
        .returning(*_KEYWORD_COLUMNS)
    ).one()
    return _keyword(row)


def update_keyword(connection: Connection, keyword_id: int, action: Action) -> None:
    """It means something else from now on."""
    connection.execute(
        sa.update(failure_keywords)
        .where(failure_keywords.c.id == keyword_id)
        .values(action=action.value)
    )


def delete_keyword(connection: Connection, keyword_id: int) -> None:
    """It means nothing any more."""
    connection.execute(sa.delete(failure_keywords).where(failure_keywords.c.id == keyword_id))


def list_keywords(connection: Connection) -> list[StoredKeyword]:
    """Every keyword, in the order they were added."""
    query = sa.select(*_KEYWORD_COLUMNS).order_by(failure_keywords.c.id)
    return [_keyword(row) for row in connection.execute(query).all()]


# --- rows -----------------------------------------------------------------------------------


def _config(settings: KeySettings) -> dict[str, Any]:
    stored = {} if settings == NO_SETTINGS else msgspec.to_builtins(settings)
    assert isinstance(stored, dict)
    return stored


def _vendor(row: Any) -> Vendor:
    vendor_id, name, kind, base_url, ordering, *rest = row
    return Vendor(VendorId(vendor_id), name, kind, base_url, _ORDERINGS[ordering], *rest)


def _key(row: Any) -> UpstreamKey:
    key_id, vendor_id, name, position, default, enabled, last4, missing, config, *rest = row
    settings = NO_SETTINGS if config == "{}" else _SETTINGS.decode(config)
    return UpstreamKey(
        KeyId(key_id),
        VendorId(vendor_id),
        name,
        position,
        default,
        enabled,
        last4,
        bool(missing),
        settings,
        *rest,
    )


def _keyword(row: Any) -> StoredKeyword:
    keyword_id, vendor_type, phrase, action, created_at_ms = row
    return StoredKeyword(keyword_id, Keyword(vendor_type, phrase, Action(action)), created_at_ms)
