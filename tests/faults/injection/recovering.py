"""Recovery that is itself killed, and begun again by the next process.

There are workers that died in every way: with entries that were not shipped and calls that were
open, with books ahead of the journal, with a journal that is gone, with one that is damaged, and
folders that belong to nobody. However often recovery dies, in the end the books must be what they
are when it does not.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final
from unittest import mock

from aipool.books import epochs, journal, record, recovery
from aipool.books.epochs import Epochs
from aipool.books.recovery import Recovery
from aipool.calls import service as call_service
from aipool.calls import store as call_store
from aipool.doors import records
from aipool.doors.records import Returned
from aipool.kit.db import sqlite
from aipool.ledger import core, service, store
from tests.books.rig import CNY, FakeWorker, Installation, hold, outcome, progress
from tests.faults.injection.children import KILLED, asked, ended, fork
from tests.faults.injection.places import (
    TOKEN,
    USER,
    compared,
    copy_of,
    differences,
    make_place,
    open_place,
    state_of,
)
from tests.faults.injection.points import Survey, Trap

MODULES: Final[tuple[ModuleType, ...]] = (
    recovery,
    journal,
    epochs,
    records,
    record,
    service,
    core,
    store,
    call_service,
    call_store,
    sqlite,
)
#: Of one transaction of recovery, so that a small journal needs several.
CHUNK: Final = 3
_LONG_AGO_SECONDS: Final = 1_000_000_000


def _fill(books: Installation) -> None:
    busy = _worker(books, 11)
    _many_ends(busy)
    ahead = _worker(books, 12)
    _books_are_ahead(ahead)
    gone = _worker(books, 13)
    damaged = _worker(books, 14)
    _damage(damaged)
    for worker in (busy, ahead, gone, damaged):
        worker.die()
    shutil.rmtree(gone.directory)
    closed = books.epochs.directory(11)
    for epoch in (15, 16):
        nobodys = books.epochs.directory(epoch)
        nobodys.mkdir()
        shutil.copy(closed / records.LOCK_NAME, nobodys / records.LOCK_NAME)
        os.utime(nobodys, (_LONG_AGO_SECONDS, _LONG_AGO_SECONDS))
    (books.epochs.directory(16) / records.LOCK_NAME).unlink()
    os.utime(books.epochs.directory(16), (_LONG_AGO_SECONDS, _LONG_AGO_SECONDS))


def _worker(books: Installation, epoch: int) -> FakeWorker:
    worker = FakeWorker(books, epoch, index=epoch)
    worker.connect()
    worker.lease(USER, CNY)
    return worker


def _many_ends(worker: FakeWorker) -> None:
    """Shipped, not shipped, given back, open with and without progress, over three segments."""
    for number in range(12):
        one = hold(USER, 100_000, token_id=TOKEN, limited=True, stream=number % 2 == 1)
        worker.write(one)
        if number % 2:
            worker.write(progress(one, 40, 64 + number))
        if number % 4 < 2:
            worker.write(outcome(one, 100 + number, 50))
        if number == 5:
            worker.ship_and_wait()
        if number % 5 == 4:
            worker.sync()
            worker.rotate()
        if number == 9:
            worker.write(Returned(f"wallet:{USER}", 0, 1000))


def _books_are_ahead(worker: FakeWorker) -> None:
    """The power took the journal's last moments, not the books': what is open in the one is
    settled in the other."""
    one = hold(USER, 100_000, token_id=TOKEN, stream=True)
    worker.write(one)
    worker.write(progress(one, 10, 10))
    size = worker.segment.stat().st_size
    worker.write(outcome(one, 100, 100))
    worker.ship_and_wait()
    os.truncate(worker.segment, size)


def _damage(worker: FakeWorker) -> None:
    one = hold(USER, 100_000)
    worker.write(one)
    worker.write(outcome(one, 100, 100))
    worker.sync()
    data = bytearray(worker.segment.read_bytes())
    data[20] ^= 1
    worker.segment.write_bytes(data)


class Recovering:
    """The scenario: see the module."""

    name = "recover"
    parts = ("books",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log"
        self._place = folder / "place"
        self._due: list[str] = []

    def modules_of(self, _part: str) -> tuple[ModuleType, ...]:
        """Whose lines are points."""
        return MODULES

    def prepare(self) -> list[str]:
        """Make the place, and see what becomes of it undisturbed."""
        if ended(fork(partial(make_place, self._place, _fill), self._log)):
            return [self._log.read_text()]
        self._due = self._after(copy_of(self._place, self._folder / "due"))
        return []

    def run(self, part: str, device: Survey | Trap, survey: Path) -> tuple[bool, list[str]]:
        """Recover with the device, then again without; was it killed, and what is wrong?"""
        folder = copy_of(self._place, self._folder / "work")

        def work() -> None:
            device.begin()
            _recover(folder)
            if isinstance(device, Survey):
                device.save(survey)

        status = ended(fork(work, self._log))
        if status not in (0, KILLED):
            return False, [f"recovery ended with {status}:\n{self._log.read_text()[-2000:]}"]
        return status == KILLED, compared(self._after(folder), self._due)

    def _after(self, folder: Path) -> list[str]:
        def question() -> list[str]:
            _recover(folder)
            database = open_place(folder)
            return [*state_of(database, folder), *differences(database)]

        return asked(question, self._log, self._folder / "answers")


def _recover(folder: Path) -> None:
    with mock.patch.object(recovery, "CHUNK_ENTRIES", CHUNK):
        found = Recovery(open_place(folder), Epochs(folder))
        found.sweep()
        found.tidy()
