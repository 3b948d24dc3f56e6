"""aipool model price, seed, delete; aipool prices; aipool import."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import Run, good, refused, rows, run
from tests.moving.dumps import as_sqlite, small

__all__ = ["run"]

pytestmark = pytest.mark.slow


def test_a_planted_model_gets_its_price_from_a_list_and_then_by_hand(
    run: Run, tmp_path: Path
) -> None:
    assert len(rows(run("model", "seed", "-o", "json"))) >= 40
    file = tmp_path / "list.json"
    entry = {"input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6}
    file.write_text(json.dumps({"gpt-4o": entry}))
    asked = ["--cny-per-usd", "7", "--file", str(file), "--model", "gpt-4o", "-o", "json"]

    (line,) = rows(run("prices", "diff", *asked))
    done = good(run("prices", "import", *asked, "--yes"))
    by_hand = good(run("model", "price", "gpt-4o", "input=9", "output=30", "call=0.01"))
    after = rows(run("prices", "diff", *asked))

    assert (line["state"], line["before"], line["after"]) == ("change", "0/0/0", "7/7/28")
    assert "1 models changed" in done.stderr
    assert "9/9/30 call 0.01" in by_hand.stdout
    assert (after[0]["state"], after[0]["locked"]) == ("same", True)
    assert "write each unit once" in refused(run("model", "price", "gpt-4o", "input"))
    good(run("model", "delete", "gpt-4o", "--yes"))
    assert "gpt-4o" not in [row["name"] for row in rows(run("model", "list", "-o", "json"))]


def test_a_cost_that_was_typed_stays_and_one_that_was_left_out_does_not(
    run: Run, tmp_path: Path
) -> None:
    good(run("vendor", "create", "own", "--type", "sandbox"))
    sold = ("--vendor", "own", "--input-price", "9", "--output-price", "30")
    good(run("model", "create", "m1", *sold))
    good(run("model", "create", "m2", *sold, "--cost-input", "0"))
    good(run("route", "add", "m1", "--vendor", "own", "--cost-output", "0", "--place", "1"))
    good(run("route", "add", "m1", "--vendor", "own", "--upstream-model", "m3"))
    good(run("route", "move", "m1", "1", "3"))
    file = tmp_path / "list.json"
    entry = {"input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6}
    file.write_text(json.dumps({"m1": entry, "m2": entry, "m3": entry}))

    lines = rows(run("prices", "diff", "--cny-per-usd", "7", "--file", str(file), "-o", "json"))

    assert [line["costs"] for line in lines] == [["1: 7/7/28", "2: 7/7/28"], []]


def test_moving_in_tells_every_row_and_fails_when_one_was_refused(run: Run, tmp_path: Path) -> None:
    dump = as_sqlite(tmp_path / "one-api.db", small())

    result = run("import", "new-api", str(dump), "--cny-per-usd", "7", "--dry-run", "-o", "json")

    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {step["outcome"] for step in told} == {"created", "skipped", "refused"}
    assert all(step["says"] for step in told if step["outcome"] == "refused")
    assert rows(run("user", "list", "-o", "json")) == []
    nothing = run("import", "new-api", str(tmp_path / "none"), "--cny-per-usd", "7")
    assert "none" in refused(nothing)
