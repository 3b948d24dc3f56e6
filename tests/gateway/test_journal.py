"""The journal on real files, and on a disk that fails when it is told to."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aipool.books.journal import read
from aipool.doors import records
from aipool.doors.records import HEAD_BYTES, Lost, Progress, Synced
from aipool.gateway import disk as disk_module
from aipool.gateway import journal as module
from aipool.gateway.journal import claim_epoch
from aipool.kit.ballast import Ballast
from tests.gateway.faulty_disk import Rig, entry


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "epoch")
    yield made
    made.close()


# --- writing --------------------------------------------------------------------------------------


def test_what_is_written_is_read_back_at_its_positions(rig: Rig) -> None:
    wanted = [entry(n, "x" * n) for n in range(50)]

    ends = []
    for record in wanted:
        ends.append(rig.add(record))
        rig.turn()

    assert rig.read() == list(zip(ends, wanted, strict=True))
    assert rig.segments == ["0000000000000000.seg"]


def test_all_of_one_turn_go_out_in_one_write_and_then_what_follows_in_order(rig: Rig) -> None:
    for name in "abc":
        rig.add(entry(1), name)
    rig.journal.append(records.encode(entry(2)))
    assert rig.told == []
    assert rig.disk.writes == []

    rig.turn()

    assert len(rig.disk.writes) == 1
    assert rig.told == ["a written", "b written", "c written"]
    assert len(rig.read()) == 4


def test_what_follows_may_append_again(rig: Rig) -> None:
    def again() -> None:
        rig.add(entry(2), "second")

    rig.journal.append(records.encode(entry(1)), again)

    rig.turn()
    rig.turn()

    assert rig.told == ["second written"]
    assert [record for _, record in rig.read()] == [entry(1), entry(2)]


def test_a_write_that_takes_less_is_continued(rig: Rig) -> None:
    rig.disk.piece = 3

    end = rig.add(entry(1, "some text"), "a")
    rig.turn()

    assert rig.read() == [(end, entry(1, "some text"))]
    assert rig.told == ["a written"]


def test_an_f_record_says_how_far_the_disk_has_it(rig: Rig) -> None:
    first = rig.add(entry(1))
    rig.turn()
    rig.until(lambda: rig.journal._synced >= first)

    rig.add(entry(2))
    rig.turn()

    kinds = [record for _, record in read(rig.folder, 0)]
    assert kinds == [entry(1), Synced(first), entry(2)]


# --- segments -------------------------------------------------------------------------------------


def test_a_new_segment_repeats_the_calls_that_are_open(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 200)
    held, progress = Progress("req_1", 1, 0, 0, 0), Progress("req_1", 1, 64, 1, 1)
    rig.open_calls = [records.encode(held), records.encode(progress)]

    while len(rig.segments) == 1:
        rig.add(entry(1, "x" * 20))
        rig.turn()

    assert rig.newest() == [entry(1, "x" * 20), held, progress]
    positions = [end for end, _ in read(rig.folder, 0)]
    assert positions == sorted(set(positions)), "without a hole, and each once"
    assert positions[-1] == rig.journal.position


def test_a_segment_goes_when_all_of_it_is_recorded_and_the_last_never(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 100)
    while len(rig.segments) < 4:
        rig.add(entry(1, "x" * 30))
        rig.turn()
    firsts = [int(name.removesuffix(".seg"), 16) for name in rig.segments]
    rig.sync()

    rig.journal.recorded(firsts[1] - 1)
    assert len(rig.segments) == 4
    rig.journal.recorded(firsts[1])
    assert len(rig.segments) == 3
    rig.journal.recorded(rig.journal.position)
    assert len(rig.segments) == 1

    before = len(rig.disk.closed)
    rig.add(entry(9))
    rig.turn()
    rig.until(lambda: len(rig.disk.closed) > before or len(rig.disk.closed) == 3)
    assert [record for _, record in rig.read(firsts[3])][-1] == entry(9)


def test_a_segment_stays_until_the_next_one_is_on_the_disk_with_the_calls_that_are_open(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could take both the new file and the only word of those calls."""
    monkeypatch.setattr(module, "SEGMENT_BYTES", 10)
    rig.open_calls = [records.encode(Progress("req_1", 1, 0, 0, 0))]
    go = threading.Event()
    rig.add(entry(1))
    rig.turn()
    rig.sync()

    def wait() -> None:
        go.wait(5)

    rig.disk.before_sync = wait
    rig.add(entry(2))
    rig.turn()
    assert len(rig.segments) == 2

    rig.journal.recorded(rig.journal.position)
    assert len(rig.segments) == 2

    go.set()
    rig.until(lambda: len(rig.segments) == 1)


