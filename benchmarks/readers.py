"""Many clients that read slow streams at once, as a program beside the one that measures.

    python -m benchmarks.readers PORT STREAMS MODEL TOKEN

Prints `open` when every stream has brought its first event, and at the end how many of them came
whole: a 200, to its last event and to the end of its framing.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import uvloop

from benchmarks.load import chat_body

#: Connections opened at once; more would only wait in the listener's queue.
OPENING: Final = 64


class Readers:
    """The clients."""

    def __init__(self, port: int, model: str, token: str) -> None:
        body = chat_body(model, stream=True, stream_options={"include_usage": True})
        self._port = port
        self._request = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: proof\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        self._opening = asyncio.Semaphore(OPENING)
        self._awaited = 0

    async def read(self, streams: int) -> int:
        """How many came whole."""
        self._awaited = streams
        return sum(await asyncio.gather(*(self._read_one() for _ in range(streams))))

    async def _read_one(self) -> bool:
        try:
            async with self._opening:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=4096)
                writer.write(self._request)
                head = await reader.readuntil(b"\r\n\r\n")
            return await self._read_body(reader) and head.startswith(b"HTTP/1.1 200 ")
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            return False

    async def _read_body(self, reader: asyncio.StreamReader) -> bool:
        last, began = b"", False
        while size := int(await reader.readline(), 16):
            last = (await reader.readexactly(size + 2))[:-2]
            if not began:
                began = True
                self._awaited -= 1
                if not self._awaited:
                    print("open", flush=True)
        await reader.readline()
        return last.endswith(b"data: [DONE]\n\n")


async def _main(port: str, streams: str, model: str, token: str) -> None:
    print(await Readers(int(port), model, token).read(int(streams)), flush=True)


if __name__ == "__main__":
    uvloop.run(_main(*sys.argv[1:]))
