"""`aipool api` and `aipool openapi`, through their own parser: against the platform that runs here,
and against one elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from aipool import installation
from aipool.accounts import tables
from aipool.audit import service as audit
from aipool.cli.app import app
from tests.control.api_rig import SECRET, Api, api
from tests.control.fuzzing import served

pytestmark = pytest.mark.slow


def asked(*words: str, stdin: str = "") -> Result:
    result = CliRunner().invoke(app, ["api", *words], input=stdin, prog_name="aipool")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A platform that runs on this installation, as its supervisor would have written it down."""
    monkeypatch.setenv("AIPOOL_DATA_DIR", str(tmp_path))
    with api(tmp_path) as opened:
        run = SimpleNamespace(control_socket=opened.path, link_socket=tmp_path / "none")
        owner = SimpleNamespace(pid=os.getpid(), run_directory=run)
        monkeypatch.setattr(installation, "owner_of", lambda _data_dir: owner)
        yield opened


def tokens(opened: Api) -> list[Any]:
    with opened.world.database.read() as connection:
        return list(connection.execute(tables.access_tokens.select()))


def test_the_platform_that_runs_here_is_asked_without_a_token_of_ones_own(here: Api) -> None:
    before = tokens(here)
    sent = json.dumps({"name": "deep", "type": "deepseek", "api_key": SECRET})

    made = asked("POST", "/api/vendors", "--data", sent)
    listed = asked("get", "/api/keys", "--query", "vendor=1024", "--query", "limit=1")

    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["name"] == "deep"
    assert json.loads(listed.stdout)["keys"] == []
    assert SECRET not in made.output
    # The token was for the one request, and the trail says who made it.
    assert tokens(here) == before
    with here.world.database.read() as connection:
        trail = audit.entries(connection, "user:1", limit=10)
    ends = [entry for entry in trail if entry.action == "access_token.delete"]
    assert len(ends) == 2
    assert all(entry.actor.startswith("cli:") for entry in ends)


def test_a_refusal_is_a_problem_on_standard_error_and_exit_code_1(here: Api) -> None:
    result = asked("GET", "/api/vendors/999")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert json.loads(result.stderr)["code"] == "vendor_unknown"


@pytest.mark.parametrize(
    "words",
    [
        ("FETCH", "/api/vendors"),
        ("GET", "api/vendors"),
        ("GET", "/api/vendors", "--query", "limit"),
        ("POST", "/api/vendors", "--data", "{"),
        ("POST", "/api/vendors", "--data", "@/no/such/file"),
        ("GET", "/api/vendors", "--url", "ftp://ai.example.com"),
    ],
)
def test_wrong_use_is_told_with_exit_code_2(here: Api, words: tuple[str, ...]) -> None:
    result = asked(*words)

    assert result.exit_code == 2
    assert result.stderr.startswith("aipool: ")


def test_where_nothing_runs_the_exit_code_is_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIPOOL_DATA_DIR", str(tmp_path))
    with api(tmp_path):
        assert asked("GET", "/api/vendors").exit_code == 3
        assert asked("GET", "/api/vendors", "--url", "http://127.0.0.1:9").exit_code == 3


@pytest.mark.slow
def test_a_platform_elsewhere_is_asked_with_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"phrase": "no credit", "action": "exceeded"}))
    with served(tmp_path) as (opened, address):
        monkeypatch.setenv("AIPOOL_URL", address)
        without = asked("GET", "/api/keywords")
        monkeypatch.setenv("AIPOOL_ADMIN_TOKEN", opened.token)
        made = asked("POST", "/api/keywords", "--data", f"@{body}")
        typed = asked("GET", "/api/keywords", "--token-stdin", stdin=f"{opened.token}\n")
        text = asked("GET", "/llms.txt")

    assert (without.exit_code, json.loads(without.stderr)["code"]) == (1, "login_needed")
    assert made.exit_code == 0, made.output
    assert [one["phrase"] for one in json.loads(typed.stdout)["keywords"]] == ["no credit"]
    assert text.stdout.startswith("# AI-POOL")
    assert opened.token not in made.output + typed.output + text.output


@pytest.mark.slow
def test_the_document_is_printed_and_compared(tmp_path: Path) -> None:
    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["openapi", *words], prog_name="aipool")

    printed = run()
    kept = tmp_path / "openapi.json"
    kept.write_text(printed.stdout)

    assert json.loads(printed.stdout)["openapi"] == "3.1.0"
    assert run("--check", str(kept)).exit_code == 0
    kept.write_text(printed.stdout + " ")
    assert run("--check", str(kept)).exit_code == 1
    assert run("--check", str(tmp_path / "none")).exit_code == 1


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/api/openapi.json", "/llms.txt"])
def test_a_reader_that_ends_first_meets_silence(tmp_path: Path, path: str) -> None:
    with served(tmp_path) as (_, address):
        read_end, write_end = os.pipe()
        os.close(read_end)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "aipool.cli", "api", "GET", path, "--url", address],
                stdout=write_end,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )
        finally:
            os.close(write_end)

    assert (done.returncode, done.stderr) == (0, b"")
