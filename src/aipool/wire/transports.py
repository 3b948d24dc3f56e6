"""The fastest transport of each kind, each behind one function.

Plain sockets ride on the loop itself (uvloop). TLS rides on `aiofastnet`, whose records are
sealed and opened in C: several times the throughput of the loop's own TLS. Where it cannot be
imported the loop's own stands in.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from importlib.util import find_spec

from aipool.wire.limits import Limits

_FAST_TLS = find_spec("aiofastnet") is not None
if _FAST_TLS:
    import aiofastnet

Factory = Callable[[], asyncio.Protocol]


async def listen(
    loop: asyncio.AbstractEventLoop,
    factory: Factory,
    sock: socket.socket,
    *,
    tls: ssl.SSLContext | None,
    limits: Limits,
) -> asyncio.AbstractServer:
    """A server that accepts from a bound socket."""
    if sock.family == socket.AF_UNIX:
        return await loop.create_unix_server(factory, sock=sock, backlog=limits.backlog)
    if tls is None:
        return await loop.create_server(factory, sock=sock, backlog=limits.backlog)
    if not _FAST_TLS:
        return await loop.create_server(
            factory,
            sock=sock,
            backlog=limits.backlog,
            ssl=tls,
            ssl_handshake_timeout=limits.tls_handshake_seconds,
        )
    return await aiofastnet.create_server(
        loop,
        factory,
        sock=sock,
        backlog=limits.backlog,
        ssl=tls,
        ssl_handshake_timeout=limits.tls_handshake_seconds,
    )


async def attach(
    loop: asyncio.AbstractEventLoop,
    factory: Factory,
    sock: socket.socket,
    *,
    tls: ssl.SSLContext | None,
    server_hostname: str,
) -> None:
    """Puts a protocol on a connected socket; with TLS, returns when the handshake is done."""
    if sock.family == socket.AF_UNIX:
        await loop.create_unix_connection(factory, sock=sock)
    elif tls is None:
        await loop.create_connection(factory, sock=sock)
    elif not _FAST_TLS:
        await loop.create_connection(factory, sock=sock, ssl=tls, server_hostname=server_hostname)
    else:
        await aiofastnet.create_connection(
            loop, factory, sock=sock, ssl=tls, server_hostname=server_hostname
        )
