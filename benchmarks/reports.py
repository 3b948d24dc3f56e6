"""The processes that do something else while calls are measured, each a program of its own.

    export      writes every call row as CSV to nowhere, over and over
    dashboards  twenty people, each with one query of a dashboard a second
    probe       a worker that takes no calls and asks the ledger process for leases
    logins      people who log in all the time (newcomers)

`companion(ROLE, …)` runs one of them for the length of a block; each prints a line for what it did.
"""

from __future__ import annotations

import csv
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pysqlite3 import dbapi2

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
from benchmarks.newcomers import log_in
from benchmarks.platform import ROOT

DASHBOARDS: Final = 20
GRANTS_PER_SECOND: Final = 50


def export(database: Path) -> None:
    """Write all call rows as CSV to nowhere, over and over; a line says how many more it were."""
    connection = _reader(database)
    tables = [f"calls_{month}" for (month,) in connection.execute("SELECT month FROM call_months")]
    print("ready", flush=True)
    with Path(os.devnull).open("w", newline="") as nowhere:
        writer = csv.writer(nowhere)
        while True:
            for table in tables:
                cursor = connection.execute(f"SELECT * FROM {table} ORDER BY rid")
                while rows := cursor.fetchmany(1000):
                    writer.writerows(rows)
                    print(len(rows), flush=True)


_DASHBOARD: Final = (
    "SELECT hour, sum(calls), sum(errors), sum(charged_nano) FROM usage_hours"
    " WHERE user_id = ? GROUP BY hour ORDER BY hour DESC LIMIT 24",
    "SELECT model, sum(calls), sum(charged_nano), sum(output_tokens) FROM usage_hours"
    " GROUP BY model ORDER BY 3 DESC LIMIT 10",
    "SELECT token_id, sum(charged_nano) FROM usage_hours WHERE user_id = ?"
    " GROUP BY token_id ORDER BY 2 DESC LIMIT 10",
    "SELECT rid, model, status, charged_nano FROM {calls} ORDER BY rid DESC LIMIT 50",
)


def dashboards(database: Path) -> None:
    """Twenty people, each with a query a second, the parts of a dashboard in turn."""

    def watch(user: int) -> None:
        connection = _reader(database)
        ((month,),) = connection.execute("SELECT max(month) FROM call_months").fetchall()
        time.sleep(user / DASHBOARDS)
        for turn in range(1_000_000):
            sql = _DASHBOARD[turn % len(_DASHBOARD)].format(calls=f"calls_{month}")
            connection.execute(sql, (user,) * sql.count("?")).fetchall()
            print(1, flush=True)
            time.sleep(1)

    print("ready", flush=True)
    watchers = [threading.Thread(target=watch, args=(n,)) for n in range(DASHBOARDS)]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()


def _reader(database: Path) -> dbapi2.Connection:
    return dbapi2.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)


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
