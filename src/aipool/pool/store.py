"""The statements of the pool, one function each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.pool.tables import upstream_keys, vendors
from aipool.pool.types import KeyId, UpstreamKey, Vendor, VendorId

_VENDOR_COLUMNS = (vendors.c.id, vendors.c.name, vendors.c.type, vendors.c.base_url)
_KEY_COLUMNS = (
    upstream_keys.c.id,
    upstream_keys.c.vendor_id,
    upstream_keys.c.name,
    upstream_keys.c.position,
    upstream_keys.c.is_default,
    upstream_keys.c.enabled,
    upstream_keys.c.last4,
    upstream_keys.c.proxy_url,
)


def insert_vendor(
    connection: Connection, *, name: str, vendor_type: str, base_url: str, at_ms: int
) -> Vendor:
    """A new vendor, without keys."""
    row = connection.execute(
        sa.insert(vendors)
        .values(name=name, type=vendor_type, base_url=base_url, created_at_ms=at_ms)
        .returning(*_VENDOR_COLUMNS)
    ).one()
    return _vendor(row)


def update_base_url(connection: Connection, vendor_id: int, base_url: str) -> None:
    """Another address from now on."""
    connection.execute(
        sa.update(vendors).where(vendors.c.id == vendor_id).values(base_url=base_url)
    )


def vendor_by_name(connection: Connection, name: str) -> Vendor | None:
    """The vendor of this name."""
    query = sa.select(*_VENDOR_COLUMNS).where(vendors.c.name == name)
    row = connection.execute(query).one_or_none()
    return _vendor(row) if row else None


def list_vendors(connection: Connection) -> list[Vendor]:
    """Every vendor, in the order they were made."""
    query = sa.select(*_VENDOR_COLUMNS).order_by(vendors.c.id)
    return [_vendor(row) for row in connection.execute(query).all()]


def insert_key(
    connection: Connection,
    *,
    vendor_id: int,
    name: str,
    position: int,
    default: bool,
    proxy_url: str,
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
            proxy_url=proxy_url,
            config={},
            created_at_ms=at_ms,
        )
        .returning(*_KEY_COLUMNS)
    ).one()
    return _key(row)


def update_secret(connection: Connection, key_id: int, *, sealed_secret: str, last4: str) -> None:
    """Another secret from now on."""
    connection.execute(
        sa.update(upstream_keys)
        .where(upstream_keys.c.id == key_id)
        .values(sealed_secret=sealed_secret, last4=last4)
    )


def update_proxy(connection: Connection, key_id: int, proxy_url: str) -> None:
    """Another proxy from now on."""
    connection.execute(
        sa.update(upstream_keys).where(upstream_keys.c.id == key_id).values(proxy_url=proxy_url)
    )


def update_enabled(connection: Connection, key_id: int, *, enabled: bool) -> None:
    """To be called or not, from now on."""
    connection.execute(
        sa.update(upstream_keys).where(upstream_keys.c.id == key_id).values(enabled=enabled)
    )


def update_positions(connection: Connection, key_ids: Sequence[int]) -> None:
    """The keys in this order."""
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


def sealed_secrets(connection: Connection, *, enabled_only: bool) -> list[tuple[int, str]]:
    """(id, sealed secret) of the keys."""
    query = sa.select(upstream_keys.c.id, upstream_keys.c.sealed_secret)
    if enabled_only:
        query = query.where(upstream_keys.c.enabled)
    return [(row[0], row[1]) for row in connection.execute(query).all()]


def sealed_secret_of(connection: Connection, key_id: int) -> str:
    """The sealed secret of an existing key."""
    query = sa.select(upstream_keys.c.sealed_secret).where(upstream_keys.c.id == key_id)
    return str(connection.execute(query).scalar_one())


def _vendor(row: Any) -> Vendor:
    return Vendor(VendorId(row.id), row.name, row.type, row.base_url)


def _key(row: Any) -> UpstreamKey:
    key_id, vendor_id, *rest = row
    return UpstreamKey(KeyId(key_id), VendorId(vendor_id), *rest)
