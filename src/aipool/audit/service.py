"""Writing, reading and proving the trail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from aipool.audit import store
from aipool.audit.rules import BEGINNING, digest_of, plain
from aipool.audit.types import EVERYTHING, Act, Entry, Note, Verdict, Wanted
from aipool.kit.db import Database, Transaction

_SECRET_FIELDS = frozenset({"password_hash", "digest", "sealed_secret"})

#: Rows that are read at a time where all are read.
_PAGE = 1000


def record(
    tx: Transaction,
    act: Act,
    action: str,
    target: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Notes a change in its own transaction, where it is written last.

    action: verb and noun, "user.create".  target: what it was done to, "user:7".
    before, after: the record's fields; passwords, digests and sealed secrets are left out.
    """
    note = Note(act, action, target, _without_secrets(before), _without_secrets(after))
    tx.write_last(store.append, note)


def entries(
    connection: Connection, target: str, *, limit: int = 50, before_id: int | None = None
) -> list[Entry]:
    """What was done to this target ("key:7"), newest first. before_id: only older ones."""
    return store.page(connection, Wanted(target=target), limit=limit, before_id=before_id)


def search(
    connection: Connection, wanted: Wanted, *, limit: int = 50, before_id: int | None = None
) -> list[Entry]:
    """What was done of what is asked for, newest first. before_id: only older ones."""
    return store.page(connection, wanted, limit=limit, before_id=before_id)


def own(
    connection: Connection,
    actor: str,
    *,
    actions: str = "",
    limit: int = 50,
    before_id: int | None = None,
) -> list[Entry]:
    """What somebody ("user:7") did, and what was done to their account, newest first.

    actions: of one family; "" = of all.
    """
    found: dict[int, Entry] = {}
    for wanted in (Wanted(actor=actor, action=actions), Wanted(target=actor, action=actions)):
        rows = store.page(connection, wanted, limit=limit, before_id=before_id)
        found |= {entry.id: entry for entry in rows}
    return [found[one] for one in sorted(found, reverse=True)[:limit]]


def stream(database: Database, wanted: Wanted = EVERYTHING) -> Iterator[Entry]:
    """All that is asked for, oldest first. Each page is read by itself, so whoever reads slowly
    keeps nothing open; what is written meanwhile comes at the end."""
    after_id = 0
    while True:
        with database.read() as connection:
            rows = store.page(connection, wanted, limit=_PAGE, after_id=after_id)
        yield from rows
        if len(rows) < _PAGE:
            return
        after_id = rows[-1].id


def newest_at_ms(connection: Connection) -> int | None:
    """When the last thing was done, in unix milliseconds; None when nothing was."""
    return store.newest_at_ms(connection)


def verify(connection: Connection, *, noted: tuple[int, bytes] | None = None) -> Verdict:
    """Walks along the whole chain, as this connection sees it, to the first row that is not as
    it was written.

    noted: the id and the digest of a row, as they were noted elsewhere.
    """
    last_id, digest, count = 0, BEGINNING, 0
    noted_found = noted is None

    def broken(problem: str, at_id: int) -> Verdict:
        return Verdict(count, last_id, digest, problem, at_id)

    while rows := store.page(connection, EVERYTHING, limit=_PAGE, after_id=last_id):
        for entry in rows:
            if digest_of(entry) != entry.digest:
                return broken("it was altered, or put in by another program", entry.id)
            if entry.previous != digest:
                where = f"row {last_id}" if last_id else "the beginning"
                return broken(
                    f"it does not follow {where}: rows between were taken away, or that one "
                    "was altered",
                    entry.id,
                )
            if noted is not None and entry.id == noted[0]:
                if entry.digest != noted[1]:
                    return broken("it is another one than the one that was noted", entry.id)
                noted_found = True
            last_id, digest, count = entry.id, entry.digest, count + 1
    head_id, head_digest = store.head(connection)
    if head_id > last_id:
        return broken("the rows after it were taken away", last_id)
    if (head_id, head_digest) != (last_id, digest):
        return broken("it was put in by another program", last_id)
    if not noted_found and noted is not None:
        return broken("the row that was noted is not there", noted[0])
    return Verdict(count, last_id, digest)


def _without_secrets(fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    return plain({name: value for name, value in fields.items() if name not in _SECRET_FIELDS})
