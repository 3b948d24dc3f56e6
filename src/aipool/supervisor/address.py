"""The platform's one address: claimed alone, then shared by the workers."""

from __future__ import annotations

import socket
from typing import Final

LISTEN_BACKLOG: Final = 4096  # the usual net.core.somaxconn; the kernel takes the smaller one


class CannotListen(Exception):
    """The address cannot be had; the text is one line for the operator."""


def claim_address(host: str, port: int) -> int:
    """Prove that nobody listens on the address; its port (of the system's choice for port 0).

    SO_REUSEPORT would let us in beside another server of the same user, so this socket has none.
    """
    family, address = _resolve(host, port)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as problem:
            raise CannotListen(
                f"cannot listen on {host} port {port}: {problem.strerror}; "
                "choose another with --port or AIPOOL_PORT"
            ) from None
        bound: int = probe.getsockname()[1]
        return bound


def share_address(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one address; the kernel spreads new connections over them."""
    family, address = _resolve(host, port)
    listeners = []
    for _ in range(count):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setblocking(False)
        try:
            listener.bind(address)
            listener.listen(LISTEN_BACKLOG)
        except OSError as problem:
            raise CannotListen(f"cannot listen on {host} port {port}: {problem.strerror}") from None
        listeners.append(listener)
    return listeners


def _resolve(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as problem:
        raise CannotListen(f"cannot listen on {host}: {problem.strerror}") from None
    family, _, _, _, address = found[0]
    return family, address
