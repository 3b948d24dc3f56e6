"""What happens to the work of a worker that died.

Its lock can be taken: that is how we know (books.epochs). Then, from its journal:

    1  entries that were not shipped are applied, as if it had shipped them;
    2  each call that was still open is settled at its last progress, never above its hold,
       or is void when it made none; its row says `recovered`;
    3  its leases return and the epoch is closed, in the transaction of the last of 1 and 2;
    4  its directory is deleted.

A crash in between is no harm: whatever was committed is skipped the second time, because
the mark has moved and because a call is recorded once. The books may even be ahead of the
journal (a power cut takes the journal's last moments, not the books'): a call that is
open in the journal but recorded in the books stays as it is recorded.

A damaged journal is not interpreted, nor is one that says what cannot be written: the
epoch is frozen with its leases, and a person has to look. A journal that is missing as a
whole leaves nothing to interpret: the epoch is closed, its leases return, and that is an
alarm too.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import structlog

from aipool.books import journal
from aipool.books.epochs import Epochs
from aipool.books.record import Batch, record
from aipool.books.requests import Append
from aipool.doors.frames import Recorded
from aipool.doors.outcome import Outcome, UsageSource
from aipool.doors.records import Entry, Hold, Progress, Returned
from aipool.kit.clock import now_ms, now_seconds
from aipool.kit.db import PASSING_ERRORS, Database, DatabaseBusy
from aipool.ledger import service as ledger
from aipool.ledger.types import EpochState, StreamRow
from aipool.rating.rate import rate
from aipool.rating.types import NO_USAGE, Usage

log = structlog.get_logger()

#: Entries of one transaction: other writers, and with them the grants of live workers,
#: wait for about a fifth of a second at most.
CHUNK_ENTRIES = 2_000
#: What the client saw of a call that its worker's death cut off: our failure.
LOST_STATUS = 500
LOST_ERROR = "worker_lost"
#: A directory that nobody registered is left alone for as long as a worker may take to start.
UNREGISTERED_SECONDS = 60

_BUSY_PAUSE_SECONDS = 0.02

#: What may pass by itself, so that trying again is right: a full disk, a locked database.
PASSING: tuple[type[Exception], ...] = (OSError, *PASSING_ERRORS)


class Ending(StrEnum):
    """How an epoch ended."""

    RECOVERED = "recovered"
    FROZEN = "frozen"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Ended:
    """An epoch that is over. calls: those settled here.  batches: for the metrics."""

    epoch: int
    how: Ending
    calls: int = 0
    batches: tuple[Batch, ...] = ()


class _MovedOn(Exception):
    """Something of the epoch was recorded after it was looked at; look again."""


_PUT_OFF: tuple[type[Exception], ...] = (_MovedOn, *PASSING)


class Recovery:
    """Recovers epochs. Works in a thread of its own: it reads files and may take seconds."""

    def __init__(self, database: Database, epochs: Epochs) -> None:
        self._database = database
        self._epochs = epochs
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Lets a sweep end before its next transaction."""
        self._stopping.set()

    def sweep(self) -> list[Ended]:
        """Recovers every open epoch whose worker is dead."""
        with self._database.read() as connection:
            streams = ledger.epochs_in(connection, EpochState.OPEN)
        ended = []
        for stream in streams:
            if self._stopping.is_set():
                break
            try:
                one = self._recover(stream)
            except _MovedOn:
                continue
            if one is not None:
                ended.append(one)
        return ended

    def tidy(self) -> None:
        """Deletes the directories of epochs that are closed or were never registered."""
        present = list(self._epochs.present())
        with self._database.read() as connection:
            streams = ledger.find_epochs(connection, present)
        for epoch in present:
            stream = streams.get(epoch)
            if stream is None:
                if self._epochs.age_seconds(epoch, now_seconds()) < UNREGISTERED_SECONDS:
                    continue
            elif stream.state is not EpochState.CLOSED:
                continue
            try:
                lock = self._epochs.take(epoch)
            except FileNotFoundError:
                self._epochs.remove(epoch)
                continue
            if lock is not None:
                self._epochs.remove(epoch)
                os.close(lock)

    def _recover(self, stream: StreamRow) -> Ended | None:
        try:
            lock = self._epochs.take(stream.epoch)
        except FileNotFoundError:
            log.error("journal_missing", epoch=f"{stream.epoch:016x}", pid=stream.pid)  # noqa: TRY400
            mark = stream.high_water
            self._write(stream.epoch, [], mark, mark + 1, EpochState.CLOSED)
            self._epochs.remove(stream.epoch)
            return Ended(stream.epoch, Ending.MISSING)
        if lock is None:
            return None
        try:
            started = time.monotonic()
            try:
                ended = self._read_and_record(stream)
            except _PUT_OFF:
                raise
            except Exception:
                log.exception("journal_not_writable_to_the_books", epoch=f"{stream.epoch:016x}")
                ended = self._freeze(stream.epoch)
            clean = ended.how is Ending.RECOVERED and not ended.calls
            tell = log.info if clean else log.warning
            tell(
                "epoch_over",
                epoch=f"{stream.epoch:016x}",
                pid=stream.pid,
                how=ended.how.value,
                calls=ended.calls,
                seconds=round(time.monotonic() - started, 3),
            )
            if ended.how is Ending.RECOVERED:
                self._epochs.remove(stream.epoch)
            return ended
        finally:
            os.close(lock)

    def _read_and_record(self, stream: StreamRow) -> Ended:
        epoch, mark = stream.epoch, stream.high_water
        reading = _Reading(self._epochs, stream)
        batches: list[Batch] = []
        chunk: list[Entry] = []
        try:
            for entry in reading.entries():
                if len(chunk) == CHUNK_ENTRIES:
                    end = max(reading.chunk_end, mark + 1)
                    batches.append(self._write(epoch, chunk, mark, end))
                    chunk, mark = [], end
                chunk.append(entry)
                reading.chunk_end = reading.position
        except journal.Corrupt as corrupt:
            log.critical("journal_corrupt", epoch=f"{epoch:016x}", reason=str(corrupt))
            how, state = Ending.FROZEN, EpochState.FROZEN
        else:
            how, state = Ending.RECOVERED, EpochState.CLOSED
        batches.append(self._write(epoch, chunk, mark, max(reading.chunk_end, mark + 1), state))
        return Ended(epoch, how, reading.settled, tuple(batches))

    def _freeze(self, epoch: int) -> Ended:
        with self._database.write() as tx:
            ledger.freeze_epoch(tx, epoch, now_ms())
        return Ended(epoch, Ending.FROZEN)

    def _write(
        self, epoch: int, entries: list[Entry], start: int, end: int, then: EpochState | None = None
    ) -> Batch:
        """Applies entries and, as the last write of the transaction, ends the epoch."""
        while True:
            try:
                with self._database.write() as tx:
                    batch = record(
                        tx,
                        [Append(epoch, start, end, tuple(entries))],
                        at_ms=now_ms(),
                        slice_max_nano=0,  # nothing is lent here
                        day=0,
                        careful=True,
                    )
                    if batch.answers != (Recorded(end),):
                        raise _MovedOn(batch.answers)
                    if then is EpochState.CLOSED:
                        ledger.close_epoch(tx, epoch, now_ms())
                    elif then is EpochState.FROZEN:
                        ledger.freeze_epoch(tx, epoch, now_ms())
                    return batch
            except DatabaseBusy:
                if self._stopping.wait(_BUSY_PAUSE_SECONDS):
                    raise


