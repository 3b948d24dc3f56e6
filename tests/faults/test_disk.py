"""A disk that is full, or may not be written: nothing is lost, and it goes on by itself."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.audit.service import record
from aipool.kit.db import PASSING_ERRORS
from tests.platform import (
    ROOT,
    Customer,
    Platform,
    Reply,
    eventually,
    messages,
    platform,
    simple_catalogue,
    wish,
)
from tests.world import open_world

pytestmark = pytest.mark.slow

_CLONE_NEWNS = 0x00020000  # <linux/sched.h>
DISK_BYTES = 24 << 20
BALLAST_BYTES = 1 << 20
RESUMED_SECONDS_MAX = 10.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB, seen by this process and its children alone."""
    if os.geteuid() or ctypes.CDLL(None).unshare(_CLONE_NEWNS):
        pytest.skip("only root may mount a small disk")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(folder)],
        check=True,
    )
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class Filler:
    """Fills a disk to the last byte."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "filler"

    def fill(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def clear(self) -> None:
        self._path.unlink()


def call(running: Platform, customer: Customer) -> Reply:
    return running.chat(customer, {"model": "m", **messages("hi")})


def refused(running: Platform, customer: Customer, answered: list[str]) -> Reply:
    """Calls until one is refused; notes those that were answered."""

    def no() -> Reply | None:
        reply = call(running, customer)
        if reply.status == 200:
            answered.append(reply.rid)
            return None
        return reply

    return eventually(no, "a call is refused")


def resumed(running: Platform, customer: Customer, answered: list[str]) -> None:
    """Calls until one is answered; that takes at most ten seconds."""
    began = time.monotonic()

    def yes() -> bool:
        reply = call(running, customer)
        if reply.status == 200:
            answered.append(reply.rid)
        else:
            time.sleep(0.1)
        return reply.status == 200

    eventually(yes, "a call is answered", RESUMED_SECONDS_MAX + 5)
    assert time.monotonic() - began < RESUMED_SECONDS_MAX


def all_recorded(running: Platform, customer: Customer, answered: list[str]) -> None:
    """Every answer is charged once, and no refusal is."""

    def there() -> bool:
        return {row.rid for row in running.rows(customer) if row.charged_nano} == set(answered)

    eventually(there, "the answers, and they alone, are charged")
    assert len(set(answered)) == len(answered)


def test_a_full_disk_stops_new_calls_lets_old_ones_end_and_is_gone_past(small_disk: Path) -> None:
    filler = Filler(small_disk)
    with platform(
        catalogue=simple_catalogue,
        data_dir=small_disk / "data",
        environment={"AIPOOL_BALLAST_BYTES": str(BALLAST_BYTES)},
    ) as running:
        customer = running.customer()
        ballast = running.data_dir / "ballast"
        assert ballast.stat().st_size == BALLAST_BYTES
        answered = [call(running, customer).rid]
        under_way: list[Reply] = []
        body = wish("slow", {"events": 40, "interval": 0.05}, stream=True)
        asking = threading.Thread(target=lambda: under_way.append(running.chat(customer, body)))
        asking.start()
        eventually(lambda: running.vendors[0].books.entries[1:], "the vendor has the call")

        filler.fill()
        reply = refused(running, customer, answered)

        assert (reply.status, reply.error["code"]) == (503, "ledger_unavailable")
        assert int(reply.headers["retry-after"]) > 0
        assert not ballast.exists()
        eventually(lambda: "journal_stopped" in running.log, "the log says so")
        eventually(lambda: '"disk_full"' in running.log, "the log says what to do")
        asking.join()
        assert under_way[0].status == 200
        assert under_way[0].events[-1] == b"[DONE]"
        answered.append(under_way[0].rid)

        # Filled again, the ballast too: now nothing at all can be written.
        filler.fill()
        use_up_the_log(running)
        said = running.cli("user", "adjust", customer.phone, "1", "--reason", "x", status=1)
        assert said.startswith("aipool: the database cannot be used just now"), said
        assert said.endswith("full): try again\n"), said
        assert refused(running, customer, answered).status == 503

        filler.clear()
        resumed(running, customer, answered)
        eventually(ballast.exists, "the ballast is there again")
        running.cli("user", "adjust", customer.phone, "1", "--reason", "x")
        all_recorded(running, customer, answered)
        assert "starting it again" not in running.log


def use_up_the_log(running: Platform) -> None:
    """Writes into the room that the database's log has already taken, until there is none."""
    session = running.session()
    for size in (30_000, 100):
        with pytest.raises(PASSING_ERRORS):
            for _ in range(1_000):
                with session.database.write() as tx:
                    record(tx, session.act, "test.fill", "test", after={"filler": "x" * size})


def test_where_files_may_not_grow_nothing_is_lost_and_it_goes_on_when_they_may() -> None:
    """The same without root: the processes are forbidden to write."""
    with platform(catalogue=simple_catalogue, workers=2) as running:
        customer = running.customer()
        answered = [call(running, customer).rid]
        pids = [*running.pids("gateway"), *running.pids("books")]
        forever = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, forever[1]))
        reply = refused(running, customer, answered)
        assert (reply.status, reply.error["code"]) == (503, "ledger_unavailable")
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, forever)

        resumed(running, customer, answered)
        all_recorded(running, customer, answered)
        assert "starting it again" not in running.log


def test_a_log_that_cannot_be_written_stops_nothing(small_disk: Path) -> None:
    with platform(catalogue=simple_catalogue) as running:
        running.stop()
        log = running.run_dir / "stderr"
        log.unlink()
        log.symlink_to(small_disk / "log")
        running.start()
        customer = running.customer()
        modules = ("gateway", "books", "control")
        pids = [running.pids(module) for module in modules]
        filler = Filler(small_disk)
        filler.fill()
        written = (small_disk / "log").stat().st_size

        answered = [call(running, customer).rid]
        for _ in range(100):
            assert running.chat("sk-unknown-" + "x" * 40, {"model": "m"}).status == 401
        os.kill(pids[2][0], signal.SIGKILL)
        eventually(lambda: running.pids("control") not in ([], pids[2]), "control is replaced")
        answered.append(call(running, customer).rid)

        all_recorded(running, customer, answered)
        assert [running.pids(module) for module in modules[:2]] == pids[:2]
        assert (small_disk / "log").stat().st_size - written < 4096
        filler.clear()


@pytest.mark.parametrize("had_data", [True, False])
def test_a_data_folder_that_may_not_be_written_is_said_in_one_line(
    small_disk: Path, had_data: bool
) -> None:
    data_dir = small_disk / "data"
    if had_data:
        with open_world(data_dir):
            pass
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "aipool.cli", "serve", "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "AIPOOL_DATA_DIR": str(data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert done.stdout.startswith("aipool: "), done.stdout
    assert "Read-only file system" in done.stdout
    assert str(data_dir) in done.stdout
    assert len(done.stdout.splitlines()) == 1, done.stdout
