"""DOOR up: what workers ask and ship, written as one transaction.

`record` takes a batch of requests in the order they came, from any number of workers,
and answers each. Everything a call changes is written together: its transfers, the
wallet, the leases, the token's use, the call row, the hourly sums, and the high-water
mark of its epoch; so after a crash it is either all there or will be shipped again.

    Append  end <= high water     recorded long ago: say so, change nothing
            start = high water    apply, the mark moves to `end`
            otherwise             refuse: something is missing or overlaps
    Borrow  the last number       the stored answer, as it was
            a newer number        decide, store the answer
            an older number       refuse
    any     epoch not open        Fenced

That a call is recorded once does not rest on the mark alone: its rid is unique among the
call rows, and `usage:<rid>` among the transfers. A batch that meets one of them fails and
is done again with care: what is there is looked up first and left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from aipool.books.requests import Answer, Append, Borrow, Misplaced, Open, Request
from aipool.calls import service as call_log
from aipool.calls.types import CLIENT_GONE, HOUR_MS, CallRow, KeyHour
from aipool.doors.frames import Fenced, Grant, Granted, Recorded, Welcome
from aipool.doors.outcome import Outcome
from aipool.doors.records import Entry
from aipool.kit.db import Transaction
from aipool.ledger import service as ledger
from aipool.ledger.rules import counts_requests
from aipool.ledger.types import (
    Command,
    EpochState,
    GiveBack,
    Lend,
    LendRule,
    Lent,
    Settle,
    Settled,
    StreamRow,
)

_encode_json = msgspec.json.Encoder().encode
_encode_reply = msgspec.msgpack.Encoder().encode
_decode_reply = msgspec.msgpack.Decoder(Granted).decode


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch did.  answers: one a request, in order; the rest is for the metrics."""

    answers: tuple[Answer, ...]
    calls: int
    grants: int
    written_off_nano: int


def record(
    tx: Transaction,
    requests: Sequence[Request],
    *,
    at_ms: int,
    slice_max_nano: int,
    day: int,
    careful: bool = False,
) -> Batch:
    """Writes a batch through `tx`; its answers may be sent once `tx` is committed.

    day: the UTC day it is for the windows of budgets.
    careful: look up which calls are recorded already and leave those alone, and write
    nothing that a database cannot keep.
    """
    epochs = {request.epoch for request in requests}
    plan = _Plan(tx, at_ms, slice_max_nano, day, epochs)
    if careful:
        plan.leave_alone(requests)
    slots = [plan.add(request) for request in requests]
    answers = ledger.apply(tx, plan.commands)
    rows = [_call_row(call, _FREE) for call in plan.free_calls]
    lent: dict[int, Granted] = {}
    written_off = 0
    for index, (command, answer) in enumerate(zip(plan.commands, answers, strict=True)):
        if isinstance(answer, Settled) and isinstance(command, Settle):
            rows.append(_call_row(plan.charged_calls[index], answer))
            written_off += answer.written_off_nano
        elif isinstance(answer, Lent):
            lent[index] = _granted(plan.numbers[index], answer)
    if careful:
        rows = [_without_nul(row) for row in rows]
    keys = key_hours([*plan.free_calls, *plan.charged_calls.values()])
    if careful:
        keys = [one._replace(last_error=_clean(one.last_error)) for one in keys]
    call_log.record(tx, rows, keys)
    ledger.advance_epochs(tx, plan.marks)
    ledger.keep_replies(
        tx,
        [
            (lent[index].number, _encode_reply(lent[index]), epoch)
            for epoch, index in plan.lends.items()
        ],
    )
    return Batch(
        tuple([lent[slot] if isinstance(slot, int) else slot for slot in slots]),
        len(rows),
        len(lent),
        written_off,
    )


_FREE = Settled(0, 0)


