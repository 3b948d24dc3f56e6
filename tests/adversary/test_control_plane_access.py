"""Ways around who may do what: programs, planted cookies, and what happens at the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pyotp
import pytest
import sqlalchemy as sa

from aipool.accounts import service, sessions
from aipool.accounts.types import Role
from aipool.api_tokens.tables import token_stand_ins
from aipool.control.access import People
from aipool.control.policies import POLICIES, Who
from aipool.kit.errors import BusinessError, Unauthenticated
from tests.accounts.people import People as WayIn
from tests.accounts.people import open_people
from tests.control.api_rig import BY_A_PAGE_OF_OURS, Api, api

_phones = count(1)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("around")) as ready:
        yield ready


def someone(opened: Api, role: Role) -> Api:
    """A person of this role at a browser."""
    with opened.world.database.write() as tx:
        user = opened.world.user(tx, f"+86136{next(_phones):08}", role)
    return opened.signed_in(role, user)


def test_s_10_a_program_is_no_way_around_the_second_factor_that_is_asked_for(
    tmp_path: Path,
) -> None:
    with api(tmp_path, environ={"AIPOOL_SITE_TOTP_REQUIRED": "true"}) as strict:
        admin = strict.signed_in(Role.ADMIN)
        wanted = {"name": "ci", "sensitive": True}

        refused = admin.refused(403, "POST", "/api/me/access-tokens", wanted)
        assert refused["code"] == "totp_set_up_needed"
        assert strict.signed_in().good("POST", "/api/me/access-tokens", wanted)["secret"]


def test_s_06_over_tls_a_cookie_that_a_neighbour_may_have_planted_opens_nothing(
    opened: Api,
) -> None:
    person = someone(opened, Role.USER)
    tls = {"X-Forwarded-Proto": "https", **BY_A_PAGE_OF_OURS}
    planted = {**tls, "Cookie": f"{sessions.COOKIE}={person.cookie}"}
    own = {**tls, "Cookie": f"{sessions.SECURE_COOKIE}={person.cookie}"}

    assert person.ask("GET", "/api/me", headers=planted).status == 401
    assert person.ask("GET", "/api/me", headers=own).status == 200
    assert person.ask("GET", "/api/me").status == 200


def test_an_administrator_sees_no_balance_of_an_equal_or_of_root(opened: Api) -> None:
    admin, equal = someone(opened, Role.ADMIN), someone(opened, Role.ADMIN)
    user = someone(opened, Role.USER)
    assert admin.user is not None
    assert equal.user is not None
    assert user.user is not None
    with opened.world.database.read() as connection:
        root = connection.execute(sa.text("SELECT id FROM users WHERE role = 'root'")).scalar()

    for path in ("balance-flow", "balance-flow/export"):
        missing = admin.refused(404, "GET", f"/api/admin/users/999999/{path}")
        for one in (equal.user.id, root):
            said = admin.refused(404, "GET", f"/api/admin/users/{one}/{path}")
            assert said["code"] == missing["code"]
        for one in (admin.user.id, user.user.id):
            assert admin.ask("GET", f"/api/admin/users/{one}/{path}").status == 200


def test_a_playground_key_is_not_made_for_a_session_that_has_just_ended(
    opened: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = someone(opened, Role.USER)
    assert person.user is not None
    with opened.world.database.write() as tx:
        token, _ = opened.world.token(tx, person.user)
    target = f"/api/tokens/{token.id}/playground-key"
    assert person.good("POST", target)["secret"]
    by_cookie = People.by_cookie

    def ends_behind_the_door(people: People, secret: str) -> object:
        found = by_cookie(people, secret)
        assert found is not None
        with opened.world.database.write() as tx:
            tx.connection.execute(
                sa.delete(token_stand_ins).where(token_stand_ins.c.token_id == token.id)
            )
            sessions.end_sessions(tx, found.user.id)
        return found

    monkeypatch.setattr(People, "by_cookie", ends_behind_the_door)
    assert person.refused(401, "POST", target)["code"] == "login_needed"
    with opened.world.database.read() as connection:
        left = sa.select(token_stand_ins).where(token_stand_ins.c.token_id == token.id)
        assert connection.execute(left).all() == []


@pytest.fixture
def way(tmp_path: Path) -> Iterator[WayIn]:
    with open_people(tmp_path) as people:
        yield people


def test_who_logs_in_while_the_second_factor_is_set_up_needs_it(
    way: WayIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = way.user()
    mine = way.known(way.log_in().secret)
    secret, _ = way.oneself.begin_totp(way.act(), mine)
    code = pyotp.TOTP(secret).at(way.act().at_ms // 1000)
    matches = way.premises.matches

    def meanwhile(*given: object) -> bool:
        # Hashing takes long: the owner finishes first.
        way.oneself.confirm_totp(way.act(), mine, code)
        return matches(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(type(way.premises), "matches", lambda _self, *given: meanwhile(*given))
    with pytest.raises(Unauthenticated) as refused:
        way.log_in()

    assert refused.value.code == "totp_needed"
    with way.world.database.read() as connection:
        assert len(sessions.live_sessions(connection, way.again(user), way.act().at_ms)) == 1


def test_s_10_a_code_of_the_device_is_good_once_also_for_a_step_up(way: WayIn) -> None:
    way.user()
    mine = way.known(way.log_in().secret)
    secret, _ = way.oneself.begin_totp(way.act(), mine)
    _, papers = way.oneself.confirm_totp(
        way.act(), mine, pyotp.TOTP(secret).at(way.act().at_ms // 1000)
    )
    way.later(60)
    code = pyotp.TOTP(secret).at(way.act().at_ms // 1000)
    mine = way.known(way.log_in(code=code).secret)

    for used in (code, papers[0]):
        if used is papers[0]:
            _, cookie = way.oneself.step_up(way.act(), mine, code=used)
            mine = way.known(cookie)
        with pytest.raises(BusinessError) as refused:
            way.oneself.step_up(way.act(), mine, code=used)
        assert refused.value.code == "code_wrong"


def test_every_program_that_only_reads_is_refused_whatever_changes(opened: Api) -> None:
    root = opened.ask("GET", "/api/me").json
    with opened.world.database.read() as connection:
        user = service.user_by_id(connection, root["id"])
    reader = opened.program(user, read_only=True)
    insensitive = opened.program(user, sensitive=False)

    for (method, path), policy in POLICIES.items():
        if method == "GET" or policy.who is Who.ANYONE:
            continue
        target = path.replace("{name}", "nothing")
        for word in ("vendor_id", "key_id", "user_id", "token_id", "group_id", "model_id"):
            target = target.replace("{" + word + "}", "424242")
        if not policy.reads:
            said = reader.ask(method, target, {})
            assert (said.status, said.json.get("code")) == (403, "token_only_reads"), target
        if policy.step_up:
            said = insensitive.ask(method, target, {})
            assert (said.status, said.json.get("code")) == (403, "step_up_needed"), target
