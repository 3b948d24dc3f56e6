"""A worker and the ledger process, one of them killed while entries are on their way.

Both are processes and speak over the real socket. The worker is everything of a worker that
touches money (journal, leases, link) with scripted calls in place of clients and vendors; the
ledger process is all of it. A witness file has what the outside world saw: which calls reached a
vendor, and which were answered.

    the worker dies    its calls are recovered; who was answered is charged exactly
    the books die      a new ledger process takes over; the worker ends as if nothing had been
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final, cast
from unittest import mock

import msgspec
import uvloop

from aipool.books import batches, collecting, record, requests, workers
from aipool.books import link as books_link
from aipool.books import main as books_main
from aipool.calls import service as call_service
from aipool.calls import store as call_store
from aipool.config import load
from aipool.doors import frames, records
from aipool.doors.announce import collect
from aipool.doors.frames import Collected, Granted, Permits, Publish, TokenAnswer
from aipool.doors.records import Hold
from aipool.gateway import context, disk, funds, journal
from aipool.gateway import link as gateway_link
from aipool.gateway.context import Context
from aipool.gateway.funds import Denied, Funds
from aipool.gateway.journal import Journal, claim_epoch
from aipool.gateway.link import Link
from aipool.installation import run_directory
from aipool.kit.clock import now_ms
from aipool.kit.db import sqlite
from aipool.ledger import core, service, store
from aipool.ledger.rules import concurrency_budget, day_of, requests_budget
from benchmarks.witness import LookedUp
from tests.books.rig import hold, outcome, progress
from tests.faults.injection.children import KILLED, any_ended, asked, ended, fork
from tests.faults.injection.places import (
    START_NANO,
    TOKEN,
    USER,
    copy_of,
    differences,
    make_place,
    open_place,
)
from tests.faults.injection.points import Survey, Trap

WORKER_MODULES: Final[tuple[ModuleType, ...]] = (
    journal,
    disk,
    gateway_link,
    context,
    funds,
    records,
    frames,
)
BOOKS_MODULES: Final[tuple[ModuleType, ...]] = (
    books_link,
    batches,
    record,
    requests,
    collecting,
    workers,
    service,
    core,
    store,
    call_service,
    call_store,
    sqlite,
)

EPOCH: Final = 0x7_0000_0001
CALLS: Final = 7
HOLD_NANO: Final = 1_000_000
#: So small that a few calls fill one.
SEGMENT_BYTES: Final = 1_500
PATIENCE_SECONDS: Final = 5.0
#: The number of the call that is never ended: whatever happens, one is there to be recovered.
_LEFT_OPEN: Final = 2


class Worker:
    """One worker's life; `gateway.link.Worker`, with nothing to sell."""

    def __init__(self, folder: Path, witness: Path) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._folder = folder
        self._witness = os.open(witness, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._socket = run_directory(folder, {"XDG_RUNTIME_DIR": str(folder)}).link_socket
        epoch_folder, self._lock = claim_epoch(folder / "epochs", EPOCH)
        self._epoch_folder = epoch_folder
        nobody = cast(Any, None)
        self.context = it = Context(
            loop=loop,
            limits=nobody,
            control=nobody,
            secure=nobody,
            plain=nobody,
            trusted_proxies=nobody,
            cors=nobody,
            log=nobody,
            affinity_seconds=1.0,
        )
        self._link = Link(loop, self._socket, epoch=EPOCH, index=0, worker=self)
        it.journal = Journal(
            loop, epoch_folder, still_open=it.still_open, bytes_max=1 << 20, tell=self._told
        )
        it.shipping = self._link.shipping
        it.ship_soon = self._ship_soon
        it.funds = Funds(self._link.send, it.give_back)
        today = day_of(now_ms())
        self._chain = it.funds.chain(
            [
                (f"wallet:{USER}", 0, 0),
                (f"token:{TOKEN}", 0, 0),
                (requests_budget("t"), today, 1000),
                (concurrency_budget("t"), 0, 50),
            ]
        )
        self._holds: dict[str, Hold] = {}

    async def live(self) -> None:
        """Some calls, one after the other, a recall in between, and an orderly end."""
        self._link.start()
        for number in range(CALLS):
            one = await self._begin(number)
            if number != _LEFT_OPEN:
                await self._end(one, number)
            if number == CALLS // 2:
                await self._everything_recorded()
                await self._loop.run_in_executor(None, collect, self._socket, [self._chain[0].key])
        await self._everything_recorded()
        await self._until(lambda: len(list(self._epoch_folder.glob("*.seg"))) <= 2, "segments go")
        self._compare_leases()
        self.context.funds.close()
        await self._everything_recorded()
        self.context.journal.close()
        self._link.close()
        self._say("done")

    async def _begin(self, number: int) -> Hold:
        one = self._hold(number)
        it = self.context
        while not it.funds.hold(self._chain, HOLD_NANO):
            held: asyncio.Future[Denied | None] = self._loop.create_future()
            it.funds.wait(self._chain, HOLD_NANO, held.set_result)
            if await asyncio.wait_for(held, PATIENCE_SECONDS) is None:
                break
        payload = records.encode(one)
        self._say(f"hold {one.rid}")
        self._holds[one.rid] = one
        it.open_calls[one.rid] = cast(
            Any, SimpleNamespace(hold_payload=payload, progress_payload=b"")
        )
        written = self._loop.create_future()
        it.journal.append(payload, lambda: written.set_result(None))
        await written
        self._say(f"vendor {one.rid}")
        if one.stream:
            moved = records.encode(progress(one, 100, 64))
            cast(Any, it.open_calls[one.rid]).progress_payload = moved
            it.journal.append(moved)
        return one

    async def _end(self, one: Hold, number: int) -> None:
        it = self.context
        result = outcome(one, 100, 64 + number)
        answered = self._loop.create_future()
        del it.open_calls[one.rid]
        del self._holds[one.rid]
        it.settle_outcome(result, lambda: answered.set_result(None))
        it.funds.settle(self._chain, HOLD_NANO, result.charge_nano)
        await answered
        self._say(f"answer {one.rid} {result.charge_nano}")

    def _hold(self, number: int) -> Hold:
        one = hold(USER, HOLD_NANO, token_id=TOKEN, stream=number % 2 == 0)
        return msgspec.structs.replace(one, budgets=tuple(lease.key for lease in self._chain))

    def _compare_leases(self) -> None:
        """What this worker thinks that it holds is what the books think."""
        books = LookedUp(self._folder / "aipool.db")
        sql = "SELECT remaining FROM leases WHERE epoch = ? AND budget = ? AND window_no = ?"
        for lease in self._chain:
            rows = books.rows(EPOCH, *lease.key, sql=sql)
            booked = int(str(rows[0][0])) if rows else 0
            mine = lease.free + len(self._holds) * (lease.each or HOLD_NANO)
            if booked != mine:
                self._say(f"wrong {lease.budget}: {mine} here, {booked} in the books")
        books.close()

    async def _everything_recorded(self) -> None:
        def recorded() -> bool:
            self.context.shipping.push()
            return not self.context.shipping.waiting

        await self._until(recorded, "all is recorded")

    async def _until(self, reached: Callable[[], bool], what: str) -> None:
        limit = self._loop.time() + PATIENCE_SECONDS
        while not reached():
            if self._loop.time() > limit:
                raise TimeoutError(what)
            await asyncio.sleep(0.002)

    def _ship_soon(self) -> None:
        self._loop.call_soon(self.context.shipping.push)

    def _say(self, line: str) -> None:
        os.write(self._witness, f"{line}\n".encode())

    def _told(self, event: str, reason: str) -> None:
        raise AssertionError(f"{event}: {reason}")

    # --- what the link says ---------------------------------------------------------------

    def link_up(self) -> None:
        self.context.funds.reconnected()
        self.context.shipping.push()

    def link_down(self) -> None:
        pass

    def granted(self, answer: Granted) -> None:
        self.context.funds.granted(answer)

    def recall(self, budgets: tuple[tuple[str, int], ...]) -> int:
        return self.context.funds.recall(budgets)

    def collected(self, answer: Collected) -> None:
        self.context.funds.collected(answer.number, complete=answer.complete)

    def permitted(self, answer: Permits) -> None:
        raise AssertionError(answer)

    def recall_permits(self, rates: tuple[str, ...]) -> tuple[frames.Uncounted, ...]:
        raise AssertionError(rates)

    def key_states(self, news: frames.KeyStates) -> None:
        assert not news.lanes

    def slots(self, answer: frames.Slots) -> None:
        raise AssertionError(answer)

    def recall_slots(self, cap_name: str) -> int:
        raise AssertionError(cap_name)

    def claimed(self, answer: Any) -> None:
        raise AssertionError(answer)

    def today(self, day: int) -> None:
        self.context.day = day

    def token(self, answer: TokenAnswer) -> None:
        raise AssertionError(answer)

    def publish(self, news: Publish) -> None:
        pass

    def recorded(self, high_water: int) -> None:
        self.context.journal.recorded(high_water)
        self.context.funds.recorded(high_water)

    def fenced(self, reason: str) -> None:
        raise AssertionError(f"fenced: {reason}")


def _work(folder: Path, witness: Path, device: Survey | Trap | None, survey: Path) -> None:
    """The worker's process."""

    async def live() -> None:
        await Worker(folder, witness).live()

    with (
        mock.patch.object(journal, "SEGMENT_BYTES", SEGMENT_BYTES),
        mock.patch.object(disk, "SYNC_INTERVAL_SECONDS", 0.001),
        mock.patch.object(gateway_link, "_RECONNECT_SECONDS", 0.005),
    ):
        if device is not None:
            device.begin()
        uvloop.run(live())
    if isinstance(device, Survey):
        device.save(survey)


def _keep_books(folder: Path, ready: int, device: Survey | Trap | None, survey: Path) -> None:
    """The ledger process."""
    settings = load({"metrics_port": 0, "data_dir": folder}, {"XDG_RUNTIME_DIR": str(folder)})
    lifeline, _held = os.pipe()
    launch = {
        "role": "ledger",
        "index": 0,
        "settings": settings.to_json(),
        "heartbeat": ready,
        "lifeline": lifeline,
        "listener": None,
        "parent": os.getppid(),
    }
    launch_read, launch_write = os.pipe()
    os.write(launch_write, json.dumps(launch).encode())
    os.close(launch_write)
    os.environ["AIPOOL_LAUNCH_FD"] = str(launch_read)
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    if device is not None:
        device.begin()
    books_main.main()
    if isinstance(device, Survey):
        device.save(survey)


class Shipping:
    """The scenario: see the module."""

    name = "ship"
    parts = ("worker", "books")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log"
        self._place = folder / "place"
        self._witness = folder / "witness"
        self._survey = folder / "survey"

    def modules_of(self, part: str) -> tuple[ModuleType, ...]:
        """Whose lines are points."""
        return WORKER_MODULES if part == "worker" else BOOKS_MODULES

    def prepare(self) -> list[str]:
        """Make the place."""
        if ended(fork(partial(make_place, self._place, lambda _: None), self._log)):
            return [self._log.read_text()]
        return []

    def run(self, part: str, device: Survey | Trap, survey: Path) -> tuple[bool, list[str]]:
        """A worker's life with the device in one of the two processes."""
        folder = copy_of(self._place, self._folder / "work")
        self._witness.write_text("")
        self._survey = survey
        in_books = device if part == "books" else None
        in_worker = device if part == "worker" else None
        books, killed = self._books(folder, in_books)
        worker = fork(partial(_work, folder, self._witness, in_worker, survey), self._log)
        while (found := any_ended())[0] != worker:
            if found[1] != KILLED:
                os.kill(worker, signal.SIGKILL)
                ended(worker)
                return killed, self._broken("the ledger process", found[1])
            killed = True
            books, _ = self._books(folder, None)
        status = found[1]
        os.kill(books, signal.SIGTERM)
        end = ended(books)
        if end == KILLED:
            killed = True
            books, _ = self._books(folder, None)
            os.kill(books, signal.SIGTERM)
            end = ended(books)
        if end:
            return killed, self._broken("the ledger process", end)
        if status not in ((0, KILLED) if part == "worker" else (0,)):
            return killed, self._broken("the worker", status)
        killed |= status == KILLED
        return killed, asked(
            partial(self._judge, folder, whole=status == 0), self._log, self._folder / "answers"
        )

    def _books(self, folder: Path, device: Survey | Trap | None) -> tuple[int, bool]:
        """Start a ledger process until one serves; was one killed before it did?"""
        killed = False
        while True:
            read, write = os.pipe()
            pid = fork(partial(_keep_books, folder, write, device, self._survey), self._log)
            os.close(write)
            with os.fdopen(read, "rb") as said:
                if any(line == b"ready\n" for line in said):
                    return pid, killed
            if ended(pid) != KILLED:
                raise RuntimeError(self._log.read_text()[-2000:])
            killed, device = True, None

    def _broken(self, who: str, status: int) -> list[str]:
        return [f"{who} ended with {status}:\n{self._log.read_text()[-3000:]}"]

    def _judge(self, folder: Path, *, whole: bool) -> list[str]:
        """The books against the witness. whole: the worker came to its end."""
        database = open_place(folder)
        problems = differences(database)
        books = LookedUp(folder / "aipool.db")
        rows = {row.rid: row for row in books.calls()}
        said = [line.split() for line in self._witness.read_text().splitlines()]
        held = {words[1] for words in said if words[0] == "hold"}
        called = {words[1] for words in said if words[0] == "vendor"}
        answered = {words[1]: int(words[2]) for words in said if words[0] == "answer"}
        problems += [" ".join(words) for words in said if words[0] == "wrong"]
        if whole and ["done"] not in said:
            problems.append("the worker did not come to its end")
        for rid in called - rows.keys():
            problems.append(f"{rid} reached the vendor and has no row")
        for rid, row in rows.items():
            if rid not in held:
                problems.append(f"nobody made the call {rid}")
            elif rid in answered:
                if (row.charged_nano, row.recovered) != (answered[rid], 0):
                    problems.append(f"{answered[rid]} is due, but {row}")
            elif row.written_off_nano or row.charged_nano > row.hold_nano:
                problems.append(f"more than the hold: {row}")
        open_calls = [row for row in rows.values() if row.recovered]
        if len(open_calls) > 2 or (whole and len(open_calls) != 1):
            problems.append(f"{len(open_calls)} calls are recovered")
        charged = sum(row.charged_nano for row in rows.values())
        wallet = books.rows(f"wallet:{USER}", sql=_WALLET)
        if wallet and wallet != [(START_NANO - charged, 0)]:
            problems.append(f"{charged} was charged, but the wallet is at {wallet}")
        for budget, due in ((f"token:{TOKEN}", charged), (requests_budget("t"), len(rows))):
            used = books.rows(budget, sql=_USED)
            if used not in ([(due, 0)], [] if not due else [(due, 0)]):
                problems.append(f"{budget}: {due} is due, but {used}")
        if books.lent_nano():
            problems.append("something is still lent")
        states = {state for (state,) in books.rows(sql="SELECT state FROM streams")}
        if states - {"closed"}:
            problems.append(f"an epoch is {states}")
        return problems


_WALLET: Final = "SELECT balance_nano, leased_nano FROM accounts WHERE account = ?"
_USED: Final = "SELECT used, leased FROM budgets WHERE budget = ?"
