"""Upstream keys over HTTP, where it takes more than the pool: how they fare, by the log of calls,
and what their vendors say when they are asked. For operators (control.access).

A vendor is asked outside of any transaction, and never by a handler that holds a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.engine import Connection
from starlette.concurrency import run_in_threadpool

from aipool.audit.desk import Acting, AskedId, Desk, Id, Limit
from aipool.audit.types import Act
from aipool.calls import service as calls
from aipool.calls.types import KeyStats
from aipool.control import asking
from aipool.control.asking import Clients, Subject
from aipool.control.schemas import (
    BalanceShown,
    BulkResult,
    BulkShown,
    KeysShown,
    KeyStatsShown,
    TestSent,
    TestShown,
    balance_shown,
    key_stats_shown,
    test_shown,
)
from aipool.kit.clock import now_ms
from aipool.kit.db import Transaction
from aipool.kit.errors import BusinessError, Invalid
from aipool.kit.sealing import Keyring
from aipool.pool import service as pool
from aipool.pool.health import Status
from aipool.pool.routes import url_shown
from aipool.pool.schemas import BulkSent
from aipool.pool.types import KeyListed, UpstreamKey

Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Text = Annotated[str, Query(max_length=100)]

#: Keys of one bulk test: with so many at a time it ends before the worker in front gives up.
TESTS_MAX = 50
_TESTS_AT_A_TIME = 25

_NEVER_TRIED = KeyStats(0, 0, 0, 0, 0, 0, 0, 0, "", 0)


def routes(desk: Desk, keyring: Keyring, clients: Clients) -> APIRouter:
    """The list of keys, one key, and what is done to them across slices."""
    router = APIRouter(prefix="/api")
    _add_lists(router, desk)
    _add_questions(router, desk, keyring, clients)
    return router


def _add_lists(router: APIRouter, desk: Desk) -> None:
    @router.get("/keys")
    def list_keys(
        vendor: AskedId = None,
        status: Annotated[str, Query(max_length=100)] = "",
        q: Text = "",
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> KeysShown:
        """Keys, in the order of trying, with how they fare. vendor: an id.  q: stands in the name
        of the key or of its vendor."""
        with desk.database.read() as connection:
            return _listed(connection, vendor, status, q, offset, limit)

    @router.get("/vendors/{vendor_id}/keys")
    def list_vendor_keys(
        vendor_id: Id,
        status: Annotated[str, Query(max_length=100)] = "",
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> KeysShown:
        """The keys of one vendor, in the order of trying, with how they fare."""
        with desk.database.read() as connection:
            vendor = pool.vendor_by_id(connection, vendor_id)
            return _listed(connection, vendor.id, status, "", offset, limit)

    @router.get("/keys/{key_id}")
    def show_key(key_id: Id) -> KeyStatsShown:
        """One key, with how it fares."""
        at_ms = now_ms()
        with desk.database.read() as connection:
            listed = pool.list_key(connection, pool.get_key(connection, key_id), at_ms=at_ms)
            (shown,) = _shown(connection, [listed], at_ms)
        return shown


def _add_questions(router: APIRouter, desk: Desk, keyring: Keyring, clients: Clients) -> None:
    tester = _Tester(desk, keyring, clients)

    @router.post("/keys/{key_id}/test", response_model=TestShown)
    async def test_key(key_id: Id, act: Acting, sent: TestSent = TestSent()) -> Response:
        """Makes the cheapest real call with the key; a good one heals it."""
        content, tx = await tester.test(key_id, sent.model, act)
        return await run_in_threadpool(desk.done, tx, content)

    @router.post("/keys/{key_id}/balance")
    async def ask_balance(key_id: Id) -> BalanceShown:
        """Asks the vendor what is left on the key's account."""
        subject = await run_in_threadpool(subject_with, desk, keyring, key_id)
        return balance_shown(await asking.ask_balance(clients, subject))

    @router.post("/keys/bulk", response_model=BulkShown)
    async def change_keys(sent: BulkSent, act: Acting) -> Response:
        """Does one thing to many keys; one that fails stops no other."""
        ids = list(dict.fromkeys(sent.ids))
        if sent.action != "test":
            return await run_in_threadpool(_changed, desk, act, _CHANGES[sent.action], ids)
        if len(ids) > TESTS_MAX:
            raise Invalid(
                "too_many_tests",
                f"at most {TESTS_MAX} keys at once",
                field="ids",
                params={"most": TESTS_MAX},
            )
        return await tester.test_all(ids, act)


