"""The commands, through their own parser, on a real installation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from aipool.cli.app import app
from aipool.ledger.service import open_wallet
from tests.apply.test_document import GOOD
from tests.world import PHONE, SECRET, open_world

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `aipool …` on an installation of its own; fails on a traceback."""
    monkeypatch.setenv("AIPOOL_DATA_DIR", str(tmp_path))
    with open_world(tmp_path):
        pass
    runner = CliRunner()

    def invoke(*words: str, stdin: str = "") -> Result:
        result = runner.invoke(app, list(words), input=stdin, prog_name="aipool")
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        return result

    return invoke


def good(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def rows(result: Result) -> list[dict[str, object]]:
    found = json.loads(good(result).stdout)
    assert isinstance(found, list)
    return found


def refused(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert result.stderr.startswith("aipool: ")
    return result.stderr


def create_user(run: Run) -> None:
    """Somebody with 5 CNY."""
    words = ("user", "create", "13800138001", "--credit", "5", "--password-stdin")
    good(run(*words, stdin="long enough\n"))


def test_a_user_is_created_adjusted_and_listed(run: Run) -> None:
    create_user(run)
    good(run("user", "adjust", "13800138001", "1.5", "--reason", "a gift"))
    good(run("user", "adjust", "13800138001", "-3", "--reason", "a mistake"))

    (user,) = rows(run("user", "list", "--output", "json"))

    assert (user["phone"], user["balance"], user["status"]) == (PHONE, "3.5", "active")
    good(run("ledger", "verify"))


def test_more_than_there_is_cannot_be_taken_away(run: Run) -> None:
    create_user(run)

    assert "the balance is 5 CNY" in refused(
        run("user", "adjust", "13800138001", "-6", "--reason", "too much")
    )


def test_a_user_is_disabled_enabled_and_given_another_password(run: Run) -> None:
    good(run("user", "create", "13800138001", "--password-stdin", stdin="long enough\n"))
    good(run("user", "disable", "13800138001"))
    assert rows(run("user", "list", "-o", "json"))[0]["status"] == "disabled"
    good(run("user", "enable", "13800138001"))
    good(run("user", "set-password", "13800138001", "--password-stdin", stdin="another one\n"))
    assert "at least 8" in refused(
        run("user", "set-password", "13800138001", "--password-stdin", stdin="short\n")
    )


def test_an_administrator_needs_a_longer_password(run: Run) -> None:
    words = ("user", "create", "13800138001", "--admin", "--password-stdin")

    assert "at least 12" in refused(run(*words, stdin="long enough\n"))


def make_user() -> None:
    import os

    with open_world(Path(os.environ["AIPOOL_DATA_DIR"])) as world, world.database.write() as tx:
        user = world.user(tx)
        open_wallet(tx, user.id)


def test_a_token_shows_its_secret_once_and_can_be_taken_out_of_use(run: Run) -> None:
    make_user()
    made = json.loads(
        good(
            run("token", "create", PHONE, "prod", "--limit", "2", "--ip", "10.0.0.1", "-o", "json")
        ).stdout
    )
    assert made["secret"].startswith("sk-")

    listed = run("token", "list", "--output", "json")
    (token,) = rows(listed)
    assert made["secret"] not in listed.output
    assert (token["name"], token["limit"], token["used"]) == ("prod", "2", "0")
    assert token["ips"] == ["10.0.0.1/32"]
    assert str(token["secret"]).endswith(made["secret"][-4:])

    number = str(token["id"])
    good(run("token", "disable", number))
    assert rows(run("token", "list", "-o", "json"))[0]["enabled"] is False
    good(run("token", "enable", number))
    assert "--yes" in refused(run("token", "delete", number))
    good(run("token", "delete", number, "--yes"))
    assert rows(run("token", "list", "-o", "json")) == []
    assert "no token" in refused(run("token", "disable", number))


def test_vendors_and_keys_never_show_a_secret(run: Run) -> None:
    create = ("vendor", "create", "mm", "--type", "minimax", "--api-key-stdin")
    outputs = [good(run(*create, stdin=f"{SECRET}\n"))]
    outputs.append(good(run("key", "create", "mm", "--api-key-stdin", stdin=f"{SECRET}2\n")))
    outputs.append(good(run("key", "move", "mm", "key2", "1")))
    listed = run("key", "list", "--output", "json")
    assert [(key["name"], key["place"], key["default"]) for key in rows(listed)] == [
        ("key2", 1, False),
        ("key1", 2, True),
    ]
    assert rows(run("vendor", "list", "-o", "json"))[0]["keys"] == ["key2", "key1"]

    outputs.append(good(run("key", "disable", "mm", "key2")))
    assert rows(run("key", "list", "mm", "-o", "json"))[0]["enabled"] is False
    outputs.append(good(run("key", "enable", "mm", "key2")))
    outputs.append(good(run("key", "delete", "mm", "key2", "--yes")))
    assert "default key" in refused(run("key", "delete", "mm", "key1", "--yes"))
    assert not any(SECRET in output.output for output in [*outputs, listed])


def test_a_key_is_configured_field_by_field_and_listed_with_its_status(run: Run) -> None:
    create = ("vendor", "create", "mm", "--type", "minimax", "--api-key-stdin", "--set", "weight=2")
    good(run(*create, stdin=f"{SECRET}\n"))
    made = ("key", "create", "mm", "--name", "spare", "--expires", "+7d", "--api-key-stdin")
    more = (
        "--set",
        "headers.X-Team=7",
        "--set",
        'models=["a","b"]',
        "--proxy",
        "http://p.example:1",
    )
    good(run(*made, *more, stdin=f"{SECRET}2\n"))
    said = ("--set", "weight=3", "--unset", "headers.X-Team", "--name", "other")
    assert "config.weight" in good(run("key", "set", "mm", "spare", *said)).stderr
    assert "nothing changed" in good(run("key", "set", "mm", "other", "--name", "other")).stderr

    first, second = rows(run("key", "list", "mm", "-o", "json"))
    assert (first["config"], first["expires"], first["status"]) == (
        {"weight": 2},
        "never",
        "normal",
    )
    assert second["config"] == {
        "models": ["a", "b"],
        "proxy": "http://p.example:1",
        "weight": 3,
    }
    assert second["expires"] != "never"
    assert rows(run("key", "list", "--status", "disabled", "-o", "json")) == []
    assert len(rows(run("key", "list", "--search", "OTH", "-o", "json"))) == 1

    for words, problem in (
        (("--set", "weight=0"), "config.weight"),
        (("--set", "headers.Authorization=x"), "config.headers.Authorization"),
        (("--set", "weight"), "field=value"),
        (("--expires", "yesterday"), "--expires"),
        (("--expires", "2020-01-01"), "a moment to come"),
    ):
        assert problem in refused(run("key", "set", "mm", "other", *words))
    assert "does not expire" in refused(run("key", "set", "mm", "key1", "--expires", "+7d"))
    assert "none of normal" in refused(run("key", "list", "--status", "well"))


def test_keys_are_pasted_with_a_result_a_line(run: Run) -> None:
    good(run("vendor", "create", "box", "--type", "sandbox"))

    result = run("key", "paste", "box", "-o", "json", stdin="sk-1\n\nspare sk-2\nsk-1\nspare x\n")

    assert result.exit_code == 1
    assert [(row["line"], row["result"], row["name"]) for row in json.loads(result.stdout)] == [
        (1, "created", "key2"),
        (2, "blank", ""),
        (3, "created", "spare"),
        (4, "duplicate", "key2"),
        (5, "refused", ""),
    ]
    assert "sk-" not in result.output


def test_a_key_is_ordered_made_default_and_says_what_was_done_to_it(run: Run) -> None:
    good(run("vendor", "create", "box", "--type", "sandbox"))
    good(run("key", "paste", "box", stdin="a sk-1\nb sk-2\n"))
    good(run("key", "order", "box", "b", "key1"))
    good(run("key", "default", "box", "a"))
    assert "--yes" in refused(run("key", "delete", "box", "key1"))
    good(run("key", "delete", "box", "key1", "--yes"))
    good(run("key", "disable", "box", "b"))
    assert "b was disabled" in good(run("key", "enable", "box", "b")).stderr

    listed = rows(run("key", "list", "-o", "json"))
    assert [(key["name"], key["place"], key["default"]) for key in listed] == [
        ("b", 1, False),
        ("a", 2, True),
    ]
    trail = rows(run("key", "trail", "box", "b", "-o", "json"))
    assert [row["what"] for row in trail] == ["key.enable", "key.disable", "key.create"]


def test_a_field_that_does_not_exist_is_not_taken_back_in_silence(run: Run) -> None:
    good(
        run("vendor", "create", "ds", "--type", "deepseek", "--api-key-stdin", stdin=f"{SECRET}\n")
    )
    assert "there is no such field" in refused(run("key", "set", "ds", "key1", "--unset", "weigth"))


def test_a_key_without_a_secret_is_not_said_to_be_tried(run: Run) -> None:
    good(
        run("vendor", "create", "ds", "--type", "deepseek", "--api-key-stdin", stdin=f"{SECRET}\n")
    )
    good(run("vendor", "set", "ds", "--base-url", "https://elsewhere.example/v1"))

    said = good(run("key", "enable", "ds", "key1")).stderr

    assert "--api-key" in said
    assert "from the next call" not in said


def test_a_vendor_is_changed_and_its_keys_do_not_go_along(run: Run) -> None:
    create = ("vendor", "create", "mm", "--type", "moonshot", "--ordering", "weighted")
    good(run(*create, "--api-key-stdin", stdin=f"{SECRET}\n"))
    changed = ("--concurrency", "5", "--low-balance", "20", "--ordering", "priority")
    assert "changed mm" in good(run("vendor", "set", "mm", *changed)).stderr
    assert "nothing changed" in good(run("vendor", "set", "mm", *changed)).stderr
    (vendor,) = rows(run("vendor", "list", "-o", "json"))
    assert (vendor["ordering"], vendor["concurrency"], vendor["low_balance"]) == (
        "priority",
        5,
        "20",
    )

    moved = good(run("vendor", "set", "mm", "--base-url", "https://elsewhere.example/v1"))

    assert "the secret of key1 was dropped" in moved.stderr
    (key,) = rows(run("key", "list", "-o", "json"))
    assert (key["status"], key["reason"], key["secret"]) == ("error", "secret_missing", "")
    good(run("key", "set", "mm", "key1", "--api-key-stdin", stdin=f"{SECRET}\n"))
    assert rows(run("key", "list", "-o", "json"))[0]["status"] == "normal"
    assert "--yes" in refused(run("vendor", "delete", "mm"))
    good(run("vendor", "delete", "mm", "--yes"))
    assert rows(run("vendor", "list", "-o", "json")) == []
    assert "key_page" in good(run("vendor", "types")).stdout


def test_keywords_and_routes_are_kept(run: Run) -> None:
    for name in ("one", "two"):
        good(run("vendor", "create", name, "--type", "sandbox"))
    price = ("--input-price", "1", "--output-price", "2")
    good(run("model", "create", "m1", "--vendor", "one", *price))
    good(run("group", "create", "vip"))
    added = ("route", "add", "m1", "--vendor", "two", "--upstream-model", "up", "--group", "vip")
    good(run(*added, "--cost-output", "3", "--place", "1"))
    assert [
        (row["vendor"], row["upstream_model"], row["cost"], row["groups"])
        for row in rows(run("route", "list", "m1", "-o", "json"))
    ] == [("two", "up", "0/0/3", ["vip"]), ("one", "m1", "0/0/0", "all")]
    good(run("route", "move", "m1", "1", "2"))
    assert rows(run("route", "list", "m1", "-o", "json"))[0]["vendor"] == "one"
    assert "from 1 to 2" in refused(run("route", "delete", "m1", "3"))
    good(run("route", "delete", "m1", "1"))
    assert "at least one" in refused(run("route", "delete", "m1", "1"))
    assert "two" in refused(run("vendor", "delete", "two", "--yes"))

    good(run("model", "set", "m1", "--first-byte", "90", "--idle", "none"))
    (model,) = rows(run("model", "list", "-o", "json"))
    assert model["timeouts"] == {"first_byte": 90.0, "first_event": None, "idle": None}

    good(run("keyword", "add", "Account frozen", "--action", "invalid"))
    (keyword,) = rows(run("keyword", "list", "-o", "json"))
    assert (keyword["phrase"], keyword["action"]) == ("account frozen", "invalid")
    assert "none of" in refused(run("keyword", "add", "other words", "--action", "strip"))
    good(run("keyword", "delete", str(keyword["id"])))
    assert rows(run("keyword", "list", "-o", "json")) == []


def test_a_model_and_a_group_are_made_and_a_model_goes_off_sale(run: Run) -> None:
    good(run("vendor", "create", "box", "--type", "sandbox"))
    model = (
        "model",
        "create",
        "m1",
        "--vendor",
        "box",
        "--input-price",
        "1",
        "--output-price",
        "2",
    )
    good(run(*model))
    assert "already" in refused(run(*model))
    good(run("group", "create", "vip", "--multiplier", "0.8", "--model", "m1"))
    good(run("model", "disable", "m1"))

    (listed,) = rows(run("model", "list", "-o", "json"))
    assert (listed["input"], listed["output"], listed["enabled"]) == ("1", "2", False)
    assert listed["routes"] == ["box/m1"]
    assert rows(run("group", "list", "-o", "json"))[0]["multiplier"] == "0.8"
    good(run("model", "enable", "m1"))


@pytest.mark.parametrize(
    "words",
    [
        ("user", "adjust", "13800138009", "1", "--reason", "x"),
        ("user", "create", "12", "--password-stdin"),
        ("user", "create", "13800138001"),
        ("user", "create", "13800138001", "--credit", "-1", "--password-stdin"),
        ("token", "create", "13800138009", "x"),
        ("token", "disable", "77"),
        ("vendor", "create", "x", "--type", "nothing"),
        ("vendor", "create", "x", "--type", "openai_compatible", "--base-url", "http://10.0.0.1"),
        ("vendor", "create", "x", "--type", "openai_compatible"),
        ("key", "list", "nobody"),
        ("model", "disable", "nothing"),
        ("model", "create", "m", "--vendor", "v", "--input-price", "-1", "--output-price", "1"),
        ("group", "create", "g", "--multiplier", "-1"),
        ("group", "create", "g", "--model", "nothing"),
        ("call", "show", "req_unknown"),
        ("apply", "/no/such/file.yaml"),
        ("user", "list", "--data-dir", "/no/such/folder"),
    ],
)
def test_a_mistake_is_one_readable_line_and_status_1(run: Run, words: tuple[str, ...]) -> None:
    text = refused(run(*words, stdin="a long password\n"))

    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("user",),
        ("nonsense",),
        ("user", "adjust"),
        ("token", "disable", "x"),
        ("serve", "--porto", "1"),
    ],
)
def test_wrong_use_is_status_2(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_a_bad_setting_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIPOOL_PORT", "99999")

    assert "AIPOOL_PORT" in refused(run("user", "list"))


def test_apply_prints_what_it_did_and_a_dry_run_what_it_would_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(GOOD)
    monkeypatch.setenv("KEY", SECRET)

    dry = good(run("apply", str(file), "--dry-run"))
    assert "created    vendor mm" in dry.stdout
    assert "sk-" not in dry.output
    assert rows(run("vendor", "list", "-o", "json")) == []

    wet = good(run("apply", str(file)))
    assert wet.stdout.startswith(dry.stdout)
    assert wet.stdout.count("sk-") == 1
    assert SECRET not in wet.output

    again = json.loads(good(run("apply", str(file), "--output", "json")).stdout)
    assert {step["verb"] for step in again["steps"]} == {"unchanged"}
    assert again["new_tokens"] == []


def test_apply_reads_standard_input_and_names_each_problem(run: Run) -> None:
    good(run("apply", "-", stdin="vendors:\n  - {name: box, type: sandbox}\n"))

    bad = refused(run("apply", "-", stdin="vendors:\n  - {nam: box, type: sandbox}\n"))
    assert "line 2, vendors[0].nam: unknown field" in bad
    assert "line 2, vendors[0].name: is missing" in bad


def test_tables_line_up_also_with_wide_characters(run: Run) -> None:
    good(run("vendor", "create", "沙箱", "--type", "sandbox"))
    good(run("vendor", "create", "box", "--type", "sandbox"))

    head, *lines = good(run("vendor", "list")).stdout.splitlines()

    assert head.split() == ["id", "name", "type", "base_url", "keys"]
    # A Chinese character takes two columns, so its line is shorter in characters.
    assert lines[0].index("sandbox") + 2 == lines[1].index("sandbox") == head.index("type")


def test_nothing_to_list_is_no_error(run: Run) -> None:
    for words in (("user", "list"), ("call", "list"), ("key", "list"), ("group", "list")):
        assert len(good(run(*words)).stdout.splitlines()) == 1


def test_migrate_and_version_answer(run: Run) -> None:
    assert "after" in good(run("migrate")).stdout
    assert good(run("version")).stdout.strip()[0].isdigit()


def test_the_doctor_answers_in_json_and_fails_on_a_bad_finding(run: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    result = run("doctor", "--json")

    found = {row["check"]: row["state"] for row in json.loads(result.stdout)}
    assert found["data folder"] == "bad"
    assert result.exit_code == 1
