"""Five accounts at vendors that fail on command, each with books of its own.

An account is one upstream key and the fake vendor that answers it. All of them live in the event
loop of the proof, so what it asks for happens between two calls, and what was served is known.

A condition is one way of failing after which a call may be made again elsewhere. Where it differs
for streams and whole answers both are named; None: those go on well, because a whole answer that
does not come in time may have been made, and is never asked for twice.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import trustme

from benchmarks.platform import MODEL, PRICE
from tests.fakes.books import Books, Entry
from tests.fakes.vendor import FakeVendor

Wishes = dict[str, Any]

KEYS: Final = 5
VENDOR: Final = "five"

#: How long a good answer takes: what keeps all clients in flight.
WELL: Final[Wishes] = {"events": 4, "delay": 0.3}


class Condition(NamedTuple):
    """A way of failing.

    whole, stream: what calls of these kinds meet; None = nothing.  convicts: the key is out until
    a person says otherwise.  refuses: no connection is taken.  stranger: the account's vendor
    shows the certificate of somebody else.
    """

    name: str
    whole: Wishes | None
    stream: Wishes | None
    convicts: bool = False
    refuses: bool = False
    stranger: bool = False


def _both(name: str, wishes: Wishes, *, convicts: bool = False) -> Condition:
    return Condition(name, wishes, wishes, convicts)


_QUOTA: Final = {
    "message": "You exceeded your current quota, please check your plan and billing details.",
    "type": "insufficient_quota",
    "param": None,
    "code": "insufficient_quota",
}
_OVERLOADED: Final = {"message": "Something went wrong here.", "type": "server_error"}

REFUSED: Final = Condition("connection refused", None, None, refuses=True)
STRANGER: Final = Condition("a stranger's certificate", None, None, stranger=True)

CONDITIONS: Final = (
    REFUSED,
    _both("reset before an answer", {"cut_at": 0, "cut": "rst"}),
    _both("closed before an answer", {"cut_at": 0}),
    _both("reset after the head", {"cut_at": "head", "cut": "rst"}),
    _both("401", {"status": 401}, convicts=True),
    _both("402", {"status": 402}, convicts=True),
    _both("403", {"status": 403}, convicts=True),
    _both("429", {"status": 429}),
    _both("429, retry-after 1", {"status": 429, "headers": {"retry-after": "1"}}),
    _both("429, no quota left", {"status": 429, "error": _QUOTA}, convicts=True),
    _both("500", {"status": 500}),
    _both("502", {"status": 502, "body": "<html>502 Bad Gateway</html>"}),
    _both("503", {"status": 503}),
    _both("529", {"status": 529}),
    _both("200 with an error", {"body": {"error": _OVERLOADED}}),
    _both("200 with nothing", {"body": ""}),
    Condition(
        "200 with no choices",
        {"body": {"choices": []}},
        {"body": "data: [DONE]\n\n", "content_type": "text/event-stream"},
    ),
    Condition("an error as first event", None, {"role_first": False, "error_after": 0}),
    Condition("a role, and cut", None, {"cut_after": 1}),
    Condition("a role, and reset", None, {"cut_after": 1, "cut": "rst"}),
    Condition("a head, and silence", None, {"stall_after": 0}),
    Condition("a role, and silence", None, {"stall_after": 1}),
    Condition("a head that does not come", None, {"never": True}),
)


class Account:
    """One upstream key and its vendor. condition: how it fails now, None = it is well."""

    def __init__(
        self, place: int, tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
    ) -> None:
        self.name = f"key-{place}"
        self.secret = f"sk-account-{place}-0123456789abcdef"
        self.condition: Condition | None = None
        self._tls = tls
        self.vendor = FakeVendor(self._behaviour, tls=tls[0] if tls else None)

    def _behaviour(self, _key: str, _number: int, body: dict[str, Any]) -> Wishes:
        condition = self.condition
        if condition is None:
            return WELL
        wishes = condition.stream if body.get("stream") is True else condition.whole
        return WELL if wishes is None else wishes

    @property
    def books(self) -> Books:
        """What it has served."""
        return self.vendor.books

    async def fail(self, condition: Condition) -> None:
        """From now on."""
        self.condition = condition
        if condition.refuses:
            self.vendor.turn_away()
        elif condition.stranger:
            assert self._tls is not None
            await self._change_certificate(self._tls[1])

    async def heal(self) -> None:
        """From now on all is well."""
        condition, self.condition = self.condition, None
        if condition is None:
            return
        if condition.refuses:
            await self.vendor.start()
        elif condition.stranger:
            assert self._tls is not None
            await self._change_certificate(self._tls[0])

    async def _change_certificate(self, tls: ssl.SSLContext) -> None:
        self.vendor.turn_away()
        self.vendor.tls = tls
        await self.vendor.start()

    def arrivals_since(self, moment: float) -> int:
        """How many calls came to it since then (seconds since 1970)."""
        count = 0
        for entry in reversed(self.books.entries):
            if entry.time < moment:
                break
            count += 1
        return count

    def last_failure(self) -> float:
        """When the last failing try ended; 0.0 = there was none."""
        failed = [entry.ended_time or 0.0 for entry in self.books if not entry.billed_output]
        return max(failed, default=0.0)


class Accounts:
    """All of them, first = tried first."""

    def __init__(self, tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None) -> None:
        self.all = [Account(place, tls) for place in range(KEYS)]

    async def __aenter__(self) -> Accounts:
        for account in self.all:
            await account.vendor.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for account in self.all:
            await account.vendor.stop()

    def __getitem__(self, place: int) -> Account:
        return self.all[place]

    def documents(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """What the platform sells: one model on one vendor with all these keys."""
        keys = [
            {
                "name": account.name,
                "api_key": account.secret,
                "config": {"base_url": account.vendor.base_url},
            }
            for account in self.all
        ]
        # The default key's address is its vendor's.
        del keys[0]["config"]
        base_url = self[0].vendor.base_url
        vendor = {"name": VENDOR, "type": "openai_compatible", "base_url": base_url, "keys": keys}
        model = {
            "name": MODEL,
            "context": 128_000,
            "max_output_tokens": 4_096,
            "price": dict(PRICE),
            "routes": [{"vendor": VENDOR}],
        }
        return {"vendors": [vendor], "models": [model]}

    def take_books(self) -> list[list[Entry]]:
        """What each has served since the last time, which is then forgotten."""
        taken = []
        for account in self.all:
            taken.append(account.books.entries)
            account.vendor.books = Books()
        return taken

    async def quiet(self, account: Account, seconds: float, patience_seconds: float) -> bool:
        """Wait until nobody has called this account for so long; False: it never happened."""
        deadline = time.time() + patience_seconds
        start = time.time()
        while time.time() < deadline:
            await asyncio.sleep(0.02)
            now = time.time()
            if now - start >= seconds and not account.arrivals_since(now - seconds):
                return True
        return False


def certificates(folder: Path) -> tuple[Path, tuple[ssl.SSLContext, ssl.SSLContext]]:
    """An authority's file, and what its server and a stranger show."""
    authority = trustme.CA()
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path, (_server(authority), _server(trustme.CA()))


def _server(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@contextmanager
def waiting_room() -> Iterator[int]:
    """A port where connections are neither taken nor refused."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    port: int = listener.getsockname()[1]
    waiting = []
    try:
        for _ in range(8):  # more than the queue holds
            one = socket.socket()
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(("127.0.0.1", port))
            waiting.append(one)
        yield port
    finally:
        for one in waiting:
            one.close()
        listener.close()
