"""What is said in a call is kept only where the token's owner asked for it, and never at the cost
of the call: it is gathered beside it, up to a bound, and handed to the control process, which seals
and stores it. While control is away, or slow, it is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

from aipool.doors.contents import TEXT_BYTES_MAX, Content, pack

_DAY_MS = 86_400_000
#: What may wait for control, in bytes.
_WAITING_BYTES_MAX = 8 * 1024 * 1024
_RECONNECT_SECONDS = 1.0


class Keeping:
    """What is said in one call."""

    __slots__ = ("_answer", "_answer_cut", "_request", "_request_cut")

    def __init__(self, request: bytes) -> None:
        self._request = request[:TEXT_BYTES_MAX]
        self._request_cut = len(request) > TEXT_BYTES_MAX
        self._answer = bytearray()
        self._answer_cut = False

    def add(self, data: bytes) -> None:
        """More of the answer."""
        room = TEXT_BYTES_MAX - len(self._answer)
        self._answer += data[:room]
        self._answer_cut |= len(data) > room

    def content(self, rid: str, token_id: int, user_id: int, at_ms: int, days: int) -> Content:
        """All of it. days: how long the owner wants it kept."""
        return Content(
            rid,
            token_id,
            user_id,
            at_ms + days * _DAY_MS,
            self._request,
            self._request_cut,
            bytes(self._answer),
            self._answer_cut,
        )


class Contents(asyncio.Protocol):
    """The way to control. tell: says once that something was lost, and once that it is not any
    more."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, path: Path, tell: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._path = str(path)
        self._tell = tell
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._next_try = 0.0
        self._losing = False

    def keep(self, content: Content) -> None:
        """Hand it over, or lose it."""
        frame = pack(content)
        transport = self._transport
        if transport is not None and transport.get_write_buffer_size() < _WAITING_BYTES_MAX:
            transport.write(frame)
            return
        if transport is None and self._waiting_bytes + len(frame) <= _WAITING_BYTES_MAX:
            self._waiting.append(frame)
            self._waiting_bytes += len(frame)
            self._connect_soon()
            return
        if not self._losing:
            self._losing = True
            self._tell("contents_not_kept")

    def close(self) -> None:
        """What is written goes out; the rest is lost."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.Protocol -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what has waited."""
        self._transport = made = cast(asyncio.Transport, transport)
        made.writelines(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        if self._losing:
            self._losing = False
            self._tell("contents_kept_again")

    def connection_lost(self, exc: Exception | None) -> None:
        """Control has ended; the next content asks for it again."""
        self._transport = None

    # --- inside ---------------------------------------------------------------------------

    def _connect_soon(self) -> None:
        now = self._loop.time()
        if (self._connecting is None or self._connecting.done()) and now >= self._next_try:
            self._next_try = now + _RECONNECT_SECONDS
            self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self._loop.create_unix_connection(lambda: self, self._path)
        except OSError:
            self._transport = None
