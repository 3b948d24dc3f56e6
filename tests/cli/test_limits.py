"""Limits of tokens and groups, as an operator sets, changes and reads them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.api_tokens.spending import spend
from tests.api_tokens.test_limits import limited
from tests.cli.test_commands import Run, good, make_user, refused, rows, run
from tests.world import PHONE, open_world

__all__ = ["run"]

#: A few of those that tests.apply.test_document has; both are read by the same rules.
ODD_NUMBERS = ["-1", "1e3", "", str(2**64 - 1)]
ODD_COUNTS = [*ODD_NUMBERS, "0", "1.5"]


def world() -> Any:
    return open_world(Path(os.environ["AIPOOL_DATA_DIR"]))


def listed(run: Run) -> dict[str, Any]:
    (token,) = rows(run("token", "list", "-o", "json"))
    return token


def test_a_token_is_created_with_every_limit_and_lists_how_far_they_are_used(run: Run) -> None:
    make_user()
    words = "--limit 5 --reset daily --total 100 --rpm 60 --tpm 9000 --requests-per-day 70"
    good(run("token", "create", PHONE, "prod", *words.split(), "--concurrency", "8"))

    token = listed(run)
    assert (token["limit"], token["reset"], token["total"]) == ("5", "daily", "100")
    assert (token["used"], token["remaining"], token["used_total"]) == ("0", "5", "0")
    assert token["next_reset"].endswith("T00:00:00Z")
    limits = {"rpm": 60, "tpm": 9000, "requests_per_day": 70, "concurrency": 8}
    assert token["limits"] == limits


def test_another_amount_keeps_what_is_used_and_another_reset_begins_anew_and_says_so(
    run: Run,
) -> None:
    with world() as opened:
        token = limited(opened, limit_nano=5 * 10**9)
        spend(opened, token, 300)

    more = good(run("token", "set", "1", "--limit", "8", "-o", "json"))
    told = json.loads(more.stdout)
    assert (told["used"], told["remaining"]) == ("0.0000003", "7.9999997")
    assert more.stderr == "limit 5 -> 8\n"

    daily = good(run("token", "set", "1", "--reset", "daily", "-o", "json"))
    told = json.loads(daily.stdout)
    assert (told["used"], told["remaining"], told["used_total"]) == ("0", "8", "0.0000003")
    assert daily.stderr == ("reset none -> daily\na new window begins: nothing of it is used\n")
    assert listed(run)["next_reset"] == told["next_reset"]


def test_what_is_not_said_stays_and_none_lifts_a_limit(run: Run) -> None:
    make_user()
    good(run("token", "create", PHONE, "prod", "--limit", "5", "--total", "9", "--rpm", "6"))

    good(run("token", "set", "1", "--tpm", "100"))
    token = listed(run)
    assert (token["limit"], token["total"]) == ("5", "9")
    assert token["limits"] == {"rpm": 6, "tpm": 100}

    good(run("token", "set", "1", "--limit", "none", "--total", "none", "--rpm", "none"))
    token = listed(run)
    assert (token["limit"], token["total"], token["used"]) == (None, None, None)
    assert (token["remaining"], token["limits"]) == (None, {"tpm": 100})
    assert "nothing changed" in good(run("token", "set", "1", "--tpm", "100")).stderr
    assert "no token" in refused(run("token", "set", "77", "--tpm", "1"))


def test_a_limit_of_zero_money_is_a_limit(run: Run) -> None:
    make_user()
    good(run("token", "create", PHONE, "prod", "--limit", "0"))

    assert (listed(run)["limit"], listed(run)["remaining"]) == ("0", "0")


def test_a_group_is_given_limits_of_each_user_and_of_the_whole(run: Run) -> None:
    good(run("group", "create", "vip", "--multiplier", "0.8"))
    each = "--rpm 60 --tpm 9000 --requests-per-day 70 --concurrency 8"
    whole = "--group-rpm 600 --group-tpm 90000 --group-requests-per-day 700 --group-concurrency 80"

    said = good(run("group", "set", "vip", *each.split(), *whole.split()))

    assert "rpm none -> 60" in said.stderr
    assert "group's concurrency none -> 80" in said.stderr
    (group,) = rows(run("group", "list", "-o", "json"))
    limits = {"rpm": 60, "tpm": 9000, "requests_per_day": 70, "concurrency": 8}
    assert group["limits"] == limits
    assert group["group_limits"] == {name: limit * 10 for name, limit in limits.items()}
    assert group["multiplier"] == "0.8"

    good(run("group", "set", "vip", "--rpm", "none", "--multiplier", "0"))
    (group,) = rows(run("group", "list", "-o", "json"))
    assert group["multiplier"] == "0"
    assert "rpm" not in dict(group["limits"])  # type: ignore[call-overload]
    assert "nothing changed" in good(run("group", "set", "vip")).stderr


def test_the_default_group_may_be_limited_before_anybody_is_in_it(run: Run) -> None:
    good(run("group", "set", "default", "--rpm", "60"))

    assert rows(run("group", "list", "-o", "json"))[0]["limits"] == {"rpm": 60}
    assert "no group" in refused(run("group", "set", "vip", "--rpm", "60"))


# Every option, with one command each.
CALL_LIMITS = ("rpm", "tpm", "requests-per-day", "concurrency")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "option"),
    [
        (command, f"--{name}")
        for command in (("token", "create", PHONE, "x"), ("token", "set", "1"))
        for name in CALL_LIMITS
    ]
    + [
        (("group", "set", "default"), f"--{prefix}{name}")
        for prefix in ("", "group-")
        for name in CALL_LIMITS
    ],
)
def test_an_odd_number_of_calls_is_refused_and_names_its_option(
    run: Run, words: tuple[str, ...], option: str
) -> None:
    with_a_token(words)
    for odd in ODD_COUNTS:
        assert refused(run(*words, option, odd)).startswith(f"aipool: {option}: "), odd


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("token", "create", PHONE, "x"), "--limit"),
        (("token", "create", PHONE, "x"), "--total"),
        (("token", "set", "1"), "--limit"),
        (("token", "set", "1"), "--total"),
        (("group", "set", "default"), "--multiplier"),
        (("group", "create", "x"), "--multiplier"),
        (("user", "create", "13800138002", "--password-stdin"), "--credit"),
        (("user", "adjust", PHONE, "--reason", "x"), "AMOUNT"),
        *(
            (("model", "create", "x", "--vendor", "v", *others), option)
            for option, others in (
                ("--input-price", ("--output-price", "1")),
                ("--output-price", ("--input-price", "1")),
                *(
                    (name, ("--output-price", "1", "--input-price", "1"))
                    for name in ("--cached-input-price", "--cost-input", "--cost-output")
                ),
            )
        ),
    ],
)
def test_an_odd_amount_is_refused_and_names_its_option(
    run: Run, words: tuple[str, ...], option: str
) -> None:
    with_a_token(words)
    for odd in [*ODD_NUMBERS, "1000001", "0.0000000001"]:
        if (option, odd) != ("AMOUNT", "-1"):  # taking money away is what it is for
            given = () if option == "AMOUNT" else (option,)
            result = run(*words, *given, odd, stdin="long enough\n")
            assert refused(result).startswith(f"aipool: {option}: "), odd
    for odd in ("0", "-0") if option in ("AMOUNT", "--credit") else ():
        given = () if option == "AMOUNT" else (option,)
        assert refused(run(*words, *given, odd)).startswith(f"aipool: {option}: ")


def with_a_token(words: tuple[str, ...]) -> None:
    if "set" in words or "token" in words or "adjust" in words:
        with world() as opened, opened.database.write() as tx:
            opened.token(tx, opened.user(tx))


def test_another_reset_than_those_there_are_is_refused(run: Run) -> None:
    make_user()
    for odd in ("hourly", "Daily", "", "1"):
        text = refused(run("token", "create", PHONE, "x", "--reset", odd))
        assert "--reset: " in text
        assert "none, daily, weekly, monthly" in text


def test_a_refused_change_leaves_the_token_as_it_was(run: Run) -> None:
    make_user()
    good(run("token", "create", PHONE, "prod", "--limit", "5", "--rpm", "6"))
    before = listed(run)

    result: Result = run("token", "set", "1", "--limit", "7", "--rpm", "0")

    assert "--rpm: 0 is no limit" in refused(result)
    assert listed(run) == before
