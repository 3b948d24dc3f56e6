"""How upstream keys fare, on disk: what the ledger process keeps of what it has learned.

A transition is a row of `key_health`, a line of the trail and perhaps a notice, all in one
transaction. Models without a key are looked for apart, now and then: keys expire and are disabled,
too. People write `upstream_keys` and nobody but the ledger process writes here; so what a person
did in between is seen by its generation: what belongs to an older one is dropped, with its line and
its notice. Nothing here counts the catalogue's revision up: the workers have heard of it long
before.

    key_exceeded, key_invalid   a whole key has no quota left, or is not accepted any more
    model_without_key           no key that could serve a model on sale is well
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.catalog.tables import models, routes
from aipool.kit.db import Transaction
from aipool.notices import service as notices
from aipool.pool.health import Health
from aipool.pool.tables import key_health, upstream_keys, vendors
from aipool.pool.types import HealthRow, KeyId
from aipool.vendors.types import KeySettings

ACTOR = "system"

_EVENTS = {Health.EXCEEDED: "key_exceeded", Health.INVALID: "key_invalid"}
_SAID = {
    Health.EXCEEDED: "has no quota left",
    Health.INVALID: "is not accepted by its vendor any more",
}


@dataclass(frozen=True, slots=True)
class Change:
    """A lane has become `row`. was: how it was before, and why.  at_ms: when, in unix
    milliseconds."""

    row: HealthRow
    was: Health
    was_why: str
    at_ms: int


def load_lanes(connection: Connection) -> list[HealthRow]:
    """What is known of all lanes, without what a person has made void since."""
    return health_rows(connection)


def health_rows(connection: Connection, key_ids: Collection[int] | None = None) -> list[HealthRow]:
    """What is known of the lanes of these keys (None = of all) in their present generation,
    the whole key first."""
    query = (
        sa.select(*(key_health.c[name] for name in _COLUMNS))
        .join(upstream_keys, upstream_keys.c.id == key_health.c.key_id)
        .where(key_health.c.generation >= upstream_keys.c.generation)
        .order_by(key_health.c.key_id, key_health.c.model)
    )
    if key_ids is not None:
        query = query.where(key_health.c.key_id.in_(sorted(key_ids)))
    return [
        HealthRow(KeyId(row[0]), row[1], row[2], row[3], Health(row[4]), *row[5:])
        for row in connection.execute(query)
    ]


def keep(
    tx: Transaction,
    rows: Sequence[HealthRow],
    changes: Sequence[Change],
    at_ms: int,
    *,
    lost: int = 0,
) -> None:
    """Writes the newest state of lanes, and what led to it in the order in which it came.

    lost: how many changes before these are in no line of the trail, because there were too many.
    """
    for row in rows:
        tx.connection.execute(_PUT, _values(row))
    named = _named(tx.connection, {change.row.key_id for change in changes})
    for change in changes:
        row, key = change.row, named.get(change.row.key_id)
        if key is None or row.generation < key.generation:
            continue
        if (change.was, change.was_why) == (row.health, row.why):
            continue
        _note(tx, change)
        if not row.model and row.health in _EVENTS and change.was is not row.health:
            _tell_key(tx, key, row, at_ms)
    if lost:
        record(tx, Act(ACTOR, at_ms), "key.trail_cut", "keys", after={"transitions": lost})


# --- rows -----------------------------------------------------------------------------------

_COLUMNS = ("key_id", "model", "generation", "step", "health", "until_ms", "since_ms", "why")
#: Only for a key that is there and whose generation is not newer.
_PUT = sa.text(
    f"INSERT INTO key_health ({', '.join(_COLUMNS)})"  # noqa: S608 - names of ours
    " SELECT id, CAST(:model AS TEXT), CAST(:generation AS BIGINT), CAST(:step AS BIGINT),"
    " CAST(:health AS TEXT), CAST(:until_ms AS BIGINT), CAST(:since_ms AS BIGINT),"
    " CAST(:why AS TEXT) FROM upstream_keys"
    " WHERE id = CAST(:key_id AS BIGINT) AND generation <= CAST(:generation AS BIGINT)"
    " ON CONFLICT (key_id, model) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[2:])
)


def _values(row: HealthRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in _COLUMNS} | {"health": row.health.value}


# --- what is told ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    generation: int
    vendor_id: int
    vendor: str


def _named(connection: Connection, key_ids: Collection[int]) -> dict[int, _Key]:
    query = (
        sa.select(
            upstream_keys.c.id,
            upstream_keys.c.name,
            upstream_keys.c.generation,
            vendors.c.id,
            vendors.c.name,
        )
        .join(vendors, vendors.c.id == upstream_keys.c.vendor_id)
        .where(upstream_keys.c.id.in_(sorted(key_ids)))
    )
    return {row[0]: _Key(*row[1:]) for row in connection.execute(query)}


def _note(tx: Transaction, change: Change) -> None:
    row = change.row
    before: dict[str, object] = {"health": change.was.value, "why": change.was_why}
    after: dict[str, object] = {
        "health": row.health.value,
        "why": row.why,
        "until_ms": row.until_ms,
        "model": row.model,
    }
    record(
        tx,
        Act(ACTOR, change.at_ms),
        f"key.{row.health.value}",
        f"key:{row.key_id}",
        before=before,
        after=after,
    )


def _tell_key(tx: Transaction, key: _Key, row: HealthRow, at_ms: int) -> None:
    text = f"Key {key.name} of vendor {key.vendor} {_SAID[row.health]} ({row.why})."
    notices.raise_alert(
        tx,
        event=_EVENTS[row.health],
        target=f"key:{row.key_id}",
        subject=f"{key.vendor}: key {key.name} is {row.health.value}",
        text=f"{text} {_returns(row)}",
        fields={
            "vendor": key.vendor,
            "key": key.name,
            "why": row.why,
            "until_ms": str(row.until_ms or ""),
        },
        at_ms=at_ms,
    )


def _returns(row: HealthRow) -> str:
    if not row.until_ms:
        return "It is not called again until a person enables it."
    moment = datetime.fromtimestamp(row.until_ms / 1000, UTC)
    return f"It is tried again at {moment:%Y-%m-%d %H:%M} UTC."


def tell_models(tx: Transaction, known: Collection[int], at_ms: int) -> set[int]:
    """Tells people of each model on sale that nobody can serve now. known: the ids of those that
    they know of already. Gives the ids of those that they know of now."""
    return {
        model_id
        for model_id, name in models_without_key(tx.connection, at_ms)
        if model_id in known
        or notices.raise_alert(
            tx,
            event="model_without_key",
            target=f"model:{model_id}",
            subject=f"Model {name} has no healthy key",
            text=f"No upstream key that could serve model {name} is well just now.",
            fields={"model": name},
            at_ms=at_ms,
        )
    }


# --- models without a key -------------------------------------------------------------------


class _Well(NamedTuple):
    """A key that may be called as a whole. models: those it serves, None = all.  not_well: of
    them, those that it may not be called for now."""

    models: tuple[str, ...] | None
    not_well: frozenset[str]

    def serves(self, model: str) -> bool:
        return model not in self.not_well and (self.models is None or model in self.models)


def models_without_key(connection: Connection, at_ms: int) -> list[tuple[int, str]]:
    """(id, name) of the models on sale that no key could serve now."""
    query = (
        sa.select(models.c.id, models.c.name, routes.c.vendor_id, routes.c.upstream_model)
        .join(routes, routes.c.model_id == models.c.id)
        .where(models.c.enabled)
        .order_by(models.c.id)
    )
    ways = connection.execute(query).all()
    well = _well_keys(connection, {way.vendor_id for way in ways}, at_ms)
    found: dict[int, str] = {way.id: way.name for way in ways}
    for way in ways:
        if way.id in found and any(
            key.serves(way.upstream_model) for key in well.get(way.vendor_id, ())
        ):
            del found[way.id]
    return list(found.items())


def _well_keys(
    connection: Connection, vendor_ids: Collection[int], at_ms: int
) -> dict[int, list[_Well]]:
    """By vendor, the keys that are enabled, not expired, and normal as a whole."""
    keys = upstream_keys.c
    query = (
        sa.select(keys.id, keys.vendor_id, keys.config)
        .where(keys.vendor_id.in_(sorted(vendor_ids)), keys.enabled, keys.sealed_secret != "")
        .where(sa.or_(keys.expires_at == 0, keys.expires_at > at_ms // 1000))
    )
    rows = connection.execute(query).all()
    ill: dict[int, set[str]] = {}
    for row in health_rows(connection, {row.id for row in rows}):
        if row.health is not Health.NORMAL:
            ill.setdefault(row.key_id, set()).add(row.model)
    found: dict[int, list[_Well]] = {}
    for key in rows:
        not_well = ill.get(key.id, set())
        if "" not in not_well:
            served = msgspec.convert(key.config, KeySettings).models
            found.setdefault(key.vendor_id, []).append(_Well(served, frozenset(not_well)))
    return found
