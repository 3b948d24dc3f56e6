"""A real platform for the proofs: `aipool serve` on a folder of its own and on free loopback ports.

    with Platform(workers=2, upstreams=[vendor.base_url]) as platform:
        ...  # platform.base_url, platform.token, platform.process.workers(), platform.verify()

It is set up the way an operator does it, with `aipool apply`, and started the way an operator
does it, so a proof measures what is shipped. Everything it makes is gone when the block ends: the
folder, the sockets, the processes, and those also when the proof itself is killed.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aipool.installation import run_directory

ROOT: Final = Path(__file__).resolve().parents[1]

MODEL: Final = "bench-model"
PHONE: Final = "+8613800138000"
PASSWORD: Final = "known-to-the-proofs"
TOKEN: Final = "sk-" + "b" * 43
UPSTREAM_SECRET: Final = "sk-upstream-0123456789abcdef0123456789abcdef"

#: CNY per 1M tokens. Odd enough that a wrong count cannot round to the right charge.
PRICE: Final = {"input": "2.1", "cached_input": "0.21", "output": "8.4"}

START_SECONDS: Final = 60.0
#: Above the default drain limit only when a proof leaves streams open, which none should.
STOP_SECONDS: Final = 30.0

_SERVES = re.compile(r"serves on (http\S+)")
_MODULES = {
    "aipool.books.main": "ledger",
    "aipool.control.main": "control",
    "aipool.gateway.main": "worker",
}
#: Runs a Python program that ends when its parent does: PR_SET_PDEATHSIG (1), SIGTERM (15).
_DIES_WITH_PARENT: Final = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15, 0, 0, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class CommandFailed(Exception):
    """An `aipool` command ended with another status than 0; the text is what it said."""


class Processes:
    """The processes of one platform, looked up anew each time: they are replaced when they die."""

    def __init__(self, supervisor: int) -> None:
        self.supervisor = supervisor

    def by_role(self) -> dict[str, list[int]]:
        """Process ids of `ledger`, `control` and `worker`; a dead one is not named."""
        found: dict[str, list[int]] = {"ledger": [], "control": [], "worker": []}
        for pid in sorted(children(self.supervisor)):
            role = _role(pid)
            if role is not None:
                found[role].append(pid)
        return found

    def workers(self) -> list[int]:
        """The gateway workers."""
        return self.by_role()["worker"]

    def ledger(self) -> int:
        """The ledger process; raises ProcessLookupError while there is none."""
        return self._only("ledger")

    def control(self) -> int:
        """The control process; raises ProcessLookupError while there is none."""
        return self._only("control")

    def _only(self, role: str) -> int:
        pids = self.by_role()[role]
        if not pids:
            raise ProcessLookupError(f"no {role} process")
        return pids[-1]


class Platform:
    """`aipool serve` in a folder of its own.

    workers: gateway workers.
    upstreams: base addresses of vendors, in the order of trying; the model MODEL is routed to all.
    keys: of each of these vendors.
    credit: what PHONE's wallet starts with, in CNY. price: of MODEL, CNY per 1M tokens.
    extra_env: settings as AIPOOL_* variables; they win over what is set here.
    document: applied besides the vendors, the model, the user and the token above.
    before_start: what else is to be done to the installation while nothing runs on it.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        upstreams: Sequence[str] = (),
        keys: int = 1,
        credit: str = "10000",
        price: Mapping[str, str] = PRICE,
        extra_env: Mapping[str, str] | None = None,
        document: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        before_start: Callable[[Platform], None] | None = None,
        keep: bool = False,
    ) -> None:
        self.workers = workers
        self.model = MODEL
        self.token = TOKEN
        self.base_url = ""
        self.port = 0
        self.metrics_port = free_port()
        self._document = _document(upstreams, keys, credit, price, document or {})
        self._before_start = before_start
        self._keep = keep
        self.folder = Path(tempfile.mkdtemp(prefix="aipool-"))
        self.data_dir = self.folder / "data"
        (self.folder / "run").mkdir(mode=0o700)
        self.environ = {
            **{name: text for name, text in os.environ.items() if not name.startswith("AIPOOL_")},
            "PYTHONPATH": str(ROOT / "src"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "AIPOOL_DATA_DIR": str(self.data_dir),
            "AIPOOL_PRIVATE_UPSTREAMS": "127.0.0.0/8",
            **(extra_env or {}),
        }
        self._supervisor: subprocess.Popen[str] | None = None
        self._said: list[str] = []
        self._listening: threading.Thread | None = None

    @property
    def process(self) -> Processes:
        """Who runs it."""
        assert self._supervisor is not None
        return Processes(self._supervisor.pid)

    @property
    def run_dir(self) -> Path:
        """The folder of link.sock and control.sock."""
        return run_directory(self.data_dir, self.environ).path

    @property
    def database_path(self) -> Path:
        """The books."""
        return self.data_dir / "aipool.db"

    @property
    def log(self) -> str:
        """Everything the platform's processes wrote on standard error."""
        return "\n".join(self._said)

    # --- life ------------------------------------------------------------------------------

    def __enter__(self) -> Platform:
        try:
            self.apply(self._document)
            if self._before_start is not None:
                self._before_start(self)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._keep:
            print(f"kept: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start it on a free port; returns when every process serves."""
        assert self._supervisor is None
        command = [sys.executable, "-c", _DIES_WITH_PARENT]
        command += ["-m", "aipool.cli", "serve", "--port", str(self.port)]
        command += ["--workers", str(self.workers), "--metrics-port", str(self.metrics_port)]
        self._supervisor = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        ready = threading.Event()
        self._listening = threading.Thread(
            target=self._listen, args=(self._supervisor, ready), daemon=True
        )
        self._listening.start()
        if not ready.wait(START_SECONDS) or not self.base_url:
            log = self.log
            self.stop()
            raise RuntimeError(f"the platform does not start:\n{log}")

    def stop(self) -> int:
        """End it in order, by force when that takes too long; its exit status."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return 0
        if supervisor.poll() is None:
            supervisor.terminate()
        try:
            status = supervisor.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Its children die with it.
            supervisor.kill()
            status = supervisor.wait()
        if self._listening is not None:
            self._listening.join(5)
        if supervisor.stderr is not None:
            supervisor.stderr.close()
        self.base_url = ""
        return status

    def _listen(self, supervisor: subprocess.Popen[str], ready: threading.Event) -> None:
        assert supervisor.stderr is not None
        for line in supervisor.stderr:
            self._said.append(line.rstrip("\n"))
            found = _SERVES.search(line)
            if found and not self.base_url:
                self.base_url = found[1]
                self.port = int(found[1].rpartition(":")[2])
                ready.set()
        ready.set()

    # --- an operator's words ---------------------------------------------------------------

    def cli(self, *arguments: str, stdin: str = "") -> str:
        """What `aipool ARGUMENTS` prints. Raises CommandFailed."""
        done = subprocess.run(
            [sys.executable, "-m", "aipool.cli", *arguments],
            cwd=self.folder,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            raise CommandFailed(f"aipool {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def apply(self, document: Mapping[str, Any]) -> None:
        """`aipool apply`: JSON is YAML too. Raises CommandFailed."""
        self.cli("apply", "-", stdin=json.dumps(document))

    def verify(self) -> str:
        """What `aipool ledger verify` says of books that agree. Raises CommandFailed."""
        said = self.cli("ledger", "verify")
        if "The books agree." not in said:
            raise CommandFailed(f"aipool ledger verify said nothing of the books: {said!r}")
        return said

    def metrics(self) -> dict[str, float]:
        """Every series of /metrics by its name, labels as written."""
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in ("#", ""))
        return {name: float(value) for name, value in pairs}


# --- the operating system ----------------------------------------------------------------------


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def children(pid: int) -> Iterable[int]:
    """The live children of a process."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        lists = [(task / "children").read_text() for task in tasks]
    except OSError:
        return []
    return [int(child) for text in lists for child in text.split()]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process since its start. Threads that ended meanwhile are not in
    it, and the platform's processes end none while they serve."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def memory_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _role(pid: int) -> str | None:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return None
    return next((_MODULES[word] for word in command if word in _MODULES), None)


# --- what is sold ------------------------------------------------------------------------------


def upstream_keys(count: int) -> list[dict[str, str]]:
    """So many keys of a vendor; the first one is called."""
    spare = range(1, count)
    return [
        {"name": "main", "api_key": UPSTREAM_SECRET},
        *({"name": f"spare-{one}", "api_key": f"{UPSTREAM_SECRET}-{one}"} for one in spare),
    ]


def _document(
    upstreams: Sequence[str],
    keys: int,
    credit: str,
    price: Mapping[str, str],
    more: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, list[Mapping[str, Any]]]:
    """One vendor for each upstream, one model on all of them, one user with one token."""
    names = [f"upstream-{index}" for index in range(len(upstreams))]
    document: dict[str, list[Mapping[str, Any]]] = {
        "vendors": [
            {
                "name": name,
                "type": "openai_compatible",
                "base_url": url,
                "keys": upstream_keys(keys),
            }
            for name, url in zip(names, upstreams, strict=True)
        ],
        "models": [
            {
                "name": MODEL,
                "context": 128_000,
                "max_output_tokens": 4_096,
                "price": dict(price),
                "routes": [{"vendor": name} for name in names],
            }
        ]
        * bool(names),
        "users": [{"phone": PHONE, "password": PASSWORD, "credit": credit}],
        "tokens": [{"user": PHONE, "name": "bench", "secret": TOKEN}],
    }
    for part, entries in more.items():
        document[part] = [*document.get(part, []), *entries]
    return document