class _Plan:
    """The commands of a batch, and where the answer of each request comes from.

    free_calls: to be written without a command.  charged_calls, numbers: by the index of
    their command.  marks, lends: the new high-water mark, and the index of the newest
    Lend, by epoch.
    """

    def __init__(
        self, tx: Transaction, at_ms: int, slice_max_nano: int, day: int, epochs: set[int]
    ) -> None:
        self.commands: list[Command] = []
        self.free_calls: list[Outcome] = []
        self.charged_calls: dict[int, Outcome] = {}
        self.numbers: dict[int, int] = {}
        self.marks: dict[int, int] = {}
        self.lends: dict[int, int] = {}
        self._tx = tx
        self._at_ms = at_ms
        self._slice_max_nano = slice_max_nano
        self._day = day
        self._streams = ledger.load_epochs(tx, epochs)
        self._known: set[str] | None = None
        self._rule: LendRule | None = None

    def leave_alone(self, requests: Sequence[Request]) -> None:
        """Looks up which of the calls are in the books."""
        rids = {
            entry.rid
            for request in requests
            if isinstance(request, Append)
            for entry in request.entries
            if isinstance(entry, Outcome)
        }
        self._known = call_log.known(self._tx.connection, rids)
        self._known |= ledger.charged_calls(self._tx.connection, rids)

    def add(self, request: Request) -> Answer | int:
        """The answer, or the index of the command that gives it."""
        if isinstance(request, Open):
            return self._open(request)
        stream = self._streams.get(request.epoch)
        if stream is None:
            return Misplaced("the epoch has not introduced itself")
        if stream.state is not EpochState.OPEN:
            return _fenced(stream)
        if isinstance(request, Append):
            return self._append(request, stream)
        return self._borrow(request, stream)

    def _open(self, request: Open) -> Answer:
        stream = ledger.open_epoch(
            self._tx, request.epoch, worker=request.worker, pid=request.pid, at_ms=self._at_ms
        )
        self._streams[request.epoch] = stream
        self._rule = None
        if stream.state is not EpochState.OPEN:
            return _fenced(stream)
        return Welcome(self.marks.get(request.epoch, stream.high_water))

    def _append(self, request: Append, stream: StreamRow) -> Answer:
        high_water = self.marks.get(request.epoch, stream.high_water)
        if request.end <= high_water:
            return Recorded(high_water)
        if request.start != high_water:
            return Misplaced(f"entries from {request.start}, recorded up to {high_water}")
        for entry in request.entries:
            self._entry(request.epoch, entry)
        self.marks[request.epoch] = request.end
        return Recorded(request.end)

    def _entry(self, epoch: int, entry: Entry) -> None:
        if not isinstance(entry, Outcome):
            self.commands.append(GiveBack(epoch, entry.budget, entry.window, entry.amount))
            return
        if self._known is not None:
            if entry.rid in self._known:
                return
            self._known.add(entry.rid)
        if entry.charge_nano > 0 or counts_requests(entry.budgets):
            self.charged_calls[len(self.commands)] = entry
            self.commands.append(Settle(epoch, entry))
        else:
            self.free_calls.append(entry)

    def _borrow(self, request: Borrow, stream: StreamRow) -> Answer | int:
        number, epoch = request.acquire.number, request.epoch
        pending = self.lends.get(epoch)
        last = stream.last_request if pending is None else self.numbers[pending]
        if number == last:
            return _decode_reply(stream.last_reply) if pending is None else pending
        if number < last:
            return Misplaced(f"request {number} after {last}")
        index = len(self.commands)
        self.commands.append(Lend(epoch, request.acquire.chains, self._lend_rule()))
        self.numbers[index] = number
        self.lends[epoch] = index
        return index

    def _lend_rule(self) -> LendRule:
        if self._rule is None:
            active = ledger.active_epochs(self._tx.connection)
            self._rule = LendRule(active, self._slice_max_nano, self._day)
        return self._rule


def _fenced(stream: StreamRow) -> Fenced:
    return Fenced(f"the epoch is {stream.state.value}")


def _granted(number: int, lent: Lent) -> Granted:
    return Granted(
        number, tuple([tuple([Grant(*grant) for grant in chain]) for chain in lent.chains])
    )


def _without_nul(row: CallRow) -> CallRow:
    """PostgreSQL keeps no text with a NUL in it."""
    return CallRow._make(_clean(value) if isinstance(value, str) else value for value in row)


def _clean(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def key_hours(calls: Iterable[Outcome]) -> list[KeyHour]:
    """What these calls add to the hourly sums of upstream keys, in the order of their key."""
    sums: dict[tuple[int, int], list[int]] = {}
    errors: dict[tuple[int, int], tuple[str, int]] = {}
    for call in calls:
        at_ms = call.at_ms
        hour = at_ms // HOUR_MS
        answered = call.key_id
        for attempt in call.attempts:
            key = (attempt.key_id, hour)
            total = sums.get(key)
            if total is None:
                total = sums[key] = [0, 0, 0, 0, 0, 0]
            total[0] += 1
            total[5] = max(total[5], at_ms)
            reason = attempt.reason
            if reason and reason != CLIENT_GONE:
                total[1] += 1
                if key not in errors or at_ms >= errors[key][1]:
                    errors[key] = (reason, at_ms)
            if attempt.key_id == answered:
                total[2] += call.input_tokens
                total[3] += call.output_tokens
                total[4] += call.cost_nano
                answered = 0  # a call that asked a key twice was answered once
    return [KeyHour._make((*key, *sums[key], *errors.get(key, _NO_ERROR))) for key in sorted(sums)]


_NO_ERROR = ("", 0)


def _call_row(call: Outcome, settled: Settled) -> CallRow:
    return CallRow(
        call.rid,
        call.at_ms,
        call.duration_ms,
        call.first_token_ms,
        call.user_id,
        call.token_id,
        call.group_id,
        call.model,
        call.endpoint,
        call.stream,
        call.status,
        call.error,
        call.input_tokens,
        call.cached_tokens,
        call.output_tokens,
        call.reasoning_tokens,
        call.usage_source,
        call.price_id,
        call.multiplier_ppm,
        call.hold_nano,
        settled.charged_nano,
        settled.written_off_nano,
        call.cost_nano,
        call.vendor_id,
        call.key_id,
        call.upstream_model,
        call.upstream_request_id,
        _encode_json(call.attempts).decode(),
        call.ip,
        call.user_agent,
        call.recovered,
        "" if call.units is None else _encode_json(call.units).decode(),
        call.cost_price_id,
        call.cost_ppm,
        call.origin,
        call.calls,
    )
