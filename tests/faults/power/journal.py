"""A worker's journal on a disk whose power is cut: is anything lost that was safe, or paid twice?

The real Journal writes to a CutDisk: calls are held, make progress and end, segments change, some
writes and syncs fail. What is shipped is recorded by the real books, at once or later, so that
they may be ahead of what is on the disk. Then the power is cut, and the real recovery reads what
is left. The witness knows of each call what was promised: a settlement before the last F is
charged exactly; a hold before it leaves a row, charged for no less than its last progress
before it and for no more than its last; nothing is charged twice; no torn tail is corruption.
A bit that flips before the last F is: then the epoch must be frozen.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from unittest import mock

from aipool.books import journal as reader
from aipool.books.recovery import Ending, Recovery
from aipool.books.requests import Append, Borrow, Open
from aipool.books.verify import verify
from aipool.doors import records
from aipool.doors.frames import Acquire, Granted, Need, Recorded, Welcome
from aipool.doors.outcome import Outcome
from aipool.doors.records import Hold, Lost, Returned, Synced
from aipool.gateway import journal as writer
from aipool.gateway.disk import Syncer
from aipool.gateway.journal import Journal
from aipool.rating.rate import rate
from aipool.rating.types import Usage
from benchmarks.witness import LookedUp, Row
from tests.books.rig import CNY, PRICE, Installation, hold, outcome, progress

USERS: Final = 3
LEASE_NANO: Final = 5 * CNY
STEPS: Final = 120
#: Small, so that a life has several of them.
SEGMENT_BYTES: Final = 3_000
EPOCH: Final = 0x51


# --- the disk ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Written:
    """A segment. safe: how many of its bytes are on the disk.  named: its name is, too.
    dead: a sync of it has failed."""

    path: Path
    seen: bytearray = field(default_factory=bytearray)
    safe: int = 0
    named: bool = False
    dead: bool = False


class CutDisk:
    """Remembers what was not synced. room: bytes that may still be written, None = no limit.

    syncs, failing_sync: how many syncs (of files and folders) there were, and which of them
    fails; 0 = none. problems: what must never be asked of a disk.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._open: dict[int, _Written] = {}
        self._removed: list[_Written] = []
        self._files: dict[Path, _Written] = {}
        self._next = 100
        self.folder_named = False
        self.room: int | None = None
        self.cuts_tails = True
        self.syncs = 0
        self.failing_sync = 0
        self.failed = 0
        self.problems: list[str] = []

    def open(self, path: Path) -> int:
        if self.room == 0 and self._chance.random() < 0.5:
            raise OSError(errno.ENOSPC, "no room")
        if path in self._files:
            raise FileExistsError(path)
        self._files[path] = _Written(path)
        self._next += 1
        self._open[self._next] = self._files[path]
        return self._next

    def write(self, fd: int, data: bytes) -> int:
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, "no room")
            data = data[: self.room]
            self.room -= len(data)
        self._open[fd].seen += data
        return len(data)

    def truncate(self, fd: int, size: int) -> None:
        if not self.cuts_tails:
            raise OSError(errno.EIO, "cannot cut")
        del self._open[fd].seen[size:]

    def sync(self, fd: int) -> None:
        one = self._open[fd]
        if one.dead:
            self.problems.append(f"{one.path.name} is synced again after its sync has failed")
        self._count(one)
        one.safe = len(one.seen)

    def sync_folder(self, path: Path) -> None:
        self._count(None)
        self.folder_named = self.folder_named or path.name == "epochs"
        self._removed.clear()
        for one in self._files.values():
            if one.path.parent == path:
                one.named = True

    def close(self, fd: int) -> None:
        del self._open[fd]

    def remove(self, path: Path) -> None:
        self._removed.append(self._files.pop(path))

    def _count(self, one: _Written | None) -> None:
        self.syncs += 1
        if self.syncs == self.failing_sync:
            self.failed += 1
            if one is not None:
                one.dead = True
            raise OSError(errno.EIO, "bad disk")

    def leave(self, folder: Path) -> None:
        """Cut the power: write what is left of the files into a real folder."""
        if not self.folder_named and self._chance.random() < 0.5:
            return
        folder.mkdir(parents=True)
        (folder / records.LOCK_NAME).touch()
        removed = [one for one in self._removed if self._chance.random() < 0.5]
        for one in (*self._files.values(), *removed):
            if one.named or self._chance.random() < 0.5:
                (folder / one.path.name).write_bytes(self._left_of(one))

    def _left_of(self, one: _Written) -> bytes:
        safe, rest = one.seen[: one.safe], one.seen[one.safe :]
        match self._chance.randrange(4):
            case 0:
                pass
            case 1:  # the size has reached the disk, some of the pages have not
                for _ in range(self._chance.randint(1, 4)):
                    begin, end = sorted(self._chance.choices(range(len(rest) + 1), k=2))
                    rest[begin:end] = bytes(end - begin)
            case _:
                del rest[self._chance.randint(0, len(rest)) :]
        return bytes(safe + rest)


