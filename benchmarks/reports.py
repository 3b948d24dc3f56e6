"""The processes that do something else while calls are measured, each a program of its own.

    export      writes every call row as CSV to nowhere, over and over
    dashboards  twenty people, each of whom opens a page of the console a second
    probe       a worker that takes no calls and asks the ledger process for leases
    logins      people who log in all the time (newcomers)

`companion(ROLE, …)` runs one of them for the length of a block; each prints a line for what it did.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from aipool.calls.types import Search
from aipool.control import usage
from aipool.control.exports import OPERATORS_COLUMNS, as_csv, call_rows
from aipool.doors.frames import (
    Acquire,
    Applied,
    FromWorker,
    Granted,
    Hello,
    Need,
    Ping,
    Pong,
    Publish,
    Splitter,
    Welcome,
    from_ledger,
    pack,
)
from aipool.gateway.journal import claim_epoch
from aipool.kit.clock import now_ms
from aipool.kit.db import open_database
from benchmarks import log_speed
from benchmarks.newcomers import log_in
from benchmarks.platform import ROOT

DASHBOARDS: Final = 20
GRANTS_PER_SECOND: Final = 50


def export(database: Path) -> None:
    """Writes all call rows as CSV to nowhere, as GET /api/admin/calls/export does, over and over; a
    line says how many more it were."""
    opened = open_database(f"sqlite:///{database}")
    print("ready", flush=True)
    with Path(os.devnull).open("w") as nowhere:
        while True:
            for some in as_csv(
                OPERATORS_COLUMNS, call_rows(opened, Search(), operator=log_speed.OPERATOR)
            ):
                nowhere.write(some)
                print(some.count("\n"), flush=True)


def dashboards(database: Path) -> None:
    """Twenty people, each of whom opens a page a second: in turn their statistics, their calls, and
    as an operator those of all."""
    opened = open_database(f"sqlite:///{database}")

    def watch(user: int) -> None:
        time.sleep(user / DASHBOARDS)
        for turn in range(1_000_000):
            preset = usage.PRESETS[turn // 4 % len(usage.PRESETS)]
            wanted = usage.stretch(None, None, preset, "", now_ms())
            mine = Search(user_id=user)
            pages: tuple[Callable[[], bytes], ...] = (
                partial(log_speed.own_dashboard, opened, wanted, user),
                partial(log_speed.own_page, opened, mine),
                partial(log_speed.dashboard, opened, wanted),
                partial(log_speed.operators_page, opened, Search()),
            )
            pages[turn % len(pages)]()
            print(1, flush=True)
            time.sleep(1)

    print("ready", flush=True)
    watchers = [threading.Thread(target=watch, args=(n,)) for n in range(DASHBOARDS)]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()


def probe(link_socket: Path, epochs: Path, account: str) -> None:
    """A worker that does nothing but ask for leases; a line for each: when, and how long."""
    epoch = (time.time_ns() // 1_000_000) << 20 | secrets.randbits(20)
    claim_epoch(epochs, epoch)
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.connect(str(link_socket))
    link.sendall(pack(Hello(epoch, 99, os.getpid(), 0)))
    splitter = Splitter()

    def until(kind: type[Welcome] | type[Granted]) -> None:
        while True:
            for payload in splitter.feed(_received(link)):
                message = from_ledger.decode(payload)
                answer: FromWorker | None = None
                if isinstance(message, Ping):
                    answer = Pong()
                elif isinstance(message, Publish):
                    answer = Applied(message.revision)
                if answer is not None:
                    link.sendall(pack(answer))
                if isinstance(message, kind):
                    return

    until(Welcome)
    print("ready", flush=True)
    for number in range(1, 1_000_000):
        began = time.monotonic()
        link.sendall(pack(Acquire(number, ((Need(account, 0, 1, 1),),))))
        until(Granted)
        print(began, time.monotonic() - began, flush=True)
        time.sleep(1 / GRANTS_PER_SECOND)


def _received(link: socket.socket) -> bytes:
    data = link.recv(1 << 16)
    if not data:
        raise EOFError("the ledger process has hung up")
    return data


# --- starting and ending them -------------------------------------------------------------------


class Companion:
    """One of these programs, running; what it prints is gathered. niceness: of the process it
    stands for."""

    def __init__(self, role: str, *arguments: Path | str, niceness: int = 0) -> None:
        self.lines: list[str] = []
        command = [sys.executable, "-m", "benchmarks.reports", role, *map(str, arguments)]
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        os.setpriority(os.PRIO_PROCESS, self._process.pid, niceness)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{role} does not start")
        self._gathering = threading.Thread(target=self._gather, daemon=True)
        self._gathering.start()

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._gathering.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _gather(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self.lines.append(line)


@contextmanager
def companion(role: str, *arguments: Path | str, niceness: int = 0) -> Iterator[Companion]:
    """Run one of the programs of this file for the length of the block."""
    running = Companion(role, *arguments, niceness=niceness)
    try:
        yield running
    finally:
        running.stop()


def main(role: str, *arguments: str) -> None:
    """Run one of them until it is killed."""
    if role == "export":
        export(Path(arguments[0]))
    elif role == "dashboards":
        dashboards(Path(arguments[0]))
    elif role == "probe":
        probe(Path(arguments[0]), Path(arguments[1]), arguments[2])
    elif role == "logins":
        log_in(int(arguments[0]), int(arguments[1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
