"""Sends a notice over a channel, or a mail or a post by itself, and says what became of it.

Every address is vetted as those of vendors are (kit.outbound), at every connection; nothing is
followed elsewhere. Bots and webhooks go through the HTTP client of the wire layer. Mail is handed
in by the standard library in a thread of its own, on a socket that was connected and vetted here;
when time is up the socket is shut down, which ends the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path

from aipool.kit.errors import Invalid
from aipool.kit.outbound import BaseUrl, Vet
from aipool.notices import rendering
from aipool.notices.rules import CHANNELS_MAX, checked_url, without_secrets
from aipool.notices.types import Channel, Kind, MailServer, Notice, Secrets, Tls
from aipool.wire.client import HttpClient
from aipool.wire.connect import ConnectError, open_socket
from aipool.wire.limits import Limits
from aipool.wire.request import Failure, FailureKind, Origin
from aipool.wire.resolver import SystemResolver

POST_SECONDS = 10.0
MAIL_SECONDS = 15.0
ANSWER_BYTES_MAX = 64 * 1024

_WHY = {
    FailureKind.BLOCKED_ADDRESS: "its address is not one that may be reached",
    FailureKind.TLS: "it could not prove who it is",
    FailureKind.TOO_LARGE: f"its answer is larger than {ANSWER_BYTES_MAX} bytes",
    FailureKind.TIMEOUT_CONNECT: "no connection in time",
    FailureKind.TIMEOUT_FIRST_BYTE: "no answer in time",
    FailureKind.TIMEOUT_IDLE: "no answer in time",
    FailureKind.TIMEOUT_TOTAL: "no answer in time",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try. refusal: why it failed, None = it arrived.
    remark: what was not quite right with one that arrived. Neither has a secret."""

    refusal: str | None
    remark: str = ""


