"""Names to addresses, off the event loop and off its default threads.

`getaddrinfo` cannot be interrupted: a dead name server holds its thread for tens of seconds. So
lookups have threads of their own, each name is looked up by one thread at a time however many
requests wait for it, and nobody waits longer than the limit. When a lookup fails, the last good
answer stands in for ten minutes.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from aipool.wire.limits import Limits

SockAddress = tuple[Any, ...]
"""What `socket.connect` takes: (host, port), or (host, port, flow, scope) for IPv6."""

_THREADS = 16
_NAMES_MAX = 4096


class Unresolved(Exception):
    """The name has no address, or nobody would say."""


class Resolver(Protocol):
    """The hook through which the client learns addresses."""

    async def resolve(self, host: str, port: int) -> list[SockAddress]:
        """All addresses of a name, best first. Raises Unresolved."""


@dataclass(slots=True)
class _Known:
    addresses: list[SockAddress]
    at: float


class SystemResolver:
    """Asks the system (`getaddrinfo`), and remembers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self._limits = limits
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolve")
        self._known: dict[tuple[str, int], _Known] = {}
        self._asked: dict[tuple[str, int], asyncio.Future[list[SockAddress]]] = {}

    async def resolve(self, host: str, port: int) -> list[SockAddress]:
        key = (host, port)
        known = self._known.get(key)
        now = self._loop.time()
        if known is not None and now - known.at < self._limits.resolve_fresh_seconds:
            return known.addresses
        asked = self._asked.get(key)
        if asked is None:
            asked = self._ask(key)
        try:
            return await asyncio.wait_for(asyncio.shield(asked), self._limits.resolve_seconds)
        except (OSError, TimeoutError, UnicodeError) as error:
            if known is not None and now - known.at < self._limits.resolve_keep_seconds:
                return known.addresses
            detail = str(error) or "the name server did not answer"
            raise Unresolved(f"{host}: {detail}") from error

    def close(self) -> None:
        """Forgets the threads; those that hang in a lookup end with the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, key: tuple[str, int]) -> asyncio.Future[list[SockAddress]]:
        asked = self._loop.run_in_executor(self._threads, _look_up, *key)
        self._asked[key] = asked
        asked.add_done_callback(lambda answer: self._told(key, answer))
        return asked

    def _told(self, key: tuple[str, int], answer: asyncio.Future[list[SockAddress]]) -> None:
        self._asked.pop(key, None)
        if not answer.cancelled() and answer.exception() is None:
            if len(self._known) >= _NAMES_MAX:
                self._known.pop(next(iter(self._known)))
            self._known[key] = _Known(answer.result(), self._loop.time())


def _look_up(host: str, port: int) -> list[SockAddress]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(entry[4] for entry in found))
    if not addresses:
        raise OSError("the name has no address")
    return addresses