class _Tester:
    """Tests keys, and writes what a good test means for them."""

    def __init__(self, desk: Desk, keyring: Keyring, clients: Clients) -> None:
        self._desk = desk
        self._keyring = keyring
        self._clients = clients
        self._gate = asyncio.Semaphore(_TESTS_AT_A_TIME)

    async def test(self, key_id: int, model: str, act: Act) -> tuple[TestShown, Transaction]:
        """How it went, and the transaction in which that was written. Raises BusinessError."""
        subject = await run_in_threadpool(subject_with, self._desk, self._keyring, key_id)
        async with self._gate:
            result = await asking.test_key(
                self._clients, subject, unix_now=now_ms() / 1000, model=model
            )

        def note() -> tuple[TestShown, Transaction]:
            with self._desk.database.write() as tx:
                healed = asking.note_test(tx, act, subject, result)
            return test_shown(result, healed=healed), tx

        return await run_in_threadpool(note)

    async def test_all(self, key_ids: list[int], act: Act) -> Response:
        """A result for each."""
        noted: list[Transaction] = []

        async def one(key_id: int) -> BulkResult:
            try:
                test, tx = await self.test(key_id, "", act)
            except BusinessError as problem:
                return _refused(key_id, problem)
            noted.append(tx)
            return BulkResult(id=key_id, ok=test.ok, test=test)

        results = await asyncio.gather(*map(one, key_ids))
        # Workers that have the newest revision have them all.
        newest = max((tx for tx in noted if tx.changes), key=lambda tx: tx.revision, default=None)
        return await run_in_threadpool(self._desk.done, newest, BulkShown(results=results))


def subject_with(desk: Desk, keyring: Keyring, key_id: int) -> Subject:
    """A key to ask its vendor with. Raises NotFound, and Conflict for one that has expired."""
    with desk.database.read() as connection:
        key = pool.get_key(connection, key_id)
        pool.refuse_expired(key, now_ms())
        vendor = pool.vendor_by_id(connection, key.vendor_id)
        return asking.subject_of(connection, keyring, vendor, key)


# --- many at once ------------------------------------------------------------------------------

_Change = Callable[[Transaction, Act, UpstreamKey], object]

_CHANGES: dict[str, _Change] = {
    "enable": pool.enable_key,
    "disable": pool.disable_key,
    "delete": pool.delete_key,
}


def _changed(desk: Desk, act: Act, change: _Change, key_ids: list[int]) -> Response:
    """Does it to every key, in one transaction. What is refused of one stops no other: a refusal
    comes before the first thing that its use case writes."""
    results: list[BulkResult] = []
    with desk.database.write() as tx:
        for key_id in key_ids:
            try:
                change(tx, act, pool.get_key(tx.connection, key_id))
            except BusinessError as problem:
                results.append(_refused(key_id, problem))
            else:
                results.append(BulkResult(id=key_id, ok=True))
    return desk.done(tx, BulkShown(results=results))


def _refused(key_id: int, problem: BusinessError) -> BulkResult:
    return BulkResult(id=key_id, ok=False, code=problem.code, message=problem.message)


# --- the list ----------------------------------------------------------------------------------


def _status(text: str) -> Status:
    try:
        return Status(text)
    except ValueError:
        known = ", ".join(Status)
        raise Invalid(
            "invalid_status", f"it is none of {known}", field="status", params={"allowed": known}
        ) from None


def _listed(
    connection: Connection, vendor_id: int | None, status: str, text: str, offset: int, limit: int
) -> KeysShown:
    """A page of keys. text: stands in the name of the key or of its vendor."""
    at_ms = now_ms()
    rows, total = pool.search_keys(
        connection,
        vendor_id=vendor_id,
        status=_status(status) if status else None,
        text=text,
        offset=offset,
        limit=limit,
        at_ms=at_ms,
    )
    return KeysShown(keys=_shown(connection, rows, at_ms), total=total)


def _shown(connection: Connection, rows: list[KeyListed], at_ms: int) -> list[KeyStatsShown]:
    """Keys with what the log of calls knows of them."""
    stats = calls.key_stats(connection, at_ms=at_ms, key_ids=[row.key.id for row in rows])
    return [
        key_stats_shown(row, url_shown(row.vendor, row.key), stats.get(row.key.id, _NEVER_TRIED))
        for row in rows
    ]
