"""Keys as people are shown them: with what they want of them and how they fare, in one word."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.engine import Connection

from aipool.pool import rules, store
from aipool.pool.health import Health, Lane, Status, status_of
from aipool.pool.keeping import health_rows
from aipool.pool.types import HealthRow, KeyListed, UpstreamKey, Vendor

#: A page of the list.
LIMIT_DEFAULT = 50


def key_status(key: UpstreamKey, rows: Iterable[HealthRow], unix_ms: int) -> Status:
    """The one word for a key. rows: of health, this key's among them."""
    return _status(key, _whole(key, rows), unix_ms)


def search_keys(
    connection: Connection,
    *,
    vendor_id: int | None = None,
    status: Status | None = None,
    text: str = "",
    offset: int = 0,
    limit: int = LIMIT_DEFAULT,
    at_ms: int,
) -> tuple[list[KeyListed], int]:
    """A page of the keys that fit, vendor after vendor in the order of trying, and how many
    fit in all.

    text: stands in the name of the key or of its vendor, in any case.
    """
    vendors = _vendors(connection)
    keys = store.list_keys(connection, vendor_id)
    rows = _by_key(health_rows(connection))
    wanted = text.strip().casefold()
    found = [
        listed
        for listed in (_listed(key, vendors, rows, at_ms) for key in keys)
        if (status is None or listed.status is status) and _is_named(listed, wanted)
    ]
    return found[offset : offset + limit], len(found)


def list_key(connection: Connection, key: UpstreamKey, *, at_ms: int) -> KeyListed:
    """One key as it is listed."""
    vendors = _vendors(connection)
    return _listed(key, vendors, _by_key(health_rows(connection, [key.id])), at_ms)


def resolved_url(vendor: Vendor, key: UpstreamKey, model: str) -> str:
    """The whole address at which this key is asked for chat completions. model: the name in
    a route."""
    return rules.resolved_url(vendor.type, vendor.base_url, key.settings, model)


def _vendors(connection: Connection) -> dict[int, Vendor]:
    return {vendor.id: vendor for vendor in store.list_vendors(connection)}


def _listed(
    key: UpstreamKey,
    vendors: Mapping[int, Vendor],
    rows: Mapping[int, Sequence[HealthRow]],
    at_ms: int,
) -> KeyListed:
    own = rows.get(key.id, ())
    whole = _whole(key, own)
    resting = tuple(
        row
        for row in own
        if row.model and row.generation == key.generation and row.health is not Health.NORMAL
    )
    return KeyListed(key, vendors[key.vendor_id], _status(key, whole, at_ms), whole, resting)


def _is_named(listed: KeyListed, wanted: str) -> bool:
    return wanted in listed.key.name.casefold() or wanted in listed.vendor.name.casefold()


def _whole(key: UpstreamKey, rows: Iterable[HealthRow]) -> HealthRow | None:
    """What is known of the key as a whole, in its generation."""
    for row in rows:
        if row.key_id == key.id and row.model == "" and row.generation == key.generation:
            return row
    return None


def _status(key: UpstreamKey, whole: HealthRow | None, unix_ms: int) -> Status:
    lane = None
    if whole is not None:
        # When it ends does not matter to the word.
        lane = Lane(key.id, "", whole.generation, whole.step, whole.health, 0.0, whole.why)
    return status_of(
        enabled=key.enabled,
        expires_at=key.expires_at,
        secret_missing=key.secret_missing,
        lane=lane,
        unix_now=unix_ms / 1000,
    )


def _by_key(rows: Iterable[HealthRow]) -> dict[int, list[HealthRow]]:
    found: defaultdict[int, list[HealthRow]] = defaultdict(list)
    for row in rows:
        found[row.key_id].append(row)
    return dict(found)
