"""Every route × everybody: whom the door lets in, and that what is another's looks like what is not
there (S-04, S-05, X-06). The routes are those of the application itself; who may is written in
control.policies, and this sees to it that it is so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from aipool.accounts import sessions, tables
from aipool.accounts.types import Role, User
from aipool.audit.types import Act
from aipool.calls import service as calls
from aipool.control.described import document
from aipool.control.openapi import operations
from aipool.control.policies import POLICIES, Policy, Who
from aipool.kit.clock import now_ms
from aipool.kit.ids import RequestIds
from tests.calls.rows import row
from tests.control.api_rig import Api, Said, api, key_of, vendor_of
from tests.control.fuzzing import nothing_outside

pytestmark = pytest.mark.slow

GUARDED = {route: policy for route, policy in POLICIES.items() if route[1].startswith("/api/")}
MISSING = 999_999_999
_ids = RequestIds()
MISSING_CALL = "req_" + "9" * 30

#: Parameters of paths that name what belongs to one person.
OWNED = ("token_id", "session_id", "access_token_id", "request_id")
#: What is sent to a route of theirs, so that it is the record that is looked for.
BODIES: dict[tuple[str, str], Any] = {
    ("PATCH", "/api/tokens/{token_id}"): {"name": "another name"},
    ("POST", "/api/tokens/{token_id}/rotate"): {},
}


#: What is known by an API token, and not by a person.
OF_TOKENS = sorted(route for route in POLICIES if route[1].startswith("/v1/"))


@dataclass
class Tenants:
    """Two people, and what the first of them has. ids: by the name of a parameter.  secrets: of
    an API token of each."""

    opened: Api
    owner: User
    other: User
    ids: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict)

    def renew(self) -> None:
        """What the owner has, anew: a request may have ended it."""
        world, act = self.opened.world, Act("test", now_ms())
        with world.database.write() as tx:
            tx.connection.execute(tables.sessions.delete())
            tx.connection.execute(tables.access_tokens.delete().where(_is_of(self.owner)))
            number = now_ms() * 1000 + len(self.opened.said)
            token, self.secrets["owner"] = world.token(tx, self.owner, f"t{number}")
            _, self.secrets["other"] = world.token(tx, self.other, f"u{number}")
            session, _ = sessions.open_session(tx, act, world.secrets.pepper, self.owner)
            access_token, _ = sessions.create_access_token(
                tx, act, world.secrets.pepper, self.owner, name=f"a{number}"
            )
            rid = _ids.new(act.at_ms)
            made = row(act.at_ms, user=self.owner.id, token=token.id, rid=rid)
            calls.record(tx, [made])
        self.ids |= {
            "token_id": token.id,
            "session_id": session.id,
            "access_token_id": access_token.id,
            "request_id": made.rid,
        }


def _is_of(user: User) -> Any:
    return tables.access_tokens.c.user_id == user.id


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    with api(tmp_path_factory.mktemp("matrix")) as opened, nothing_outside():
        owner, other = opened.signed_in().user, opened.signed_in().user
        assert owner is not None
        assert other is not None
        vendor = vendor_of(opened)
        group = opened.good("POST", "/api/admin/groups", {"name": "silver", "multiplier": "1"})
        with opened.world.database.write() as tx:
            opened.world.model(tx, opened.world.vendor(tx, "mm"), "m1")
        ids = {
            "vendor_id": vendor["id"],
            "key_id": key_of(opened, vendor)["id"],
            "group_id": group["id"],
            "user_id": owner.id,
            "name": "m1",
        }
        yield Tenants(opened, owner, other, ids)


def target_of(path: str, ids: dict[str, Any]) -> str:
    """The path with these in place of its parameters; what is not known is missing."""
    return re.sub(r"\{(\w+)\}", lambda found: str(ids.get(found[1], MISSING)), path)


def expected(policy: Policy, role: Role | None) -> tuple[int, str] | None:
    """What the door says to such a person, None = it lets them in."""
    ranks = {None: Who.ANYONE, Role.USER: Who.USER, Role.ADMIN: Who.ADMIN, Role.ROOT: Who.ROOT}
    if policy.who is Who.ANYONE or ranks[role] >= policy.who:
        return None
    return (401, "login_needed") if role is None else (403, "not_allowed")


@pytest.mark.parametrize(("method", "path"), sorted(GUARDED), ids=lambda word: word)
def test_x06_each_route_lets_in_whom_its_policy_names_and_nobody_else(
    tenants: Tenants, method: str, path: str
) -> None:
    policy = GUARDED[method, path]
    people: list[tuple[str, Role | None, User | None]] = [
        ("anonymous", None, None),
        ("other user", Role.USER, tenants.other),
        ("owner", Role.USER, tenants.owner),
        ("admin", Role.ADMIN, None),
        ("root", Role.ROOT, None),
    ]
    for name, role, user in people:
        tenants.renew()
        target = target_of(path, tenants.ids)
        if role is None:
            said = tenants.opened.ask(method, target, headers={})
        else:
            said = tenants.opened.signed_in(role, user).ask(method, target)
        refusal = expected(policy, role)
        if refusal is not None:
            assert (said.status, said.json["code"]) == refusal, (name, said.text)
        elif policy.who is Who.ANYONE and role is None:
            assert said.status not in (401, 403) or said.json["code"] != "login_needed"
        else:
            assert said.status != 401, (name, said.text)
            assert said.status != 403 or said.json["code"] != "not_allowed", (name, said.text)
        assert said.status != 405
        if name == "owner" and any(f"{{{one}}}" in path for one in OWNED) and refusal is None:
            assert said.status != 404 or said.json["code"] == "content_unknown", said.text


OWN_ROUTES = sorted(
    (method, path)
    for (method, path), policy in GUARDED.items()
    if policy.who is Who.USER and any(f"{{{one}}}" in path for one in OWNED)
)


def told(said: Said, *names: Any) -> tuple[int, str]:
    """An answer, without what names the record or the request."""
    text = re.sub(r"req_[0-9a-f]{22,}|req_9+", "", said.text)
    for name in names:
        text = text.replace(str(name), "ID")
    return said.status, text


@pytest.mark.parametrize(("method", "path"), OWN_ROUTES, ids=lambda word: word)
def test_x06_what_is_somebody_elses_answers_exactly_as_what_is_not_there(
    tenants: Tenants, method: str, path: str
) -> None:
    tenants.renew()
    stranger = tenants.opened.signed_in(user=tenants.other)
    body = BODIES.get((method, path))
    missing = {**dict.fromkeys(OWNED, MISSING), "request_id": MISSING_CALL}

    foreign = stranger.ask(method, target_of(path, tenants.ids), body)
    absent = stranger.ask(method, target_of(path, missing), body)

    assert foreign.status == 404, foreign.text
    names = [tenants.ids[one] for one in OWNED]
    assert told(foreign, *names) == told(absent, *missing.values())


@pytest.mark.parametrize(("method", "path"), OF_TOKENS, ids=lambda word: word)
def test_x06_an_api_token_is_told_of_itself_and_nobody_else_is(
    tenants: Tenants, method: str, path: str
) -> None:
    tenants.renew()
    target = target_of(path, tenants.ids)

    def ask(**headers: str) -> Said:
        return tenants.opened.ask(method, target, headers=headers)

    person = tenants.opened.signed_in(user=tenants.owner)
    for said in (ask(), person.ask(method, target), tenants.opened.ask(method, target)):
        assert said.status == 401
    owner = ask(Authorization=f"Bearer {tenants.secrets['owner']}")
    other = ask(Authorization=f"Bearer {tenants.secrets['other']}")
    assert owner.status == 200, owner.text
    if "{request_id}" in path:
        target = target_of(path, {"request_id": MISSING_CALL})
        absent = ask(Authorization=f"Bearer {tenants.secrets['other']}")
        assert other.status == 404
        assert told(other, tenants.ids["request_id"]) == told(absent, MISSING_CALL)
    else:
        assert (owner.json["name"][0], other.json["name"][0]) == ("t", "u")


def test_x06_every_route_of_the_interface_is_asked_for_here() -> None:
    pages = {path for _, path in POLICIES} - {path for _, path in [*GUARDED, *OF_TOKENS]}

    assert not [path for path in pages if re.match(r"/(api|v\d+)(/|$)", path)]


def test_x06_many_foreign_ids_at_once_answer_as_missing_ones(tenants: Tenants) -> None:
    tenants.renew()
    stranger = tenants.opened.signed_in(user=tenants.other)
    token_id = tenants.ids["token_id"]

    def bulk(one: int) -> tuple[int, str]:
        body = {"ids": [one], "action": "delete"}
        return told(stranger.ask("POST", "/api/tokens/bulk", body), one)

    assert bulk(token_id) == bulk(MISSING)
    tenants.opened.signed_in(user=tenants.owner).good("GET", f"/api/tokens/{token_id}")


ASKED = sorted(
    (path, parameter["name"])
    for method, path, operation in operations(document())
    for parameter in operation.get("parameters", ())
    if method == "GET"
    and operation["x-who"] == "user"
    and "{" not in path
    and (parameter["in"], parameter["name"]) in {("query", "token"), ("query", "group")}
)


@pytest.mark.parametrize(("path", "name"), ASKED, ids=lambda word: word)
def test_x06_a_filter_by_what_is_somebody_elses_finds_what_one_by_nothing_finds(
    tenants: Tenants, path: str, name: str
) -> None:
    tenants.renew()
    stranger = tenants.opened.signed_in(user=tenants.other)
    there = tenants.ids[f"{name}_id"]
    rest = "&day=2026-01-01" if path.endswith("/usage") else ""

    foreign = told(stranger.ask("GET", f"{path}?{name}={there}{rest}"), there)
    absent = told(stranger.ask("GET", f"{path}?{name}={MISSING}{rest}"), MISSING)

    assert foreign == absent


def test_s26_policies_routes_and_the_document_name_the_same(tenants: Tenants) -> None:
    described = {(method, path) for method, path, _ in operations(document())}
    interface = {route for route in POLICIES if route[1].startswith(("/api/", "/v1/"))}

    assert described == interface
    assert all(operation["operationId"] for _, _, operation in operations(document()))


def test_nothing_is_changed_by_get() -> None:
    assert not [route for route, policy in POLICIES.items() if route[0] == "GET" and policy.step_up]
