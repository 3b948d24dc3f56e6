"""The books on a disk whose power is cut: is anything lost that was answered for?

The real books (Batches, record, the ledger's use cases) write to a database on a PowerDisk, through
all that kit.db asks of SQLite. The witness notes every answer as it is given: money that came in,
epochs, leases, recorded entries. In the middle of commits and checkpoints the power is cut: what
is left on the disk is opened by the SQLite of the product, checked, verified, and held against
what the witness had by then. The last image of a life is what the next life begins with.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from unittest import mock

from pysqlite3 import dbapi2

from aipool.books import batches as batches_module
from aipool.books.access import access_to
from aipool.books.batches import Batches
from aipool.books.record import Batch
from aipool.books.requests import Answer, Append, Borrow, Open, Request
from aipool.books.verify import verify
from aipool.doors.frames import Acquire, Granted, Need, Recorded, Welcome
from aipool.doors.outcome import Outcome
from aipool.doors.records import Entry, Returned
from aipool.kit.clock import now_ms
from aipool.kit.db import PASSING_ERRORS, open_database
from aipool.ledger import service as ledger
from aipool.ledger.rules import day_of
from aipool.ledger.types import EpochState, Moved, TransferKind
from benchmarks.witness import LookedUp
from tests.books.rig import CNY, Installation, hold, outcome
from tests.faults.power.driver import open_on_power
from tests.faults.power.vfs import PowerDisk, PowerFileSystem

#: The control: with it a commit is answered before it is on the disk.
NOT_SYNCED = {"PRAGMA synchronous = FULL": "PRAGMA synchronous = NORMAL"}

USERS = 6
WORKERS = 3
CUTS_OF_A_LIFE = 10
#: One of so many steps of the disk is a cut, on average: about three commits apart.
STEPS_BETWEEN_CUTS = 40
FILE_NAME = "aipool.db"


@dataclass(slots=True)
class Witness:
    """What was answered, as it was answered.

    money: what came in, by its key.  calls: charges by rid.  marks, requests: of each epoch,
    how far it was told that its entries are recorded, and which of its requests was answered.
    """

    money: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)
    requests: dict[int, int] = field(default_factory=dict)

    def copy(self) -> Witness:
        """As it is now."""
        return Witness(dict(self.money), dict(self.calls), dict(self.marks), dict(self.requests))

    def __len__(self) -> int:
        return len(self.money) + len(self.calls) + len(self.marks) + sum(self.requests.values())


@dataclass
class Report:
    """What came of the cuts.

    answers: given before a cut, over all cuts.  losing: cuts after which one was missing.
    lost: what was missing.  broken: what made an image no database, or books that disagree.
    """

    cuts: int = 0
    answers: int = 0
    losing: int = 0
    lost: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class _Unseen:
    """Nobody counts what the batches do."""

    def committed(self, batch: Batch, seconds: float) -> None:
        pass

    def turned_away(self) -> None:
        raise AssertionError("a request was turned away")


class _Worker:
    """An epoch, as far as the books know it: leases and a position."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.position = 0
        self.number = 0
        self.leased: dict[int, int] = {}


