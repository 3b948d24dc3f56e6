"""From an origin to a connected socket: addresses, vetting, the race, the proxy.

    Unix path ──────────────────────────────────────────────▶ socket
    IP literal ──▶ vet ──┐
    name ──▶ resolve ──▶ vet all ──▶ race (250 ms apart) ───▶ socket
    proxy ──▶ resolve the proxy ──▶ race ──▶ CONNECT ───────▶ socket

Vetting is the caller's decision about every address a name has; one bad address refuses the name,
because a name that points inside once can do so at the next lookup. The address that was vetted
is the address that is connected to. A proxy is the operator's own setting and is not vetted;
what lies behind it resolves there, so then only IP literals can be.
"""

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from aipool.wire.limits import Limits
from aipool.wire.request import FailureKind, Origin
from aipool.wire.resolver import Resolver, SockAddress, Unresolved

Vet = Callable[[str], bool]

_PROXY_HEAD_BYTES_MAX = 16 * 1024


class ConnectError(Exception):
    """No socket. `kind` says why, in the caller's terms."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


async def open_socket(
    loop: asyncio.AbstractEventLoop, origin: Origin, resolver: Resolver, vet: Vet, limits: Limits
) -> socket.socket:
    """A connected, non-blocking socket to the origin, through its proxy if it has one.

    Raises ConnectError. The caller bounds the time and may cancel.
    """
    if origin.unix_path is not None:
        return await _connect(loop, origin.unix_path)
    if origin.proxy is None:
        addresses = await _addresses(origin.host, origin.port, resolver, vet)
        return await race(loop, addresses, limits.race_stagger_seconds)
    literal = _literal(origin.host)
    if literal is not None and not vet(literal):
        raise ConnectError(FailureKind.BLOCKED_ADDRESS, f"{origin.host} may not be reached")
    proxy = urlsplit(origin.proxy)
    if proxy.scheme != "http" or not proxy.hostname:
        raise ConnectError(FailureKind.CONNECT, "the proxy must be an http:// address")
    addresses = await _addresses(proxy.hostname, proxy.port or 80, resolver, lambda address: True)
    sock = await race(loop, addresses, limits.race_stagger_seconds)
    try:
        await _tunnel(loop, sock, origin, proxy.username, proxy.password)
    except BaseException:
        sock.close()
        raise
    return sock


async def race(
    loop: asyncio.AbstractEventLoop, addresses: list[SockAddress], stagger_seconds: float
) -> socket.socket:
    """The first address to accept wins; the next starts when one fails or is slow.

    Address families alternate (RFC 8305). Raises ConnectError when all fail.
    """
    waiting = _alternating(addresses)
    attempts: set[asyncio.Task[socket.socket]] = set()
    last = ConnectError(FailureKind.CONNECT, "no address")
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(loop.create_task(_connect(loop, waiting.pop(0))))
            done, attempts = await asyncio.wait(
                attempts,
                timeout=stagger_seconds if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            winner: socket.socket | None = None
            for attempt in done:
                error = attempt.exception()
                if isinstance(error, ConnectError):
                    last = error
                elif error is not None:
                    raise error
                elif winner is None:
                    winner = attempt.result()
                else:
                    attempt.result().close()
            if winner is not None:
                return winner
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_close_late)
    raise last


def _close_late(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _connect(loop: asyncio.AbstractEventLoop, address: SockAddress | str) -> socket.socket:
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if not isinstance(address, str):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, address)
    except OSError as error:
        sock.close()
        raise ConnectError(FailureKind.CONNECT, str(error)) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _alternating(addresses: list[SockAddress]) -> list[SockAddress]:
    """The resolver's order, but no two of a family in a row while both are left."""
    first = [address for address in addresses if (":" in address[0]) == (":" in addresses[0][0])]
    second = [address for address in addresses if address not in first]
    mixed: list[SockAddress] = []
    while first or second:
        if first:
            mixed.append(first.pop(0))
        if second:
            mixed.append(second.pop(0))
    return mixed


async def _addresses(host: str, port: int, resolver: Resolver, vet: Vet) -> list[SockAddress]:
    literal = _literal(host)
    if literal is not None:
        addresses: list[SockAddress] = [(literal, port)]
    else:
        try:
            addresses = await resolver.resolve(host, port)
        except Unresolved as error:
            raise ConnectError(FailureKind.CONNECT, str(error)) from error
    for address in addresses:
        if not vet(str(address[0]).partition("%")[0]):
            raise ConnectError(FailureKind.BLOCKED_ADDRESS, f"{host} may not be reached")
    return addresses


def _literal(host: str) -> str | None:
    """The host as an IP address, if it is one. Forms like `127.1` go through the resolver, whose
    answer is vetted like any other."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


async def _tunnel(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    origin: Origin,
    user: str | None,
    password: str | None,
) -> None:
    """Asks the proxy for a tunnel. From its 2xx on the socket belongs to the origin."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}".encode("idna" if not host.isascii() else "ascii")
    credentials = b""
    if user is not None:
        pair = f"{unquote(user)}:{unquote(password or '')}".encode()
        credentials = b"Proxy-Authorization: Basic " + base64.b64encode(pair) + b"\r\n"
    try:
        await loop.sock_sendall(
            sock, b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, target, credentials)
        )
        head = b""
        while b"\r\n\r\n" not in head:
            piece = await loop.sock_recv(sock, 4096)
            head += piece
            if not piece or len(head) > _PROXY_HEAD_BYTES_MAX:
                raise ConnectError(FailureKind.CONNECT, "the proxy did not answer")
    except OSError as error:
        raise ConnectError(FailureKind.CONNECT, f"the proxy failed: {error}") from error
    status = head[:13].split(b" ")
    if len(status) < 2 or not head.startswith(b"HTTP/1.") or status[1][:1] != b"2":
        line = head.partition(b"\r\n")[0][:80].decode("latin-1")
        raise ConnectError(FailureKind.CONNECT, f"the proxy refused: {line}")
    if not head.endswith(b"\r\n\r\n"):
        raise ConnectError(FailureKind.CONNECT, "the proxy sent more than its answer")
