"""The authority on how upstream keys fare: what it says, keeps and knows after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from aipool.audit.tables import audit_entries
from aipool.books import key_health
from aipool.books.access import Access, InLoop, access_to
from aipool.books.key_health import Backlog, KeyKeeper
from aipool.books.workers import Workers
from aipool.doors.frames import KeyReports, KeyStates, Welcome, from_ledger
from aipool.doors.snapshot import KeyView, Snapshot, VendorView
from aipool.kit.db import DatabaseBusy, DatabaseUnreachable
from aipool.kit.sealing import load_keyring
from aipool.pool import keeping
from aipool.pool.health import Health, HealthRules, Lane, Report, Signal
from aipool.pool.keeping import Change
from aipool.pool.tables import upstream_keys, vendors
from aipool.pool.types import HealthRow, KeyId
from tests.books.rig import FakeWorker, Installation, installation
from tests.waiting import eventually

NOW_MS = 1_795_219_200_000
RULES = HealthRules()


def add_keys(books: Installation, count: int = 3) -> None:
    """A vendor with keys 1, 2, …"""
    keyring = load_keyring(books.data_dir)
    with books.database.write() as tx:
        tx.connection.execute(
            sa.insert(vendors).values(id=1, name="mm", type="minimax", base_url="", created_at_ms=0)
        )
        for key_id in range(1, count + 1):
            tx.connection.execute(
                sa.insert(upstream_keys).values(
                    id=key_id,
                    vendor_id=1,
                    name=f"key{key_id}",
                    position=key_id,
                    is_default=key_id == 1,
                    enabled=True,
                    sealed_secret=keyring.seal("sk-x", f"upstream_key:{key_id}", "secret"),
                    last4="",
                    config={},
                    created_at_ms=0,
                )
            )


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEEP_SECONDS", "MORE_SECONDS", "BROKEN_SECONDS"):
        monkeypatch.setattr(key_health, name, 0.001)


@pytest.fixture
def books(tmp_path: Path, kind: str) -> Iterator[Installation]:
    installation = Installation(tmp_path / "data", kind)
    add_keys(installation)
    yield installation
    installation.close()


def report(
    key_id: int, signal: Signal, step: int = 0, *, model: str = "", seconds: float = -1.0
) -> Report:
    return Report(key_id, model, 1, step, signal, "why", seconds)


class _Line:
    """A worker's link that remembers."""

    def __init__(self) -> None:
        self.heard: list[KeyStates] = []

    def send(self, frame: bytes) -> None:
        message = from_ledger.decode(frame[4:])
        assert isinstance(message, KeyStates)
        self.heard.append(message)


class Rig:
    """A keeper with two workers; time stands still."""

    def __init__(self, access: Access | None, known: tuple[HealthRow, ...] = ()) -> None:
        self.now = 500.0
        self.unix_ms = NOW_MS
        self.lines = [_Line(), _Line()]
        workers = Workers()
        for epoch, line in enumerate(self.lines, 1):
            workers.attach(epoch, epoch, 1, cast(Any, line), 0.0)
        workers.attach(3, 3, 1, cast(Any, _Line()), 0.0).link = None
        self.keeper = KeyKeeper(
            cast(Access, access),
            workers,
            RULES,
            known,
            clock=lambda: self.now,
            unix_ms=lambda: self.unix_ms,
            chance=lambda: 0.0,
        )

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.unix_ms += round(seconds * 1000)

    def heard(self) -> list[Lane]:
        """What every worker was told since the last look."""
        first, second = (list(line.heard) for line in self.lines)
        assert first == second
        for line in self.lines:
            line.heard.clear()
        return [lane for one in first for lane in one.lanes]


def rows(books: Installation) -> list[HealthRow]:
    with books.database.read() as connection:
        return keeping.load_lanes(connection)


def actions(books: Installation) -> list[str]:
    with books.database.read() as connection:
        query = sa.select(audit_entries.c.action).order_by(audit_entries.c.id)
        return list(connection.execute(query).scalars())


# --- what workers hear ------------------------------------------------------------------------


def test_every_worker_hears_at_once_what_one_has_shown() -> None:
    rig = Rig(None)
    rig.keeper.report([report(1, Signal.COOL, seconds=2.0), report(2, Signal.INVALID, model="m")])

    cooling = Lane(1, "", 1, 1, Health.COOLING, 502.0, "why")
    invalid = Lane(2, "m", 1, 1, Health.INVALID, 0.0, "why")
    assert rig.heard() == [cooling, invalid]
    assert rig.keeper.states() == KeyStates((cooling, invalid), everything=True)

    rig.keeper.report([report(1, Signal.INVALID), report(3, Signal.FAILED)])
    assert rig.heard() == []