class _Reading:
    """The entries that one journal leaves to be written.

    position: of the last entry given.  chunk_end: of the last entry taken up by the
    caller.  settled: calls settled because they were open.
    """

    def __init__(self, epochs: Epochs, stream: StreamRow) -> None:
        self.position = stream.high_water
        self.chunk_end = stream.high_water
        self.settled = 0
        self._directory = epochs.directory(stream.epoch)
        self._high_water = stream.high_water

    def entries(self) -> Iterator[Entry]:
        """First what was not shipped, in order, then the calls that were open."""
        holds: dict[str, Hold] = {}
        progress: dict[str, Progress] = {}
        for end, item in journal.read(self._directory, self._high_water):
            match item:
                case Hold():
                    holds[item.rid] = item
                case Progress():
                    progress[item.rid] = item
                case Outcome() | Returned():
                    if isinstance(item, Outcome):
                        holds.pop(item.rid, None)
                        progress.pop(item.rid, None)
                    if end > self._high_water:
                        self.position = end
                        yield item
        self.settled = len(holds)
        for rid, hold in holds.items():
            yield _settled(hold, progress.get(rid))


def _settled(hold: Hold, progress: Progress | None) -> Outcome:
    """An open call, settled at its last progress; void without any."""
    usage, source, charge = NO_USAGE, UsageSource.NONE, 0
    if progress is not None:
        usage = Usage(progress.input_tokens, 0, progress.output_tokens, 0)
        source = UsageSource.COUNTED
        charge = min(rate(usage, hold.price, hold.multiplier_ppm), hold.hold_nano)
    return Outcome(
        rid=hold.rid,
        at_ms=hold.at_ms,
        duration_ms=0,
        first_token_ms=-1,
        user_id=hold.user_id,
        token_id=hold.token_id,
        group_id=hold.group_id,
        model=hold.model,
        endpoint=hold.endpoint,
        stream=hold.stream,
        status=LOST_STATUS,
        error=LOST_ERROR,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        usage_source=source,
        price_id=hold.price.id,
        multiplier_ppm=hold.multiplier_ppm,
        charge_nano=charge,
        hold_nano=hold.hold_nano,
        budgets=hold.budgets,
        cost_nano=0,
        vendor_id=progress.vendor_id if progress else 0,
        key_id=progress.key_id if progress else 0,
        upstream_model="",
        upstream_request_id="",
        attempts=(),
        ip=hold.ip,
        user_agent="",
        recovered=True,
        origin=hold.origin,
    )
