"""The whole way with the real platform: traffic, a backup beside it, another machine."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aipool.kit.db import open_database
from tests.backup.rig import PASSPHRASE
from tests.platform import (
    Customer,
    Platform,
    charge,
    eventually,
    platform,
    simple_catalogue,
    wish,
)

pytestmark = pytest.mark.slow

TINY = {"usage": {"prompt_tokens": 10, "completion_tokens": 10}}


def aipool(running: Platform, *words: str, passphrase: str = "") -> tuple[int, str, str]:
    """A command of the product: its status and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "aipool.cli", *words],
        env=running._environ(),
        input=passphrase + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@contextmanager
def traffic(running: Platform, customer: Customer) -> Iterator[list[int]]:
    """Calls without pause; the statuses so far."""
    statuses: list[int] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            statuses.append(running.chat(customer, wish("backup", TINY, max_tokens=20)).status)

    callers = [threading.Thread(target=work) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        eventually(lambda: len(statuses) > 30, "traffic flows")
        yield statuses
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def transfers(data_dir: Path) -> list[Any]:
    database = open_database(f"sqlite:///{data_dir / 'aipool.db'}")
    with database.read() as connection:
        rows = list(connection.execute(sa.text("SELECT * FROM transfers ORDER BY seq")))
    database.close()
    return rows


@contextmanager
def another_machine(like: Platform) -> Iterator[Platform]:
    """A platform without anything yet, which reaches the same vendors."""
    with tempfile.TemporaryDirectory(prefix="aip-", dir="/tmp") as folder:
        run_dir = Path(folder)
        made = Platform(
            run_dir / "data", run_dir, like.workers, dict(like.environment), vendors=like.vendors
        )
        try:
            yield made
        finally:
            if made.process is not None:
                made.stop()
            made.close()


def test_a_backup_under_load_comes_back_on_another_machine_and_calls_go_on(
    tmp_path: Path,
) -> None:
    with_keys, bare = tmp_path / "with-keys", tmp_path / "bare"
    with platform(catalogue=simple_catalogue, workers=2) as old:
        customer = old.customer()
        with traffic(old, customer) as statuses:
            before = len(statuses)
            status, told, said = aipool(
                old, "backup", str(with_keys), "--with-keys", "--passphrase-stdin", "-o", "json",
                passphrase=PASSPHRASE,
            )  # fmt: skip
            assert status == 0, said
            assert json.loads(told)["keys"] == ["pepper", "sealing-1"]
            status, _, said = aipool(old, "backup", str(bare))
            assert status == 0, said
            assert str(old.data_dir / "secrets/pepper") in said
            eventually(lambda: len(statuses) > before + 30, "traffic flows on")
        assert set(statuses) == {200}
        status, _, said = aipool(
            old, "restore", str(with_keys), "--replace", "--passphrase-stdin", passphrase=PASSPHRASE
        )
        assert status == 1
        assert "a server runs on" in said
        old.stop()
        history = transfers(old.data_dir)

        with another_machine(old) as new:
            status, _, said = aipool(new, "restore", str(bare))
            assert status == 1
            assert str(new.data_dir / "secrets/pepper") in said
            assert str(new.data_dir / "secrets/sealing-1") in said
            assert not new.data_dir.exists()
            status, told, said = aipool(
                new, "restore", str(with_keys), "--passphrase-stdin", "-o", "json",
                passphrase=PASSPHRASE,
            )  # fmt: skip
            assert status == 0, said
            assert "The books agree." in said
            assert json.loads(told)["epochs_closed"] == 2
            back = transfers(new.data_dir)
            assert 30 < len(back) < len(history)
            assert back == history[: len(back)]
            wallet = new.wallet(customer)
            assert wallet.leased_nano == 0
            calls = len(new.rows(customer))
            new.close()

            new.start()
            reply = new.chat(customer, wish("restored", TINY))
            assert reply.status == 200
            assert new.row(reply.rid).charged_nano == charge((10, 10))
            assert new.stop() == 0
            assert new.wallet(customer).balance_nano == wallet.balance_nano - charge((10, 10))
            assert len(new.rows(customer)) == calls + 1
            new.check_books()