def test_a_probe_is_told_and_not_kept() -> None:
    rig = Rig(None)
    rig.keeper.report([report(1, Signal.COOL)])
    kept = len(rig.keeper._backlog)
    rig.heard()

    rig.later(20)
    rig.keeper.report([report(1, Signal.PROBING, 1)])

    (probed,) = rig.heard()
    assert probed.probing == 550.0
    assert len(rig.keeper._backlog) == kept


def test_failures_of_different_workers_add_up() -> None:
    rig = Rig(None)
    for _ in range(RULES.breaker_failures - 1):
        rig.keeper.report([report(1, Signal.FAILED)])
    assert rig.heard() == []
    rig.keeper.report([report(1, Signal.FAILED)])

    assert [lane.health for lane in rig.heard()] == [Health.COOLING]


def snapshot(*keys: tuple[int, int]) -> Snapshot:
    views = tuple(KeyView(key_id, "k", "", generation) for key_id, generation in keys)
    return Snapshot(1, (), (VendorView(1, "mm", "minimax", "", views),), ())


def test_keys_that_are_gone_are_forgotten_and_the_others_are_counted() -> None:
    rig = Rig(None)
    rig.keeper.report([report(1, Signal.COOL), report(2, Signal.INVALID), report(3, Signal.COOL)])

    rig.keeper.catalogue(snapshot((2, 1), (3, 2), (4, 1)))

    assert [lane.key_id for lane in rig.keeper.states().lanes] == [2, 3]
    # Of key 3 a person has made void what was known.
    assert rig.keeper.healths() == {
        Health.NORMAL: 2, Health.COOLING: 0, Health.EXCEEDED: 0, Health.INVALID: 1
    }  # fmt: skip
    assert rig.keeper.transitions == {("cooling", "why"): 2, ("invalid", "why"): 1}


# --- what is kept -----------------------------------------------------------------------------


def written(rig: Rig, access: Access) -> None:
    async def write() -> None:
        await rig.keeper.close()
        await access.close()

    asyncio.run(write())


def test_what_was_learned_is_known_after_a_restart(books: Installation) -> None:
    rig = Rig(access := access_to(books.database))
    rig.keeper.report([report(1, Signal.COOL, seconds=60.0), report(2, Signal.EXCEEDED)])
    rig.later(5)
    rig.keeper.report([report(1, Signal.EXCEEDED, 1, seconds=3600.0), report(3, Signal.COOL)])
    written(rig, access)

    known = rows(books)
    assert [(row.key_id, row.health, row.until_ms - NOW_MS) for row in known] == [
        (1, Health.EXCEEDED, 3_605_000),
        (2, Health.EXCEEDED, -NOW_MS),
        (3, Health.COOLING, 15_000),
    ]
    assert [row.since_ms - NOW_MS for row in known] == [5000, 0, 5000]
    assert actions(books) == ["key.cooling", "key.exceeded", "key.exceeded", "key.cooling"]

    # The machine was started anew: its clock is another one. Key 3's rest is over.
    again = Rig(None, tuple(known))
    again.now, again.unix_ms = 3.0, NOW_MS + 65_000
    again.keeper = KeyKeeper(
        cast(Access, None), Workers(), RULES, known,
        clock=lambda: 3.0, unix_ms=lambda: NOW_MS + 65_000,
    )  # fmt: skip
    one, two, three = again.keeper.states().lanes
    assert (one.step, one.until, one.why) == (2, 3543.0, "why")
    assert two.until == 0.0
    assert 0.0 < three.until < 3.0


def test_since_when_it_is_so_outlives_a_probe_that_failed(books: Installation) -> None:
    rig = Rig(access := access_to(books.database))
    rig.keeper.report([report(1, Signal.COOL)])
    rig.later(20)
    rig.keeper.report([report(1, Signal.TRIPPED, 1)])
    written(rig, access)

    (row,) = rows(books)
    assert (row.step, row.since_ms, row.until_ms) == (2, NOW_MS, NOW_MS + 30_000)
    assert actions(books) == ["key.cooling"]


class _Troubled:
    """A database that fails so many times first."""

    def __init__(self, access: Access, *errors: Exception) -> None:
        self._access = access
        self.errors = list(errors)
        self.writes = 0

    async def write(self, work: Any) -> Any:
        self.writes += 1
        if self.errors:
            raise self.errors.pop(0)
        return await self._access.write(work)


