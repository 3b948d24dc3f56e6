"""Balance Flow: every change of a wallet. What calls took stands together by day and token and is
told call by call when it is asked for; whatever else happened stands alone. The file has each entry
by itself, from the ledger, also those of calls that the log has let go.

A page merges two lists, each newest first: what stands alone, and the daily sums of tokens, which
stand where their newest calls do. Its cursor says how far each of them was read, so no order of the
two can lose or double a line, and when the first page was read: a call that ends meanwhile moves no
line, which else might go from behind the cursor to before it.

Refusals (kit.errors):
    calls_not_kept              404
    invalid_cursor, invalid_day 422
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.engine import Connection

from aipool.accounts.callers import Asking, Caller
from aipool.audit.desk import ID_MAX, Desk, Id, NeededId, Shown
from aipool.calls import service as calls
from aipool.calls.rules import cursor_of, place_of
from aipool.calls.schemas import Cursor, Named, PageLimit, Text, moment
from aipool.calls.types import DAY_MS, Place, Search, Sums
from aipool.control.call_names import token_names
from aipool.control.exports import FILE, Exports, Format, Row
from aipool.control.people import user_for
from aipool.kit.clock import iso_ms, now_ms
from aipool.kit.db import Database
from aipool.kit.errors import Invalid, NotFound
from aipool.kit.money import format_cny
from aipool.ledger import service as ledger
from aipool.ledger.types import BookedTransfer, TransferKind, wallet_account

USAGE = TransferKind.USAGE.value
_EPOCH = date(1970, 1, 1)
#: From 1970 to 9999.
_DAYS = range(2_932_897)
_ROWS_AT_ONCE = 2_000
COLUMNS = ("id", "at", "type", "amount", "balance_after", "reference", "counter_account")

Kind = Literal["", "usage", "opening", "credit", "adjust", "refund", "bonus"]


class Change(Shown):
    """A change of the balance.

    type: usage = what the calls of one token took on one UTC day.  at: of usage, when the newest of
    these calls came, the end of the day when the log has let them go.  amount: negative when it was
    taken.  balance_after: of usage, after that call, null when it was let go.  counter_account:
    where the money came from or went.  day, token, calls: of usage.
    """

    id: str
    at: str
    type: str
    amount: str
    balance_after: str | None
    reference: str
    counter_account: str
    day: str | None = None
    token: Named | None = None
    calls: int | None = None


class Flow(Shown):
    """A page, newest first. next_cursor: for the next one, null = this was the last."""

    balance: str
    items: list[Change]
    next_cursor: str | None


class Taken(Shown):
    """What one call took. id: of the call."""

    id: str
    at: str
    amount: str
    balance_after: str | None
    model: str


class TakenListed(Shown):
    """A page, newest first. next_cursor: for the next one, null = this was the last."""

    items: list[Taken]
    next_cursor: str | None


class Wanted(NamedTuple):
    """Which changes. kind: "" = all."""

    kind: str
    from_ms: int | None
    to_ms: int | None

    @property
    def days(self) -> range:
        """The whole days it lies in."""
        start = 0 if self.from_ms is None else self.from_ms // DAY_MS
        stop = _DAYS.stop if self.to_ms is None else -(-self.to_ms // DAY_MS)
        return range(start, stop)

    def has(self, booked: BookedTransfer) -> bool:
        """Is this one of them?"""
        move = booked.transfer
        return (
            self.kind in ("", move.kind)
            and (self.from_ms is None or move.at_ms >= self.from_ms)
            and (self.to_ms is None or move.at_ms < self.to_ms)
        )


def asked(
    start: Annotated[Text, Query(alias="from", description="At or after this moment.")] = "",
    end: Annotated[Text, Query(alias="to", description="Before this moment.")] = "",
    type: Kind = "",
) -> Wanted:
    """What may be looked for. On a page, what calls took is told by whole days."""
    return Wanted(type, moment(start, "from"), moment(end, "to"))


Asked = Annotated[Wanted, Depends(asked)]


def routes(desk: Desk, exports: Exports) -> APIRouter:
    """One's own, and that of a user for operators."""
    router = APIRouter(prefix="/api")
    _add_own(router, desk, exports)
    _add_of_users(router, desk, exports)
    return router


