"""`aipool serve`, started and used as its reader would: one worker, real calls, real money."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from aipool.cli.app import app
from tests.waiting import eventually

AIPOOL = (sys.executable, "-P", "-m", "aipool.cli")
START_SECONDS = 60.0
TOKEN = re.compile(r"sk-[A-Za-z0-9_-]{43}")


@dataclass
class Server:
    process: subprocess.Popen[str]
    first_lines: str
    data_dir: Path

    @property
    def address(self) -> str:
        found = re.search(r"http://(127\.0\.0\.1:\d+)", self.first_lines)
        assert found, self.first_lines
        return found[1]

    def chat(self, token: str) -> tuple[int, dict[str, str], dict[str, Any]]:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        body = json.dumps({"model": "MiniMax-M3", "messages": [{"role": "user", "content": "hi"}]})
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        answer = response.status, named, json.loads(response.read())
        connection.close()
        return answer


def environment(data_dir: Path) -> dict[str, str]:
    return {**os.environ, "AIPOOL_DATA_DIR": str(data_dir)}


@contextmanager
def serving(data_dir: Path, *words: str, lines: int) -> Iterator[Server]:
    """A running server that has printed so many lines on standard output."""
    options = ("--port", "0", "--metrics-port", "0", "--workers", "1", *words)
    with (data_dir.parent / f"{data_dir.name}.log").open("w") as log:
        process = subprocess.Popen(
            [*AIPOOL, "serve", *options],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(data_dir),
        )
    watchdog = Timer(START_SECONDS, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        first = "".join(process.stdout.readline() for _ in range(lines))
        watchdog.cancel()
        yield Server(process, first, data_dir)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
        assert rest == ""
        assert process.returncode == 0
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


def aipool(data_dir: Path, *words: str) -> Result:
    """A command beside the server; in this process, because starting one takes a second."""
    return CliRunner().invoke(app, [*words, "--data-dir", str(data_dir)], prog_name="aipool")


@pytest.mark.slow
def test_the_demo_sells_a_call_that_can_be_read_back_and_starts_again(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with serving(data_dir, "--demo", lines=4) as server:
        (token,) = TOKEN.findall(server.first_lines)
        assert (data_dir / "demo-token").read_text().strip() == token

        status, headers, completion = server.chat(token)
        assert status == 200
        assert completion["choices"][0]["message"]["content"]

        # Recorded a moment after its end.
        def listed() -> list[dict[str, Any]]:
            return list(json.loads(aipool(data_dir, "call", "list", "-o", "json").stdout))

        (call,) = eventually(listed, "the call in the log")
        assert call["id"] == headers["x-request-id"]
        assert call["charge"] == headers["x-aipool-charge"]
        whole = json.loads(aipool(data_dir, "call", "show", call["id"], "-o", "json").stdout)
        assert whole["output_tokens"] == completion["usage"]["completion_tokens"]

        # Whatever port it asks for, and by whatever name it finds the folder.
        (tmp_path / "link").symlink_to(data_dir)
        for folder, port in ((data_dir, "0"), (data_dir, "18999"), (tmp_path / "link", "0")):
            second = aipool(folder, "serve", "--port", port)
            assert second.exit_code == 1
            assert second.stderr == (
                f"aipool: another AI-POOL runs on {data_dir} (process {server.process.pid})\n"
            )
        assert "good" in next(
            line for line in aipool(data_dir, "doctor").stdout.splitlines() if "server" in line
        )

        disabled = aipool(data_dir, "token", "disable", "1")
        assert disabled.stderr == "saved; every worker acts on it\n"
        assert server.chat(token)[0] == 401
        aipool(data_dir, "token", "enable", "1")
        assert server.chat(token)[0] == 200

    assert aipool(data_dir, "ledger", "verify").exit_code == 0
    with serving(data_dir, "--demo", lines=4) as server:
        assert TOKEN.findall(server.first_lines) == [token]
        assert server.chat(token)[0] == 200


@pytest.mark.slow
def test_an_empty_platform_prints_a_new_way_in_at_each_start(tmp_path: Path) -> None:
    links = []
    for _ in range(2):
        with serving(tmp_path / "data", lines=1) as server:
            links.append(server.first_lines.strip())
            assert re.fullmatch(
                rf"http://{server.address}/setup#aipool-setup-[A-Za-z0-9_-]{{43}}", links[-1]
            )

    assert links[0].partition("#")[2] != links[1].partition("#")[2]
    log = (tmp_path / "data.log").read_text()
    assert not any(link.partition("#")[2] in log for link in links)


def test_exact_counting_without_its_extra_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / "data"
    monkeypatch.setitem(sys.modules, "rs_bpe", None)
    monkeypatch.setitem(sys.modules, "rs_bpe.bpe", None)
    monkeypatch.setenv("AIPOOL_TOKENIZER", "exact")

    result = CliRunner().invoke(app, ["serve", "--data-dir", str(data_dir)])

    assert result.exit_code == 1
    assert "AIPOOL_TOKENIZER=exact needs an extra: pip install aipool[exact]" in result.output
    assert not data_dir.exists()
