"""S-08: the owner of an account hears that somebody tries to get in: once a day, in their language,
and nobody else hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from aipool.accounts.failed_logins import DAY_MS, MANY, FailedLogins
from aipool.accounts.types import Status, User
from aipool.audit import service as audit
from aipool.audit.types import Entry, Wanted
from aipool.control import login_warnings
from aipool.control.login_warnings import ACTION, LoginWarnings
from aipool.kit.errors import TooMany, Unauthenticated
from aipool.notices.codes import Letter
from aipool.site.types import ProofOfWork
from tests.accounts.people import PHONE, People, open_people

MAIL = "somebody@example.com"


class Messenger:
    """Keeps what was mailed."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, Letter]] = []

    async def send_letter(self, to: str, letter: Letter) -> bool:
        self.letters.append((to, letter))
        return True


@pytest.fixture
def people(tmp_path: Path, kind: str) -> Iterator[People]:
    with open_people(tmp_path, kind) as opened:
        yield opened


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[People]:
    with open_people(tmp_path) as opened:
        yield opened


def told(
    people: People, failed: FailedLogins | None = None, at_ms: int | None = None
) -> list[tuple[str, Letter]]:
    """What is mailed when the job looks."""
    messenger = Messenger()
    counted = people.premises.failed_logins if failed is None else failed
    job = LoginWarnings(people.world.database, people.premises.site, cast(Any, messenger), counted)
    asyncio.run(job.look(people.act().at_ms if at_ms is None else at_ms))
    return messenger.letters


def fail(people: People, user: User, times: int = MANY) -> None:
    for _ in range(times):
        people.premises.failed_logins.note(user.id, "203.0.113.7", people.act().at_ms)


def trail(people: People) -> list[Entry]:
    with people.world.database.read() as connection:
        return audit.search(connection, Wanted(action=ACTION))


def test_s_08_the_owner_is_told_how_many_from_where_and_what_to_do(people: People) -> None:
    user = people.user(email=MAIL, email_verified_at_ms=1, locale="en")
    fail(people, user, MANY - 1)
    assert told(people) == []

    fail(people, user, 3)
    ((to, letter),) = told(people)
    assert to == MAIL
    assert letter.subject == "Failed logins at AI-POOL"
    assert "12 logins to your account" in letter.text
    assert "203.0.113.*" in letter.text
    assert "203.0.113.7" not in letter.text
    assert "password" in letter.text
    assert "second factor" in letter.text
    (entry,) = trail(people)
    assert (entry.actor, entry.target) == ("system", f"user:{user.id}")
    assert entry.after == {"tries": 12, "network": "203.0.113.*"}


def test_s_08_the_letter_is_in_the_language_of_its_reader_or_of_the_site(lone: People) -> None:
    fail(lone, lone.user(email=MAIL, email_verified_at_ms=1, locale="zh-CN"))
    ((_, letter),) = told(lone)
    assert "12" not in letter.text
    assert "10 次登录失败" in letter.text
    assert "两步验证" in letter.text

    lone.set(default_locale="en")
    fail(lone, lone.user("+8613800138002", email="b@example.com", email_verified_at_ms=1))
    ((_, letter),) = told(lone)
    assert "10 logins" in letter.text


def test_s_08_once_in_a_day_also_by_a_process_that_forgot(people: People) -> None:
    user = people.user(email=MAIL, email_verified_at_ms=1)
    fail(people, user)
    assert len(told(people)) == 1
    fail(people, user, 100)
    assert told(people) == []
    first_ms = people.act().at_ms

    # The process is another one now.
    people.later(3600)
    failed = FailedLogins()
    for hour in range(24):
        failed.note(user.id, "", first_ms + hour * 3_600_000)
    assert told(people, failed, first_ms + DAY_MS - 1) == []
    assert len(told(people, failed, first_ms + DAY_MS)) == 1


def test_s_08_who_proved_no_address_finds_it_in_the_trail(lone: People) -> None:
    user = lone.user(email=MAIL)
    fail(lone, user)

    assert told(lone) == []
    assert [entry.target for entry in trail(lone)] == [f"user:{user.id}"]


def test_an_account_that_nobody_may_use_is_no_concern(lone: People) -> None:
    user = lone.user(email=MAIL, email_verified_at_ms=1)
    lone.set_status(user, Status.DISABLED)
    fail(lone, user)

    assert told(lone) == []
    assert trail(lone) == []


def test_s_08_many_accounts_under_attack_are_no_flood_of_mail(
    lone: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_warnings, "TOLD_MAX", 2)
    for number in range(3):
        user = lone.user(
            f"+861380013800{number}", email=f"{number}@example.com", email_verified_at_ms=1
        )
        fail(lone, user, MANY + number)

    assert [to for to, _ in told(lone)] == ["2@example.com", "1@example.com"]
    assert told(lone) == []
    later_ms = lone.act().at_ms + DAY_MS - 3_600_000
    assert told(lone, at_ms=later_ms) == []
    lone.later(DAY_MS // 1000)
    fail(lone, lone.again(user))
    assert [to for to, _ in told(lone)] == ["2@example.com"]


@pytest.mark.slow
def test_s_08_ten_thousand_tries_are_one_letter(lone: People) -> None:
    lone.user(email=MAIL, email_verified_at_ms=1)
    # Where no work is asked for, as whoever attacks would like it.
    lone.set(proof_of_work=ProofOfWork.OFF)
    letters, compared = [], 0
    for number in range(10_000):
        lone.later(8)
        try:
            lone.log_in(PHONE, "wrong", ip=f"198.51.{number % 250}.{number // 250}")
        except Unauthenticated:
            compared += 1
        except TooMany:
            pass
        if number % 8 == 0:
            letters += told(lone)

    assert compared > 5 * MANY
    assert [to for to, _ in letters] == [MAIL]
