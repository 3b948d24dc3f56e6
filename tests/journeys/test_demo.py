"""From the first start: one command, one paste, one call, and its charge read back."""

from __future__ import annotations

import json
import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from aipool.catalog.service import prices_by_id
from tests.platform import Platform, charge, cny, eventually, platform

TOKEN = re.compile(r"sk-[A-Za-z0-9_-]+")


def paste(running: Platform) -> tuple[dict[str, str], dict[str, object]]:
    """Does what is printed; the headers and the body of the answer."""
    command = running.stdout
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=30, check=True
    )
    top, _, body = done.stdout.partition("\n\n")
    lines = [line.split(": ", 1) for line in top.splitlines()[1:]]
    return {name.lower(): value for name, value in lines}, json.loads(body)


@pytest.mark.slow
def test_the_demo_from_the_first_call_to_a_crash_and_back() -> None:
    with platform(demo=True, workers=2) as running:
        tokens = TOKEN.findall(running.stdout)
        assert len(tokens) == 1
        kept = running.data_dir / "demo-token"
        assert kept.read_text().strip() == tokens[0]
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert not TOKEN.search(running.log)

        headers, answer = paste(running)
        assert answer["object"] == "chat.completion"
        rid = running.row(headers["x-request-id"]).rid
        shown = json.loads(running.cli("call", "show", rid, "-o", "json"))
        assert shown["id"] == rid
        assert shown["charged"] == headers["x-aipool-charge"]
        assert shown["model"] == "gpt-4o-mini"

        # A second start says the same, and everything is still there: even after a crash.
        assert running.process is not None
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        eventually(lambda: not _children(running), "the children are gone")
        running.start()
        assert TOKEN.findall(running.stdout) == tokens
        headers, _ = paste(running)
        running.row(headers["x-request-id"])
        listed = running.cli("call", "list")
        assert rid in listed
        assert headers["x-request-id"] in listed
        assert "The books agree." in running.cli("ledger", "verify")


def _children(running: Platform) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"AIPOOL_DATA_DIR={running.data_dir}".encode() in environ:
            found.append(entry.name)
    return found


def test_each_model_of_the_demo_is_charged_at_its_own_price(town: Platform) -> None:
    token = TOKEN.findall(town.stdout)[0]
    charges = {}
    for model in ("gpt-3.5-turbo", "gpt-4o-mini", "MiniMax-M3"):
        body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
        reply = town.chat(token, body)
        usage = reply.json["usage"]
        row = town.row(reply.rid)
        assert (row.input_tokens, row.output_tokens) == (
            usage["prompt_tokens"],
            usage["completion_tokens"],
        )
        with town.database.read() as connection:
            price = prices_by_id(connection)[row.price_id]
        charges[model] = charge((row.input_tokens, row.output_tokens), price)
        assert reply.headers["x-aipool-charge"] == cny(charges[model])
    assert len(set(charges.values())) == 3


def test_the_demo_page_of_control_is_behind_the_same_port(town: Platform) -> None:
    page = town.ask("GET", "/")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert town.ask("GET", "/health/live").json == {"status": "live"}
    ready = town.ask("GET", "/health/ready").json
    assert (ready["status"], ready["ledger"]) == ("ready", "up")
