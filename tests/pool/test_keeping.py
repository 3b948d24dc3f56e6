"""What the ledger process keeps of how upstream keys fare."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aipool.audit.tables import audit_entries
from aipool.catalog.tables import models
from aipool.kit.db import current_revision
from aipool.notices.tables import notices
from aipool.pool import keeping
from aipool.pool.health import Health
from aipool.pool.keeping import Change
from aipool.pool.tables import key_health, upstream_keys
from aipool.pool.types import HealthRow, KeyId
from tests.world import World, open_world

NOW = 1_795_219_200_000  # 2026-11-21 00:00 UTC
MAIN, SPARE = 1, 2


@contextmanager
def opened(folder: Path, kind: str = "sqlite") -> Iterator[World]:
    """A vendor with two keys that serves two models."""
    with open_world(folder, kind) as world:
        with world.database.write() as tx:
            vendor = world.vendor(tx, keys=("main", "spare"))
            world.model(tx, vendor, "m1")
            world.model(tx, vendor, "m2")
        yield world


@pytest.fixture
def anywhere(tmp_path: Path, kind: str) -> Iterator[World]:
    """On each kind of database."""
    with opened(tmp_path, kind) as world:
        yield world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """On SQLite alone."""
    with opened(tmp_path) as world:
        yield world


def row(
    key_id: int = MAIN,
    health: Health = Health.COOLING,
    *,
    model: str = "",
    generation: int = 1,
    step: int = 1,
    until_ms: int = NOW + 10_000,
    why: str = "rate_limited",
) -> HealthRow:
    return HealthRow(KeyId(key_id), model, generation, step, health, until_ms, NOW, why)


def keep(world: World, *rows: HealthRow, was: Health = Health.NORMAL, lost: int = 0) -> None:
    changes = [Change(one, was, "", NOW) for one in rows]
    with world.database.write() as tx:
        keeping.keep(tx, rows, changes, NOW, lost=lost)
        assert not tx.changes


def kept(world: World, *key_ids: int) -> list[HealthRow]:
    with world.database.read() as connection:
        return keeping.health_rows(connection, key_ids or None)


def change(world: World, **values: object) -> None:
    """A person does something to the main key."""
    with world.database.write() as tx:
        tx.connection.execute(
            sa.update(upstream_keys).where(upstream_keys.c.id == MAIN).values(**values)
        )


def trail(world: World) -> list[tuple[str, str, Any, Any]]:
    table = audit_entries.c
    with world.database.read() as connection:
        query = sa.select(table.action, table.target, table.before, table.after)
        rows = connection.execute(query.where(table.actor == "system").order_by(table.id)).all()
        return [(one[0], one[1], one[2], one[3]) for one in rows]


def told(world: World) -> list[tuple[str, str]]:
    with world.database.read() as connection:
        query = sa.select(notices.c.event, notices.c.target).order_by(notices.c.id)
        return [(one[0], one[1]) for one in connection.execute(query)]


def test_what_is_kept_is_read_back(anywhere: World) -> None:
    rows = [row(), row(model="m1", health=Health.EXCEEDED, until_ms=0), row(SPARE, step=9)]
    keep(anywhere, *rows)

    assert kept(anywhere) == rows
    assert kept(anywhere, SPARE) == rows[2:]
    with anywhere.database.read() as connection:
        assert keeping.load_lanes(connection) == rows


def test_the_newest_state_of_a_lane_replaces_the_one_before(anywhere: World) -> None:
    keep(anywhere, row(step=5))
    newest = row(health=Health.NORMAL, step=1, until_ms=0, why="")
    keep(anywhere, newest)

    assert kept(anywhere) == [newest]


def test_a_change_is_in_the_trail_with_its_reason(world: World) -> None:
    keep(world, row(model="m2"), row(SPARE, Health.INVALID, until_ms=0, why="key_refused"))
    keep(world, row(health=Health.NORMAL, step=2, until_ms=0, why=""), was=Health.COOLING)

    before = {"health": "normal", "why": ""}
    after = {"health": "cooling", "why": "rate_limited", "until_ms": NOW + 10_000, "model": "m2"}
    assert trail(world) == [
        ("key.cooling", "key:1", before, after),
        (
            "key.invalid",
            "key:2",
            before,
            {"health": "invalid", "why": "key_refused", "until_ms": 0, "model": ""},
        ),
        (
            "key.normal",
            "key:1",
            {"health": "cooling", "why": ""},
            {"health": "normal", "why": "", "until_ms": 0, "model": ""},
        ),
    ]


def test_a_probe_that_failed_again_moves_the_time_and_says_nothing_new(world: World) -> None:
    keep(world, row())
    later = row(step=2, until_ms=NOW + 20_000)
    with world.database.write() as tx:
        keeping.keep(tx, [later], [Change(later, Health.COOLING, "rate_limited", NOW)], NOW)

    assert kept(world) == [later]
    assert len(trail(world)) == 1


def test_the_revision_stays_as_it_is(world: World) -> None:
    with world.database.read() as connection:
        before = current_revision(connection)
    keep(world, row(health=Health.INVALID))

    with world.database.read() as connection:
        assert current_revision(connection) == before


def test_what_a_person_made_void_is_neither_kept_nor_told(anywhere: World) -> None:
    keep(anywhere, row(step=3))
    change(anywhere, generation=2)
    assert kept(anywhere) == []

    keep(anywhere, row(health=Health.INVALID, step=4))
    assert kept(anywhere) == []
    assert len(trail(anywhere)) == 1
    assert told(anywhere) == []

    anew = row(generation=2, health=Health.EXCEEDED)
    keep(anywhere, anew)
    assert kept(anywhere) == [anew]
    keep(anywhere, row(step=9))
    assert kept(anywhere) == [anew]


def test_a_key_that_is_gone_leaves_nothing_and_hurts_nobody(anywhere: World) -> None:
    keep(anywhere, row(SPARE))
    with anywhere.database.write() as tx:
        tx.connection.execute(sa.delete(upstream_keys).where(upstream_keys.c.id == SPARE))
    keep(anywhere, row(SPARE, Health.INVALID), row(MAIN))

    assert kept(anywhere) == [row(MAIN)]
    with anywhere.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(key_health)).scalar() == 1
    assert [one[1] for one in trail(anywhere)] == ["key:2", "key:1"]


def test_lines_of_the_trail_that_were_given_up_are_counted_in_one(world: World) -> None:
    keep(world, row(), lost=321)

    assert trail(world)[-1] == ("key.trail_cut", "keys", None, {"transitions": 321})


@pytest.mark.parametrize(
    ("health", "event"), [(Health.EXCEEDED, "key_exceeded"), (Health.INVALID, "key_invalid")]
)
def test_people_are_told_when_a_whole_key_is_used_up_or_refused(
    world: World, health: Health, event: str
) -> None:
    keep(world, row(health=health, model="m1"))
    assert told(world) == []

    keep(world, row(health=health))
    assert (event, "key:1") in told(world)
    keep(world, row(health=health, step=2), was=Health.COOLING)
    assert told(world).count((event, "key:1")) == 1

    with world.database.read() as connection:
        notice = connection.execute(sa.select(notices).where(notices.c.event == event)).one()
    assert "main" in notice.subject
    assert "mm" in notice.text
    assert "2026-11-21 00:00 UTC" in notice.text
    assert notice.fields["why"] == "rate_limited"


def look(world: World, known: Collection[int] = (), at_ms: int = NOW) -> set[int]:
    with world.database.write() as tx:
        return keeping.tell_models(tx, known, at_ms)


def test_people_are_told_when_no_key_is_left_for_a_model(anywhere: World) -> None:
    keep(anywhere, row(MAIN))
    assert look(anywhere) == set()
    assert told(anywhere) == []

    keep(anywhere, row(SPARE, model="m2"))
    assert look(anywhere) == {2}
    assert told(anywhere) == [("model_without_key", "model:2")]

    keep(anywhere, row(SPARE))
    assert look(anywhere, {2}) == {1, 2}
    assert told(anywhere)[1:] == [("model_without_key", "model:1")]
    assert look(anywhere, {1, 2}, at_ms=NOW + 3_600_000) == {1, 2}
    assert len(told(anywhere)) == 2, "each is told of once"


@pytest.mark.parametrize(
    "off",
    [
        {"enabled": False},
        {"expires_at": NOW // 1000},
        {"sealed_secret": ""},
        {"config": {"models": ["m2"]}},
    ],
    ids=lambda off: next(iter(off)),
)
def test_a_key_that_may_not_be_called_serves_no_model(world: World, off: dict[str, Any]) -> None:
    change(world, **off)
    keep(world, row(SPARE, model="m1"))
    look(world)

    assert told(world) == [("model_without_key", "model:1")]


def test_models_that_are_not_on_sale_or_have_another_vendor_are_not_told_of(world: World) -> None:
    with world.database.write() as tx:
        other = world.vendor(tx, "other")
        world.model(tx, other, "m3")
        tx.connection.execute(sa.update(models).where(models.c.name == "m1").values(enabled=False))

    keep(world, row(MAIN), row(SPARE))
    look(world)

    assert told(world) == [("model_without_key", "model:2")]
