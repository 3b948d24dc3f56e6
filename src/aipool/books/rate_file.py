"""What rates have counted in the last minute, for the next ledger process.

Every change is appended, unsynced, before it is answered: the kernel keeps it whoever dies,
so that a restart of the ledger process, or of everything, allows no second burst. Two files
take turns of 64 s, so what leaves the log leaves the disk too.

Marks are seconds since the machine started, and each file is named after that start
(boot id). After a power cut the files of the last start say nothing reliable: then nothing is
granted before the machine has run for as long as a permit counts. A machine whose files are
gone has no past.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import structlog

log = structlog.get_logger()

#: (rate, mark, when it leaves, amount); an amount below zero is taken back under its mark.
Change = tuple[str, float, float, int]

#: Longer than anything is counted.
TURN_SECONDS = 64.0

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LENGTH_BYTES = 4
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[list[Change]] = msgspec.msgpack.Decoder(list[Change])


class RateFile:
    """The files in `folder`, of this start of the machine.

    now: seconds since it started.  blind_until: before this moment nobody knows what was
    granted in the last minute; 0 = it is known.
    """

    def __init__(self, folder: Path, now: float, boot_id: str | None = None) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._boot = boot_id or _boot_id()
        others = [path for path in folder.iterdir() if path.stem.partition("_")[0] != self._boot]
        self.blind_until = TURN_SECONDS if others and now < TURN_SECONDS else 0.0
        if not self.blind_until:
            for path in others:
                path.unlink()
        self._file = -1
        self._began = 0.0
        self._failed = False

    def read(self, now: float) -> Iterator[Change]:
        """All changes that were kept, in their order."""
        for path in self._turns():
            try:
                yield from _changes(path.read_bytes())
            except OSError as error:
                self.blind_until = now + TURN_SECONDS
                log.error("rates_not_read", path=str(path), reason=str(error))  # noqa: TRY400

    def append(self, changes: list[Change], now: float) -> None:
        """Keep these. A disk that is full costs the memory of a restart, and no call."""
        try:
            if self._file < 0 or now - self._began >= TURN_SECONDS:
                self._turn(now)
            payload = _encoder.encode(changes)
            os.write(self._file, len(payload).to_bytes(_LENGTH_BYTES, "little") + payload)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error("rates_not_kept", reason=str(error))  # noqa: TRY400
            self._failed = True

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _turns(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._boot}_*.rates"))

    def _turn(self, now: float) -> None:
        """Begin a new file. One that ended a turn ago holds nothing that still counts."""
        self.close()
        for path, following in pairwise(self._turns()):
            if int(following.stem.partition("_")[2]) / 1e6 <= now - TURN_SECONDS:
                path.unlink()
        name = f"{self._boot}_{int(now * 1e6):020}.rates"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._folder / name, flags, 0o600)
        self._began = now


def _changes(data: bytes) -> Iterator[Change]:
    """The whole batches of a file; what follows a torn one was never answered."""
    at = 0
    while at + _LENGTH_BYTES <= len(data):
        end = at + _LENGTH_BYTES + int.from_bytes(data[at : at + _LENGTH_BYTES], "little")
        if end > len(data):
            return
        try:
            yield from _decoder.decode(data[at + _LENGTH_BYTES : end])
        except msgspec.MsgspecError:
            return
        at = end


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()
