"""Every job of the control process is alive after a mistake."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
import uvloop

from aipool.accounts.failed_logins import MANY, FailedLogins
from aipool.calls import contents
from aipool.control.contents import ContentKeeper
from aipool.control.deliveries import Deliveries
from aipool.control.main import jobs
from aipool.doors.contents import Content, pack
from aipool.kit.clock import now_ms
from aipool.kit.db import Database
from tests.control.asked import settings_of
from tests.world import World, open_world


class Mistaken:
    """In place of a database: whoever asks it makes a mistake."""

    def __init__(self) -> None:
        self.asked = 0

    def read(self) -> NoReturn:
        self.asked += 1
        raise KeyError("a mistake")

    write = read


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path / "data") as opened:
        yield opened


async def until_asked(mistaken: Mistaken, times: int) -> None:
    async with asyncio.timeout(5):
        while mistaken.asked < times:
            await asyncio.sleep(0.001)


def test_what_is_done_now_and_then_is_done_again_after_a_mistake(world: World) -> None:
    mistaken = Mistaken()
    database = cast(Database, mistaken)

    async def scene() -> None:
        failed = FailedLogins()
        for _ in range(MANY):
            failed.note(1, "", now_ms())
        running = jobs(database, world.secrets.keyring, settings_of(world), cast(Any, None), failed)
        for job in running:
            mistaken.asked = 0
            job.start()
            for run in (1, 2, 3):
                job.wake()
                await until_asked(mistaken, run)
            await job.close()

    uvloop.run(scene())


def test_notices_are_looked_for_again_after_a_mistake(world: World) -> None:
    mistaken = Mistaken()

    async def scene() -> None:
        job = Deliveries(cast(Database, mistaken), world.secrets.keyring, settings_of(world))
        job.start()
        for look in (1, 2, 3):
            await until_asked(mistaken, look)
            job.wake()
        await job.close()

    uvloop.run(scene())


def content(number: int) -> Content:
    return Content(f"req_{number}", 1, 1, now_ms() + 60_000, b"asked", False, b"said", False)


@asynccontextmanager
async def keeping(
    world: World, folder: Path
) -> AsyncIterator[tuple[ContentKeeper, asyncio.StreamWriter]]:
    """Who keeps contents, and a worker's line to them."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "s"))
    listener.listen(1)
    keeper = ContentKeeper(world.database, world.secrets.keyring)
    await keeper.start(listener)
    _, line = await asyncio.open_unix_connection(str(folder / "s"))
    try:
        yield keeper, line
    finally:
        line.close()
        await keeper.close()


async def kept(world: World, number: int) -> None:
    def look() -> bool:
        with world.database.read() as connection:
            return (
                contents.get(
                    connection, world.secrets.keyring, f"req_{number}", user_id=1, now_ms=now_ms()
                )
                is not None
            )

    async with asyncio.timeout(5):
        while not look():
            await asyncio.sleep(0.01)


def test_contents_are_kept_and_swept_after_a_mistake(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(keeper: ContentKeeper, line: asyncio.StreamWriter, where: str) -> None:
        failed, loop = asyncio.Event(), asyncio.get_running_loop()

        def mistake(*_: object, **__: object) -> NoReturn:
            loop.call_soon_threadsafe(failed.set)
            raise KeyError("a mistake")

        with monkeypatch.context() as broken:
            broken.setattr(contents, where, mistake)
            line.write(pack(content(1)))
            keeper._sweeping.wake()
            await asyncio.wait_for(failed.wait(), 5)

    async def scene() -> None:
        async with keeping(world, tmp_path) as (keeper, line):
            await fails(keeper, line, "keep")
            line.write(pack(content(2)))
            await kept(world, 2)
            await fails(keeper, line, "tokens")
            await fails(keeper, line, "tokens")

    uvloop.run(scene())


def test_all_that_waits_is_written_at_the_end(world: World, tmp_path: Path) -> None:
    count = 40  # more than one transaction's

    async def scene() -> None:
        async with keeping(world, tmp_path) as (keeper, _):
            for number in range(count):
                keeper._take(content(number))
        await kept(world, 0)
        await kept(world, count - 1)

    uvloop.run(scene())