class Sender:
    """Sends from one event loop."""

    def __init__(
        self,
        vet: Vet,
        limits: Limits,
        ca_file: Path | None = None,
        *,
        post_seconds: float = POST_SECONDS,
        mail_seconds: float = MAIL_SECONDS,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._vet = vet
        self._limits = replace(limits, answer_bytes=ANSWER_BYTES_MAX)
        self._post_seconds = post_seconds
        self._mail_seconds = mail_seconds
        self._tls = ssl.create_default_context()
        if ca_file is not None:
            self._tls.load_verify_locations(cafile=str(ca_file))
        # One mail at a time on a channel, so nothing ever waits for a thread.
        self._threads = ThreadPoolExecutor(CHANNELS_MAX, thread_name_prefix="mail")
        self._resolver = SystemResolver(self._loop, limits)
        self._secure = HttpClient(
            self._limits, tls=self._tls, vet=vet.encrypted, resolver=self._resolver
        )
        self._plain = HttpClient(
            self._limits, vet=vet.plain, resolver=self._resolver, sweep=self._secure.sweep
        )

    async def send(
        self, channel: Channel, secrets: Secrets, notice: Notice, now_ms: int
    ) -> Outcome:
        """Sends it, in bounded time. now_ms: for signatures."""
        if channel.mail is not None:
            message = rendering.mail(channel.mail, notice)
            outcome = await self.hand_in(channel.mail, secrets, message)
        else:
            outcome = Outcome(await self._post(channel.kind, secrets, notice, now_ms))
        refusal = outcome.refusal
        return Outcome(
            None if refusal is None else without_secrets(refusal, secrets),
            without_secrets(outcome.remark, secrets),
        )

    async def close(self) -> None:
        """Ends every connection."""
        await self._secure.close()
        await self._plain.close()
        self._resolver.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- webhooks and bots ------------------------------------------------------------------

    async def _post(self, kind: Kind, secrets: Secrets, notice: Notice, now_ms: int) -> str | None:
        # Judged again: the networks that may be reached are a setting and change.
        try:
            url = checked_url(secrets.url, self._vet)
        except Invalid as problem:
            return problem.message
        said = await self.request(url, rendering.post(kind, secrets, notice, now_ms))
        return said if isinstance(said, str) else rendering.refusal(kind, *said)

    async def request(self, url: BaseUrl, post: rendering.Post) -> tuple[int, bytes] | str:
        """The answer's status and body; or why there is none. url: judged by its caller, and its
        addresses again here."""
        client = self._secure if url.tls else self._plain
        answer = _Answer(self._loop)
        request = client.request(
            Origin(url.host, url.port, tls=url.tls),
            _head(url, post),
            post.body,
            answer,
            first_byte_seconds=self._post_seconds,
            idle_seconds=self._post_seconds,
            total_seconds=self._post_seconds,
        )
        try:
            said = await answer.future
        except asyncio.CancelledError:
            request.cancel()
            raise
        if isinstance(said, Failure):
            return _WHY.get(said.kind, said.detail)
        return said

    # --- mail -------------------------------------------------------------------------------

    async def hand_in(self, server: MailServer, secrets: Secrets, message: EmailMessage) -> Outcome:
        """Gives a mail to its server, in bounded time. What the server says is as it said it:
        it may name who the mail was for."""
        ends_at = self._loop.time() + self._mail_seconds
        vet = self._vet.plain if server.tls is Tls.NONE else self._vet.encrypted
        origin = Origin(server.host, server.port)
        try:
            async with asyncio.timeout_at(ends_at):
                sock = await open_socket(self._loop, origin, self._resolver, vet, self._limits)
        except ConnectError as error:
            return Outcome(_WHY.get(error.kind, error.detail))
        except TimeoutError:
            return Outcome("no connection in time")
        sock.settimeout(self._mail_seconds)
        # TLS takes the socket for its own; this one stays, to shut it down by.
        spare = sock.dup()
        late = self._loop.call_at(ends_at, _shut, spare)
        handing = self._threads.submit(_hand_in, sock, server, secrets, message, self._tls)
        try:
            return await asyncio.wrap_future(handing)
        finally:
            late.cancel()
            _shut(spare)
            spare.close()
            if handing.cancelled():
                sock.close()


class _Answer:
    """Waits for the answer of a request, collected whole."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[tuple[int, bytes] | Failure] = loop.create_future()
        self._status = 0

    def response(self, status: int, _headers: dict[bytes, bytes]) -> bool:
        """The head."""
        self._status = status
        return False

    def data(self, _chunk: bytes) -> None:
        """Nothing is streamed."""

    def complete(self, body: bytes) -> None:
        """The whole of it."""
        if not self.future.done():
            self.future.set_result((self._status, body))

    def failed(self, failure: Failure) -> None:
        """There is none."""
        if not self.future.done():
            self.future.set_result(failure)


def _head(url: BaseUrl, post: rendering.Post) -> bytes:
    host = f"[{url.host}]" if ":" in url.host else url.host
    usual_port = 443 if url.tls else 80
    lines = [
        f"POST {post.target} HTTP/1.1",
        f"Host: {host}" if url.port == usual_port else f"Host: {host}:{url.port}",
        "User-Agent: aipool",
        "Connection: close",
        f"Content-Length: {len(post.body)}",
        *(f"{name}: {value}" for name, value in post.headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


# --- in a thread -----------------------------------------------------------------------------


class _Session(smtplib.SMTP):
    """A conversation with a mail server on a socket that is connected already."""

    def __init__(self, sock: socket.socket, server: MailServer, tls: ssl.SSLContext) -> None:
        self._given = sock
        self._from_the_start = tls if server.tls is Tls.TLS else None
        own = str(sock.getsockname()[0])
        # An address, as RFC 5321 wants of who has no name: asking for a name may take long.
        name = f"[IPv6:{own}]" if ":" in own else f"[{own}]"
        super().__init__(server.host, server.port, local_hostname=name)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Named by the standard library, whose own TLS variant differs in this alone."""
        if self._from_the_start is None:
            return self._given
        return self._from_the_start.wrap_socket(self._given, server_hostname=host)


def _hand_in(
    sock: socket.socket,
    server: MailServer,
    secrets: Secrets,
    message: EmailMessage,
    tls: ssl.SSLContext,
) -> Outcome:
    try:
        with sock, _Session(sock, server, tls) as session:
            if server.tls is Tls.STARTTLS:
                session.starttls(context=tls)
            if server.user:
                session.login(server.user, secrets.password)
            refused = session.send_message(message, server.sender, list(server.to))
    except smtplib.SMTPRecipientsRefused as error:
        return Outcome(_refused(error.recipients))
    except smtplib.SMTPResponseException as error:
        return Outcome(_said(error.smtp_code, error.smtp_error))
    except ssl.SSLError as error:
        return Outcome(f"TLS failed: {error.reason or error}")
    except (smtplib.SMTPException, OSError) as error:
        return Outcome(str(error) or type(error).__name__)
    return Outcome(None, _refused(refused) if refused else "")


def _refused(recipients: dict[str, tuple[int, bytes]]) -> str:
    told = (f"{address}: {_said(*answer)}" for address, answer in recipients.items())
    return "refused " + ", ".join(told)


def _said(code: int, text: bytes | str) -> str:
    return f"{code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