def _add_own(router: APIRouter, desk: Desk, exports: Exports) -> None:
    @router.get("/balance-flow")
    def list_flow(
        caller: Asking,
        wanted: Asked,
        limit: PageLimit = 50,
        cursor: Cursor = "",
    ) -> Flow:
        """Every change of the caller's balance."""
        with desk.database.read() as connection:
            return page(connection, caller.user.id, wanted, limit, cursor, is_own=True)

    @router.get("/balance-flow/usage")
    def list_usage(
        caller: Asking,
        day: Annotated[str, Query(max_length=10, description="A UTC day: 2027-01-31.")],
        token: NeededId,
        limit: PageLimit = 50,
        cursor: Cursor = "",
    ) -> TakenListed:
        """What each call of a token took on a day."""
        with desk.database.read() as connection:
            return taken(connection, caller.user.id, token, _day(day), limit, cursor)

    @router.get("/balance-flow/export", response_class=StreamingResponse, responses=FILE)
    def export_flow(caller: Asking, wanted: Asked, format: Format = "csv") -> StreamingResponse:
        """Every single change of the caller's balance that is looked for as a file, newest first.
        What a call took is of the moment when the call came."""
        rows = entries(desk.database, caller.user.id, wanted, is_own=True)
        return exports.file(caller.user.id, "balance-flow", format, COLUMNS, rows)


def _add_of_users(router: APIRouter, desk: Desk, exports: Exports) -> None:
    @router.get("/admin/users/{user_id}/balance-flow")
    def list_flow_of(
        caller: Asking,
        user_id: Id,
        wanted: Asked,
        limit: PageLimit = 50,
        cursor: Cursor = "",
    ) -> Flow:
        """Every change of a user's balance."""
        with desk.database.read() as connection:
            _check_may_see(connection, caller, user_id)
            return page(connection, user_id, wanted, limit, cursor, is_own=False)

    @router.get(
        "/admin/users/{user_id}/balance-flow/export",
        response_class=StreamingResponse,
        responses=FILE,
    )
    def export_flow_of(
        caller: Asking, user_id: Id, wanted: Asked, format: Format = "csv"
    ) -> StreamingResponse:
        """Every single change of a user's balance that is looked for as a file, newest first.
        What a call took is of the moment when the call came."""
        with desk.database.read() as connection:
            _check_may_see(connection, caller, user_id)
        rows = entries(desk.database, user_id, wanted, is_own=False)
        return exports.file(caller.user.id, "balance-flow", format, COLUMNS, rows)


def _check_may_see(connection: Connection, caller: Caller, user_id: int) -> None:
    """Raises NotFound, as for a missing id, for those who are not the operator's to administer."""
    if user_id != caller.user.id:
        user_for(connection, caller, user_id)


# --- a page ---------------------------------------------------------------------------------------


class _Read(NamedTuple):
    """How far the two lists were read: below this transfer, and behind the usage of this moment
    and token. since_ms: when the first page was, None = this is it."""

    seq: int | None = None
    usage: tuple[int, int] | None = None
    since_ms: int | None = None


