"""Reading back the journal of a worker that died.

Reading begins in the segment that holds the high-water mark; the calls open there are
repeated at its head, so nothing older is needed. It ends at the end of the last segment,
or at the first bytes that are no record. Those are a torn tail, unless a record F beyond
them says that a later position had reached the disk: then what was written has been
damaged, and nobody may guess what it said.

A segment may begin beyond the end of the one before it: the writer could not write what
is missing, told nobody that it had, and went on in a new file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import structlog

from aipool.doors import records
from aipool.doors.records import (
    HEAD_BYTES,
    SEGMENT_SUFFIX,
    BadRecord,
    Record,
    Synced,
)

log = structlog.get_logger()

# How the payload of every F record begins: an array of two, the text "F".
_SYNCED_MARK = b"\x92\xa1F"


class Corrupt(Exception):
    """A part of the journal that had reached the disk cannot be read."""


def read(directory: Path, high_water: int) -> Iterator[tuple[int, Record]]:
    """The records from the segment of `high_water` on, each with the position of its end.

    Raises Corrupt where the journal was damaged.
    """
    segments = _segments(directory)
    later = [first for first, _ in segments if first > high_water]
    begin = len(segments) - len(later) - 1
    position: int | None = None
    for index in range(max(begin, 0), len(segments)):
        first, path = segments[index]
        if position is not None and first != position:
            log.warning("journal_has_a_hole", directory=directory.name, begin=position, end=first)
        data = path.read_bytes()
        position = first
        try:
            for end, record in records.read(data, first):
                position = end
                yield end, record
        except BadRecord as bad:
            rest = [(bad.position, data[bad.position - first :])]
            rest += [(start, later.read_bytes()) for start, later in segments[index + 1 :]]
            covered = max((_synced_beyond(*part) for part in rest), default=0)
            if covered > bad.position:
                raise Corrupt(f"{bad}, but {covered} had reached the disk") from bad
            log.warning("journal_has_a_torn_tail", directory=directory.name, reason=str(bad))
            return


def _segments(directory: Path) -> list[tuple[int, Path]]:
    return sorted(
        (int(path.name.removesuffix(SEGMENT_SUFFIX), 16), path)
        for path in directory.iterdir()
        if path.name.endswith(SEGMENT_SUFFIX)
    )


def _synced_beyond(begin: int, data: bytes) -> int:
    """The highest position that a whole F record in these bytes speaks of, 0 without one.

    The bytes need not begin with a record: F records are found by how they look, and
    believed for their CRC, which depends on where they stand.
    """
    highest = 0
    at = data.find(_SYNCED_MARK)
    while at >= 0:
        if at >= HEAD_BYTES:
            highest = max(highest, _synced_at(data, at - HEAD_BYTES, begin))
        at = data.find(_SYNCED_MARK, at + 1)
    return highest


def _synced_at(data: bytes, offset: int, begin: int) -> int:
    length = int.from_bytes(data[offset : offset + 4], "little")
    try:
        for _, record in records.read(
            data[offset : offset + HEAD_BYTES + min(length, 64)], begin + offset
        ):
            return record.position if isinstance(record, Synced) else 0
    except BadRecord:
        pass
    return 0
