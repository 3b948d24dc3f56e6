"""`aipool route explain`, through its own parser, on a real installation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from aipool.cli.app import app
from aipool.pool import service as pool
from aipool.pool.types import KeyTerms
from tests.world import PHONE, SECRET, World, open_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("AIPOOL_DATA_DIR", str(tmp_path))
    with open_world(tmp_path) as opened:
        with opened.database.write() as tx:
            vendor = opened.vendor(tx)
            terms = KeyTerms("spare", f"{SECRET}-spare")
            keyring = opened.secrets.keyring
            pool.create_key(tx, opened.act, keyring, opened.vet, vendor, terms)
            main = pool.key_named(tx.connection, vendor, "main")
            pool.disable_key(tx, opened.act, main)
            opened.model(tx, vendor)
            opened.token(tx, opened.user(tx), "prod")
        yield opened


def explained(*words: str) -> Result:
    result = CliRunner().invoke(app, ["route", "explain", *words], prog_name="aipool")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert SECRET not in result.output
    return result


@pytest.mark.parametrize("token", ["1", f"{PHONE}/prod", "13800138001/prod"])
def test_it_shows_a_table_in_the_order_of_trying(world: World, token: str) -> None:
    result = explained("--token", token, "--model", "m1")

    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "token 1 prod" in lines
    assert "call allowed" in lines
    assert "route 1 mm/m1, in the order of the list" in lines
    assert lines[-3:] == [
        "turn route vendor upstream_model place key what",
        "- 1 mm m1 1 main disabled by a person",
        "1 1 mm m1 2 spare would be called now",
    ]


@pytest.mark.parametrize("form", [("--json",), ("--output", "json")])
def test_it_prints_for_programs(world: World, form: tuple[str, ...]) -> None:
    result = explained("--token", "1", "--model", "m1", "--stream", *form)

    found = json.loads(result.stdout)
    assert (found["refusal"], found["user"], found["stream"]) == ("", PHONE, True)
    keys = found["routes"][0]["keys"]
    assert [(key["key"], key["turn"], key["why"]) for key in keys] == [
        ("main", 0, "disabled"),
        ("spare", 1, ""),
    ]


def test_it_says_what_a_client_would_be_told(world: World) -> None:
    result = explained("--token", "1", "--model", "nothing")

    assert result.exit_code == 0
    assert "refused, model_not_found: There is no such model." in result.stdout


@pytest.mark.parametrize("token", ["99", "prod", f"{PHONE}/other", "13800138009/prod", "9" * 40])
def test_a_token_that_nobody_has_is_refused(world: World, token: str) -> None:
    result = explained("--token", token, "--model", "m1")

    assert result.exit_code == 1
    assert result.stderr.startswith("aipool: ")
    assert "Traceback" not in result.output