def test_a_new_file_is_safe_only_once_its_folder_is(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 10)
    rig.add(entry(1))
    rig.turn()
    rig.sync()
    assert rig.disk.folders == [rig.folder, rig.folder.parent, rig.folder.parent.parent]
    rig.add(entry(2))
    rig.turn()
    rig.disk.folder_fails = True
    rig.until(lambda: not rig.admits())
    begin = int(rig.segments[1].removesuffix(".seg"), 16)
    assert rig.journal._synced <= begin

    rig.disk.folder_fails = False
    rig.journal.tick()
    rig.turn()
    rig.until(rig.admits)
    assert rig.read()[-1][1] == entry(2)
    losses = [one for _, one in read(rig.folder, 0) if isinstance(one, Lost)]
    assert [(one.start <= begin, one.end > begin) for one in losses] == [(True, True)]


def test_too_much_unrecorded_stops_admission_until_it_is_recorded(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "epoch", bytes_max=100)
    try:
        assert rig.admits()
        while rig.journal.position < 100:
            rig.add(entry(1))
        rig.turn()
        rig.journal.tick()
        assert not rig.admits()

        rig.journal.recorded(rig.journal.position)
        assert rig.admits()
    finally:
        rig.close()


# --- a full disk ----------------------------------------------------------------------------------


def test_on_a_full_disk_calls_are_told_and_admission_stops_until_there_is_room(rig: Rig) -> None:
    rig.add(entry(1), "a")
    rig.turn()
    rig.disk.room = 5
    rig.add(entry(2), "b")
    went_on: list[str] = []
    rig.journal.append(records.encode(entry(3)), lambda: went_on.append("settled"))

    rig.turn()

    assert rig.told == ["a written", "b failed"]
    assert went_on == ["settled"], "a settlement goes on: it is shipped from memory"
    assert not rig.admits()
    size = sum(path.stat().st_size for path in rig.folder.glob("*.seg"))
    assert [record for _, record in rig.read()] == [entry(1)]
    assert size == rig.read()[0][0], "the torn tail was cut off"

    rig.journal.tick()
    rig.turn()
    assert not rig.admits(), "still no room"
    rig.disk.room = None
    rig.journal.tick()
    rig.turn()
    assert rig.admits()

    end = rig.add(entry(4), "d")
    rig.turn()
    assert rig.told[-1] == "d written"
    assert rig.read()[-1] == (end, entry(4)), "a reader goes on beyond the hole"


def test_with_room_kept_for_it_what_has_begun_is_written_and_nothing_new_is_admitted(
    tmp_path: Path,
) -> None:
    kept_room = Ballast(tmp_path / "ballast", 4096)
    assert kept_room.make()
    rig = Rig(tmp_path / "epoch", ballast=kept_room)
    try:
        rig.add(entry(1), "a")
        rig.turn()
        rig.disk.room = 5
        rig.disk.kept_room = kept_room
        rig.add(entry(2), "b")
        rig.turn()
        rig.add(entry(3), "c")
        rig.turn()

        assert rig.told == ["a written", "b written", "c written"]
        assert [record for _, record in rig.read()] == [entry(1), entry(2), entry(3)]
        assert rig.events == ["journal_stopped"]
        rig.journal.tick()
        assert not rig.admits()

        assert kept_room.make()
        rig.journal.tick()
        assert rig.admits()
        assert rig.events == ["journal_stopped", "journal_goes_on"]
    finally:
        rig.close()


def test_calls_that_are_open_survive_a_full_disk(rig: Rig) -> None:
    held = Progress("req_1", 1, 0, 0, 0)
    rig.open_calls = [records.encode(held)]
    rig.add(held)
    rig.turn()
    rig.disk.room = 0
    rig.add(entry(2))
    rig.turn()
    rig.disk.room = None
    rig.add(entry(3))
    rig.turn()

    assert rig.newest() == [entry(3), held]


def test_a_segment_that_cannot_be_begun_is_a_full_disk(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 10)
    rig.add(entry(1), "a")
    rig.turn()
    rig.disk.opens = False
    rig.add(entry(2), "b")
    rig.turn()
    assert (rig.told[-1], rig.admits()) == ("b failed", False)

    rig.disk.opens = True
    rig.journal.tick()
    rig.turn()
    rig.add(entry(3), "c")
    rig.turn()

    assert (rig.told[-1], rig.admits()) == ("c written", True)
    assert [record for _, record in rig.read()] == [entry(1), entry(3)]


def test_a_tail_that_cannot_be_cut_either_does_not_hide_what_follows_from_the_next_segment(
    rig: Rig,
) -> None:
    rig.add(entry(1))
    rig.turn()
    rig.disk.room, rig.disk.cuts = HEAD_BYTES + 1, False
    rig.add(entry(2), "b")
    rig.turn()
    rig.disk.room = None
    rig.add(entry(3), "c")
    rig.turn()

    assert rig.told == [" written", "b failed", "c written"]
    assert rig.newest() == [entry(3)]
    assert [record for _, record in rig.read()] == [entry(1), entry(3)]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(1, 3), st.none() | st.integers(0, 120)), max_size=20))
