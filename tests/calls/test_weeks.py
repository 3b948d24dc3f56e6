"""The sums of weeks are those of their days, and whoever reads cannot tell the difference."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from aipool.calls import service as calls
from aipool.calls.store import again, weeks
from aipool.calls.store.weeks import Progress
from aipool.calls.types import (
    DAY_MS,
    WEEK_DAYS,
    WEEK_MS,
    CallRow,
    Span,
    TotalOf,
    Used,
)
from aipool.calls.weeks import LATE_MS, WeeklySums, stretches
from aipool.kit.db import Database
from tests.books.rig import Installation
from tests.calls.rows import NOVEMBER, record, row, wrong_sums

THIS_WEEK = NOVEMBER // WEEK_MS
TODAY = NOVEMBER // DAY_MS


@pytest.fixture
def database(tmp_path: Path, kind: str) -> Iterator[Database]:
    books = Installation(tmp_path / "data", kind)
    yield books.database
    books.close()


def a_season(seed: int = 1) -> list[CallRow]:
    """Calls of forty days, of a few people who use the same models with several tokens."""
    chance = Random(seed)
    rows = []
    for _ in range(150):
        user = chance.randint(1, 3)
        rows.append(
            row(
                NOVEMBER - chance.randrange(40 * DAY_MS),
                user=user,
                token=user * 10 + chance.randint(1, 2),
                group_id=chance.randint(1, 2),
                model=chance.choice(["m", "n"]),
                key_id=chance.randint(1, 2),
                charged_nano=chance.randint(0, 9_000),
            )
        )
    return rows


def summed_up(database: Database, *, at_ms: int = NOVEMBER) -> None:
    job = WeeklySums(database, clock_ms=lambda: at_ms, pause_seconds=0)
    asyncio.run(job.run())


def progress(database: Database) -> Progress:
    with database.read() as connection:
        return weeks.progress(connection)


def everything(database: Database, days: range) -> list[Any]:
    """What the dashboards read of these days."""
    day = Span.DAY
    with database.read() as connection:
        found: list[Any] = [calls.usage_of(connection, day, user, days) for user in (1, 2, 3)]
        found.append(calls.by_group_and_model(connection, day, days))
        for kind in (TotalOf.USER, TotalOf.KEY):
            owners = calls.dearest(connection, day, kind, days, limit=2)
            found += [owners, calls.totals_of(connection, day, kind, days, owners)]
    return found


def test_what_is_read_is_the_same_by_days_and_by_weeks(database: Database) -> None:
    record(database, *a_season())
    chance = Random(2)
    ranges = [range(TODAY - 45, TODAY + 1)]
    for _ in range(12):
        start = TODAY - chance.randrange(45)
        ranges.append(range(start, start + chance.randrange(1, 45)))
    by_days = [everything(database, days) for days in ranges]

    summed_up(database)

    assert progress(database) == Progress(THIS_WEEK, THIS_WEEK)
    assert [everything(database, days) for days in ranges] == by_days
    assert wrong_sums(database) == set()
    with database.write() as tx:
        tx.connection.exec_driver_sql("DELETE FROM usage_days")
    whole_weeks = range((THIS_WEEK - 4) * WEEK_DAYS, THIS_WEEK * WEEK_DAYS)
    with database.read() as connection:
        assert calls.usage_of(connection, Span.DAY, 1, whole_weeks), "the weeks were not read"


def test_a_week_is_summed_up_when_it_is_over_and_calls_of_it_have_come_in(
    database: Database,
) -> None:
    record(database, row(NOVEMBER - 2 * WEEK_MS), row(NOVEMBER - WEEK_MS))
    end = THIS_WEEK * WEEK_MS

    summed_up(database, at_ms=end + LATE_MS - 1)
    assert progress(database).summed == THIS_WEEK - 1
    summed_up(database, at_ms=end + LATE_MS)
    assert progress(database).summed == THIS_WEEK


def test_nothing_is_summed_up_where_nobody_ever_called(database: Database) -> None:
    summed_up(database)
    assert progress(database) == Progress(0, 0)


def test_a_call_that_comes_late_is_read_at_once_and_in_its_week_later(database: Database) -> None:
    record(database, *a_season())
    summed_up(database)
    days = range(TODAY - 45, TODAY + 1)
    before = everything(database, days)
    late = row(NOVEMBER - 2 * WEEK_MS, user=2, token=21, charged_nano=77_000)

    record(database, late)

    week = late.at_ms // WEEK_MS
    assert progress(database) == Progress(week, week)
    with_it = everything(database, days)
    assert with_it != before
    assert wrong_sums(database) == set()
    summed_up(database)
    assert progress(database).summed == THIS_WEEK
    assert everything(database, days) == with_it
    assert wrong_sums(database) == set()


def test_a_call_that_comes_while_its_week_is_summed_up_is_not_left_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = a_season()
    record(database, *rows)
    taken, reading = [], again.used_in_week

    def read(connection: Any, week: int, user_ids: Collection[int]) -> list[Used]:
        found = reading(connection, week, user_ids)
        taken.append(week)
        if taken.count(week) == 1 and week == THIS_WEEK - 2:
            # After its days were read, and before its sums are written.
            record(database, row(week * WEEK_MS + 5, user=1, token=11, charged_nano=55_000))
        return found

    monkeypatch.setattr(again, "used_in_week", read)
    summed_up(database)

    assert taken.count(THIS_WEEK - 2) == 2
    assert progress(database).summed == THIS_WEEK
    assert wrong_sums(database) == set()


def test_the_verifier_sees_a_week_that_is_wrong(database: Database) -> None:
    record(database, *a_season())
    summed_up(database)
    for spoil in (
        "UPDATE usage_weeks SET charged_nano = charged_nano + 1",
        f"DELETE FROM usage_totals WHERE span = {int(Span.WEEK)} AND kind = 1",
    ):
        with database.write() as tx:
            tx.connection.exec_driver_sql(spoil)
        assert wrong_sums(database) == {"R-08"}, spoil


def test_stretches_are_the_same_days_each_once() -> None:
    chance = Random(3)
    for _ in range(500):
        start = chance.randrange(60)
        days = range(start, start + chance.randrange(1, 60))
        summed = chance.randrange(20)
        found: list[int] = []
        for span, ats in stretches(days, summed):
            assert ats
            length = span // Span.DAY
            assert span is Span.DAY or ats.stop <= summed
            found += [at * length + part for at in ats for part in range(length)]
        assert found == list(days)
