"""A vendor that writes odd answers (`odd.py`) just as they stand, and notes when it was done.

Each request names its answer: its `user` is looked up by whoever made the answers.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable
from typing import cast

from tests.fakes.odd import After, Odd

_USER = re.compile(rb'"user":\s*"([^"]*)"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
#: What may wait in the socket before an endless answer rests.
_BUFFER_BYTES = 1 << 18


class OddVendor:
    """A server on 127.0.0.1.

    answer: the answer for a `user`.  ended_at: when the last byte for it was written, or the
    connection lost, by the loop's clock.  served: how often it was asked for.  playing: how many
    answers are being written.  written: bytes for it that the system took.
    """

    def __init__(self, answer: Callable[[str], Odd]) -> None:
        self.answer = answer
        self.ended_at: dict[str, float] = {}
        self.served: dict[str, int] = {}
        self.written: dict[str, int] = {}
        self.playing = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """What to configure as the vendor's base address."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> OddVendor:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, backlog=4096
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    def __init__(self, vendor: OddVendor) -> None:
        self._vendor = vendor
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._got = b""
        self._user = ""
        self._odd: Odd | None = None
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None
        self._may_write = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_BUFFER_BYTES)
        made = transport.get_extra_info("socket")
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._odd is not None:
            self._ended()

    def data_received(self, data: bytes) -> None:
        self._got += data
        top, blank, body = self._got.partition(b"\r\n\r\n")
        length = _LENGTH.search(top)
        if not blank or length is None or len(body) < int(length[1]) or self._odd is not None:
            return
        self._got = b""
        found = _USER.search(body)
        self._user = found[1].decode() if found else ""
        vendor = self._vendor
        vendor.served[self._user] = vendor.served.get(self._user, 0) + 1
        vendor.written.setdefault(self._user, 0)
        vendor.playing += 1
        self._odd, self._next = vendor.answer(self._user), 0
        self._play()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        if self._odd is not None and self._timer is None:
            self._play()

    def _play(self) -> None:
        self._timer = None
        odd = self._odd
        while odd is not None and self._may_write and self._transport is not None:
            if self._next == len(odd.writes):
                if not odd.endless:
                    self._finish(odd)
                    return
                self._next -= 1
            piece = odd.writes[self._next]
            self._next += 1
            self._transport.write(piece)
            self._vendor.written[self._user] += len(piece)
            if odd.pause_seconds or odd.endless:
                self._timer = self._loop.call_later(odd.pause_seconds, self._play)
                return

    def _finish(self, odd: Odd) -> None:
        transport = self._transport
        assert transport is not None
        self._ended()
        if odd.after is After.FIN:
            transport.close()
        elif odd.after is After.RST:
            # The peer gets a moment to read what was written before the reset.
            end = transport.get_extra_info("socket")
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._loop.call_later(0.02, transport.abort)

    def _ended(self) -> None:
        self._odd = None
        self._vendor.playing -= 1
        self._vendor.ended_at[self._user] = self._loop.time()
