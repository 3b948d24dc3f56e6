"""Coming back without the password, and what the one there is can change."""

from __future__ import annotations

from typing import Any

import pytest

from aipool.accounts import passwords, service
from aipool.accounts.callers import Caller
from aipool.accounts.proof import ChallengeNeeded
from aipool.accounts.store import people as store
from aipool.accounts.types import Role, User
from aipool.kit.errors import Conflict, Forbidden, Invalid, TooMany, Unauthenticated
from aipool.notices.codes import Purpose
from aipool.site.types import SmsProvider, Verification
from tests.accounts.people import PASSWORD, PHONE, People, refused

OTHER = "+8613800138002"
MAIL = "somebody@example.com"

pytestmark = pytest.mark.usefixtures("little_work")


# --- without the password -------------------------------------------------------------------------


def test_a_proved_number_gives_the_account_back(people: People) -> None:
    people.set(verify_phone=Verification.OPTIONAL, sms_provider=SmsProvider.WEBHOOK)
    user = people.user(phone_verified_at_ms=1)
    session = people.log_in()
    asked = people.ask_code(Purpose.RESET, PHONE)
    new = "orange kettle 51"
    shown = {"code": asked.code, "handle": asked.handle, "password": new}
    wrong = {**shown, "code": f"{(int(asked.code) + 1) % 10**6:06}"}
    refused(Invalid, "code_wrong", people.entry.reset_by_code, people.act(), login=PHONE, **wrong)

    people.entry.reset_by_code(people.act(), login="13800138001", **shown)
    assert people.caller(session.secret) is None
    assert session.session is not None
    assert people.ended == [session.session.id]
    assert people.log_in(password=new).user.id == user.id
    refused(Unauthenticated, "invalid_credentials", people.log_in)


def test_s_09_the_answer_is_the_same_where_nobody_can_be_given_the_account(
    lone: People,
) -> None:
    lone.set(sms_provider=SmsProvider.WEBHOOK)
    lone.user(PHONE)
    lone.user(OTHER, phone_verified_at_ms=1)
    sent = {}
    for phone in (PHONE, OTHER, "+8613800138003"):
        sent[phone] = lone.ask_code(Purpose.RESET, phone).is_sent
        # It counts against the limits all the same.
        with pytest.raises(TooMany):
            lone.ask_code(Purpose.RESET, phone)

    assert sent == {PHONE: False, OTHER: True, "+8613800138003": False}


def test_a_code_that_was_never_sent_gives_nothing_back_even_when_it_is_guessed(
    lone: People,
) -> None:
    lone.set(sms_provider=SmsProvider.WEBHOOK)
    lone.user()
    asked = lone.ask_code(Purpose.RESET, PHONE)
    assert not asked.is_sent

    reset = {
        "login": PHONE,
        "code": asked.code,
        "handle": asked.handle,
        "password": "orange kettle 51",
    }
    refused(Invalid, "code_wrong", lone.entry.reset_by_code, lone.act(), **reset)


