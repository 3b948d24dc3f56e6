"""People who log in at the same moment, again and again, as one process.

Each has an account of their own, and comes each time from another address of the loopback network,
so that none is held up for what another did. Every other password is wrong, and none is held up
for their own either: a right one makes the wrong one before it forgotten. Who is told to come
again comes when told.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Final

from benchmarks.caller import address_of
from benchmarks.platform import PASSWORD

PEOPLE: Final = 200
#: Between two that begin, so that they do not come back in step.
_STEP_SECONDS: Final = 0.005
#: So many that none is met often.
_ADDRESSES: Final = 1 << 23

BUSY: Final = 503


def phone_of(number: int) -> str:
    """The number that names the account of one of them."""
    return f"+86137{number:08}"


def log_in(port: int, people: int) -> None:
    """So many log in at this port until killed; a line for each answer: its status, and the seconds
    that it took."""
    asyncio.run(_log_in_together(port, people))


async def _log_in_together(port: int, people: int) -> None:
    print("ready", flush=True)
    await asyncio.gather(*(_log_in_again(port, number) for number in range(people)))


async def _log_in_again(port: int, number: int) -> None:
    await asyncio.sleep(number * _STEP_SECONDS)
    while True:
        for password in (PASSWORD, "of somebody else"):
            await _be_answered(port, _request(phone_of(number), password))


async def _be_answered(port: int, request: bytes) -> None:
    local = (address_of(random.randrange(_ADDRESSES)), 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=local)
    status = BUSY
    while status == BUSY:
        began = time.monotonic()
        writer.write(request)
        status, wait_seconds = await _answer(reader)
        print(status, time.monotonic() - began, flush=True)
        await asyncio.sleep(wait_seconds)
    writer.close()


def _request(login: str, password: str) -> bytes:
    body = json.dumps({"login": login, "password": password}).encode()
    return (
        b"POST /api/auth/login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


async def _answer(reader: asyncio.StreamReader) -> tuple[int, float]:
    """The status, and for how long to stay away."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    first, *lines = head.split("\r\n")
    headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    await reader.readexactly(int(headers["content-length"]))
    return int(first.split(" ")[1]), float(headers.get("retry-after", "0"))
