"""Who was let in is let go on: what ends while a change waits for its turn does not happen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from aipool.accounts import passwords, service, sessions, tables
from aipool.accounts.types import Role, Status, User
from aipool.audit.types import Act
from aipool.kit.clock import now_ms
from aipool.kit.db import Transaction
from tests.control.api_rig import Api, Said, api

PASSWORD = "violet harbour 93"
ANOTHER = "amber glacier 4711"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("standing")) as ready:
        yield ready


class Queue:
    """Somebody who asks for a change that has to wait for another."""

    def __init__(self) -> None:
        self.said: list[Said] = []

    @contextmanager
    def behind(
        self, asks: Api, method: str, target: str, body: Any = None
    ) -> Iterator[Transaction]:
        """What the block writes is committed while the request waits to write."""
        database = asks.world.database
        write, comes = database.write, threading.Event()

        def noticed(*, patient: bool = False) -> Any:
            comes.set()
            return write(patient=patient)

        asking = threading.Thread(target=lambda: self.said.append(asks.ask(method, target, body)))
        with write() as tx:
            database.write = noticed  # type: ignore[method-assign]
            asking.start()
            try:
                assert comes.wait(10)
            finally:
                del database.write
            yield tx
        asking.join(20)

    @property
    def refusal(self) -> tuple[int, str]:
        (said,) = self.said
        return said.status, said.json["code"] if said.status >= 400 else said.text


def act() -> Act:
    return Act("test", now_ms())


def person(opened: Api, role: Role = Role.USER) -> tuple[Api, User]:
    asks = opened.signed_in(role)
    assert asks.user is not None
    return asks, asks.user


def access_tokens(opened: Api, user: User) -> list[str]:
    with opened.world.database.read() as connection:
        return [token.name for token in sessions.access_tokens(connection, user)]


def test_an_access_token_is_not_made_behind_a_password_that_was_reset(opened: Api) -> None:
    thief, owner = person(opened)
    queue = Queue()

    with queue.behind(
        thief, "POST", "/api/me/access-tokens", {"name": "n", "sensitive": True}
    ) as tx:
        service.set_password(tx, act(), owner, password_hash="another")

    assert queue.refusal == (401, "login_needed")
    assert access_tokens(opened, owner) == []


def test_whoever_has_the_cookie_of_the_owner_is_out_when_the_owner_gets_another(
    opened: Api,
) -> None:
    thief, owner = person(opened)
    with opened.world.database.read() as connection:
        caller = sessions.caller_of_cookie(
            connection, opened.world.secrets.pepper, thief.cookie, now_ms()
        )
    assert caller is not None
    queue = Queue()

    with queue.behind(thief, "POST", "/api/me/access-tokens", {"name": "n"}) as tx:
        service.set_password(
            tx, act(), owner, password_hash="another", but_session=caller.session_id
        )
        sessions.step_up(tx, act(), opened.world.secrets.pepper, caller)

    assert queue.refusal == (401, "login_needed")
    assert access_tokens(opened, owner) == []


def test_a_password_is_not_changed_behind_one_that_was_reset(opened: Api) -> None:
    thief, owner = person(opened)
    with opened.world.database.write() as tx:
        service.set_password(
            tx,
            act(),
            owner,
            password_hash=passwords.hash_password(PASSWORD),
            but_session=session_of(opened, owner),
        )
    queue = Queue()

    change = {"current_password": PASSWORD, "password": "of whoever had the old one"}
    with queue.behind(thief, "POST", "/api/me/password", change) as tx:
        service.set_password(tx, act(), owner, password_hash=passwords.hash_password(ANOTHER))

    assert queue.refusal == (401, "login_needed")
    with opened.world.database.read() as connection:
        stored = service.password_hash_of(connection, owner)
    assert passwords.password_matches(stored, ANOTHER)


def session_of(opened: Api, user: User) -> int:
    with opened.world.database.read() as connection:
        (session,) = sessions.live_sessions(connection, user, now_ms())
    return session.id


@pytest.mark.parametrize("change", ["role", "status"])
def test_who_is_no_administrator_any_more_gives_nobody_a_link(opened: Api, change: str) -> None:
    admin, before = person(opened, Role.ADMIN)
    _, victim = person(opened)
    queue = Queue()

    with queue.behind(admin, "POST", f"/api/admin/users/{victim.id}/reset-link") as tx:
        if change == "role":
            service.set_role(tx, act(), before, Role.USER)
        else:
            service.set_status(tx, act(), before, Status.DISABLED)

    assert queue.refusal == (401, "login_needed")
    with opened.world.database.read() as connection:
        links = sa.select(sa.func.count()).where(tables.reset_links.c.user_id == victim.id)
        assert connection.execute(links).scalar() == 0


def test_a_program_whose_access_token_is_gone_changes_nothing(opened: Api) -> None:
    _, owner = person(opened)
    program = opened.program(owner)
    queue = Queue()

    with queue.behind(program, "PATCH", "/api/me", {"name": "somebody else"}) as tx:
        sessions.end_all(tx, act(), owner)

    assert queue.refusal == (401, "login_needed")
    with opened.world.database.read() as connection:
        assert service.user_by_id(connection, owner.id).name == ""


def test_who_is_still_there_waits_and_is_served(opened: Api) -> None:
    asks, me = person(opened)
    queue = Queue()

    with queue.behind(asks, "PATCH", "/api/me", {"name": "me"}) as tx:
        service.set_profile(tx, act(), me, locale="en")

    assert queue.said[0].status == 200
    assert queue.said[0].json["name"] == "me"


def test_two_who_log_the_same_session_out_at_once_are_both_out(opened: Api) -> None:
    asks, me = person(opened)
    queue = Queue()

    with queue.behind(asks, "POST", "/api/auth/logout") as tx:
        sessions.end_session(tx, act(), me, session_of(opened, me))

    assert queue.said[0].status == 204
    assert "aipool=" in queue.said[0].headers["set-cookie"]