def test_a_number_that_goes_while_the_password_is_hashed_gives_nothing_back(
    lone: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    lone.set(sms_provider=SmsProvider.WEBHOOK)
    user = lone.user(phone_verified_at_ms=1)
    asked = lone.ask_code(Purpose.RESET, PHONE)
    hash_password = passwords.hash_password

    def meanwhile(password: str) -> str:
        with lone.world.database.write() as tx:
            service.set_phone(tx, lone.act(), user, OTHER, is_verified=True)
        return hash_password(password)

    monkeypatch.setattr(passwords, "hash_password", meanwhile)
    reset = {"code": asked.code, "handle": asked.handle, "password": "orange kettle 51"}
    refused(Invalid, "code_wrong", lone.entry.reset_by_code, lone.act(), login=PHONE, **reset)
    assert lone.log_in(OTHER).user.id == user.id


def test_an_administrators_password_stays_long_after_a_reset(lone: People) -> None:
    lone.set(sms_provider=SmsProvider.WEBHOOK)
    lone.user(role=Role.ADMIN, phone_verified_at_ms=1)
    asked = lone.ask_code(Purpose.RESET, PHONE)
    reset = {"login": PHONE, "code": asked.code, "handle": asked.handle}
    refused(
        Invalid,
        "password_too_short",
        lone.entry.reset_by_code,
        lone.act(),
        password="tiny kite",
        **reset,
    )

    # The code is still good for a longer one.
    lone.entry.reset_by_code(lone.act(), password="tiny kites in a row", **reset)


def link(people: People, **terms: int) -> str:
    with people.world.database.write() as tx:
        found = service.get_user(tx.connection, PHONE)
        return service.issue_reset_link(
            tx, people.act(), people.world.secrets.pepper, found, **terms
        )


def test_an_administrators_link_gives_the_account_back_once(people: People) -> None:
    people.user()
    first, second = link(people), link(people)
    new = "orange kettle 51"

    refused(
        Forbidden,
        "reset_link_invalid",
        people.entry.reset_by_link,
        people.act(),
        secret=first,
        password=new,
    )
    people.entry.reset_by_link(people.act(), secret=second, password=new)
    people.log_in(password=new)
    refused(
        Forbidden,
        "reset_link_invalid",
        people.entry.reset_by_link,
        people.act(),
        secret=second,
        password=new,
    )


def test_a_link_ends_by_itself_and_by_another_password(lone: People) -> None:
    user = lone.user()
    late = link(lone, life_ms=1000)
    lone.later(1)
    refused(
        Forbidden,
        "reset_link_invalid",
        lone.entry.reset_by_link,
        lone.act(),
        secret=late,
        password=PASSWORD,
    )
    other = link(lone)
    with lone.world.database.write() as tx:
        service.set_password(tx, lone.act(), user, password_hash="x")
    refused(
        Forbidden,
        "reset_link_invalid",
        lone.entry.reset_by_link,
        lone.act(),
        secret=other,
        password=PASSWORD,
    )


def nameless(people: People, **columns: Any) -> tuple[User, str]:
    """Somebody whose number is another's now, and a link for them."""
    user = people.user(**columns)
    secret = link(people)
    with people.world.database.write() as tx:
        store.update_user(tx.connection, user.id, phone=None)
    return user, secret


@pytest.mark.parametrize("login", ["138 0013 8002", "Somebody@example.com"])
def test_who_has_neither_number_nor_address_names_one_with_the_link(
    people: People, login: str
) -> None:
    user, secret = nameless(people, phone_verified_at_ms=1)
    reset = {"secret": secret, "password": "orange kettle 51"}
    refused(Invalid, "address_needed", people.entry.reset_by_link, people.act(), **reset)
    # The link is still good.
    people.entry.reset_by_link(people.act(), login=login, **reset)

    assert people.log_in(login, "orange kettle 51").user.id == user.id
    now = people.again(user)
    assert now.label in (OTHER, MAIL)
    assert now.email_verified_at_ms is None
    assert now.phone_verified_at_ms is None or not now.phone


def test_a_link_takes_nobody_elses_number_and_leaves_ones_own_alone(lone: People) -> None:
    lone.user(OTHER)
    user, secret = nameless(lone)
    reset = {"secret": secret, "password": "orange kettle 51"}
    again = lone.entry.reset_by_link
    refused(Conflict, "user_exists", again, lone.act(), login=OTHER, **reset)
    refused(Invalid, "invalid_phone", again, lone.act(), login="12", **reset)
    lone.set(country_codes=("1",))
    refused(Invalid, "country_not_served", again, lone.act(), login="13800138003", **reset)
    lone.set(country_codes=("86",))
    with lone.world.database.write() as tx:
        store.update_user(tx.connection, user.id, phone=PHONE)

    again(lone.act(), login="13800138003", **reset)
    assert lone.again(user).phone == PHONE


# --- with it --------------------------------------------------------------------------------------


def test_another_password_needs_the_one_there_is_and_ends_the_other_sessions(
    people: People,
) -> None:
    people.user()
    other, mine = people.log_in(), people.log_in()
    caller = people.known(mine.secret)
    new = "orange kettle 51"
    change = people.oneself.change_password
    refused(Invalid, "password_wrong", change, people.act(), caller, current="x", password=new)

    _, secret = change(people.act(), caller, current=PASSWORD, password=new)
    assert people.caller(other.secret) is None
    assert people.caller(mine.secret) is None
    assert people.known(secret).session_id == caller.session_id
    people.log_in(password=new)


def test_guesses_at_a_step_up_are_slowed_down(lone: People) -> None:
    lone.user()
    caller = lone.known(lone.log_in().secret)
    for _ in range(5):
        refused(Invalid, "password_wrong", lone.oneself.step_up, lone.act(), caller, password="x")

    refused(TooMany, "too_many_tries", lone.oneself.step_up, lone.act(), caller, password=PASSWORD)
    lone.later(1)
    lone.oneself.step_up(lone.act(), caller, password=PASSWORD)


def test_a_mail_address_is_proved_and_claimed_like_a_number(lone: People) -> None:
    lone.set(smtp_host="mail.example", verify_email=Verification.OPTIONAL)
    squatter = lone.user(OTHER, email=MAIL)
    lone.user()
    caller = lone.known(lone.log_in().secret)
    refused(Conflict, "user_exists", lone.oneself.set_email, lone.act(), caller, MAIL, "", "")
    asked = lone.ask_code(Purpose.VERIFY, MAIL, caller)

    lone.oneself.set_email(lone.act(), caller, "Somebody@example.com", asked.code, asked.handle)
    me = lone.oneself.me(caller, lone.act().at_ms)
    assert (me.email, me.email_verified) == (MAIL, True)
    assert lone.again(squatter).email == ""


@pytest.mark.parametrize("way", ["phone", "email"])
def test_nobody_asks_who_has_an_account_by_taking_one_address_after_the_other(
    lone: People, way: str
) -> None:
    lone.user("+8613800138999", email="taken@example.com")
    lone.user()
    caller = lone.known(lone.log_in().secret)
    taken = "+8613800138999" if way == "phone" else "taken@example.com"
    names = lone.oneself.set_phone if way == "phone" else lone.oneself.set_email

    def claim(address: str, ip: str = "203.0.113.7") -> None:
        names(lone.act(ip), caller, address, "", "")

    for _ in range(20):
        refused(Conflict, "user_exists", claim, taken)
    refused(TooMany, "too_many_tries", claim, taken)
    refused(TooMany, "too_many_tries", claim, taken, ip="198.51.100.1")
    lone.later(3601)
    refused(Conflict, "user_exists", claim, taken)
    # One's own is no question.
    mine = lone.again(caller.user)
    claim(mine.phone if way == "phone" else "")


def test_programs_do_not_change_what_opens_an_account(lone: People) -> None:
    user = lone.user()
    caller = Caller(user, access_token_id=1, stepped_up=True)
    for call in (
        lambda: lone.oneself.set_phone(lone.act(), caller, OTHER, "", ""),
        lambda: lone.oneself.set_email(lone.act(), caller, MAIL, "", ""),
        lambda: lone.oneself.step_up(lone.act(), caller, password=PASSWORD),
        lambda: lone.oneself.change_password(
            lone.act(), caller, current=PASSWORD, password="orange kettle 51"
        ),
    ):
        refused(Forbidden, "session_needed", call)


def test_codes_are_asked_for_where_they_can_be_sent_and_by_whom_they_concern(
    lone: People,
) -> None:
    ask = lone.entry.ask_code
    more: dict[str, Any] = {"locale": "", "caller": None, "proof": None}
    register = {"purpose": Purpose.REGISTER, **more}
    refused(Invalid, "codes_not_offered", ask, lone.act(), phone=PHONE, email="", **register)
    refused(Invalid, "codes_not_offered", ask, lone.act(), phone="", email=MAIL, **register)
    refused(Invalid, "address_needed", ask, lone.act(), phone="", email="", **register)
    lone.set(sms_provider=SmsProvider.WEBHOOK)
    refused(ChallengeNeeded, "challenge_needed", ask, lone.act(), phone=PHONE, email="", **register)
    verify = {"purpose": Purpose.VERIFY, **more}
    refused(Unauthenticated, "login_needed", ask, lone.act(), phone=PHONE, email="", **verify)


def test_s_07_a_password_that_is_too_short_for_an_operator_is_changed_first(people: People) -> None:
    user = people.user()
    short = "kite 4 me"
    with people.world.database.write() as tx:
        service.set_password(tx, people.act(), user, password_hash=passwords.hash_password(short))
    assert people.known(people.log_in(password=short).secret).must == ""
    with people.world.database.write() as tx:
        service.set_role(tx, people.act(), user, Role.ADMIN)

    opened = people.log_in(password=short)
    caller = people.known(opened.secret)
    assert caller.must == "password_needed"
    assert people.oneself.me(caller, people.act().at_ms).must == "password_needed"
    change = people.oneself.change_password
    shorter = {"current": short, "password": "still tiny"}
    refused(Invalid, "password_too_short", change, people.act(), caller, **shorter)
    _, secret = change(people.act(), caller, current=short, password=PASSWORD)

    caller = people.known(secret)
    assert (caller.must, people.oneself.me(caller, people.act().at_ms).must) == ("", "")
    assert people.known(people.log_in().secret).must == ""
