"""The worker's journal on real files, and on a disk that fails when it is told to."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from aipool.doors import records
from aipool.doors.records import BadRecord, Progress, Record, Returned, Synced
from aipool.gateway import journal as module
from aipool.gateway.journal import Journal, RealDisk, claim_epoch


class Disk(RealDisk):
    """The real one, until told otherwise. Counts what was done to which descriptor."""

    def __init__(self) -> None:
        self.write_error = 0
        self.write_at_most: int | None = None
        self.sync_error = 0
        self.open_error = 0
        self.truncate_error = 0
        self.syncs: list[tuple[int, bool]] = []
        self.opened: list[int] = []
        self.hold_sync = threading.Event()
        self.hold_sync.set()

    def open(self, path: Path) -> int:
        if self.open_error:
            raise OSError(self.open_error, os.strerror(self.open_error))
        self.opened.append(super().open(path))
        return self.opened[-1]

    def write(self, fd: int, data: bytes) -> int:  # type: ignore[override]
        if self.write_error:
            # What full disks do: some of it, and then no more.
            if len(data) > 3 and self.write_at_most is None:
                self.write_at_most = 0
                return os.write(fd, data[:3])
            raise OSError(self.write_error, os.strerror(self.write_error))
        return os.write(fd, data)

    def truncate(self, fd: int, size: int) -> None:  # type: ignore[override]
        if self.truncate_error:
            raise OSError(self.truncate_error, os.strerror(self.truncate_error))
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:  # type: ignore[override]
        assert self.hold_sync.wait(10)
        failed = bool(self.sync_error)
        self.syncs.append((fd, failed))
        if failed:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        os.fdatasync(fd)


def run(
    folder: Path,
    scene: Callable[[Journal, Disk], Awaitable[None]],
    *,
    still_open: Callable[[], list[bytes]] = list,
    bytes_max: int = 1 << 20,
) -> Disk:
    """Plays a scene with a journal in this folder, and closes it."""
    disk = Disk()

    async def play() -> None:
        journal = Journal(
            asyncio.get_running_loop(),
            folder,
            still_open=still_open,
            bytes_max=bytes_max,
            disk=disk,
        )
        try:
            await scene(journal, disk)
        finally:
            disk.sync_error = disk.write_error = disk.open_error = 0
            disk.hold_sync.set()
            journal.close()

    asyncio.run(play())
    return disk


def read(folder: Path) -> list[Record]:
    """Everything in the folder, in order, each segment beginning where its name says."""
    found: list[Record] = []
    for path in sorted(folder.glob("*.seg")):
        begin = int(path.stem, 16)
        found += [record for _, record in records.read(path.read_bytes(), begin)]
    return found


def numbers(found: list[Record]) -> list[int]:
    return [record.amount_nano for record in found if isinstance(record, Returned)]


def entry(number: int) -> bytes:
    return records.encode(Returned("wallet:1", 0, number))


async def until(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def _turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        for number in range(100):
            journal.append(entry(number))
            if number % 7 == 0:
                await asyncio.sleep(0)

    run(tmp_path, scene)

    assert numbers(read(tmp_path)) == list(range(100))


def test_what_follows_happens_after_the_write_in_order_and_in_one_write_a_turn(
    tmp_path: Path,
) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        seen: list[tuple[int, int]] = []

        def then(number: int) -> Callable[[], None]:
            return lambda: seen.append((number, len(numbers(read(tmp_path)))))

        for number in range(3):
            end = journal.append(entry(number), then(number))
            assert end == journal.position
        assert seen == []
        await _turns()
        assert seen == [(0, 3), (1, 3), (2, 3)]

    run(tmp_path, scene)


def test_a_record_appended_by_what_follows_is_written_too(tmp_path: Path) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        journal.append(entry(1), lambda: journal.append(entry(2)) and None)
        await _turns()
        assert numbers(read(tmp_path)) == [1, 2]

    run(tmp_path, scene)


def test_one_failure_of_what_follows_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        seen: list[int] = []
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

        def breaks() -> None:
            raise RuntimeError("a mistake in one call")

        journal.append(entry(1), breaks)
        journal.append(entry(2), lambda: seen.append(2))
        await _turns()
        assert seen == [2]
        assert told

    run(tmp_path, scene)


def test_after_a_sync_it_says_how_far_the_disk_has_it(tmp_path: Path) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        end = journal.append(entry(1))
        await until(lambda: disk.syncs)
        await asyncio.sleep(0.05)
        journal.append(entry(2))
        await _turns()
        marks = [record.position for record in read(tmp_path) if isinstance(record, Synced)]
        assert marks == [end]

    run(tmp_path, scene)


def test_a_new_segment_begins_with_the_calls_still_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 400)
    open_call = records.encode(Progress("req_1", 5, 6, 1, 1))

    async def scene(journal: Journal, disk: Disk) -> None:
        for number in range(60):
            journal.append(entry(number))
            await asyncio.sleep(0)

    run(tmp_path, scene, still_open=lambda: [open_call])

    segments = sorted(tmp_path.glob("*.seg"))
    assert len(segments) > 3
    for path in segments[1:]:
        begun = [record for _, record in records.read(path.read_bytes(), int(path.stem, 16))]
        # The record that did not fit any more, then the open call once more.
        assert Progress("req_1", 5, 6, 1, 1) in begun[:3]
    assert numbers(read(tmp_path)) == list(range(60))


def test_segments_go_when_everything_in_them_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 200)

    async def scene(journal: Journal, disk: Disk) -> None:
        ends = []
        for number in range(40):
            ends.append(journal.append(entry(number)))
            await asyncio.sleep(0)
        before = len(list(tmp_path.glob("*.seg")))
        journal.recorded(ends[20])
        kept = numbers(read(tmp_path))
        assert kept[-1] == 39
        assert set(range(21, 40)) <= set(kept)
        assert len(list(tmp_path.glob("*.seg"))) < before
        journal.recorded(ends[39])
        assert len(list(tmp_path.glob("*.seg"))) == 1

    run(tmp_path, scene)


def test_too_much_unrecorded_stops_admission_until_it_is_recorded(tmp_path: Path) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        while journal.admitting:
            end = journal.append(entry(1))
            journal.tick()
            assert journal.position < 2_000
        journal.recorded(end)
        assert journal.admitting

    run(tmp_path, scene, bytes_max=1_000)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_what_cannot_be_written_is_refused_until_it_can_be_again(
    tmp_path: Path, error: int
) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        said: list[str] = []
        journal.append(entry(1), lambda: said.append("1 written"))
        await _turns()
        disk.write_error = error
        journal.append(entry(2), lambda: said.append("2 written"), lambda: said.append("2 failed"))
        journal.append(entry(3), lambda: said.append("3 goes on"))
        await _turns()
        assert said == ["1 written", "2 failed", "3 goes on"]
        assert not journal.admitting
        journal.tick()
        await _turns()
        assert not journal.admitting

        disk.write_error = 0
        journal.tick()
        await _turns()
        assert journal.admitting
        journal.append(entry(4), lambda: said.append("4 written"))
        await _turns()
        assert said[-1] == "4 written"
        # The torn tail was cut off: everything there reads back.
        assert numbers(read(tmp_path)) == [1, 4]

    run(tmp_path, scene)


def test_a_full_disk_that_cannot_take_a_new_segment_either_recovers(tmp_path: Path) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        journal.append(entry(1))
        await _turns()
        disk.write_error = disk.open_error = errno.ENOSPC
        for _ in range(3):
            journal.append(entry(2))
            journal.tick()
            await _turns()
        assert not journal.admitting
        disk.write_error = disk.open_error = 0
        journal.tick()
        await _turns()
        assert journal.admitting
        journal.append(entry(3))
        await _turns()
        assert numbers(read(tmp_path)) == [1, 3]

    run(tmp_path, scene)


def test_a_tail_that_cannot_be_cut_stays_torn_and_the_next_segment_is_good(
    tmp_path: Path,
) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        journal.append(entry(1))
        await _turns()
        disk.write_error = disk.truncate_error = errno.EIO
        journal.append(entry(2))
        await _turns()
        disk.write_error = 0
        journal.append(entry(3))
        await _turns()

    run(tmp_path, scene)

    first, second = sorted(tmp_path.glob("*.seg"))
    with pytest.raises(BadRecord):
        list(records.read(first.read_bytes(), 0))
    after = [record for _, record in records.read(second.read_bytes(), int(second.stem, 16))]
    assert numbers(after) == [3]


def test_a_failed_sync_is_never_tried_again_on_the_same_file(tmp_path: Path) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        disk.sync_error = errno.EIO
        journal.append(entry(1))
        await until(lambda: not journal.admitting)
        disk.sync_error = 0
        journal.tick()
        await until(lambda: journal.admitting)
        journal.append(entry(2))
        await asyncio.sleep(0.1)
        assert numbers(read(tmp_path)) == [1, 2]

    disk = run(tmp_path, scene)

    bad = {fd for fd, failed in disk.syncs if failed}
    assert len(bad) == 1
    assert [failed for fd, failed in disk.syncs if fd in bad] == [True]


def test_not_even_when_more_was_written_while_it_failed(tmp_path: Path) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        disk.hold_sync.clear()
        journal.append(entry(1))
        await asyncio.sleep(0.05)  # the syncing thread is in its sync
        journal.append(entry(2))  # this write comes before the news of the failure
        disk.sync_error = errno.EIO
        disk.hold_sync.set()
        time.sleep(0.02)
        disk.sync_error = 0
        await until(lambda: not journal.admitting)
        await asyncio.sleep(0.1)
        journal.tick()
        await until(lambda: journal.admitting)
        marks = [record for record in read(tmp_path) if isinstance(record, Synced)]
        assert all(mark.position == 0 for mark in marks[:1])

    disk = run(tmp_path, scene)

    bad = next(fd for fd, failed in disk.syncs if failed)
    assert [failed for fd, failed in disk.syncs if fd == bad] == [True]


def test_a_failing_sync_at_the_roll_of_a_segment_stops_admission_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 200)

    async def scene(journal: Journal, disk: Disk) -> None:
        for number in range(4):
            journal.append(entry(number))
            await asyncio.sleep(0)
        disk.sync_error = errno.EIO
        for number in range(4, 30):
            journal.append(entry(number))
            await asyncio.sleep(0)
        await until(lambda: not journal.admitting)
        disk.sync_error = 0
        journal.tick()
        await until(lambda: journal.admitting)

    run(tmp_path, scene)

    assert numbers(read(tmp_path)) == list(range(30))


def test_closing_writes_and_syncs_what_is_left(tmp_path: Path) -> None:
    async def scene(journal: Journal, disk: Disk) -> None:
        for number in range(5):
            journal.append(entry(number))

    disk = run(tmp_path, scene)

    assert numbers(read(tmp_path)) == list(range(5))
    assert disk.syncs
    assert not disk.syncs[-1][1]


def test_an_epoch_is_locked_before_anybody_can_know_of_it(tmp_path: Path) -> None:
    import fcntl

    folder, lock = claim_epoch(tmp_path, 0x1A)

    assert folder.name == "000000000000001a"
    other = os.open(folder / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not os.get_inheritable(lock)
    with pytest.raises(FileExistsError):
        claim_epoch(tmp_path, 0x1A)
    os.close(lock)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
