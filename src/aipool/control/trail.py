"""The trail over HTTP: all of it for administrators, and for everybody what was done on their own
account. What somebody else did there is shown without who it was and from where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.engine import Connection

from aipool.accounts import service as accounts
from aipool.accounts.callers import Asking
from aipool.accounts.types import User
from aipool.audit import service as audit
from aipool.audit.desk import ID_MAX, Desk, Shown
from aipool.audit.export import as_csv, as_jsonl
from aipool.audit.types import Entry, Wanted
from aipool.control.masking import masked_entries, wanted_by
from aipool.kit.clock import iso_ms
from aipool.kit.db import Database
from aipool.kit.errors import Invalid

_TEXT_CHARACTERS_MAX = 100
_Text = Annotated[str, Query(max_length=_TEXT_CHARACTERS_MAX)]
_Limit = Annotated[int, Query(ge=1, le=100)]
_Cursor = Annotated[str, Query(max_length=20)]

_ACTION = "One of them (token.create), or a whole family (token)."
_SINCE = "Done at or after this moment (ISO 8601)."
_UNTIL = "Done before this moment (ISO 8601)."


class EntryShown(Shown):
    """Something that was done.

    actor: who, as "user:7", "cli:root" or "system"; actor_label: the number or address of a
    user.  before, after: fields of what it was done to.  digest: of this row and all before it.

    Of a row by or about somebody whom one may not administer, and of their API tokens, the label,
    ip and user_agent are empty and the values null. digest: empty for all but the root account.
    """

    id: int
    at: str
    actor: str
    actor_label: str
    role: str
    ip: str
    user_agent: str
    request_id: str
    action: str
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    digest: str


class TrailShown(Shown):
    """A page, newest first. next_cursor: for the next one, null = this was the last."""

    items: list[EntryShown]
    next_cursor: str | None


class OwnEntry(Shown):
    """Something that was done on one's own account. by: oneself, or whoever runs the place; from
    where is told of oneself only."""

    id: int
    at: str
    action: str
    target: str
    by: Literal["self", "operator"]
    ip: str
    user_agent: str


class OwnTrail(Shown):
    """A page, newest first. next_cursor: for the next one, null = this was the last."""

    items: list[OwnEntry]
    next_cursor: str | None


def routes(desk: Desk) -> APIRouter:
    """The trail, its file, and one's own."""
    router = APIRouter(prefix="/api")

    @router.get("/admin/trail")
    def list_trail(
        caller: Asking,
        actor: _Text = "",
        action: Annotated[_Text, Query(description=_ACTION)] = "",
        target: _Text = "",
        since: Annotated[_Text, Query(description=_SINCE)] = "",
        until: Annotated[_Text, Query(description=_UNTIL)] = "",
        limit: _Limit = 50,
        cursor: _Cursor = "",
    ) -> TrailShown:
        """What was done, by whom and from where."""
        wanted = _wanted(actor, action, target, since, until)
        with desk.database.read() as connection:
            wanted = wanted_by(connection, caller.user, wanted)
            found = audit.search(connection, wanted, limit=limit + 1, before_id=_place(cursor))
            told, masked = masked_entries(connection, caller.user, found)
            labels = _labels(connection, found) | dict.fromkeys(masked, "")
        items = [_shown(entry, labels) for entry in told[:limit]]
        return TrailShown(items=items, next_cursor=_next(found, limit))

    @router.get(
        "/admin/trail/export",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/jsonl": {}, "text/csv": {}}}},
    )
    def export_trail(
        caller: Asking,
        actor: _Text = "",
        action: Annotated[_Text, Query(description=_ACTION)] = "",
        target: _Text = "",
        since: Annotated[_Text, Query(description=_SINCE)] = "",
        until: Annotated[_Text, Query(description=_UNTIL)] = "",
        format: Literal["jsonl", "csv"] = "jsonl",
    ) -> StreamingResponse:
        """The same as a file, all of it, oldest first."""
        wanted = _wanted(actor, action, target, since, until)
        entries = _told(desk.database, caller.user, wanted)
        lines = as_csv(entries) if format == "csv" else as_jsonl(entries)
        kind = "text/csv; charset=utf-8" if format == "csv" else "application/jsonl"
        name = f'attachment; filename="trail.{format}"'
        return StreamingResponse(lines, media_type=kind, headers={"Content-Disposition": name})

    @router.get("/me/trail")
    def list_own_trail(
        caller: Asking,
        action: Annotated[_Text, Query(description=_ACTION)] = "",
        limit: _Limit = 50,
        cursor: _Cursor = "",
    ) -> OwnTrail:
        """What was done on the caller's own account, by whomever."""
        me = accounts.target(caller.user)
        with desk.database.read() as connection:
            found = audit.own(
                connection, me, actions=action, limit=limit + 1, before_id=_place(cursor)
            )
        items = [_own(entry, me) for entry in found[:limit]]
        return OwnTrail(items=items, next_cursor=_next(found, limit))

    return router


