"""Reading back the journal of a worker that died.

Reading begins in the segment that holds the high-water mark: the calls open there are
repeated at its head, so nothing older is needed, once that head is on the disk; until then
it begins in an older one, which the writer has kept. It ends at the end of the last segment,
or at the first bytes that are no record. Those are a torn tail, unless a record F beyond
them says that a later position had reached the disk: then what was written has been
damaged, and nobody may guess what it said. The same is true of a segment that is missing.

What a record L speaks of could not be written or not be synced: the writer knew, told
nobody that it was safe, and went on in a new file. There reading goes on too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from aipool.doors import records
from aipool.doors.records import (
    HEAD_BYTES,
    SEGMENT_SUFFIX,
    BadRecord,
    Lost,
    Record,
    Synced,
)

log = structlog.get_logger()

# How the payloads of F and L begin: an array of two or three, a text of one character.
_MARKS = (b"\x92\xa1F", b"\x93\xa1L")
_MARKED_BYTES_MAX = 64


class Corrupt(Exception):
    """A part of the journal that had reached the disk cannot be read."""


def read(directory: Path, high_water: int) -> Iterator[tuple[int, Record]]:
    """The records from the segment of `high_water` on, each with the position of its end.

    Raises Corrupt where the journal was damaged.
    """
    segments = _needed(_segments(directory), high_water)
    position = min(segments[0][0], high_water) if segments else 0
    for index, (first, path) in enumerate(segments):
        if first > position:
            said = _Said.by(segments[index:])
            # A part that was recorded may be gone though an older one has come back: names
            # are removed from the disk in no order.
            if first > high_water and not said.lost(position):
                said.refuse(position, f"{first - position} bytes are missing at {position}")
            log.warning("journal_has_a_hole", directory=directory.name, begin=position, end=first)
        data = path.read_bytes()
        position = first
        try:
            for end, record in records.read(data, first):
                position = end
                yield end, record
        except BadRecord as bad:
            said = _Said.by(segments[index + 1 :])
            said.add(data[bad.position - first :], bad.position)
            # What the next segment says from here on was said anew.
            told_again = segments[index + 1 : index + 2] and segments[index + 1][0] == position
            if not told_again and not said.lost(bad.position):
                said.refuse(bad.position, str(bad))
                log.warning("journal_has_a_torn_tail", directory=directory.name, reason=str(bad))
                return
            log.warning("journal_has_a_lost_part", directory=directory.name, reason=str(bad))


def _needed(segments: list[tuple[int, Path]], high_water: int) -> list[tuple[int, Path]]:
    """From the segment of the mark on, or from the nearest before it whose head is safe."""
    later = sum(first > high_water for first, _ in segments)
    begin = max(len(segments) - later - 1, 0)
    said = _Said.by(segments[begin:])
    while begin > 0 and not said.safe(segments[begin][0]):
        begin -= 1
        said.add(segments[begin][1].read_bytes(), segments[begin][0])
    return segments[begin:]


def _segments(directory: Path) -> list[tuple[int, Path]]:
    return sorted(
        (int(path.name.removesuffix(SEGMENT_SUFFIX), 16), path)
        for path in directory.iterdir()
        if path.name.endswith(SEGMENT_SUFFIX)
    )


@dataclass(slots=True)
class _Said:
    """What F and L records say, wherever they stand among bytes that need not be records.

    synced: the highest position of any F.
    """

    synced: int
    losses: list[Lost]

    @classmethod
    def by(cls, segments: Iterable[tuple[int, Path]]) -> _Said:
        """What these segments say."""
        said = cls(0, [])
        for first, path in segments:
            said.add(path.read_bytes(), first)
        return said

    def add(self, data: bytes, begin: int) -> None:
        """Hear these bytes too. Records are found by how they look, and believed for their
        CRC, which depends on where they stand."""
        for mark in _MARKS:
            at = data.find(mark, HEAD_BYTES)
            while at >= 0:
                match _record_at(data, at - HEAD_BYTES, begin):
                    case Synced(position):
                        self.synced = max(self.synced, position)
                    case Lost() as lost:
                        self.losses.append(lost)
                at = data.find(mark, at + 1)

    def lost(self, position: int) -> bool:
        """Was what stood here never safe?"""
        return any(lost.start <= position < lost.end for lost in self.losses)

    def safe(self, first: int) -> bool:
        """Had the head of the segment that begins here reached the disk? An F that speaks
        of a part of what is written at once speaks of all of it."""
        return self.synced > first and not self.lost(first)

    def refuse(self, position: int, reason: str) -> None:
        """Raises Corrupt when what stood here was on the disk."""
        if self.synced > position:
            raise Corrupt(f"{reason}, but {self.synced} had reached the disk")


def _record_at(data: bytes, offset: int, begin: int) -> Record | None:
    length = int.from_bytes(data[offset : offset + 4], "little")
    piece = data[offset : offset + HEAD_BYTES + min(length, _MARKED_BYTES_MAX)]
    try:
        for _, record in records.read(piece, begin + offset):
            return record
    except BadRecord:
        pass
    return None
