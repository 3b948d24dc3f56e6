"""Who is told: an HTTP receiver and a mail server on loopback, that keep what reached them."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import uvloop

PATIENCE_SECONDS = 15.0
SIGNING = "a signing secret of ours"
OK = b'{"errcode":0,"errmsg":"ok","code":0,"msg":"success"}'


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs a scene as the control process runs, and bounds it."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    uvloop.run(bounded())


async def until(claim: Callable[[], object]) -> None:
    """Waits until something has become true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not claim():
            await asyncio.sleep(0.005)


# --- HTTP ----------------------------------------------------------------------------------


@dataclass
class Told:
    """A request as it came."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Reply:
    """What is answered; `hangs`: nothing is, ever."""

    status: int = 200
    body: bytes = OK
    headers: str = ""
    hangs: bool = False


@dataclass
class Receiver:
    """Answers with its replies in turn, then well."""

    port: int
    tls: bool
    replies: list[Reply] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def url(self, path: str = "/hook/token-0123456789") -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{path}"

    def will(self, *replies: Reply) -> None:
        self.replies.extend(replies)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.rstrip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            body = await reader.readexactly(int(headers["Content-Length"]))
            self.told.append(Told(request.split(" ")[1], headers, body))
            reply = self.replies.pop(0) if self.replies else Reply()
            if reply.hangs:
                await reader.read()
                return
            # Time for a second one to come, if any did.
            await asyncio.sleep(0.01)
            head = f"HTTP/1.1 {reply.status} X\r\nContent-Length: {len(reply.body)}\r\n"
            writer.write((head + reply.headers + "\r\n").encode() + reply.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.at_once -= 1
            writer.close()


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver, for as long as the block lasts."""
    receiver = Receiver(0, tls is not None)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


# --- mail ----------------------------------------------------------------------------------


@dataclass
class Mail:
    """A mail as it was handed in. encrypted: over TLS."""

    sender: str
    to: list[str]
    message: EmailMessage
    encrypted: bool
    login: str


@dataclass
class MailServer:
    """Speaks as much of RFC 5321 as there is to say here.

    logins: who may hand in, "user:password"; none = anybody.  refuses: addresses it does not know.
    hangs: greets nobody.  drips: greets for ever.
    """

    port: int = 0
    starttls: ssl.SSLContext | None = None
    logins: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    hangs: bool = False
    drips: bool = False
    box: list[Mail] = field(default_factory=list)
    visits: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        try:
            if self.hangs:
                await reader.read()
            elif self.drips:
                while not reader.at_eof():
                    writer.write(b"220-and\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            else:
                await _Talk(self, reader, writer).hold()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()


class _Talk:
    """One conversation."""

    def __init__(
        self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.sender, self.to, self.login = "", list[str](), ""

    @property
    def encrypted(self) -> bool:
        return self.writer.get_extra_info("sslcontext") is not None

    async def say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def hold(self) -> None:
        await self.say("220 mail.example ready")
        while line := await self.reader.readline():
            verb, _, rest = line.decode().rstrip("\r\n").partition(" ")
            if verb.upper() == "QUIT":
                await self.say("221 bye")
                return
            await self.answer(verb.upper(), rest)

    async def answer(self, verb: str, rest: str) -> None:
        server = self.server
        if verb == "EHLO":
            able = ["AUTH PLAIN"] if server.logins else []
            able += ["STARTTLS"] if server.starttls and not self.encrypted else []
            lines = ["mail.example", *able, "8BITMIME"]
            await self.say(*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}")
        elif verb == "STARTTLS":
            assert server.starttls is not None
            await self.say("220 go on")
            await self.writer.start_tls(server.starttls)
        elif verb == "AUTH":
            _, user, password = base64.b64decode(rest.split(" ")[1]).decode().split("\0")
            self.login = f"{user}:{password}"
            known = self.login in server.logins
            # As careless as a server can be: it repeats the password.
            await self.say("235 welcome" if known else f"535 {password} is not {user}'s")
        elif verb == "MAIL":
            self.sender = rest.partition("<")[2].partition(">")[0]
            await self.say("250 ok")
        elif verb == "RCPT":
            address = rest.partition("<")[2].partition(">")[0]
            known = address not in server.refuses
            self.to += [address] if known else []
            await self.say("250 ok" if known else "550 nobody here")
        elif verb == "DATA":
            await self.say("354 go on")
            await self.take(await self.reader.readuntil(b"\r\n.\r\n"))
        else:
            await self.say("250 ok")

    async def take(self, raw: bytes) -> None:
        text = raw.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
        message = message_from_bytes(text.replace(b"\r\n", b"\n"), policy=policy.default)
        assert isinstance(message, EmailMessage)
        kept = Mail(self.sender, self.to, message, self.encrypted, self.login)
        self.server.box.append(kept)
        await self.say("250 kept")


@asynccontextmanager
async def mailing(
    *,
    tls: ssl.SSLContext | None = None,
    starttls: ssl.SSLContext | None = None,
    logins: Iterable[str] = (),
    refuses: Iterable[str] = (),
    hangs: bool = False,
    drips: bool = False,
) -> AsyncIterator[MailServer]:
    """A mail server, for as long as the block lasts. tls: from the first byte on."""
    mail = MailServer(0, starttls, tuple(logins), tuple(refuses), hangs, drips)
    server = await asyncio.start_server(mail.serve, "127.0.0.1", 0, ssl=tls)
    mail.port = server.sockets[0].getsockname()[1]
    try:
        yield mail
    finally:
        server.close()
