"""Who is given a client's idempotency key, and what becomes of it when the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aipool.books import claims
from aipool.books.access import InLoop
from aipool.books.claims import ClaimKeeper
from aipool.doors.frames import Claim, Claimed, Unclaim, Verdict
from aipool.kit.db import Database, DatabaseBusy
from tests.books.rig import Installation

KEY, BODY = b"k" * 32, b"b" * 32


@pytest.fixture
def database(tmp_path: Path, kind: str) -> Iterator[Database]:
    books = Installation(tmp_path / "data", kind)
    yield books.database
    books.close()


class Flaky(InLoop):
    """A database that is busy for some writes."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.failures = 0

    async def write(self, work: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise DatabaseBusy("somebody else writes")
        return await super().write(work)


def test_a_key_that_was_let_go_of_a_busy_database_is_free_afterwards(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_RETRY_SECONDS", 0.01)

    async def main() -> list[Claimed]:
        access, heard = Flaky(database), asyncio.Queue[Claimed]()
        keeper = ClaimKeeper(access)
        running = asyncio.create_task(keeper.run())
        keeper.ask(1, Claim(1, 7, KEY, BODY, "req_1"), heard.put_nowait)
        found = [await heard.get()]
        access.failures = 2
        keeper.let_go(Unclaim(7, KEY, "req_1"))
        keeper.ask(1, Claim(2, 7, KEY, b"c" * 32, "req_2"), heard.put_nowait)
        found.append(await heard.get())
        while access.failures:
            await asyncio.sleep(0.01)
        keeper.ask(1, Claim(3, 7, KEY, b"c" * 32, "req_3"), heard.put_nowait)
        found.append(await heard.get())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await access.close()
        return found

    first, away, then = asyncio.run(main())
    assert first.verdict is Verdict.NEW
    assert away.verdict is Verdict.UNKNOWN
    assert then.verdict is Verdict.NEW, "the key was still taken"