class _Usage(NamedTuple):
    """What a token was charged on a day. at_ms: of the newest of these calls.  rid: its id, "" =
    the log has let them go."""

    at_ms: int
    token_id: int
    rid: str
    day: int
    sums: Sums

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in the list."""
        return self.at_ms, self.token_id


def page(
    connection: Connection, user_id: int, wanted: Wanted, limit: int, cursor: str, *, is_own: bool
) -> Flow:
    """The changes behind the cursor."""
    read = _read_from(cursor)
    began_ms = now_ms()
    alone = _alone(connection, user_id, wanted, read.seq, limit + 1)
    usage = _usage(connection, user_id, wanted, read, limit + 1)
    chosen: list[BookedTransfer | _Usage] = []
    while (alone or usage) and len(chosen) < limit:
        # Of the same moment the call is newer: it could only begin with the money.
        if alone and (not usage or alone[0].transfer.at_ms > usage[0].at_ms):
            read = read._replace(seq=alone[0].seq)
            chosen.append(alone.pop(0))
        else:
            read = read._replace(usage=usage[0].place)
            chosen.append(usage.pop(0))
    if read.since_ms is None:
        read = read._replace(since_ms=began_ms)
    wallet = ledger.wallet_balance(connection, user_id)
    return Flow(
        balance=format_cny(wallet.balance_nano if wallet else 0),
        items=_told(connection, user_id, chosen, is_own=is_own),
        next_cursor=_cursor(read) if alone or usage else None,
    )


def _alone(
    connection: Connection, user_id: int, wanted: Wanted, before_seq: int | None, limit: int
) -> list[BookedTransfer]:
    """What stands alone and is looked for."""
    found: list[BookedTransfer] = []
    while wanted.kind != USAGE and len(found) < limit:
        looked = ledger.wallet_history(
            connection, user_id, before_seq=before_seq, limit=_ROWS_AT_ONCE, alone=True
        )
        found += [booked for booked in looked if wanted.has(booked)]
        if len(looked) < _ROWS_AT_ONCE:
            break
        before_seq = looked[-1].seq
    return found[:limit]


def _usage(
    connection: Connection, user_id: int, wanted: Wanted, read: _Read, limit: int
) -> list[_Usage]:
    """The usage that is looked for. A day's tokens stand in the order of their newest calls, so a
    day is read whole."""
    days = wanted.days
    if read.usage is not None:
        days = range(days.start, min(days.stop, read.usage[0] // DAY_MS + 1))
    found: list[_Usage] = []
    while wanted.kind in ("", USAGE) and len(found) < limit:
        some = calls.charged_days(connection, user_id, days=days, limit=limit - len(found))
        if not some:
            break
        groups = [(day, token_id) for day, token_id, _ in some]
        newest = calls.newest_charged(connection, user_id, groups, ended_by_ms=read.since_ms)
        placed = [_placed(newest.get(one[:2]), *one) for one in some]
        placed.sort(key=lambda one: one.place, reverse=True)
        found += [one for one in placed if read.usage is None or one.place < read.usage]
        days = range(days.start, some[-1][0])
    return found[:limit]


def _placed(newest: Place | None, day: int, token_id: int, sums: Sums) -> _Usage:
    """At the end of the day when nobody knows the moment: its sums were whole then, and no line
    tells a balance from before them above it."""
    at_ms, rid = newest or ((day + 1) * DAY_MS - 1, "")
    return _Usage(at_ms, token_id, rid, day, sums)


def _told(
    connection: Connection, user_id: int, chosen: list[BookedTransfer | _Usage], *, is_own: bool
) -> list[Change]:
    """With the names of tokens, and what was left after the newest calls."""
    usage = [one for one in chosen if isinstance(one, _Usage)]
    names = token_names(connection, {one.token_id for one in usage})
    left = ledger.balances_after_calls(connection, [one.rid for one in usage if one.rid])
    return [
        _group(one, names.get(one.token_id), left.get(one.rid))
        if isinstance(one, _Usage)
        else _shown(one, user_id, is_own=is_own)
        for one in chosen
    ]


def taken(
    connection: Connection, user_id: int, token_id: int, day: int, limit: int, cursor: str
) -> TakenListed:
    """What each call of a token took on a day."""
    if calls.kept_from_ms(connection) > day * DAY_MS:
        raise NotFound(
            "calls_not_kept",
            "the log has let the calls of this day go; the export has each of them",
        )
    before = place_of(cursor) if cursor else None
    search = Search(
        user_id=user_id,
        token_id=token_id,
        charged=True,
        from_ms=day * DAY_MS,
        to_ms=(day + 1) * DAY_MS,
    )
    found = calls.page(connection, search, before=before, limit=limit)
    after = ledger.balances_after_calls(connection, [call.rid for call in found.rows])
    items = [
        Taken(
            id=call.rid,
            at=iso_ms(call.at_ms),
            amount=format_cny(-call.charged_nano),
            balance_after=_money(after.get(call.rid)),
            model=call.model,
        )
        for call in found.rows
    ]
    return TakenListed(items=items, next_cursor=cursor_of(found.next) if found.next else None)


# --- the file -------------------------------------------------------------------------------------


def entries(database: Database, user_id: int, wanted: Wanted, *, is_own: bool) -> Iterator[Row]:
    """Every change that is looked for, one by one, newest first, in short reads."""
    alone = wanted.kind not in ("", USAGE)
    before_seq: int | None = None
    while True:
        with database.read(patient=True) as connection:
            some = ledger.wallet_history(
                connection, user_id, before_seq=before_seq, limit=_ROWS_AT_ONCE, alone=alone
            )
        for booked in filter(wanted.has, some):
            yield _shown(booked, user_id, is_own=is_own).model_dump()
        if len(some) < _ROWS_AT_ONCE:
            return
        before_seq = some[-1].seq


# --- showing --------------------------------------------------------------------------------------


def _shown(booked: BookedTransfer, user_id: int, *, is_own: bool) -> Change:
    move = booked.transfer
    comes_in = move.credit == wallet_account(user_id)
    other = move.debit if comes_in else move.credit
    return Change(
        id=str(booked.seq),
        at=iso_ms(move.at_ms),
        type=move.kind,
        amount=format_cny(move.amount_nano if comes_in else -move.amount_nano),
        balance_after=_money(move.wallet_balance_after),
        reference=move.ref,
        # Who of the staff corrected a balance is told to the staff.
        counter_account=other.partition(":")[0] if is_own and other[:7] == "adjust:" else other,
    )


def _group(usage: _Usage, name: str | None, left: int | None) -> Change:
    written = date.fromordinal(_EPOCH.toordinal() + usage.day).isoformat()
    return Change(
        id=f"{written}.{usage.token_id}",
        at=iso_ms(usage.at_ms),
        type=USAGE,
        amount=format_cny(-usage.sums.charged_nano),
        balance_after=_money(left),
        reference=name or "",
        counter_account="revenue:usage",
        day=written,
        token=Named(id=usage.token_id, name=name),
        calls=usage.sums.calls,
    )


def _money(amount: int | None) -> str | None:
    return None if amount is None else format_cny(amount)


def _day(text: str) -> int:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).toordinal() - (
            _EPOCH.toordinal()
        )
    except ValueError:
        raise Invalid("invalid_day", "write it as 2027-01-31", field="day") from None


def _cursor(read: _Read) -> str:
    at_ms, token_id = read.usage or (-1, 0)
    written = f"{read.seq or 0}.{at_ms}.{token_id}.{read.since_ms}".encode()
    return base64.urlsafe_b64encode(written).decode().rstrip("=")


def _read_from(cursor: str) -> _Read:
    if not cursor:
        return _Read()
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        seq, at_ms, token_id, since_ms = map(int, text.split("."))
    except (ValueError, binascii.Error):
        raise _no_cursor() from None
    end_ms = _DAYS.stop * DAY_MS
    within = -1 <= at_ms < end_ms and 0 <= since_ms < end_ms
    if not (within and 0 <= seq <= ID_MAX and 0 <= token_id <= ID_MAX):
        raise _no_cursor()
    return _Read(seq or None, None if at_ms < 0 else (at_ms, token_id), since_ms)


def _no_cursor() -> Invalid:
    return Invalid(
        "invalid_cursor", "this is no cursor of this list: begin at its first page", field="cursor"
    )
