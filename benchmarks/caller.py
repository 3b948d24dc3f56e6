"""A client that keeps a record: what was asked, when, and whether the answer arrived whole.

It frames answers by itself, so that it can tell a whole answer from one that was cut, and it can
call from any address of the loopback network: the address is written into the call's row, and so
names the call in the books even when its client never learnt the request id.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Final

_HEAD_BYTES_MAX: Final = 1 << 16
#: Host numbers of 127.0.0.0/8 that can be given out, leaving the usual ones alone.
_ADDRESSES_FROM: Final = 1 << 16


@dataclass(slots=True)
class Answer:
    """What came back. status 0: not even a head came. whole: to the last byte of its framing."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False

    @property
    def rid(self) -> str:
        """The request id, "" when none came."""
        return self.headers.get("x-request-id", "")

    @property
    def worker(self) -> str:
        """Which worker answered, "" when it did not say."""
        return worker_of(self.rid)

    def usage(self) -> tuple[int, int] | None:
        """Input and output tokens that the answer itself reports, streamed or not."""
        for held in reversed(self._events()):
            usage = held.get("usage")
            if usage:
                return usage["prompt_tokens"], usage["completion_tokens"]
        return None

    def _events(self) -> list[dict[str, Any]]:
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return [json.loads(self.body)]
        lines = bytes(self.body).split(b"\n")
        events = [line[6:] for line in lines if line.startswith(b"data: ")]
        return [json.loads(event) for event in events if event != b"[DONE]"]


def worker_of(rid: str) -> str:
    """What a request id has in common with all others of one life of one worker: the digits of
    chance between its time and its count."""
    return rid[16:26]


class Line:
    """One connection; requests one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, address: str | None = None) -> Line:
        """Connect to a loopback port, from this address of the loopback network."""
        local = None if address is None else (address, 0)
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=local))

    async def ask(
        self,
        token: str,
        body: dict[str, Any] | None = None,
        path: str = "/v1/chat/completions",
        answer: Answer | None = None,
    ) -> Answer:
        """POST a body, or GET without one. Never raises for what the other side does.

        answer: is filled as the bytes come, for who wants to look meanwhile.
        """
        answer = Answer() if answer is None else answer
        payload = b"" if body is None else encoded(body)
        self._writer.write(
            b"%b %b HTTP/1.1\r\nhost: proof\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (
                b"GET" if body is None else b"POST",
                path.encode(),
                token.encode(),
                len(payload),
                payload,
            )
        )
        try:
            await self._read(answer)
        except (OSError, EOFError, ValueError):
            pass
        return answer

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def _read(self, answer: Answer) -> None:
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        for line in lines:
            name, _, value = line.partition(":")
            answer.headers[name.lower()] = value.strip()
        answer.status = int(status.split(" ")[1])
        if answer.headers.get("transfer-encoding") == "chunked":
            while size := int(await self._reader.readline(), 16):
                answer.body += await self._reader.readexactly(size)
                await self._reader.readexactly(2)
            await self._reader.readexactly(2)
        else:
            length = int(answer.headers["content-length"])
            answer.body += await self._reader.readexactly(length)
        answer.whole = True


async def ask_once(
    port: int,
    token: str,
    body: dict[str, Any] | None = None,
    path: str = "/v1/chat/completions",
    *,
    address: str | None = None,
    answer: Answer | None = None,
) -> Answer:
    """One request on a connection of its own."""
    answer = Answer() if answer is None else answer
    try:
        line = await Line.open(port, address)
    except OSError:
        return answer
    try:
        return await line.ask(token, body, path, answer)
    finally:
        line.close()


def encoded(body: dict[str, Any]) -> bytes:
    """A body as it is sent; one token a byte is what is held for its input."""
    return json.dumps(body, separators=(",", ":")).encode()


def chat(
    model: str, wishes: dict[str, Any], marker: str, max_tokens: int, *, stream: bool
) -> dict[str, Any]:
    """A chat request that tells the fake vendor what to do, and carries a marker for its books."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": json.dumps({"fake": wishes})}],
        "user": marker,
        "max_tokens": max_tokens,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def address_of(number: int) -> str:
    """The loopback address that names call `number`."""
    host = _ADDRESSES_FROM + number
    return f"127.{host >> 16 & 255}.{host >> 8 & 255}.{host & 255}"