class Life:
    """From power on to power off: money comes in, workers borrow, calls are recorded."""

    def __init__(self, disk: PowerDisk, witness: Witness, path: Path, changes: Mapping[str, str]):
        self.disk = disk
        self.witness = witness
        self._chance = disk.chance
        self._database = open_on_power(path, changes)
        self._batches = Batches(
            access_to(self._database),
            slice_max_nano=2 * CNY,
            today=lambda: day_of(now_ms()),
            observer=_Unseen(),
        )
        self._workers: list[_Worker] = []

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Works until it is over."""
        writing = asyncio.create_task(self._batches.run())
        try:
            self._end_epochs()
            for _ in range(WORKERS):
                await self._open()
            for user in range(1, USERS + 1):
                self._credit(user)
            while not is_over():
                await self._round()
        finally:
            writing.cancel()
            self.disk.moment = lambda _: None
            self.disk.failing_sync = 0
            self._database.close()

    async def _round(self) -> None:
        match self._chance.randrange(12):
            case 0:
                self._credit(self._chance.randint(1, USERS))
            case 1:
                self._debit(self._chance.randint(1, USERS))
            case 2:
                self._checkpoint()
            case 3:
                await self._open()
            case _:
                at_once = self._chance.randint(1, WORKERS)
                for one in self._chance.sample(self._workers, at_once):
                    if one.leased and self._chance.random() < 0.7:
                        self._ship(one)
                    else:
                        self._borrow(one)
                await self._idle()

    async def _idle(self) -> None:
        """Until everything that was asked is answered."""
        while self._asked:
            await asyncio.sleep(0)

    _asked = 0

    def _ask(self, request: Request, answered: Callable[[Answer], None]) -> None:
        def take(answer: Answer) -> None:
            self._asked -= 1
            answered(answer)

        self._asked += 1
        self._batches.submit(request, take)

    # --- what is done -----------------------------------------------------------------------

    def _until_done(self, work: Callable[[], None]) -> None:
        """As people do: what failed is tried again, with the same key."""
        for _ in range(5):
            try:
                work()
            except PASSING_ERRORS:
                continue
            return
        raise AssertionError("the database does not work any more")

    def _end_epochs(self) -> None:
        def end() -> None:
            with self._database.write() as tx:
                for stream in ledger.epochs_in(tx.connection, EpochState.OPEN):
                    ledger.close_epoch(tx, stream.epoch, now_ms())

        self._until_done(end)

    def _credit(self, user: int) -> None:
        key, amount = f"credit:{self._chance.getrandbits(60):x}", self._chance.randrange(1, 5 * CNY)

        def credit() -> None:
            with self._database.write() as tx:
                booked = ledger.credit_wallet(
                    tx,
                    user_id=user,
                    amount_nano=amount,
                    source="cash:test",
                    kind=TransferKind.CREDIT,
                    idem_key=key,
                    ref="",
                    actor="test",
                    at_ms=now_ms(),
                )
            assert isinstance(booked, Moved)

        self._until_done(credit)
        self.witness.money[key] = amount

    def _debit(self, user: int) -> None:
        key, amount = f"debit:{self._chance.getrandbits(60):x}", self._chance.randrange(1, CNY)
        moved: list[object] = []

        def debit() -> None:
            with self._database.write() as tx:
                moved.append(
                    ledger.adjust_wallet(
                        tx,
                        user_id=user,
                        amount_nano=-amount,
                        idem_key=key,
                        ref="",
                        actor="test",
                        at_ms=now_ms(),
                    )
                )

        self._until_done(debit)
        if isinstance(moved[-1], Moved):
            self.witness.money[key] = amount

    def _checkpoint(self) -> None:
        truncate = self._chance.random() < 0.3
        self._until_done(lambda: [self._database.checkpoint(truncate=truncate)].clear())

    async def _open(self) -> None:
        """A new worker, in the place of the oldest."""
        worker = _Worker(self._chance.randrange(1, 1 << 62))

        def opened(answer: Answer) -> None:
            assert isinstance(answer, Welcome), answer
            self.witness.marks[worker.epoch] = 0

        self._ask(Open(worker.epoch, 0, 1), opened)
        await self._idle()
        self._workers.append(worker)
        del self._workers[:-WORKERS]

    def _borrow(self, worker: _Worker) -> None:
        user = self._chance.randint(1, USERS)
        least = self._chance.randrange(1, CNY // 10)
        worker.number += 1
        need = Need(f"wallet:{user}", 0, least, 2 * least)

        def granted(answer: Answer) -> None:
            assert isinstance(answer, Granted), answer
            self.witness.requests[worker.epoch] = answer.number
            worker.leased[user] = worker.leased.get(user, 0) + answer.chains[0][0].amount

        self._ask(Borrow(worker.epoch, Acquire(worker.number, ((need,),))), granted)

    def _ship(self, worker: _Worker) -> None:
        entries: list[Entry] = []
        for _ in range(self._chance.randint(1, 5)):
            user = self._chance.choice(list(worker.leased))
            tokens = min(self._chance.randrange(10**7), worker.leased[user])
            worker.leased[user] -= tokens
            if self._chance.random() < 0.2:
                entries.append(Returned(f"wallet:{user}", 0, tokens))
            else:
                entries.append(outcome(hold(user, tokens), tokens, 0))
        start, end = worker.position, worker.position + self._chance.randint(1, 999)
        worker.position = end

        def recorded(answer: Answer) -> None:
            assert answer == Recorded(end), answer
            self.witness.marks[worker.epoch] = end
            for entry in entries:
                if isinstance(entry, Outcome):
                    self.witness.calls[entry.rid] = entry.charge_nano

        self._ask(Append(worker.epoch, start, end, tuple(entries)), recorded)


# --- cutting the power ------------------------------------------------------------------------


@cache
def _file_system() -> PowerFileSystem:
    """Registered with SQLite once, for the whole process."""
    return PowerFileSystem()


@contextmanager
def _bench() -> Iterator[Path]:
    """A folder, and books that do not pause."""
    with ExitStack() as stack:
        for name in ("GAP_SECONDS", "BUSY_PAUSE_SECONDS", "BROKEN_PAUSE_SECONDS"):
            stack.enter_context(mock.patch.object(batches_module, name, 0.0))
        yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aipool-power-")))


def _first_image(folder: Path) -> dict[str, bytes]:
    """A database with its tables, by the names its files have there."""
    made = Installation(folder / "made")
    made.database.close()
    return {"": (folder / "made" / FILE_NAME).read_bytes()}


def _put(path: Path, image: Mapping[str, bytes], chance: random.Random) -> PowerDisk:
    disk = _file_system().disk = PowerDisk(chance)
    for suffix, content in image.items():
        disk.put(f"{path}{suffix}", content)
    return disk


def _taken(disk: PowerDisk, path: Path) -> dict[str, bytes]:
    return {name.removeprefix(str(path)): data for name, data in disk.image().items()}


class _Cuts:
    """Takes images in the middle of what a life does. after: the syncs before the first."""

    def __init__(self, life: Life, path: Path, *, most: int, odds: float, after: int = 0) -> None:
        self.taken: list[tuple[dict[str, bytes], Witness]] = []
        self._life = life
        self._path = path
        self._most = most
        self._odds = odds
        self._after = after

    def moment(self, _: str) -> None:
        """Before a step of the disk: cut here?"""
        disk = self._life.disk
        wanted = len(self.taken) < self._most and disk.syncs >= self._after
        if wanted and disk.chance.random() < self._odds:
            self.taken.append((_taken(disk, self._path), self._life.witness.copy()))

    def are_enough(self) -> bool:
        """Is it time to end?"""
        return len(self.taken) >= self._most


def cut_often(cuts: int, seed: int, changes: Mapping[str, str] | None = None) -> Report:
    """So many cuts in the middle of whatever the books do, ten of each life."""
    chance = random.Random(seed)
    report = Report()
    with _bench() as folder:
        path, image, witness = folder / FILE_NAME, _first_image(folder), Witness()
        while report.cuts < cuts:
            life = Life(_put(path, image, chance), witness, path, changes or {})
            taking = _Cuts(life, path, most=CUTS_OF_A_LIFE, odds=1 / STEPS_BETWEEN_CUTS)
            life.disk.moment = taking.moment
            asyncio.run(life.run(taking.are_enough))
            good = [one for one in taking.taken if _judge(folder, *one, report)]
            # After a loss nobody knows what its image should say; the next life begins anew.
            image, witness = good[-1] if good else (_first_image(folder), Witness())
    return report


def fail_syncs(numbers: Iterable[int], seed: int) -> Report:
    """For each number: that sync of a life fails; then work goes on, and the power is cut."""
    report = Report()
    with _bench() as folder:
        path, image = folder / FILE_NAME, _first_image(folder)
        for number in numbers:
            chance = random.Random(seed * 1_000_003 + number)
            life = Life(_put(path, image, chance), Witness(), path, {})
            taking = _Cuts(life, path, most=2, odds=0.1, after=number)
            life.disk.moment = taking.moment
            life.disk.failing_sync = number
            asyncio.run(life.run(taking.are_enough))
            for one in taking.taken:
                _judge(folder, *one, report)
    return report


def _judge(folder: Path, image: Mapping[str, bytes], witness: Witness, report: Report) -> bool:
    """Opens what is left as the product does. Is it whole, and is everything there?"""
    report.cuts += 1
    report.answers += len(witness)
    path = folder / "image.db"
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    for suffix, content in image.items():
        Path(f"{path}{suffix}").write_bytes(content)
    broken = list(_broken(path))
    report.broken += broken
    if broken:
        return False
    lost = list(_missing(path, witness))
    report.lost += lost
    report.losing += bool(lost)
    return not lost


def _broken(path: Path) -> Iterator[str]:
    connection = dbapi2.connect(str(path))
    try:
        for (line,) in connection.execute("PRAGMA integrity_check").fetchall():
            if line != "ok":
                yield line
    except dbapi2.DatabaseError as error:
        yield str(error)
        return
    finally:
        connection.close()
    database = open_database(f"sqlite:///{path}")
    try:
        yield from map(str, verify(database).differences)
    finally:
        database.close()


def _missing(path: Path, witness: Witness) -> Iterator[str]:
    books = LookedUp(path)
    try:
        rows = books.rows(sql="SELECT idem_key, amount_nano FROM transfers")
        money = {str(key): amount for key, amount in rows}
        calls = {row.rid: row.charged_nano + row.written_off_nano for row in books.calls()}
        rows = books.rows(sql="SELECT epoch, high_water, last_request FROM streams")
        streams = {epoch: (mark, number) for epoch, mark, number in rows}
    finally:
        books.close()
    for key, amount in witness.money.items():
        if money.get(key) != amount:
            yield f"{key} of {amount} nano is {money.get(key)}"
    for rid, charge in witness.calls.items():
        if calls.get(rid) != charge:
            yield f"call {rid} of {charge} nano is {calls.get(rid)}"
    for epoch, mark in witness.marks.items():
        if epoch not in streams or int(str(streams[epoch][0])) < mark:
            yield f"epoch {epoch:x} recorded to {mark} is {streams.get(epoch)}"
    for epoch, number in witness.requests.items():
        if epoch not in streams or int(str(streams[epoch][1])) < number:
            yield f"request {number} of epoch {epoch:x} is {streams.get(epoch)}"