#: Rows of a file that are masked at a time.
_MASKED_AT_ONCE = 1000


def _told(database: Database, operator: User, wanted: Wanted) -> Iterator[Entry]:
    """The rows of a file as this operator reads them."""
    with database.read() as connection:
        wanted = wanted_by(connection, operator, wanted)
    entries = audit.stream(database, wanted)
    while some := list(islice(entries, _MASKED_AT_ONCE)):
        with database.read() as connection:
            told, _ = masked_entries(connection, operator, some)
        yield from told


def _wanted(actor: str, action: str, target: str, since: str, until: str) -> Wanted:
    return Wanted(actor, action, target, _ms(since, "since"), _ms(until, "until"))


def _ms(text: str, field: str) -> int | None:
    """Unix milliseconds; a date is its first moment, and without a zone it is UTC."""
    if not text:
        return None
    try:
        meant = datetime.fromisoformat(text)
        meant = meant if meant.tzinfo else meant.replace(tzinfo=UTC)
        return int(meant.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Invalid(
            "invalid_moment", "write it as 2027-01-31 or 2027-01-31T18:00:00Z", field=field
        ) from None


def _place(cursor: str) -> int | None:
    if not cursor:
        return None
    if not cursor.isascii() or not cursor.isdecimal() or not 1 <= int(cursor) <= ID_MAX:
        raise Invalid(
            "invalid_cursor",
            "this is no cursor of this list: begin at its first page",
            field="cursor",
        )
    return int(cursor)


def _next(found: list[Entry], limit: int) -> str | None:
    return str(found[limit - 1].id) if len(found) > limit else None


def _labels(connection: Connection, entries: Iterable[Entry]) -> dict[str, str]:
    """By actor, what people call them."""
    ids = {
        int(number)
        for kind, _, number in (entry.actor.partition(":") for entry in entries)
        if kind == "user" and number.isascii() and number.isdecimal()
    }
    found = accounts.users_by_ids(connection, ids)
    return {f"user:{user_id}": user.label for user_id, user in found.items()}


def _shown(entry: Entry, labels: Mapping[str, str]) -> EntryShown:
    return EntryShown(
        id=entry.id,
        at=iso_ms(entry.at_ms),
        actor=entry.actor,
        actor_label=labels.get(entry.actor, entry.actor),
        role=entry.role,
        ip=entry.ip,
        user_agent=entry.user_agent,
        request_id=entry.request_id,
        action=entry.action,
        target=entry.target,
        before=None if entry.before is None else dict(entry.before),
        after=None if entry.after is None else dict(entry.after),
        digest=entry.digest.hex(),
    )


def _own(entry: Entry, me: str) -> OwnEntry:
    mine = entry.actor == me
    return OwnEntry(
        id=entry.id,
        at=iso_ms(entry.at_ms),
        action=entry.action,
        target=entry.target,
        by="self" if mine else "operator",
        ip=entry.ip if mine else "",
        user_agent=entry.user_agent if mine else "",
    )
