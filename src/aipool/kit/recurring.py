"""Work that is done again and again, beside everything else, for as long as a process lives.

Nobody watches such a job, and nobody misses it before it is needed; so nothing that goes wrong
in one run may end it. A database that is away or busy passes: a warning, `job_put_off`. All else
is a mistake: an error, `job_failed`, by its name and its last place in this package, and without
its text, which may hold what was being worked on. The next run comes at its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import structlog

from aipool.kit.db import PASSING_ERRORS

#: Where this package's files lie.
_OURS = f"{Path(__file__).parents[1]}/"

_log = structlog.get_logger()


class Recurring:
    """A job. Started and closed in one event loop.

    every_seconds: of rest between two runs; as much passes before the first one, unless
    `first_seconds` says otherwise: a process that is started again and again does not begin with
    it each time.  jitter: up to this share longer, by `chance` in [0, 1): installations that were
    started together do not run together.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], Awaitable[object]],
        *,
        every_seconds: float,
        first_seconds: float | None = None,
        jitter: float = 0.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._run = run
        self._every_seconds = every_seconds
        self._first_seconds = every_seconds if first_seconds is None else first_seconds
        self._jitter = jitter
        self._chance = chance
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Runs from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run_forever())

    def wake(self) -> None:
        """Run now, or once more after the run that is under way."""
        self._woken.set()

    async def close(self) -> None:
        """Runs no more. A run under way ends where it waits; what it has in a thread is not
        interrupted."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run_forever(self) -> None:
        await self._rest(self._first_seconds)
        while True:
            self._woken.clear()
            with outliving_mistakes(self.name):
                await self._run()
            await self._rest(self._every_seconds)

    async def _rest(self, seconds: float) -> None:
        # Not wait_for: when the event comes with the cancelling, that would swallow the latter.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * (1 + self._jitter * self._chance())):
                await self._woken.wait()


@contextlib.contextmanager
def outliving_mistakes(job: str) -> Iterator[None]:
    """What goes wrong in here is logged as this job's, and goes no further."""
    try:
        yield
    except PASSING_ERRORS as error:
        _log.warning("job_put_off", job=job, reason=str(error))
    except asyncio.CancelledError as mistake:
        # Something that was waited for was cancelled, which is a mistake; or this task is.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        _tell(job, mistake)
    except Exception as mistake:  # noqa: BLE001 - of this run; the next one comes
        _tell(job, mistake)


def _tell(job: str, mistake: BaseException) -> None:
    places = [
        f"{frame.filename.removeprefix(_OURS)}:{frame.lineno}"
        for frame in traceback.extract_tb(mistake.__traceback__)
        if frame.filename.startswith(_OURS)
    ]
    _log.error("job_failed", job=job, mistake=type(mistake).__name__, place=places[-1])
