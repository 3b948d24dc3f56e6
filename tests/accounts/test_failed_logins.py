"""Logins that failed are counted for the account's owner, for a day, from masked networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest

from aipool.accounts import failed_logins
from aipool.accounts.failed_logins import DAY_MS, MANY, Failed, FailedLogins, masked
from aipool.kit.errors import Invalid, Unauthenticated
from aipool.site.types import ProofOfWork
from tests.accounts.people import People, open_people, refused

HOUR_MS = 3_600_000
NOW = 500_000 * HOUR_MS


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with open_people(tmp_path) as opened:
        yield opened


def note(counting: FailedLogins, user_id: int | None, times: int, at_ms: int = NOW) -> None:
    for _ in range(times):
        counting.note(user_id, "203.0.113.7", at_ms)


def test_ten_in_a_day_are_many_and_nine_are_not() -> None:
    counting = FailedLogins()
    note(counting, 7, MANY - 1)
    assert counting.many(NOW) == []

    note(counting, 7, 1)
    assert counting.many(NOW) == [Failed(7, MANY, "203.0.113.*")]


def test_a_patient_one_is_counted_as_well_and_what_is_a_day_old_is_not() -> None:
    counting = FailedLogins()
    for hour in range(100):
        counting.note(7, "203.0.113.7", NOW + 3 * hour * HOUR_MS)
        assert counting.many(NOW + 3 * hour * HOUR_MS) == []

    counting = FailedLogins()
    for hour in range(100):
        counting.note(7, "203.0.113.7", NOW + 2 * hour * HOUR_MS)
    last = NOW + 198 * HOUR_MS
    assert [failed.tries for failed in counting.many(last)] == [12]
    assert counting.many(last + DAY_MS) == []
    assert len(counting._counts[7].by_hour) <= 24


def test_an_owner_who_was_told_is_left_in_peace_for_as_long() -> None:
    counting = FailedLogins()
    note(counting, 7, 50)
    counting.be_quiet(7, NOW + DAY_MS)
    note(counting, 7, 50, NOW + DAY_MS - 1)
    assert counting.many(NOW + DAY_MS - 1) == []

    assert [failed.user_id for failed in counting.many(NOW + DAY_MS)] == [7]


def test_those_who_are_tried_most_come_first_and_nobody_is_nobody() -> None:
    counting = FailedLogins()
    note(counting, None, 1000)
    note(counting, 7, 12)
    note(counting, 8, 13)

    assert [failed.user_id for failed in counting.many(NOW)] == [8, 7]


def test_what_is_remembered_has_a_bound_and_most_tries_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failed_logins, "ACCOUNTS_MAX", 100)
    counting = FailedLogins()
    note(counting, 7, 12)
    for user_id in range(1000, 3000):
        note(counting, user_id, 1)

    assert len(counting._counts) <= 100
    assert [failed.user_id for failed in counting.many(NOW)] == [7]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.*"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("::ffff:203.0.113.7", "203.0.113.*"),
        ("", ""),
        ("{site}", ""),
    ],
)
def test_a_letter_names_a_network_and_no_address(address: str, network: str) -> None:
    assert masked(address) == network


def test_a_wrong_password_counts_whether_the_owner_gets_in_or_not(people: People) -> None:
    user = people.user()
    for _ in range(MANY):
        refused(Unauthenticated, "invalid_credentials", people.log_in, password="wrong")
        people.log_in()
    refused(Unauthenticated, "invalid_credentials", people.log_in, "+8613800138009")

    at_ms = people.act().at_ms
    assert people.premises.failed_logins.many(at_ms) == [Failed(user.id, MANY, "203.0.113.*")]


def test_a_wrong_code_counts_and_being_asked_for_one_does_not(people: People) -> None:
    user = people.user()
    caller = people.known(people.log_in().secret)
    secret, _ = people.oneself.begin_totp(people.act(), caller)
    code = pyotp.TOTP(secret).at(people.act().at_ms // 1000)
    people.oneself.confirm_totp(people.act(), caller, code)
    people.set(proof_of_work=ProofOfWork.OFF)
    for _ in range(MANY):
        people.later(1000)
        refused(Unauthenticated, "totp_needed", people.log_in)
        people.later(1000)
        refused(Invalid, "code_wrong", people.log_in, code="000000")

    at_ms = people.act().at_ms
    assert people.premises.failed_logins.many(at_ms) == [Failed(user.id, MANY, "203.0.113.*")]
