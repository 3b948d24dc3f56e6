"""An administrator sees the platform's log and trail whole, and not who those are that they may not
administer (S-04)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from aipool.accounts import service as accounts
from aipool.accounts.types import Role, User
from aipool.audit.types import Act
from aipool.kit.clock import now_ms
from tests.calls.rows import record, row
from tests.control.api_rig import Api, api

pytestmark = pytest.mark.slow

IP = "198.51.100.23"
AGENT = "a browser of the staff"
NAME = "a token of the staff"
#: More than any log has calls of.
MISSING = 999_999


class Staff:
    """The root account, two administrators and a user, each with a call and something done.
    canaries: what tells who the first and the second of them are."""

    def __init__(self, root: Api) -> None:
        self.root = root
        self.admin = root.signed_in(Role.ADMIN)
        self.world = root.world
        people = [root.signed_in(role).user for role in (Role.ROOT, Role.ADMIN, Role.USER)]
        self.people = [one for one in [*people, self.admin.user] if one is not None]
        self.boss, self.peer, self.user, self.me = self.people
        self.calls: dict[int, str] = {}
        self.tokens: dict[int, int] = {}
        for number, one in enumerate(self.people):
            self._does_something(number, one)
        self.canaries = {self.boss.phone, self.peer.phone, f"{IP}0", f"{IP}1", f"{NAME} 0"}
        self.canaries |= {f"{NAME} 1", f"{AGENT} 0", f"{AGENT} 1", "note 0", "note 1"}

    def _does_something(self, number: int, one: User) -> None:
        ip, agent = f"{IP}{number}", f"{AGENT} {number}"
        act = Act(f"user:{one.id}", now_ms(), one.role, ip, agent, f"req_{number}")
        with self.world.database.write() as tx:
            token, _ = self.world.token(tx, one, f"{NAME} {number}")
            accounts.set_note(tx, act, one, f"note {number}")
            accounts.set_note(tx, Act("cli:x", now_ms()), one, f"note {number}!")
        call = row(now_ms() - 1000, user=one.id, token=token.id, ip=ip, user_agent=agent)
        record(self.world.database, call)
        self.calls[one.id], self.tokens[one.id] = call.rid, token.id


@pytest.fixture(scope="module")
def staff(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staff]:
    with api(tmp_path_factory.mktemp("masking") / "data") as opened:
        yield Staff(opened)


def items(asking: Api, target: str) -> list[Any]:
    found: list[Any] = asking.good("GET", target)["items"]
    return found


def by_user(shown: list[Any]) -> dict[int, Any]:
    return {one["user"]["id"]: one for one in shown}


READ = [
    "/api/admin/calls",
    "/api/admin/calls/export",
    "/api/admin/calls/export?format=jsonl",
    "/api/admin/usage",
    "/api/admin/trail?limit=100",
    "/api/admin/trail/export",
    "/api/admin/trail/export?format=csv",
]


@pytest.mark.parametrize("target", READ)
def test_s04_nothing_that_an_administrator_reads_tells_who_an_equal_is(
    staff: Staff, target: str
) -> None:
    text = staff.admin.ask("GET", target).text

    assert {one for one in staff.canaries if one in text} == set()
    assert str(staff.user.phone) in text or "export" in target or "trail" in target
    own = staff.root.ask("GET", target).text
    assert staff.peer.phone in own or f"{IP}1" in own


def test_s04_a_masked_call_keeps_its_row_and_its_numbers(staff: Staff) -> None:
    shown = by_user(items(staff.admin, "/api/admin/calls"))
    whole = by_user(items(staff.root, "/api/admin/calls"))

    assert shown.keys() == whole.keys() == {one.id for one in staff.people}
    for one in (staff.boss, staff.peer):
        masked = {
            "user": {"id": one.id, "name": None},
            "token": {"id": staff.tokens[one.id], "name": None},
            "ip": "",
            "user_agent": "",
        }
        assert shown[one.id] == whole[one.id] | masked
        assert staff.admin.good("GET", f"/api/admin/calls/{staff.calls[one.id]}") == shown[one.id]
    for one in (staff.user, staff.me):
        assert shown[one.id] == whole[one.id]
        assert shown[one.id]["user"]["name"] == one.phone


def test_s04_a_file_of_calls_masks_as_a_page_does(staff: Staff) -> None:
    text = staff.admin.ask("GET", "/api/admin/calls/export").text
    table = {int(one["user_id"]): one for one in csv.DictReader(io.StringIO(text))}

    for one, number in ((staff.peer, 1), (staff.user, 2)):
        is_peer = one is staff.peer
        found = [table[one.id][name] for name in ("user", "token", "ip", "user_agent")]
        told = [f"'{one.phone}", f"{NAME} {number}", f"{IP}{number}", f"{AGENT} {number}"]
        assert found == (["", "", "", ""] if is_peer else told)


@pytest.mark.parametrize("path", ["/api/admin/calls", "/api/admin/calls/export"])
def test_s04_looking_for_an_equal_finds_what_looking_for_nobody_finds(
    staff: Staff, path: str
) -> None:
    for one in (staff.boss, staff.peer):
        for name, number in (("user", one.id), ("token", staff.tokens[one.id])):
            missing = staff.admin.ask("GET", f"{path}?{name}={MISSING}")
            found = staff.admin.ask("GET", f"{path}?{name}={number}")
            assert (found.status, found.text) == (missing.status, missing.text)
            named = f"{path}?{name}={number}&id={staff.calls[one.id]}"
            assert staff.admin.ask("GET", named).text == missing.text
            assert staff.calls[one.id] in staff.root.ask("GET", f"{path}?{name}={number}").text
    for one in (staff.user, staff.me):
        for name, number in (("user", one.id), ("token", staff.tokens[one.id])):
            assert staff.calls[one.id] in staff.admin.ask("GET", f"{path}?{name}={number}").text


def test_s04_the_dashboard_of_all_names_no_equals(staff: Staff) -> None:
    def names(asking: Api) -> dict[int, str | None]:
        rows = asking.good("GET", "/api/admin/usage")["by_user"]
        return {one["owner"]["id"]: one["owner"]["name"] for one in rows}

    named = {one.id: one.phone for one in staff.people}
    assert names(staff.root) == named
    assert names(staff.admin) == named | {staff.boss.id: None, staff.peer.id: None}


def test_s04_the_trail_keeps_a_row_of_an_equal_without_its_values(staff: Staff) -> None:
    shown = items(staff.admin, "/api/admin/trail?action=user.set_note")
    whole = items(staff.root, "/api/admin/trail?action=user.set_note")

    assert [one["id"] for one in shown] == [one["id"] for one in whole]
    hidden = {f"user:{one.id}" for one in (staff.boss, staff.peer)}
    for told, entry in zip(shown, whole, strict=True):
        if entry["target"] in hidden:
            label = "" if entry["actor"] in hidden else entry["actor_label"]
            assert told == entry | {
                "actor_label": label,
                "ip": "",
                "user_agent": "",
                "before": {"note": None},
                "after": {"note": None},
                "digest": "",
            }
        else:
            assert told == entry | {"digest": ""}
    assert {one["digest"] for one in whole} != {""}


def test_s04_what_one_did_oneself_to_an_equal_tells_who_did_it(staff: Staff) -> None:
    act = Act(f"user:{staff.me.id}", now_ms(), "admin", f"{IP}9", "mine", "req_9")
    with staff.world.database.write() as tx:
        accounts.set_note(tx, act, staff.peer, "before they rose")

    (entry, *_) = items(staff.admin, "/api/admin/trail?limit=1")

    assert (entry["actor_label"], entry["ip"]) == (staff.me.phone, f"{IP}9")
    assert entry["after"] == {"note": None}


def test_s04_a_token_of_an_equal_is_masked_whoever_did_something_to_it(staff: Staff) -> None:
    for one in (staff.peer, staff.user):
        (entry,) = items(staff.root, f"/api/admin/trail?target=token:{staff.tokens[one.id]}")
        assert entry["after"]["name"].startswith(NAME)
    told = items(staff.admin, f"/api/admin/trail?target=token:{staff.tokens[staff.user.id]}")
    assert told[0]["after"]["name"] == f"{NAME} 2"
    target = f"token:{staff.tokens[staff.peer.id]}"
    (masked,) = [
        one for one in items(staff.admin, "/api/admin/trail?limit=100") if one["target"] == target
    ]
    assert set(masked["after"].values()) == {None}


@pytest.mark.parametrize("path", ["/api/admin/trail", "/api/admin/trail/export"])
def test_s04_the_trail_of_an_equal_is_that_of_nobody(staff: Staff, path: str) -> None:
    for one in (staff.boss, staff.peer):
        for name, value in (
            ("actor", f"user:{one.id}"),
            ("target", f"user:{one.id}"),
            ("target", f"token:{staff.tokens[one.id]}"),
        ):
            found = staff.admin.ask("GET", f"{path}?{name}={value}")
            missing = staff.admin.ask("GET", f"{path}?{name}=user:{MISSING}")
            assert (found.status, found.text) == (missing.status, missing.text)
            assert f"user:{one.id}" in staff.root.ask("GET", f"{path}?{name}={value}").text or (
                value.startswith("token")
            )
    for actor in (staff.user, staff.me):
        assert f"user:{actor.id}" in staff.admin.ask("GET", f"{path}?actor=user:{actor.id}").text
    for number in ("9" * 30, "-1", "x", ""):
        found = staff.admin.ask("GET", f"{path}?actor=user:{number}&target=token:{number}")
        assert (found.status, found.text) == (missing.status, missing.text)


def test_s04_a_file_of_the_trail_is_a_proof_for_whoever_may_read_all_of_it(staff: Staff) -> None:
    def digests(asking: Api) -> set[int]:
        text = asking.ask("GET", "/api/admin/trail/export").text
        return {len(json.loads(line)["digest"]) for line in text.splitlines()}

    assert digests(staff.root) == {64}
    # Values that are not told could be guessed from a digest that is.
    assert digests(staff.admin) == {0}


def test_s04_a_dry_run_with_a_token_of_an_equal_is_one_with_none(staff: Staff) -> None:
    def run(asking: Api, token_id: int) -> tuple[int, str]:
        said = asking.ask("GET", f"/api/route/explain?token={token_id}&model=m")
        told = {name: value for name, value in said.json.items() if name != "request_id"}
        return said.status, json.dumps(told).replace(str(token_id), "ID")

    assert run(staff.admin, staff.tokens[staff.peer.id]) == run(staff.admin, MISSING)
    for one in (staff.user, staff.me):
        assert run(staff.admin, staff.tokens[one.id])[0] == 200


def test_s04_the_members_of_a_group_are_named_to_who_administers_them(staff: Staff) -> None:
    group = staff.root.good("POST", "/api/admin/groups", {"name": "gold", "multiplier": "1"})
    for one in (staff.peer, staff.user):
        sent = {"group_ids": [group["id"]]}
        staff.root.good("PATCH", f"/api/admin/users/{one.id}", sent)

    def labels(asking: Api) -> dict[int, str]:
        found = items(asking, f"/api/admin/groups/{group['id']}/members")
        return {one["user_id"]: one["label"] for one in found}

    assert labels(staff.root) == {one.id: one.phone for one in (staff.peer, staff.user)}
    assert labels(staff.admin) == {staff.peer.id: "", staff.user.id: staff.user.phone}
