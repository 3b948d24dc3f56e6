"""API tokens from the command line: what is said about them, their rotation, their group."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from aipool.api_tokens import service as api_tokens
from aipool.kit.clock import now_ms
from aipool.kit.digests import digest
from tests.cli.test_commands import Run, good, make_user, refused, run
from tests.world import PHONE, open_world

__all__ = ["run"]


def create(run: Run, name: str, *words: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        good(run("token", "create", PHONE, name, *words, "-o", "json")).stdout
    )
    return made


def looked_up(*secrets: str) -> list[Any]:
    with open_world(Path(os.environ["AIPOOL_DATA_DIR"])) as world:
        pepper = world.secrets.pepper
        with world.database.read() as connection:
            return [
                api_tokens.look_up(connection, digest(pepper, secret.encode()))
                for secret in secrets
            ]


def test_what_a_token_is_for_is_said_and_changed(run: Run) -> None:
    make_user()
    made = create(run, "shop", "--description", "for the shop", "--no-playground")
    (found,) = looked_up(made["secret"])
    assert (found.token.description, found.token.playground_allowed) == ("for the shop", False)

    said = good(run("token", "set", "1", "--description", "for tests", "--playground"))
    assert said.stderr == "description\nplayground allowed\n"
    good(run("token", "set", "1", "--limit", "5"))

    (found,) = looked_up(made["secret"])
    assert (found.token.description, found.token.playground_allowed) == ("for tests", True)
    assert "--description" in refused(run("token", "set", "1", "--description", "x" * 501))


def test_s0_38_a_rotated_token_has_another_secret_and_the_old_one_its_grace(run: Run) -> None:
    make_user()
    first = create(run, "shop")["secret"]

    second = json.loads(good(run("token", "rotate", "1", "--grace", "1h", "-o", "json")).stdout)
    old, new = looked_up(first, second["secret"])
    assert (old.token.id, new.token.id, new.until) == (1, 1, 0)
    assert old.until > 0

    third = json.loads(good(run("token", "rotate", "1", "-o", "json")).stdout)
    found = looked_up(first, second["secret"], third["secret"])
    assert [one is not None for one in found] == [False, False, True]
    for wrong in ("1w", "-1", "31d", "", "1.5h"):
        assert "--grace" in refused(run("token", "rotate", "1", "--grace", wrong))
    assert "no token" in refused(run("token", "rotate", "77"))


def test_s2_15_who_is_given_a_token_of_a_group_is_given_the_group(run: Run) -> None:
    make_user()
    good(run("group", "create", "vip", "--multiplier", "0.8"))

    made = create(run, "shop", "--group", "vip")

    (found,) = looked_up(made["secret"])
    assert found.group_granted


def test_a_token_ends_after_some_days(run: Run) -> None:
    """As docs/tokens.md says of every way to make one."""
    make_user()
    before = now_ms() // 1000
    made = create(run, "trial", "--expires", "7d")
    after = now_ms() // 1000

    (found,) = looked_up(made["secret"])

    assert before <= found.token.expires_at - 7 * 86_400 <= after
    assert "a moment to come" in refused(
        run("token", "create", PHONE, "late", "--expires", "2020-01-01")
    )
