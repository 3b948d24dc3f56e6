"""A writer speaks to the ledger process.

    announce    after a commit: what was changed; waits until the workers act on it
    collect     before money is taken away, before and after a limit is lowered: have the
                workers give back what they hold of it and do not need

For control and the command line: a plain blocking socket, used outside of any transaction.
The only file of this package that does anything.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from aipool.doors.frames import (
    Acknowledged,
    Changed,
    Collect,
    Collected,
    Splitter,
    from_ledger,
    pack,
)

A = TypeVar("A", Acknowledged, Collected)

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
    return _ask(link_path, changed, Acknowledged, timeout)


def collect(
    link_path: Path, budgets: Sequence[tuple[str, int]], timeout: float = WAIT_SECONDS
) -> bool | None:
    """Has the workers give back what is free of these budgets, (budget, window).

    True: all of them did, and it is in the books. False: some worker did not answer within
    a tenth of a second. None: no ledger process answered in time.
    """
    answer = _ask(link_path, Collect(0, tuple(budgets)), Collected, timeout)
    return None if answer is None else answer.complete


def _ask(link_path: Path, message: Changed | Collect, kind: type[A], timeout: float) -> A | None:
    deadline = time.monotonic() + timeout + MARGIN_SECONDS
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(timeout)
            connection.connect(str(link_path))
            connection.sendall(pack(message))
            return _answer(connection, kind, deadline)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None


def _answer(connection: socket.socket, kind: type[A], deadline: float) -> A | None:
    splitter = Splitter()
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        data = connection.recv(65536)
        if not data:
            return None
        for payload in splitter.feed(data):
            answer = from_ledger.decode(payload)
            if isinstance(answer, kind):
                return answer
    return None
