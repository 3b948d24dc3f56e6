"""The supervisor over real processes, sockets and signals; only the children are toys."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.installation import owner_of
from aipool.supervisor.address import claim_address
from aipool.supervisor.child import Backoff, Timing
from tests.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.slow

PLATFORM = Path(__file__).with_name("toy_platform.py")


class Platform:
    """A supervisor in a process of its own, and what its children wrote about themselves."""

    def __init__(self, folder: Path, *, workers: int = 2, port: int = 0) -> None:
        self.toys = folder / "toys"
        self.toys.mkdir(exist_ok=True)
        self.data_dir = folder / "data"
        self.workers = workers
        self.port = port
        self.drain_seconds = 1
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Platform:
        run = self.toys / "run"
        run.mkdir(exist_ok=True)
        environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("AIPOOL_")},
            "TOYS": str(self.toys),
            "XDG_RUNTIME_DIR": str(run),
            "AIPOOL_LIMIT_DRAIN_SECONDS": str(self.drain_seconds),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(PLATFORM), str(self.data_dir), str(self.port), str(self.workers)],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def up(self) -> Platform:
        self.start()
        assert self.process is not None and self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line.startswith("http://127.0.0.1:"), self.end()
        self.port = int(line.rpartition(":")[2])
        return self

    def order(self, order: str) -> Path:
        path = self.toys / order
        path.touch()
        return path

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Its exit status and what it said, once it has ended by itself."""
        assert self.process is not None
        _, said = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, said

    def events(self) -> list[tuple[str, int, str]]:
        path = self.toys / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, int(pid), event) for name, pid, event in map(str.split, lines)]

    def pids(self, name: str, event: str = "ready") -> list[int]:
        return [pid for n, pid, e in self.events() if (n, e) == (name, event)]

    def ask(self) -> int:
        """The pid of the worker that answers a connection."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as connection:
            connection.sendall(b"who\n")
            return int(connection.makefile().readline())

    def close(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.communicate()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path)
    yield platform
    platform.close()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before, or between open and read
        return False


# --- start --------------------------------------------------------------------------------------


def test_the_ledger_is_ready_before_anybody_else_starts(platform: Platform) -> None:
    platform.up()

    order = [(name, event) for name, _, event in platform.events()]
    assert order[:2] == [("ledger", "started"), ("ledger", "ready")]
    assert {name for name, event in order if event == "ready"} == {
        "ledger",
        "control",
        "worker0",
        "worker1",
    }


def test_a_used_address_is_refused_in_one_line(platform: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        platform.port = other.getsockname()[1]

        status, said = platform.start().end()

    assert status == 1
    assert said.count("\n") == 1 and f"cannot listen on 127.0.0.1 port {platform.port}" in said
    assert platform.events() == []


def test_an_address_shared_by_reuseport_is_refused_too(platform: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        platform.port = other.getsockname()[1]

        status, _ = platform.start().end()

    assert status == 1


def test_a_second_owner_of_the_data_folder_is_refused_in_one_line(
    platform: Platform, tmp_path: Path
) -> None:
    platform.up()
    second = Platform(tmp_path)

    status, said = second.start().end()

    assert platform.process is not None
    assert status == 1
    assert said == (
        f"aipool: another AI-POOL runs on {platform.data_dir} (process {platform.process.pid})\n"
    )
    assert platform.ask() in platform.pids("worker0") + platform.pids("worker1")


def test_whoever_asks_is_told_who_runs_and_where(platform: Platform) -> None:
    assert owner_of(platform.data_dir) is None

    platform.up()
    owner = owner_of(platform.data_dir)

    assert platform.process is not None and owner is not None
    assert owner.pid == platform.process.pid
    assert owner.run_directory.path.parent == platform.toys / "run"
    platform.send(signal.SIGTERM)
    platform.end()
    assert owner_of(platform.data_dir) is None


@pytest.mark.parametrize("name", ["ledger", "control", "worker1"])
def test_a_child_that_cannot_start_ends_the_start_with_a_readable_line(
    platform: Platform, name: str
) -> None:
    platform.order(f"die.{name}")

    status, said = platform.start().end()

    called = "worker 1" if name == "worker1" else name
    assert status == 1
    assert f"aipool: the {called} process ended with status 3 before it was ready\n" in said
    assert not any(is_running(pid) for _, pid, _ in platform.events())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "problem"),
    [("mute", "has not been heard of for 2.5 s"), ("starve", "is not ready after 4 s")],
)
def test_a_child_that_never_becomes_ready_is_bounded(
    platform: Platform, order: str, problem: str
) -> None:
    platform.order(f"{order}.worker0")

    status, said = platform.start().end()

    assert status == 1
    assert problem in said and "was ended by SIGKILL before it was ready" in said


def test_sigterm_while_starting_ends_at_once(platform: Platform) -> None:
    platform.order("starve.control")
    platform.start()
    eventually(lambda: platform.pids("control", "started"))

    platform.send(signal.SIGTERM)

    status, _ = platform.end()
    assert status == 0
    assert not any(is_running(pid) for _, pid, _ in platform.events())


# --- restart ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ledger", "control", "worker0"])
def test_a_killed_child_is_replaced_and_the_others_stay(platform: Platform, name: str) -> None:
    platform.up()
    before = {pid for _, pid, _ in platform.events()}
    [victim] = platform.pids(name)

    os.kill(victim, signal.SIGKILL)

    eventually(lambda: len(platform.pids(name)) == 2)
    assert {pid for _, pid, _ in platform.events()} - before == {platform.pids(name)[1]}
    assert all(is_running(pid) for pid in before - {victim})


def test_waiting_connections_survive_the_end_of_their_worker(platform: Platform) -> None:
    platform.workers = 1
    platform.up()
    [victim] = platform.pids("worker0")
    os.kill(victim, signal.SIGSTOP)
    waiting = [socket.create_connection(("127.0.0.1", platform.port)) for _ in range(20)]
    for connection in waiting:
        connection.settimeout(PATIENCE_SECONDS)
        connection.sendall(b"who\n")

    os.kill(victim, signal.SIGKILL)

    for connection in waiting:
        with connection:
            assert int(connection.recv(100)) == platform.pids("worker0")[1]


@pytest.mark.slow
def test_a_stuck_loop_is_ended_and_replaced(platform: Platform) -> None:
    platform.up()
    order = platform.order("stuck.worker1")
    eventually(lambda: platform.pids("worker1", "stuck"))
    order.unlink()

    eventually(lambda: len(platform.pids("worker1")) == 2)

    assert not is_running(platform.pids("worker1")[0])
    platform.send(signal.SIGTERM)
    _, said = platform.end()
    assert "has not been heard of for 2.5 s: ending it" in said


def test_a_worker_the_ledger_cannot_reach_is_replaced_and_nothing_else(platform: Platform) -> None:
    platform.up()
    [worker], [control] = platform.pids("worker0"), platform.pids("control")

    platform.order(f"unreachable.{control}")
    platform.order(f"unreachable.{os.getpid()}")
    platform.order(f"unreachable.{worker}")

    eventually(lambda: len(platform.pids("worker0")) == 2)
    assert is_running(control)


@pytest.mark.slow
def test_a_stopped_supervisor_does_not_blame_its_children_when_it_wakes(
    platform: Platform,
) -> None:
    platform.up()

    platform.send(signal.SIGSTOP)
    time.sleep(3.0)  # longer than it lets a child be silent
    platform.send(signal.SIGCONT)
    platform.ask()
    platform.send(signal.SIGTERM)

    _, said = platform.end()
    assert said == ""


@pytest.mark.slow
def test_a_child_that_keeps_dying_is_started_more_and_more_slowly(platform: Platform) -> None:
    platform.up()
    order = platform.order("die.worker0")
    os.kill(platform.pids("worker0")[0], signal.SIGKILL)

    eventually(lambda: len(platform.pids("worker0", "started")) >= 6)
    order.unlink()
    eventually(lambda: len(platform.pids("worker0")) == 2)
    platform.send(signal.SIGTERM)

    _, said = platform.end()
    pauses = [line.partition("again")[2].strip() for line in said.splitlines()]
    assert pauses[:5] == ["", "", "in 0.6 s", "in 1.2 s", "in 1.2 s"]


def test_pauses_begin_with_five_deaths_in_ten_seconds_and_end_with_a_long_life() -> None:
    backoff = Backoff(Timing())

    assert [backoff.died(started_at=t, now=t + 2.0) for t in (0.0, 2.0, 4.0, 6.0)] == [0.0] * 4
    assert [backoff.died(started_at=8.0 + i, now=8.5 + i) for i in range(5)] == [1, 2, 4, 8, 8]
    assert backoff.died(started_at=20.0, now=30.0) == 0.0


def test_deaths_far_apart_cost_no_pause() -> None:
    backoff = Backoff(Timing())

    assert {backoff.died(started_at=t, now=t + 3.0) for t in range(0, 100, 3)} == {0.0}


# --- end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_comes_in_order_workers_control_ledger(
    platform: Platform, number: signal.Signals
) -> None:
    platform.up()

    platform.send(number)

    status, said = platform.end()
    assert (status, said) == (0, "")
    tail = [(name, event) for name, _, event in platform.events()][-8:]
    assert sorted(tail[:4]) == [
        ("worker0", "draining"),
        ("worker0", "ended"),
        ("worker1", "draining"),
        ("worker1", "ended"),
    ]
    assert tail[4:] == [
        ("control", "draining"),
        ("control", "ended"),
        ("ledger", "draining"),
        ("ledger", "ended"),
    ]


@pytest.mark.slow
def test_the_drain_has_a_bound(platform: Platform) -> None:
    platform.order("slow.worker0")
    platform.up()

    platform.send(signal.SIGTERM)

    status, said = platform.end()
    assert status == 0
    assert said.count("took too long to end") == 1
    assert [name for name, _, event in platform.events() if event == "ended"] == [
        "worker1",
        "control",
        "ledger",
    ]


def test_a_second_signal_does_not_wait_for_the_drain(platform: Platform) -> None:
    platform.order("slow.worker0")
    platform.drain_seconds = 60
    platform.up()
    platform.send(signal.SIGTERM)
    eventually(lambda: platform.pids("worker1", "ended"))

    platform.send(signal.SIGTERM)

    assert platform.end()[0] == 0
    assert platform.pids("ledger", "ended")


def test_children_die_with_a_killed_supervisor(platform: Platform) -> None:
    platform.up()
    pids = [pid for _, pid, event in platform.events() if event == "ready"]

    platform.send(signal.SIGKILL)

    eventually(lambda: not any(is_running(pid) for pid in pids))
    assert len(pids) == 4
    assert claim_address("127.0.0.1", platform.port) == platform.port


# --- roll ---------------------------------------------------------------------------------------


def test_a_roll_replaces_every_worker_and_loses_no_connection(platform: Platform) -> None:
    platform.up()
    old = {*platform.pids("worker0"), *platform.pids("worker1")}
    answered = [platform.ask()]

    platform.send(signal.SIGHUP)
    while len(platform.pids("worker1", "ended")) < 1:
        answered.append(platform.ask())

    new = {platform.pids("worker0")[1], platform.pids("worker1")[1]}
    eventually(lambda: not any(is_running(pid) for pid in old))
    assert {platform.ask() for _ in range(20)} <= new
    assert set(answered) <= old | new
    assert len(platform.pids("control")) == len(platform.pids("ledger")) == 1


def test_a_roll_goes_on_only_when_the_replacement_is_ready(platform: Platform) -> None:
    platform.up()

    platform.send(signal.SIGHUP)

    eventually(lambda: len(platform.pids("worker1")) == 2)
    steps = [(name, event) for name, _, event in platform.events()]
    second_ready = [i for i, step in enumerate(steps) if step == ("worker0", "ready")][1]
    second_start = [i for i, step in enumerate(steps) if step == ("worker1", "started")][1]
    assert second_ready < steps.index(("worker0", "draining"))
    assert second_ready < second_start


def test_a_roll_to_workers_that_cannot_start_keeps_the_old_ones(platform: Platform) -> None:
    platform.up()
    platform.order("die.worker0")

    platform.send(signal.SIGHUP)
    eventually(lambda: len(platform.pids("worker0", "started")) == 2)
    failed = platform.pids("worker0", "started")[1]
    eventually(lambda: not Path(f"/proc/{failed}").exists())

    assert platform.ask() in platform.pids("worker0") + platform.pids("worker1")
    platform.send(signal.SIGTERM)
    status, said = platform.end()
    assert status == 0
    assert "before it was ready; the old workers stay" in said


def test_a_rolled_worker_is_watched_like_the_first(platform: Platform) -> None:
    platform.order("slow.worker0")
    platform.up()
    platform.send(signal.SIGHUP)
    eventually(lambda: len(platform.pids("worker1")) == 2)

    os.kill(platform.pids("worker0")[1], signal.SIGKILL)

    eventually(lambda: len(platform.pids("worker0")) == 3)
