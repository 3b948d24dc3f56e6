"""The control process for tests: started as its supervisor starts it, asked over its sockets."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aipool import config
from aipool.installation import RunDirectory, run_directory
from aipool.process import LAUNCH_VARIABLE

READY_SECONDS = 30.0


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("pool.example", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str


def ask(
    path: Path,
    method: str,
    target: str,
    body: bytes | str | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own."""
    connection = UnixConnection(path)
    try:
        connection.request(method, target, body=body, headers=headers or {})
        response = connection.getresponse()
        text = response.read().decode()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, text)
    finally:
        connection.close()


@dataclass
class Control:
    process: subprocess.Popen[bytes]
    run: RunDirectory

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextmanager
def control_process(data_dir: Path) -> Iterator[Control]:
    """The process, ready, on an installation that exists."""
    settings = config.load({"data_dir": data_dir}, {})
    heartbeat, heartbeat_end = os.pipe()
    lifeline, lifeline_end = os.pipe()
    launch, launch_end = os.pipe()
    record = {
        "role": "control",
        "index": 0,
        "parent": os.getpid(),
        "settings": settings.to_json(),
        "heartbeat": heartbeat_end,
        "lifeline": lifeline,
        "listener": None,
    }
    os.write(launch_end, json.dumps(record).encode())
    os.close(launch_end)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "aipool.control.main"],
        pass_fds=(launch, heartbeat_end, lifeline),
        env={**os.environ, LAUNCH_VARIABLE: str(launch)},
    )
    for descriptor in (launch, heartbeat_end, lifeline):
        os.close(descriptor)
    try:
        _wait_ready(heartbeat)
        yield Control(process, run_directory(data_dir))
    finally:
        os.close(lifeline_end)
        os.close(heartbeat)
        process.kill()
        process.wait()


def _wait_ready(heartbeat: int) -> None:
    heard = b""
    while b"ready" not in heard:
        readable, _, _ = select.select([heartbeat], [], [], READY_SECONDS)
        chunk = os.read(heartbeat, 4096) if readable else b""
        assert chunk, f"control was not ready; it said {heard!r}"
        heard += chunk
