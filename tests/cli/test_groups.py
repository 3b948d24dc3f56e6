"""Groups and the trail on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aipool.accounts import service as accounts
from aipool.audit.tables import audit_entries
from aipool.groups import service as groups
from tests.cli.test_commands import Run, good, make_user, refused, rows, run
from tests.world import PHONE, open_world

__all__ = ["run"]


def world() -> Any:
    return open_world(Path(os.environ["AIPOOL_DATA_DIR"]))


def make_group(run: Run, name: str, *words: str) -> None:
    good(run("group", "create", name, *words))


def test_s2_15_a_group_is_granted_and_revoked(run: Run) -> None:
    make_user()
    make_group(run, "vip", "--multiplier", "0.8", "--description", "For few.")
    assert rows(run("group", "members", "vip", "-o", "json")) == []

    assert good(run("group", "grant", "vip", PHONE)).stderr == ""
    assert "already" in good(run("group", "grant", "vip", PHONE)).stderr
    (member,) = rows(run("group", "members", "vip", "-o", "json"))
    assert member["user"] == PHONE
    assert str(member["by"]).startswith("cli:")
    good(run("group", "revoke", "vip", PHONE))
    assert "was not granted" in good(run("group", "revoke", "vip", PHONE)).stderr
    assert rows(run("group", "members", "vip", "-o", "json")) == []
    (listed,) = rows(run("group", "list", "-o", "json"))
    assert (listed["description"], listed["default"]) == ("For few.", False)


def test_a_token_made_in_a_group_that_was_not_granted_grants_it_and_says_so(run: Run) -> None:
    make_user()
    make_group(run, "vip")
    said = good(run("token", "create", PHONE, "t", "--group", "vip")).stderr
    assert f"the group vip is granted to {PHONE} now" in said
    said = good(run("token", "create", PHONE, "u", "--group", "vip")).stderr
    assert "granted" not in said


def test_a_group_in_use_is_deleted_only_with_a_target(run: Run) -> None:
    make_user()
    make_group(run, "old")
    make_group(run, "heir")
    good(run("token", "create", PHONE, "t", "--group", "old"))
    assert "name the group that takes its place" in refused(run("group", "delete", "old", "--yes"))
    said = good(run("group", "delete", "old", "--yes", "--target", "heir")).stderr
    assert "moved to heir: 1 tokens, 1 users, 0 models" in said
    (token,) = rows(run("token", "list", "-o", "json"))
    assert token["group"] == "heir"
    with world() as opened, opened.database.read() as connection:
        user = accounts.get_user(connection, PHONE)
        names = [group.name for group in groups.granted_groups(connection, user.id)]
    assert names == ["heir"]


def test_another_group_becomes_the_default(run: Run) -> None:
    make_user()
    make_group(run, "default")
    make_group(run, "open")
    good(run("group", "set", "open", "--default", "--description", "For all."))
    shown = {one["name"]: one["default"] for one in rows(run("group", "list", "-o", "json"))}
    assert shown == {"default": False, "open": True}
    said = good(run("group", "revoke", "open", PHONE)).stderr
    assert "which everybody may choose" in said
    assert "make another the default" in refused(run("group", "delete", "open", "--yes"))


# --- the trail ------------------------------------------------------------------------------------


def test_s_17_the_trail_is_listed_exported_and_verified(run: Run) -> None:
    make_user()
    make_group(run, "vip")
    good(run("group", "grant", "vip", PHONE))
    listed = rows(run("trail", "list", "-o", "json"))
    assert [one["action"] for one in listed[:2]] == ["user.grant_group", "group.create"]
    assert [
        one["action"] for one in rows(run("trail", "list", "--action", "group", "-o", "json"))
    ] == ["group.create"]
    exported = good(run("trail", "export")).stdout.splitlines()
    assert [json.loads(line)["id"] for line in exported] == [one["id"] for one in listed][::-1]
    assert good(run("trail", "export", "--format", "csv")).stdout.startswith("id,at,")

    verdict = json.loads(good(run("trail", "verify", "-o", "json")).stdout)
    assert (verdict["whole"], verdict["rows"]) == (True, len(listed))
    assert verdict["newest"] == f"{listed[0]['id']}:{listed[0]['digest']}"
    make_group(run, "other")
    good(run("trail", "verify", "--noted", verdict["newest"]))
    assert "write it as" in refused(run("trail", "verify", "--noted", "x"))


def test_s_17_a_row_that_was_altered_fails_the_command(run: Run) -> None:
    make_user()
    make_group(run, "vip")
    with world() as opened, opened.database.write() as tx:
        tx.connection.exec_driver_sql("DROP TRIGGER audit_entries_no_update")
        tx.connection.execute(
            sa.update(audit_entries).where(audit_entries.c.id == 2).values(actor="nobody")
        )
    result = run("trail", "verify", "-o", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["broken_at"] == 2


# --- people ---------------------------------------------------------------------------------------


def test_a_role_is_set_and_one_root_stays(run: Run) -> None:
    make_user()
    good(run("user", "set-role", PHONE, "root"))
    (user,) = rows(run("user", "list", "-o", "json"))
    assert user["role"] == "root"
    assert "somebody must stay" in refused(run("user", "set-role", PHONE, "user"))
    assert "no role" in refused(run("user", "set-role", PHONE, "king"))


def test_a_user_without_a_second_factor_has_none_to_switch_off(run: Run) -> None:
    make_user()
    assert "has no second factor" in good(run("user", "reset-totp", PHONE)).stderr
