"""One gateway worker: builds everything once, and takes it down again.

Start: claim an epoch, open its journal, connect to the ledger process, and listen as soon as
there is a catalogue. Drain: stop accepting, let calls end, give the leases back, ship what
is left. Between the two a timer of one second does what must be done sometimes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path

from aipool.config import Settings
from aipool.dialects import exact
from aipool.doors.contents import SOCKET_NAME
from aipool.doors.frames import (
    Claimed,
    Collected,
    Counters,
    Granted,
    KeyStates,
    Permits,
    Publish,
    TokenAnswer,
    Uncounted,
)
from aipool.doors.frames import Slots as SlotsAnswer
from aipool.gateway.access import AddressList
from aipool.gateway.app import App
from aipool.gateway.board import Board
from aipool.gateway.catalogue import Catalogue
from aipool.gateway.claims import Claims
from aipool.gateway.contents import Contents
from aipool.gateway.context import Context
from aipool.gateway.cors import Cors
from aipool.gateway.funds import Funds
from aipool.gateway.journal import Journal, claim_epoch
from aipool.gateway.limits import Rates
from aipool.gateway.link import Link
from aipool.gateway.log import CallLog
from aipool.gateway.refusals import ROWS_PER_MINUTE
from aipool.gateway.slots import Slots
from aipool.gateway.tokens import Tokens
from aipool.installation import RunDirectory
from aipool.kit.ballast import Ballast
from aipool.kit.digests import load_pepper
from aipool.kit.logging import LossyStream
from aipool.kit.outbound import Vet
from aipool.pool.health import HealthRules
from aipool.wire.client import HttpClient
from aipool.wire.request import Origin
from aipool.wire.server import HttpServer

#: Settlements are shipped in batches this long; full traffic makes a hundred in it.
SHIP_SECONDS = 0.004
PING_SECONDS = 15.0
#: After the calls have ended, how long a leaving worker waits for its last batch.
LAST_BATCH_SECONDS = 5.0


class Worker:
    """The worker of one place (`index`). Speaks for one epoch, and ends with it."""

    def __init__(self, settings: Settings, run: RunDirectory, index: int) -> None:
        self._settings = settings
        self._index = index
        self._loop = loop = asyncio.get_running_loop()
        self._stopping = loop.create_future()
        self._served = loop.create_future()
        self._shipping_soon = False

        epoch = _new_epoch()
        folder, self._lock = claim_epoch(settings.data_dir / "epochs", epoch)
        limits = settings.limits
        vet = Vet(settings.private_upstreams)
        trusted = AddressList(settings.trusted_proxies)
        secure = HttpClient(limits, tls=_upstream_tls(settings.upstream_ca_file), vet=vet.encrypted)
        self._context = context = Context(
            loop=loop,
            limits=limits,
            control=Origin("control", 80, unix_path=str(run.control_socket)),
            secure=secure,
            plain=HttpClient(limits, vet=vet.plain, sweep=secure.sweep),
            trusted_proxies=trusted,
            cors=Cors(settings.cors_origins),
            log=CallLog(LossyStream(sys.stderr)),
            affinity_seconds=settings.affinity_seconds,
            refusal_rows=max(1, ROWS_PER_MINUTE // settings.workers_effective),
        )
        self._link = Link(loop, run.link_socket, epoch=epoch, index=index, worker=self)
        context.journal = Journal(
            loop,
            folder,
            still_open=context.still_open,
            bytes_max=settings.journal_bytes_max,
            ballast=Ballast(settings.ballast_path, settings.ballast_bytes),
            tell=lambda event, reason: context.log.event(event, reason=reason, worker=index),
        )
        context.shipping = self._link.shipping
        context.ship_soon = self._ship_soon
        context.ledger_up = lambda: self._link.up
        context.funds = Funds(self._link.send, context.give_back)
        context.rates = Rates(self._link.send, self._wake_rates)
        context.board = Board(
            HealthRules(
                settings.key_failures, settings.key_failure_seconds, settings.key_cooldown_seconds
            ),
            place=index,
            tell=self._link.send,
            now=loop.time,
            unix_now=context.unix_now,
            chance=context.chance,
        )
        context.claims = Claims(self._link.send, loop.time)
        context.contents = Contents(
            loop,
            run.path / SOCKET_NAME,
            lambda event: context.log.event(event, worker=index),
        )
        context.slots = Slots(self._link.send, loop.time, loop.call_later)
        context.tokens = Tokens(load_pepper(settings.data_dir), self._link.send)
        self._socket_path: Callable[[str], str] = lambda name: str(run.path / name)
        self._counters = exact.counters(settings.tokenizer)

        app = App(context)
        self._server = HttpServer(
            app.begin,
            app.refusal,
            limits,
            uncapped=lambda address: address in trusted,
            sweep=secure.sweep,
        )

    async def serve(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        """Serve until `stop`; returns when everything is wound up."""
        self._link.start()
        tick = self._loop.create_task(self._tick_forever())
        await asyncio.wait({self._served, self._stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not self._stopping.done():
            await self._server.listen(listener, _listener_tls(self._settings))
            ready()
            await self._stopping
        await self._drain()
        tick.cancel()

    def stop(self) -> None:
        """Drain and end."""
        if not self._stopping.done():
            self._stopping.set_result(None)

    # --- what the link says ---------------------------------------------------------------

    def link_up(self) -> None:
        """Repeat what was not answered; ship what has gathered."""
        self._context.funds.reconnected()
        self._context.rates.reconnected(self._context.passed_seconds())
        self._context.slots.reconnected()
        self._context.claims.reconnected()
        self._context.shipping.push()

    def link_down(self) -> None:
        """Calls go on from what is at hand."""
        self._context.tokens.link_down()
        self._context.claims.link_down()

    def granted(self, answer: Granted) -> None:
        """Leases, or a no."""
        self._context.funds.granted(answer)

    def recall(self, budgets: tuple[tuple[str, int], ...]) -> int:
        """Give back what is free of these; it is shipped at the end of this turn."""
        return self._context.funds.recall(budgets)

    def collected(self, answer: Collected) -> None:
        """What others had free has come back."""
        self._context.funds.collected(answer.number, complete=answer.complete)

    def permitted(self, answer: Permits) -> None:
        """Permits, or a no."""
        self._context.rates.granted(answer, self._context.passed_seconds())

    def recall_permits(self, rates: tuple[str, ...]) -> tuple[Uncounted, ...]:
        """What is unused of these rates."""
        return self._context.rates.recall(rates, self._context.passed_seconds())

    def key_states(self, news: KeyStates) -> None:
        """How upstream keys stand for all workers."""
        self._context.board.adopt(news.lanes, everything=news.everything)

    def slots(self, answer: SlotsAnswer) -> None:
        """Room under a cap, or none."""
        self._context.slots.granted(answer)

    def recall_slots(self, cap_name: str) -> int:
        """Somebody else needs room under this cap: what is kept of it."""
        return self._context.slots.recall(cap_name)

    def claimed(self, answer: Claimed) -> None:
        """Whose an idempotency key is."""
        self._context.claims.answered(answer)

    def today(self, day: int) -> None:
        """From now on calls are held on the windows of this day."""
        self._context.day = day

    def token(self, answer: TokenAnswer) -> None:
        """Who has a digest."""
        self._context.tokens.answered(answer)

    def publish(self, news: Publish) -> None:
        """What changed; in force when this returns."""
        context = self._context
        if news.snapshot is not None:
            context.catalogue = catalogue = Catalogue(
                news.snapshot, context.board, self._socket_path, self._counters
            )
            context.board.forget(catalogue.key_ids())
            context.unwanted.clear()
        context.tokens.forget(news.digests, everything=news.everything, revision=news.revision)
        if context.catalogue is not None and not self._served.done():
            self._served.set_result(None)

    def recorded(self, high_water: int) -> None:
        """The journal up to here is in the books."""
        self._context.journal.recorded(high_water)
        self._context.funds.recorded(high_water)

    def fenced(self, reason: str) -> None:
        """Nothing of this epoch is accepted any more: whatever is done now would be lost."""
        self._context.log.event("fenced", reason=reason, worker=self._index)
        os._exit(1)

    # --- inside ---------------------------------------------------------------------------

    def _wake_rates(self, seconds: float) -> None:
        context = self._context
        self._loop.call_later(seconds, lambda: context.rates.poll(context.passed_seconds()))

    def _ship_soon(self) -> None:
        if not self._shipping_soon:
            self._shipping_soon = True
            self._loop.call_later(SHIP_SECONDS, self._ship)

    def _ship(self) -> None:
        self._shipping_soon = False
        self._context.shipping.push()

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                self._tick()
            except Exception as mistake:  # noqa: BLE001 - of this second; the next one comes
                self._loop.call_exception_handler(
                    {"message": "a worker's second failed", "exception": mistake}
                )

    def _tick(self) -> None:
        """What must be done each second."""
        context = self._context
        context.funds.tick()
        context.rates.tick(context.passed_seconds())
        context.tokens.tick()
        context.board.tick()
        context.slots.tick()
        context.claims.tick()
        context.journal.tick()
        context.record_refusals()
        now = self._loop.time()
        for stream in tuple(context.streams):
            stream.ping(now, PING_SECONDS)
        rows = context.counters.rows(
            holds_open=len(context.open_calls), waiting=context.shipping.waiting
        )
        self._link.send(Counters(rows))

    async def _drain(self) -> None:
        """Let calls end, then leave nothing behind."""
        context = self._context
        context.draining = True
        for proxied in tuple(context.proxied):
            proxied.cut()
        limit = self._loop.time() + context.limits.drain_seconds
        await self._server.drain()
        # Calls whose client left may still be read for the vendor's report.
        while context.open_calls and self._loop.time() < limit:
            await asyncio.sleep(0.02)
        for call in tuple(context.open_calls.values()):
            call.shut_down()
        limit = self._loop.time() + LAST_BATCH_SECONDS
        while context.open_calls and self._loop.time() < limit:
            await asyncio.sleep(0.02)
        context.record_refusals(at_once=True)
        context.funds.close()
        context.rates.close(context.passed_seconds())
        context.shipping.push()
        while context.shipping.waiting and self._link.up and self._loop.time() < limit:
            await asyncio.sleep(0.01)
        await self._server.close()
        context.journal.close()
        context.contents.close()
        self._link.close()
        await context.secure.close()
        await context.plain.close()


def _new_epoch() -> int:
    """Unique without asking anybody: milliseconds, then chance; below 2**63."""
    return (time.time_ns() // 1_000_000) << 20 | secrets.randbits(20)


def _upstream_tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=str(ca_file))
    return context


def _listener_tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_certificate_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls_certificate_file, settings.tls_key_file)
    return context
