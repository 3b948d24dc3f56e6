"""What an operator adds to the tables of failures (vendors.types.Keyword)."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, NotFound
from aipool.pool import rules, store
from aipool.pool.types import StoredKeyword
from aipool.vendors.types import Action, Keyword


def add_keyword(
    tx: Transaction, act: Act, *, vendor_type: str, phrase: str, action: Action
) -> StoredKeyword:
    """Another keyword. vendor_type: "" = of every type. Raises Conflict when this phrase
    means something already."""
    keyword = rules.keyword(vendor_type, phrase, action)
    there = store.list_keywords(tx.connection)
    if _same_phrase(there, keyword) is not None:
        raise Conflict(
            "keyword_exists",
            f"{keyword.phrase!r} is a keyword already",
            field="phrase",
            params={"phrase": keyword.phrase},
        )
    if len(there) >= rules.KEYWORDS_MAX:
        raise Conflict(
            "too_many_keywords",
            f"at most {rules.KEYWORDS_MAX} keywords",
            params={"most": rules.KEYWORDS_MAX},
        )
    added = store.insert_keyword(tx.connection, keyword, at_ms=act.at_ms)
    tx.changes.note_catalogue()
    record(tx, act, "keyword.create", _target(added), after=_fields(added.keyword))
    return added


def put_keyword(
    tx: Transaction, act: Act, *, vendor_type: str, phrase: str, action: Action
) -> tuple[str, ...] | None:
    """This phrase means this from now on. None = it is new, else what changed in words."""
    wanted = rules.keyword(vendor_type, phrase, action)
    before = _same_phrase(store.list_keywords(tx.connection), wanted)
    if before is None:
        add_keyword(tx, act, vendor_type=vendor_type, phrase=phrase, action=action)
        return None
    if before.keyword == wanted:
        return ()
    store.update_keyword(tx.connection, before.id, action)
    tx.changes.note_catalogue()
    change = {"before": _fields(before.keyword), "after": _fields(wanted)}
    record(tx, act, "keyword.change", _target(before), **change)
    return (f"action {before.keyword.action.value} -> {action.value}",)


def delete_keyword(tx: Transaction, act: Act, keyword_id: int) -> None:
    """This phrase means nothing any more. Raises NotFound."""
    there = store.list_keywords(tx.connection)
    found = next((one for one in there if one.id == keyword_id), None)
    if found is None:
        raise NotFound(
            "keyword_unknown",
            f"there is no keyword {keyword_id}",
            field="keyword_id",
            params={"id": keyword_id},
        )
    store.delete_keyword(tx.connection, keyword_id)
    tx.changes.note_catalogue()
    record(tx, act, "keyword.delete", _target(found), before=_fields(found.keyword))


def list_keywords(connection: Connection) -> list[StoredKeyword]:
    """Every keyword, in the order they were added."""
    return store.list_keywords(connection)


def _same_phrase(there: list[StoredKeyword], keyword: Keyword) -> StoredKeyword | None:
    for one in there:
        if (one.keyword.vendor_type, one.keyword.phrase) == (keyword.vendor_type, keyword.phrase):
            return one
    return None


def _target(keyword: StoredKeyword) -> str:
    return f"keyword:{keyword.id}"


def _fields(keyword: Keyword) -> dict[str, object]:
    return {
        "vendor_type": keyword.vendor_type,
        "phrase": keyword.phrase,
        "action": keyword.action.value,
    }