def test_a_database_in_trouble_delays_and_loses_nothing(tmp_path: Path) -> None:
    books = Installation(tmp_path / "data")
    add_keys(books)
    access = _Troubled(
        InLoop(books.database), DatabaseBusy(), DatabaseUnreachable(), DatabaseBusy()
    )
    rig = Rig(cast(Access, access))
    rig.keeper.report([report(1, Signal.COOL)])

    async def run() -> None:
        running = asyncio.create_task(rig.keeper.run())
        while len(access.errors) > 1:
            await asyncio.sleep(0.001)
        rig.keeper.report([report(1, Signal.EXCEEDED, 1), report(2, Signal.COOL)])
        while rig.keeper._backlog:
            await asyncio.sleep(0.001)
        running.cancel()

    asyncio.run(run())

    assert [(row.key_id, row.health) for row in rows(books)] == [
        (1, Health.EXCEEDED),
        (2, Health.COOLING),
    ]
    assert actions(books) == ["key.cooling", "key.exceeded", "key.cooling"]
    books.close()


def test_one_change_that_cannot_be_written_does_not_hold_up_the_others(tmp_path: Path) -> None:
    books = Installation(tmp_path / "data")
    add_keys(books)

    class _Refusing(_Troubled):
        async def write(self, work: Any) -> Any:
            def checked(tx: Any) -> None:
                work(tx)
                taken = tx.connection.exec_driver_sql(
                    "SELECT count(*) FROM key_health WHERE key_id = 2"
                )
                if taken.scalar():
                    raise sa.exc.IntegrityError("x", None, Exception("refused"))

            return await super().write(checked)

    rig = Rig(cast(Access, _Refusing(InLoop(books.database))))
    rig.keeper.report([report(key_id, Signal.COOL) for key_id in (1, 2, 3)])

    async def run() -> None:
        running = asyncio.create_task(rig.keeper.run())
        while rig.keeper._backlog:
            await asyncio.sleep(0.001)
        running.cancel()

    asyncio.run(run())
    assert [row.key_id for row in rows(books)] == [1, 3]
    books.close()


def change(key_id: int, step: int) -> Change:
    row = HealthRow(KeyId(key_id), "", 1, step, Health.COOLING, 0, 0, "")
    return Change(row, Health.NORMAL, "", 0)


def test_beyond_a_bound_changes_are_given_up_and_states_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_health, "TRAIL_MAX", 10)
    backlog = Backlog()
    for step in range(1, 31):
        for key_id in (1, 2):
            backlog.add(change(key_id, step))
        if step == 1:
            backlog.add(change(3, 1))

    states: dict[int, int] = {}
    lines = lost = 0
    while backlog:
        portion = backlog.take(4)
        backlog.put_back(portion)  # the first time in vain
        taken, changes, missing = backlog.take(4)
        states.update({row.key_id: row.step for row in taken})
        lines += len(changes)
        lost += missing

    assert states == {1: 30, 2: 30, 3: 1}
    assert (lines, lost) == (10, 51)


def test_what_was_not_written_does_not_replace_what_came_since() -> None:
    backlog = Backlog()
    backlog.add(change(1, 1))
    portion = backlog.take(10)
    backlog.add(change(1, 2))
    backlog.put_back(portion)

    taken, changes, _ = backlog.take(10)
    assert [row.step for row in taken] == [2]
    assert [one.row.step for one in changes] == [1, 2]


# --- the process ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_that_connects_is_told_everything_also_after_a_restart(
    tmp_path: Path, kind: str
) -> None:
    with installation(tmp_path / "data", kind) as books:
        add_keys(books)
        books.start()
        one, other = FakeWorker(books, 1), FakeWorker(books, 2, index=1)
        assert isinstance(one.connect(), Welcome)
        assert one.hear(KeyStates) == KeyStates((), everything=True)
        assert isinstance(other.connect(), Welcome)
        other.hear(KeyStates)

        one.send(KeyReports((report(1, Signal.INVALID), report(2, Signal.COOL, seconds=600.0))))
        told = [worker.hear(KeyStates) for worker in (one, other)]
        assert told[0] == told[1]
        eventually(lambda: len(rows(books)) == 2, "it is in the database")

        books.kill()
        books.start()
        one.connect()
        everything = one.hear(KeyStates)
        assert isinstance(everything, KeyStates)
        assert everything.everything
        assert [(lane.key_id, lane.health, lane.step) for lane in everything.lanes] == [
            (1, Health.INVALID, 1),
            (2, Health.COOLING, 1),
        ]
        assert actions(books) == ["key.invalid", "key.cooling"]
