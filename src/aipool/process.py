"""The child's side of the supervisor: how a process of the platform starts, lives and is watched.

The supervisor passes one descriptor, named in the environment, from which the child reads once:
its role, the settings, and the numbers of its other descriptors. These are

    heartbeat   a pipe to the supervisor, one word a line:
                  `beat`               each second, from the event loop, so that a stuck loop shows
                  `ready`              once: I serve
                  `unreachable PID`    the ledger process cannot reach that worker
    lifeline    a pipe nobody writes to; its end of file means that the supervisor is gone
    listener    the listening socket (gateway workers only), the same for every process that
                ever takes this place

A child must not outlive its supervisor, else it would keep the address and the locks of its
successors. On Linux the kernel kills it (PR_SET_PDEATHSIG); elsewhere the lifeline tells it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aipool.config import Settings

LAUNCH_VARIABLE: Final = "AIPOOL_LAUNCH_FD"
BEAT_SECONDS: Final = 1.0

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
_OPEN_FILES_MAX: Final = 1 << 20  # 2^20, the usual fs.nr_open: above it setrlimit is refused


class Role(StrEnum):
    """What a process of the platform is."""

    LEDGER = "ledger"
    CONTROL = "control"
    WORKER = "worker"


class NotStartedBySupervisor(Exception):
    """This program is a part of the platform and is started by `aipool serve`."""


@dataclass(slots=True)
class Child:
    """This process, as its supervisor started it.

    index: which worker (0, 1, …); 0 for the other roles.
    """

    role: Role
    index: int
    settings: Settings
    listen_socket: socket.socket | None
    _heartbeat: int
    _lifeline: int

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] | None = None) -> Child:
        """Take over what the supervisor passed and put this process under its watch.

        To be called once, first thing. Raises NotStartedBySupervisor.
        """
        environ = os.environ if environ is None else environ
        number = environ.pop(LAUNCH_VARIABLE, "")
        if not number.isdigit():
            raise NotStartedBySupervisor("this program is started by `aipool serve`")
        with os.fdopen(int(number), "rb") as pipe:
            launch = json.load(pipe)

        _die_with_parent(launch["parent"])
        _set_process_limits()
        listener = launch["listener"]
        for descriptor in (launch["heartbeat"], launch["lifeline"], listener):
            if descriptor is not None:
                os.set_inheritable(descriptor, False)
        os.set_blocking(launch["heartbeat"], False)
        return cls(
            Role(launch["role"]),
            launch["index"],
            Settings.from_json(launch["settings"]),
            None if listener is None else socket.socket(fileno=listener),
            launch["heartbeat"],
            launch["lifeline"],
        )

    def ready(self) -> None:
        """Tell the supervisor that this process serves."""
        self._say("ready")

    def start_heartbeat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Beat now and each second from `loop`; may begin before `ready`, when starting is slow."""
        self._say("beat")
        loop.call_later(BEAT_SECONDS, self.start_heartbeat, loop)

    def report_unreachable(self, pid: int) -> None:
        """Ask the supervisor to replace a worker that has not been reached for 5 s."""
        self._say(f"unreachable {pid}")

    def on_orphaned(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the supervisor is gone and the kernel has not killed us."""

        def gone() -> None:
            loop.remove_reader(self._lifeline)
            callback()

        loop.add_reader(self._lifeline, gone)

    def _say(self, line: str) -> None:
        # A full pipe means that the supervisor is stopped: it has plenty of beats to read.
        # A broken one means that it is gone: then the lifeline has the say.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._heartbeat, line.encode() + b"\n")


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends (Linux)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call above
        os.kill(os.getpid(), signal.SIGKILL)


def _set_process_limits() -> None:
    """No core files, for they would hold keys; as many open sockets as the system lets us."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES_MAX)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
