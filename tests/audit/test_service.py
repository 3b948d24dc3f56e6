"""The trail is a chain: what was altered, taken away or put in is found, whoever wrote it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aipool import migrate
from aipool.accounts import service as accounts
from aipool.accounts.types import Status
from aipool.audit import service as audit
from aipool.audit.rules import BEGINNING, digest_of, plain
from aipool.audit.tables import audit_entries, audit_head
from aipool.audit.types import Act, Entry, Wanted
from aipool.kit.db import Database, missing_guards, open_database
from aipool.kit.db.awaited import AwaitedWrites
from aipool.kit.db.postgres import PostgresDatabase
from tests.migrations.test_migrations import upgrade
from tests.postgres import place
from tests.world import World, open_world

ACT = Act("user:1", 1_700_000_000_123, "admin", "203.0.113.7", "a browser", "req_1")


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path / "data", kind) as opened:
        yield opened


def note(world: World, count: int, act: Act = ACT, action: str = "thing.change") -> None:
    """So many rows, a transaction each."""
    for number in range(count):
        with world.database.write() as tx:
            audit.record(tx, act, action, f"thing:{number}", after={"number": number})


def whole(world: World) -> bool:
    with world.database.read() as connection:
        return not audit.verify(connection).problem


def found(world: World) -> tuple[int, str]:
    """At which row the trail is broken, and how."""
    with world.database.read() as connection:
        verdict = audit.verify(connection)
    return verdict.at_id, verdict.problem


def tamper(world: World, *statements: Any) -> None:
    """As somebody does who owns the database."""
    with world.database.write() as tx:
        name = tx.connection.dialect.name
        on = " ON audit_entries" if name == "postgresql" else ""
        for act in ("update", "delete"):
            tx.connection.exec_driver_sql(f"DROP TRIGGER audit_entries_no_{act}{on}")
        for statement in statements:
            tx.connection.execute(statement)


def rows(world: World) -> list[Entry]:
    return list(audit.stream(world.database))


# --- what is written ------------------------------------------------------------------------------


def test_s_17_a_row_says_who_did_it_as_what_from_where_and_by_which_request(world: World) -> None:
    with world.database.write() as tx:
        audit.record(
            tx, ACT, "user.disable", "user:7", before={"a": Status.ACTIVE}, after={"b": ()}
        )

    (entry,) = rows(world)
    assert (entry.actor, entry.role, entry.ip) == ("user:1", "admin", "203.0.113.7")
    assert (entry.user_agent, entry.request_id) == ("a browser", "req_1")
    assert (entry.before, entry.after) == ({"a": "active"}, {"b": []})
    assert (entry.previous, entry.digest) == (BEGINNING, digest_of(entry))
    assert entry.at_ms == ACT.at_ms


def test_each_row_carries_the_digest_of_the_one_before(world: World) -> None:
    note(world, 2)
    with world.database.write() as tx:
        audit.record(tx, ACT, "a.b", "c")
        audit.record(tx, ACT, "d.e", "f")

    chained = rows(world)
    assert [entry.id for entry in chained] == [1, 2, 3, 4]
    assert [entry.previous for entry in chained[1:]] == [entry.digest for entry in chained[:-1]]
    assert [entry.action for entry in chained[2:]] == ["a.b", "d.e"]
    assert whole(world)


def test_what_is_taken_back_leaves_no_row_and_no_gap(world: World) -> None:
    note(world, 1)
    with pytest.raises(RuntimeError), world.database.write() as tx:
        audit.record(tx, ACT, "a.b", "c")
        tx.finish()
        raise RuntimeError
    note(world, 1)

    assert [entry.id for entry in rows(world)] == [1, 2]
    assert whole(world)


def test_writers_at_the_same_moment_make_one_line(world: World) -> None:
    threads = [threading.Thread(target=note, args=(world, 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [entry.id for entry in rows(world)] == list(range(1, 41))
    assert whole(world)


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_the_books_write_into_the_same_line_beside_the_others(world: World) -> None:
    database = world.database
    assert isinstance(database, PostgresDatabase)

    async def beside() -> None:
        writes = AwaitedWrites(database, lock_timeout_ms=5000)
        for number in range(10):
            await writes.write(
                lambda tx, number=number: audit.record(  # type: ignore[misc]
                    tx, Act("system", 5), "key.cooling", f"key:{number}", after={"why": "429"}
                )
            )
        await writes.close()

    other = threading.Thread(target=note, args=(world, 10))
    other.start()
    asyncio.run(beside())
    other.join()

    assert len(rows(world)) == 20
    assert {entry.actor for entry in rows(world)} == {"system", "user:1"}
    assert whole(world)


def test_numbers_texts_and_order_of_members_come_back_as_they_were_chained(world: World) -> None:
    fields = {
        "z": 0.1,
        "a": 2**53 + 1,
        "text": "多字节 \U0001f600",
        "list": [1, {"b": None, "a": 1}],
    }
    with world.database.write() as tx:
        audit.record(tx, ACT, "a.b", "c", before=fields, after=fields)

    assert rows(world)[0].after == plain(fields)
    assert whole(world)


# --- what is found --------------------------------------------------------------------------------


def test_an_empty_trail_is_whole(world: World) -> None:
    with world.database.read() as connection:
        assert audit.verify(connection).count == 0
    assert whole(world)


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "user:2"},
        {"role": "root"},
        {"ip": "198.51.100.1"},
        {"at_ms": 1},
        {"action": "thing.create"},
        {"target": "thing:9"},
        {"after": {"number": 7}},
        {"user_agent": "x"},
        {"request_id": "x"},
    ],
)
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_s_17_every_field_of_a_row_is_covered(world: World, change: dict[str, Any]) -> None:
    note(world, 3)
    tamper(world, sa.update(audit_entries).where(audit_entries.c.id == 2).values(**change))

    at_id, problem = found(world)
    assert at_id == 2
    assert "altered" in problem


def test_s_17_a_row_that_was_altered_is_named(world: World) -> None:
    note(world, 3)
    tamper(world, sa.update(audit_entries).where(audit_entries.c.id == 2).values(actor="user:2"))
    assert found(world)[0] == 2


def test_s_17_an_altered_row_with_a_digest_to_match_breaks_the_next(world: World) -> None:
    note(world, 3)
    forged = replace(rows(world)[1], actor="user:2")
    change = {"actor": "user:2", "digest": digest_of(forged)}
    tamper(world, sa.update(audit_entries).where(audit_entries.c.id == 2).values(**change))

    at_id, problem = found(world)
    assert at_id == 3
    assert "does not follow row 2" in problem


def test_s_17_a_row_that_was_taken_away_is_missed(world: World) -> None:
    note(world, 4)
    tamper(world, sa.delete(audit_entries).where(audit_entries.c.id == 2))

    at_id, problem = found(world)
    assert at_id == 3
    assert "does not follow row 1" in problem


def test_s_17_the_newest_rows_are_missed_too(world: World) -> None:
    note(world, 4)
    tamper(world, sa.delete(audit_entries).where(audit_entries.c.id > 2))

    assert found(world) == (2, "the rows after it were taken away")


def test_s_17_a_row_that_was_put_in_is_found(world: World) -> None:
    note(world, 2)
    last = rows(world)[-1]
    forged = replace(last, id=3, previous=last.digest, target="thing:8")
    values = {
        name: getattr(forged, name)
        for name in ("id", "at_ms", "actor", "action", "target", "previous", "role", "ip")
    }
    values |= {
        "after": forged.after,
        "digest": digest_of(replace(forged, user_agent="", request_id="")),
    }
    with world.database.write() as tx:
        tx.connection.execute(sa.insert(audit_entries).values(**values))

    assert found(world) == (3, "it was put in by another program")


def test_a_digest_that_was_noted_elsewhere_shows_a_trail_that_was_written_anew(
    world: World,
) -> None:
    note(world, 3)
    kept = rows(world)[1]
    noted = (kept.id, kept.digest)
    with world.database.read() as connection:
        assert not audit.verify(connection, noted=noted).problem
        assert audit.verify(connection, noted=(9, kept.digest)).at_id == 9
    tamper(
        world,
        sa.delete(audit_entries),
        sa.update(audit_head).values(entry_id=0, digest=BEGINNING),
    )
    note(world, 3, replace(ACT, actor="user:2"))

    assert whole(world)
    with world.database.read() as connection:
        verdict = audit.verify(connection, noted=noted)
    assert (verdict.at_id, "noted" in verdict.problem) == (2, True)


# --- what is asked for ----------------------------------------------------------------------------


def test_rows_are_found_by_actor_action_target_and_time(world: World) -> None:
    note(world, 2)
    note(world, 1, Act("user:2", 2_000), "thing.delete")
    note(world, 1, Act("user:2", 3_000), "things.delete")

    def ids(**wanted: Any) -> list[int]:
        with world.database.read() as connection:
            return [entry.id for entry in audit.search(connection, Wanted(**wanted))]

    assert ids() == [4, 3, 2, 1]
    assert ids(actor="user:2") == [4, 3]
    assert ids(action="thing") == [3, 2, 1]
    assert ids(action="thing.delete") == [3]
    assert ids(target="thing:1") == [2]
    assert ids(since_ms=2_000, until_ms=3_000) == [3]
    assert ids(actor="user:9") == []
    with world.database.read() as connection:
        page = audit.search(connection, Wanted(), limit=2, before_id=4)
    assert [entry.id for entry in page] == [3, 2]


def test_ones_own_rows_are_what_one_did_and_what_was_done_to_one(world: World) -> None:
    with world.database.write() as tx:
        user = world.user(tx)
        mine = Act(accounts.target(user), 5)
        audit.record(tx, mine, "token.create", "token:1")
        audit.record(tx, replace(ACT, actor="user:99"), "token.create", "token:2")
        audit.record(tx, mine, "user.set_password", accounts.target(user))
    me = accounts.target(user)
    with world.database.read() as connection:
        assert [entry.id for entry in audit.own(connection, me)] == [4, 2, 1]
        assert [entry.id for entry in audit.own(connection, me, limit=1, before_id=4)] == [2]
        assert [entry.id for entry in audit.own(connection, me, actions="token")] == [2]


# --- an older trail -------------------------------------------------------------------------------


def test_rows_of_an_older_program_are_chained(tmp_path: Path, kind: str) -> None:
    def older(database: Database) -> None:
        upgrade(database, "0006")
        with database.write() as tx:
            for number in (1, 2, 5):
                fields = '{"z": 1.5, "a": "文"}'
                tx.connection.exec_driver_sql(
                    "INSERT INTO audit_entries (id, at_ms, actor, action, target, after) VALUES"
                    f" ({number}, {number}, 'cli:me', 'a.b', 'c:1', '{fields}')"
                )

    with place(kind, lambda _: None) as url:
        database = open_database(url or f"sqlite:///{tmp_path / 'a.db'}")
        older(database)
        migrate.migrate(database)
        with database.write() as tx:
            audit.record(tx, ACT, "d.e", "f")

        with database.read() as connection:
            verdict = audit.verify(connection)
            assert missing_guards(connection, "audit_entries") == []
        assert (verdict.problem, verdict.count, verdict.last_id) == ("", 4, 6)
        with pytest.raises(sa.exc.IntegrityError), database.write() as tx:
            tx.connection.execute(sa.delete(audit_entries))
        database.close()