def test_whatever_fails_what_was_called_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[int, int | None]],
) -> None:
    rig = Rig(tmp_path_factory.mktemp("journal") / "epoch")
    monkeypatch.setattr(module, "SEGMENT_BYTES", 150)
    numbers = iter(range(1_000))
    ends: dict[int, int] = {}
    try:
        for count, room in steps:
            rig.disk.room = room
            for _ in range(count):
                number = next(numbers)
                ends[number] = rig.add(entry(number, "x" * 10), str(number))
            rig.turn()
        written = [int(told.split()[0]) for told in rig.told if told.endswith("written")]
        found = rig.read()
        assert len(rig.told) == len(ends)
        assert [(ends[n], entry(n, "x" * 10)) for n in written] == found
    finally:
        rig.disk.room = None
        rig.close()


# --- a disk that does not sync --------------------------------------------------------------------


def test_after_a_failed_sync_a_new_segment_must_be_synced_before_calls_are_admitted(
    rig: Rig,
) -> None:
    rig.disk.syncs = False
    rig.add(entry(1), "a")
    rig.turn()
    rig.until(lambda: not rig.admits())
    (bad,) = set(rig.disk.sync_failed)
    rig.disk.syncs = True

    assert rig.told == ["a written"]
    rig.journal.tick()
    rig.turn()
    rig.until(rig.admits)

    assert len(rig.segments) == 2
    assert bad not in rig.disk.synced
    end = rig.add(entry(2))
    rig.turn()
    assert rig.read()[-1] == (end, entry(2))


def test_a_descriptor_whose_sync_failed_is_never_synced_again(rig: Rig) -> None:
    """Even if more was written to it while its sync was failing."""
    writing = threading.Event()
    failing = threading.Event()

    def wait_for_a_write() -> None:
        if not failing.is_set():
            failing.set()
            writing.wait(5)

    rig.disk.syncs = False
    rig.disk.before_sync = wait_for_a_write
    rig.add(entry(1))
    rig.turn()
    assert failing.wait(5)
    rig.add(entry(2))
    rig.turn()
    writing.set()
    rig.until(lambda: bool(rig.disk.sync_failed))
    rig.disk.syncs = True
    (bad,) = rig.disk.sync_failed
    rig.until(lambda: not rig.admits())
    time.sleep(3 * disk_module.SYNC_INTERVAL_SECONDS)
    rig.turn()

    assert bad not in rig.disk.synced
    assert not rig.admits(), "nothing good has been heard of the disk yet"
    assert not [r for _, r in read(rig.folder, 0) if isinstance(r, Synced)]

    rig.journal.tick()
    rig.turn()
    rig.until(rig.admits)
    assert bad not in rig.disk.synced


def test_a_sync_that_fails_between_two_segments_is_not_tried_again_either(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 10)
    end = rig.add(entry(1))
    rig.turn()
    rig.until(lambda: rig.journal._synced >= end)
    first = rig.journal._segments[0].fd
    synced_before = rig.disk.synced.count(first)
    rig.disk.syncs = False

    rig.add(entry(2), "b")
    rig.turn()
    assert rig.told[-1] == "b written", "the segment that follows is a new file"
    rig.until(lambda: not rig.admits())

    rig.disk.syncs = True
    for _ in range(3):
        rig.journal.tick()
        rig.turn()
    rig.until(rig.admits)
    assert rig.disk.synced.count(first) == synced_before
    assert rig.disk.sync_failed.count(first) == 1
    assert [record for _, record in rig.read()] == [entry(1), entry(2)]


# --- the end --------------------------------------------------------------------------------------


def test_closing_writes_and_syncs_what_is_left(rig: Rig) -> None:
    for number in range(3):
        rig.add(entry(number), str(number))
        rig.turn()
        rig.until(lambda: bool(rig.disk.synced))
    end = rig.add(entry(7), "last")
    synced_bytes: list[int] = []
    rig.disk.before_sync = lambda: synced_bytes.append(
        sum(path.stat().st_size for path in rig.folder.glob("*.seg"))
    )

    rig.journal.close()

    assert rig.told[-1] == "last written"
    assert (end, entry(7)) in rig.read()
    assert synced_bytes[-1] == rig.journal.position
    assert not rig.syncing


def test_an_epoch_is_locked_before_anybody_knows_of_it(tmp_path: Path) -> None:
    folder, lock = claim_epoch(tmp_path / "epochs", 0xABC)
    try:
        assert folder.name == "0000000000000abc"
        assert folder.stat().st_mode & 0o077 == 0
        with (folder / records.LOCK_NAME).open("rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(FileExistsError):
            claim_epoch(tmp_path / "epochs", 0xABC)
    finally:
        os.close(lock)