class SteppedSyncer(Syncer):
    """Syncs when it is told to, in the caller's thread."""

    def start(self, synced: object, failed: object) -> None:
        self._synced, self._failed = synced, failed  # type: ignore[assignment]


# --- a life -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Call:
    """What the witness knows of a call: where its records end, and what each would charge."""

    hold: Hold
    begun: int
    progress: list[tuple[int, int, bytes]] = field(default_factory=list)  # position, nano, payload
    ended: tuple[int, int] | None = None  # position, nano

    def payloads(self) -> list[bytes]:
        last = [payload for _, _, payload in self.progress[-1:]]
        return [records.encode(self.hold), *last]


class Life:
    """A worker that holds, journals and ships, until its power is cut."""

    def __init__(self, books: Installation, disk: CutDisk, chance: random.Random) -> None:
        self.books = books
        self.disk = disk
        self.calls: dict[str, _Call] = {}
        self._chance = chance
        self._open: dict[str, _Call] = {}
        self._free: dict[int, int] = {}
        self._queue: list[tuple[int, Outcome | Returned]] = []
        self._unwritten: list[tuple[int, Outcome | Returned]] = []
        self._mark = 0
        self._loop = asyncio.new_event_loop()
        self.syncer = SteppedSyncer(disk)
        self.journal = Journal(
            self._loop,
            books.epochs.directory(EPOCH),
            still_open=lambda: [p for call in self._open.values() for p in call.payloads()],
            bytes_max=1 << 30,
            disk=disk,
            syncer=self.syncer,
        )

    def begin(self) -> None:
        """Opens the epoch and takes leases."""
        assert isinstance(self.books.ask(Open(EPOCH, 0, 1)), Welcome)
        needs = tuple(
            (Need(f"wallet:{u}", 0, LEASE_NANO, LEASE_NANO),) for u in range(1, USERS + 1)
        )
        granted = self.books.ask(Borrow(EPOCH, Acquire(1, needs)))
        assert isinstance(granted, Granted)
        for user, (grant,) in enumerate(granted.chains, 1):
            self._free[user] = grant.amount

    def close(self) -> None:
        self._loop.close()

    def step(self) -> None:
        """Something happens."""
        match self._chance.randrange(14):
            case 0 | 1 | 2:
                self._hold()
            case 3 | 4 | 5 if self._open:
                self._progress(self._chance.choice(list(self._open.values())))
            case 6 | 7 if self._open:
                call = self._chance.choice(list(self._open.values()))
                self._settle(call, self._chance.randint(0, call.hold.hold_nano))
            case 8:
                self._return()
            case 9 | 10:
                self.syncer.step()
                self._turn()
            case 11 | 12:
                self._ship()
            case _:
                self._turn()

    def run_out_of_room(self) -> None:
        """The disk is full within a few bytes, for a few steps."""
        self.disk.room = self._chance.randrange(200)
        self.disk.cuts_tails = self._chance.random() < 0.7
        for _ in range(self._chance.randint(1, 6)):
            self.step()
        self._turn()
        self.disk.room, self.disk.cuts_tails = None, True
        self.journal.tick()
        self._turn()

    def tick(self) -> None:
        """A second has passed."""
        self.journal.tick()
        self._turn()

    def _turn(self) -> None:
        for _ in range(2):
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()

    def _hold(self) -> None:
        user = self._chance.randint(1, USERS)
        amount = self._chance.randint(1, max(self._free[user] // 4, 1))
        if amount > self._free[user]:
            return
        self._free[user] -= amount
        call = _Call(hold(user, amount, stream=True), 0)
        self._open[call.hold.rid] = self.calls[call.hold.rid] = call
        payload = records.encode(call.hold)
        call.begun = self.journal.append(payload, lambda: None, lambda: self._settle(call, 0))

    def _progress(self, call: _Call) -> None:
        tokens = self._chance.randint(1, call.hold.hold_nano)
        last = call.progress[-1][1] if call.progress else 0
        tokens = max(last, tokens)
        payload = records.encode(progress(call.hold, tokens, 0))
        call.progress.append((self.journal.append(payload), _price(tokens), payload))

    def _settle(self, call: _Call, tokens: int) -> None:
        if call.ended is not None:
            return
        del self._open[call.hold.rid]
        entry = outcome(call.hold, tokens, 0)
        user = call.hold.user_id
        self._free[user] += call.hold.hold_nano - entry.charge_nano
        call.ended = self._add(entry), entry.charge_nano

    def _return(self) -> None:
        user = self._chance.randint(1, USERS)
        amount = self._chance.randint(0, self._free[user] // 10)
        if amount:
            self._free[user] -= amount
            self._add(Returned(f"wallet:{user}", 0, amount))

    def _add(self, entry: Outcome | Returned) -> int:
        """Into the journal; it may be shipped once that was tried."""
        end = 0

        def tried() -> None:
            self._queue.append((end, entry))

        end = self.journal.append(records.encode(entry), tried)
        return end

    def _ship(self) -> None:
        count = self._chance.randint(0, len(self._queue))
        if not count:
            return
        batch, self._queue = self._queue[:count], self._queue[count:]
        end = batch[-1][0]
        entries = tuple(entry for _, entry in batch)
        answer = self.books.ask(Append(EPOCH, self._mark, end, entries))
        assert answer == Recorded(end), answer
        self._mark = end
        self.journal.recorded(end)


def _price(tokens: int) -> int:
    return rate(Usage(tokens, 0, 0, 0), PRICE, 1_000_000)


# --- cutting the power --------------------------------------------------------------------------


@dataclass
class Report:
    """What came of the cuts.

    promised: settlements and holds that were before an F at a cut.  ahead: calls that were in
    the books and not, or not whole, on the disk.  flipped: cuts with a damaged bit, each of
    which froze its epoch.  losses: cuts after writes or syncs that had failed.
    problems: what must not be.
    """

    cuts: int = 0
    promised: int = 0
    ahead: int = 0
    recovered: int = 0
    flipped: int = 0
    losses: int = 0
    problems: list[str] = field(default_factory=list)


@contextmanager
def _bench() -> Iterator[Path]:
    # The books of these lives lose nothing: they may lie in memory.
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with (
        mock.patch.object(writer, "SEGMENT_BYTES", SEGMENT_BYTES),
        tempfile.TemporaryDirectory(prefix="aipool-power-", dir=place) as folder,
    ):
        yield Path(folder)


def cut_journals(seeds: Iterable[int]) -> Report:
    """One life and one cut for each seed; writes, and syncs, fail in some of them."""
    report = Report()
    with _bench() as folder:
        for seed in seeds:
            chance = random.Random(seed)
            disk = CutDisk(chance)
            if chance.random() < 0.3:
                disk.failing_sync = chance.randint(1, 20)
            with _life(folder / str(seed), disk, chance) as life:
                for _ in range(chance.randint(1, STEPS)):
                    if chance.random() < 0.01:
                        life.run_out_of_room()
                    elif chance.random() < 0.05:
                        life.tick()
                    else:
                        life.step()
                _judge(life, report, f"seed {seed}", flip=seed % 5 == 0, chance=chance)
    return report


def fail_syncs(numbers: Iterable[int], seed: int) -> Report:
    """For each number: that sync of a life fails; then work goes on, and the power is cut."""
    report = Report()
    with _bench() as folder:
        for number in numbers:
            chance = random.Random(seed * 1_000_003 + number)
            disk = CutDisk(chance)
            disk.failing_sync = number
            with _life(folder / str(number), disk, chance) as life:
                while disk.syncs < number:
                    life.step()
                for _ in range(chance.randrange(30)):
                    life.step()
                if chance.random() < 0.7:
                    for _ in range(3):
                        life.tick()
                        life.syncer.step()
                    life.tick()
                    if not life.journal.admitting:
                        report.problems.append(f"sync {number}: it does not go on")
                if not disk.failed:
                    report.problems.append(f"sync {number} did not fail")
                _judge(life, report, f"sync {number}", flip=False, chance=chance)
    return report


@contextmanager
def _life(folder: Path, disk: CutDisk, chance: random.Random) -> Iterator[Life]:
    books = Installation(folder)
    try:
        for user in range(1, USERS + 1):
            books.credit(user, 100 * CNY)
        life = Life(books, disk, chance)
        try:
            life.begin()
            yield life
        finally:
            life.close()
    finally:
        books.close()


def _judge(life: Life, report: Report, name: str, *, flip: bool, chance: random.Random) -> None:
    report.cuts += 1
    report.problems += [f"{name}: {problem}" for problem in life.disk.problems]
    books, journal = life.books, life.journal
    folder = books.epochs.directory(EPOCH)
    life.disk.leave(folder)
    before = {row.rid: row for row in _rows(books)}
    lost = [Lost(one.start, one.end) for one in journal._losses(journal.position)]
    report.losses += bool(lost)
    left = folder.exists()
    damaged = flip and left and _flip(folder, _mark(books), chance)

    ended = Recovery(books.database, books.epochs).sweep()
    report.problems += [f"{name}: {line}" for line in map(str, verify(books.database).differences)]
    if damaged:
        report.flipped += 1
        if [one.how for one in ended] != [Ending.FROZEN]:
            report.problems.append(f"{name}: a damaged bit, and {ended}")
        return
    expected = Ending.RECOVERED if left else Ending.MISSING
    if [one.how for one in ended] != [expected]:
        report.problems.append(f"{name}: not {expected}, but {ended}")
        return
    if books.open_epochs() or any(books.balance(user)[1] for user in range(1, USERS + 1)):
        report.problems.append(f"{name}: leases are left")

    rows = {row.rid: row for row in _rows(books)}
    safe = _Safe(journal._synced, lost)
    for call in life.calls.values():
        row = rows.pop(call.hold.rid, None)
        report.recovered += row is not None and bool(row.recovered)
        report.ahead += (
            call.hold.rid in before and call.ended is not None and call.ended[0] not in safe
        )
        report.promised += call.begun in safe
        was = before.get(call.hold.rid)
        problem = _wrong(call, row, was, safe)
        if problem:
            report.problems.append(f"{name}: {problem}: {call} {row}")
    report.problems += [f"{name}: nobody made {row}" for row in rows.values()]


@dataclass(frozen=True)
class _Safe:
    """The positions that the journal has called safe, as ends of records."""

    synced: int
    lost: Sequence[Lost]

    def __contains__(self, end: int) -> bool:
        return end <= self.synced and not any(one.start < end <= one.end for one in self.lost)


def _wrong(call: _Call, row: Row | None, was: Row | None, safe: _Safe) -> str | None:
    """Why this row is not what must or may be in the books; None when it is."""
    if was is not None:
        return None if row == was else f"was recorded as {was}"
    if call.ended is not None and call.ended[0] in safe:
        exact = row is not None and row.charged_nano == call.ended[1] and not row.recovered
        return None if exact else "was settled before an F"
    if row is None:
        return "was held before an F" if call.begun in safe else None
    if not row.recovered:
        exact = call.ended is not None and row.charged_nano == call.ended[1]
        return None if exact else "is charged as it never ended"
    steps = [0] + [min(nano, call.hold.hold_nano) for _, nano, _ in call.progress]
    least = max(
        [min(nano, call.hold.hold_nano) for at, nano, _ in call.progress if at in safe] or [0]
    )
    if row.charged_nano not in steps or row.charged_nano < least or row.written_off_nano:
        return f"at least {least} nano of progress was before an F"
    return None


def _rows(books: Installation) -> list[Row]:
    looked = LookedUp(books.data_dir / "aipool.db")
    try:
        return looked.calls()
    finally:
        looked.close()


def _mark(books: Installation) -> int:
    looked = LookedUp(books.data_dir / "aipool.db")
    try:
        return int(
            str(looked.rows(EPOCH, sql="SELECT high_water FROM streams WHERE epoch = ?")[0][0])
        )
    finally:
        looked.close()


def _flip(folder: Path, mark: int, chance: random.Random) -> bool:
    """Flips a bit before the last F of what will be read; False when there is nothing there."""
    found = [record for _, record in reader.read(folder, mark)]
    covered = max([one.position for one in found if isinstance(one, Synced)], default=0)
    losses = [one for one in found if isinstance(one, Lost)]
    segments = reader._segments(folder)
    first = max((begin for begin, _ in segments if begin <= mark), default=0)
    places = [
        (path, at - begin)
        for begin, path in segments
        if begin >= first
        for at in range(begin, min(begin + path.stat().st_size, covered))
        if not any(one.start <= at < one.end for one in losses)
    ]
    if not places:
        return False
    path, at = chance.choice(places)
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return True
