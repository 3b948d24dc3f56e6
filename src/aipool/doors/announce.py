"""A writer tells the ledger process what it changed, and waits until the workers act on it.

For control and the command line: a plain blocking socket, called after the commit and
outside of any transaction. The only file of this package that does anything.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

import msgspec

from aipool.doors.frames import Acknowledged, Changed, Splitter, from_ledger, pack

WAIT_SECONDS = 1.0
#: The ledger process answers within WAIT_SECONDS of hearing; the rest is the way.
MARGIN_SECONDS = 0.5


def announce(
    link_path: Path, changed: Changed, timeout: float = WAIT_SECONDS
) -> Acknowledged | None:
    """Says that a change is committed; gives which live workers do not act on it yet.

    None: no ledger process answered in time. It will find the revision by itself when it
    is there again, so nothing is lost; the caller knows who may still act on the old.
    """
    deadline = time.monotonic() + timeout + MARGIN_SECONDS
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(timeout)
            connection.connect(str(link_path))
            connection.sendall(pack(changed))
            return _answer(connection, deadline)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None


def _answer(connection: socket.socket, deadline: float) -> Acknowledged | None:
    splitter = Splitter()
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        data = connection.recv(65536)
        if not data:
            return None
        for payload in splitter.feed(data):
            answer = from_ledger.decode(payload)
            if isinstance(answer, Acknowledged):
                return answer
    return None
