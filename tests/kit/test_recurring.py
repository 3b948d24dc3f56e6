"""A job goes on, whatever goes wrong in one run of it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import structlog
import uvloop

from aipool.kit import logging, recurring
from aipool.kit.db import DatabaseBusy
from aipool.kit.recurring import Recurring

MARKER = "what was being worked on"


class Log:
    """What was logged."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    made = Log()
    logging.configure("info", made.stream)
    # The module's own keeps to what was configured when it was first used.
    monkeypatch.setattr(recurring, "_log", structlog.get_logger())
    yield made
    structlog.reset_defaults()


class Work:
    """Runs as the test says, and counts: a run gets its number, from 1 on."""

    def __init__(self, run: Callable[[int], Awaitable[None]]) -> None:
        self._run = run
        self.runs = 0
        self._began = asyncio.Condition()

    async def __call__(self) -> None:
        self.runs += 1
        async with self._began:
            self._began.notify_all()
        await self._run(self.runs)

    async def reaches(self, runs: int) -> None:
        async with asyncio.timeout(5), self._began:
            await self._began.wait_for(lambda: self.runs >= runs)


async def _nothing(_number: int) -> None:
    """Nothing to do."""


async def run_until(work: Work, runs: int, **terms: Any) -> None:
    job = Recurring("tidying", work, **{"every_seconds": 0.0, **terms})
    job.start()
    await work.reaches(runs)
    await job.close()


async def _cancelled_elsewhere() -> None:
    awaited = asyncio.get_running_loop().create_future()
    awaited.cancel()
    await awaited


def fails(how: str) -> Callable[[int], Awaitable[None]]:
    async def run(number: int) -> None:
        if number > 1:
            return
        if how == "CancelledError":
            await _cancelled_elsewhere()
        raise {"KeyError": KeyError(MARKER), "StopIteration": StopIteration()}[how]

    return run


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("KeyError", "KeyError"),
        ("StopIteration", "RuntimeError"),  # what a coroutine makes of it
        ("CancelledError", "CancelledError"),  # of what was waited for, not of the job
    ],
)
def test_a_mistake_in_one_run_does_not_end_the_job(log: Log, how: str, told: str) -> None:
    async def scene() -> None:
        await run_until(Work(fails(how)), 3)

    uvloop.run(scene())

    (line,) = log.lines()
    assert (line["event"], line["level"], line["job"]) == ("job_failed", "error", "tidying")
    assert line["mistake"] == told
    assert line["place"].startswith("kit/recurring.py:")
    assert MARKER not in log.stream.getvalue()


def test_a_database_that_is_busy_is_a_warning_and_the_next_run_comes(log: Log) -> None:
    async def run(number: int) -> None:
        if number == 1:
            raise DatabaseBusy

    async def scene() -> None:
        await run_until(Work(run), 3)

    uvloop.run(scene())

    (line,) = log.lines()
    assert (line["event"], line["level"], line["job"]) == ("job_put_off", "warning", "tidying")


def test_the_first_run_comes_as_late_as_the_others_unless_it_is_said_otherwise() -> None:
    async def scene(**terms: Any) -> int:
        work = Work(_nothing)
        job = Recurring("tidying", work, every_seconds=3600.0, **terms)
        job.start()
        await asyncio.sleep(0.01)
        await job.close()
        return work.runs

    assert uvloop.run(scene()) == 0
    assert uvloop.run(scene(first_seconds=0.0)) == 1


def test_installations_do_not_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    timeout = asyncio.timeout

    def resting(seconds: float) -> asyncio.Timeout:
        rests.append(seconds)
        return timeout(0)

    async def scene() -> None:
        work, chances = Work(_nothing), iter([0.0, 0.5, 1.0])
        job = Recurring(
            "tidying", work, every_seconds=100.0, jitter=0.2, chance=lambda: next(chances)
        )
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "timeout", resting)
            job.start()
            while len(rests) < 3:
                await asyncio.sleep(0)
        await job.close()

    uvloop.run(scene())

    assert rests[:3] == pytest.approx([100.0, 110.0, 120.0])


def test_who_wakes_it_is_served_now_and_once_more_while_it_runs() -> None:
    async def scene() -> None:
        go_on = asyncio.Event()

        async def run(_number: int) -> None:
            await go_on.wait()

        work = Work(run)
        job = Recurring("tidying", work, every_seconds=3600.0)
        job.start()
        job.wake()
        await work.reaches(1)
        job.wake()
        go_on.set()
        await work.reaches(2)
        await asyncio.sleep(0.01)
        await job.close()
        assert work.runs == 2

    uvloop.run(scene())


@pytest.mark.parametrize("at_work", [True, False])
def test_closing_ends_it_in_a_run_and_between_two(at_work: bool) -> None:
    async def scene() -> None:
        ended = asyncio.Event()

        async def run(_number: int) -> None:
            if at_work:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.set()

        work = Work(run)
        job = Recurring("tidying", work, every_seconds=3600.0, first_seconds=0.0)
        job.start()
        await work.reaches(1)
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await job.close()
        assert ended.is_set() is at_work
        job.wake()
        await asyncio.sleep(0.01)
        assert work.runs == 1

    uvloop.run(scene())


def test_one_that_was_never_started_is_closed_all_the_same() -> None:
    asyncio.run(Recurring("tidying", Work(_nothing), every_seconds=1.0).close())
