"""What was said in calls comes from the workers on contents.sock, is sealed and stored.

What cannot be stored now is lost: the calls were made and charged, and no client waits. Now and
then what is over is deleted, and what is left of tokens whose owners want nothing kept any more.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

import msgspec
import structlog
from sqlalchemy.engine import Connection

from aipool.api_tokens import service as api_tokens
from aipool.calls import contents
from aipool.calls.types import Said
from aipool.doors.contents import Content, decode
from aipool.doors.frames import Splitter
from aipool.kit.clock import now_ms
from aipool.kit.db import PASSING_ERRORS, Database
from aipool.kit.recurring import Recurring, outliving_mistakes
from aipool.kit.sealing import Keyring

_log = structlog.get_logger()

#: What waits to be written, in calls of at most half a megabyte each.
_WAITING_MAX = 64
_TOGETHER_MAX = 16
_SWEEP_SECONDS = 60.0


class ContentKeeper:
    """Takes contents, writes them, and sweeps."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._waiting: deque[Content] = deque(maxlen=_WAITING_MAX)
        self._wake = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writing: asyncio.Task[None] | None = None
        self._sweeping = Recurring("sweep_of_contents", self._sweep, every_seconds=_SWEEP_SECONDS)

    async def start(self, listener: socket.socket) -> None:
        """Listen, and begin."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Receiver(self._take), sock=listener)
        self._writing = loop.create_task(self._write_forever())
        self._sweeping.start()

    async def close(self) -> None:
        """Write what waits, and end."""
        if self._server is not None:
            self._server.close()
        await self._sweeping.close()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        # A database that is away is not waited for once more with each.
        with outliving_mistakes("contents"):
            while self._waiting:
                await self._write_some()

    def _take(self, content: Content) -> None:
        if len(self._waiting) == _WAITING_MAX:
            _log.warning("contents_not_kept", reason="more than can be written")
        self._waiting.append(content)
        self._wake.set()

    async def _write_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                try:
                    await self._write_some()
                except PASSING_ERRORS as error:
                    _log.error("contents_not_kept", reason=str(error))
                except Exception as mistake:  # noqa: BLE001 - of these; the next ones come
                    # Not its text, which may hold what was said.
                    _log.error("contents_not_kept", mistake=type(mistake).__name__)

    async def _write_some(self) -> None:
        count = min(len(self._waiting), _TOGETHER_MAX)
        some = [_said(self._waiting.popleft()) for _ in range(count)]
        if some:
            await asyncio.to_thread(self._keep, some)

    def _keep(self, some: list[Said]) -> None:
        with self._database.write() as tx:
            contents.keep(tx, self._keyring, some)

    async def _sweep(self) -> None:
        await asyncio.to_thread(sweep, self._database, now_ms())


def sweep(database: Database, at_ms: int) -> None:
    """Deletes what is over, and what nobody wants kept any more."""
    with database.read() as connection:
        unwanted = _unwanted(connection)
    if unwanted:
        with database.write() as tx:
            contents.forget_tokens(tx, unwanted)
    while _some_over(database, at_ms):
        pass


def _unwanted(connection: Connection) -> set[int]:
    there = contents.tokens(connection)
    return there - api_tokens.keeping_content(connection, there) if there else set()


def _some_over(database: Database, at_ms: int) -> int:
    with database.read() as connection:
        if not contents.any_over(connection, now_ms=at_ms):
            return 0
    with database.write() as tx:
        return contents.sweep(tx, now_ms=at_ms)


def _said(content: Content) -> Said:
    return Said(
        content.rid,
        content.token_id,
        content.user_id,
        content.expires_at_ms,
        content.request.decode("utf-8", "replace"),
        content.request_cut,
        content.answer.decode("utf-8", "replace"),
        content.answer_cut,
    )


class _Receiver(asyncio.Protocol):
    """One worker's connection."""

    def __init__(self, take: Callable[[Content], None]) -> None:
        self._take = take
        self._splitter = Splitter()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A worker is there."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Some contents, perhaps the last one in part."""
        try:
            for payload in self._splitter.feed(data):
                self._take(decode(payload))
        except (ValueError, msgspec.MsgspecError) as error:
            _log.error("content_not_understood", reason=str(error))
            if self._transport is not None:
                self._transport.close()
