"""Registering, logging in."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from aipool.accounts import entry, invitations, passwords, service
from aipool.accounts.codes import TRIES_MAX
from aipool.accounts.proof import ChallengeNeeded, Proof
from aipool.accounts.types import Role, Status
from aipool.kit.errors import Conflict, Forbidden, Invalid, TooMany, Unauthenticated
from aipool.notices.codes import Purpose
from aipool.site.types import ProofOfWork, Registration, SmsProvider, Verification
from tests.accounts.people import BITS, IP, PASSWORD, PHONE, People, refused, solve

OTHER = "+8613800138002"
MAIL = "somebody@example.com"

pytestmark = pytest.mark.usefixtures("little_work")


# --- registering ----------------------------------------------------------------------------------


def test_s0_2_and_s0_4_with_phone_and_password_one_registers_and_logs_in(people: People) -> None:
    made = people.register("13800138001", locale="en", name="Wang")

    assert made.user.phone == PHONE
    assert made.user.phone_verified_at_ms is None
    assert people.known(made.secret).user.id == made.user.id
    again = people.log_in("138 0013 8001")
    assert again.user.id == made.user.id
    assert again.secret != made.secret
    assert again.user.last_login_at_ms == people.act().at_ms


def test_a_number_registers_once(lone: People) -> None:
    lone.register()

    refused(Conflict, "user_exists", lone.register)


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"password": "short77"}, "password_too_short"),
        ({"password": "Qwerty123456"}, "password_too_common"),
        ({"password": "13800138001"}, "password_too_weak"),
        ({"email": "nobody"}, "invalid_email"),
        ({"name": "a\nb"}, "invalid_name"),
    ],
)
def test_s0_3_what_cannot_be_is_refused_and_makes_no_account(
    lone: People, wish: dict[str, str], code: str
) -> None:
    refused(Invalid, code, lone.register, **wish)

    with lone.world.database.read() as connection:
        assert service.list_users(connection) == []


def test_numbers_of_other_countries_register_where_they_are_let_in(lone: People) -> None:
    refused(Invalid, "country_not_served", lone.register, "+1 650 253 0000")

    lone.set(country_codes=("86", "1"))
    lone.register("+1 650 253 0000")
    lone.set(country_codes=())
    lone.register("+44 20 7946 0958")


def test_terms_are_agreed_to_by_their_version(lone: People) -> None:
    lone.set(terms_version="2", privacy_version="p1")
    refused(Invalid, "terms_not_agreed", lone.register, terms_version="1", privacy_version="p1")
    refused(Invalid, "terms_not_agreed", lone.register, terms_version="2")

    made = lone.register(terms_version="2", privacy_version="p1")
    assert (made.user.terms_version, made.user.privacy_version) == ("2", "p1")
    assert made.user.terms_at_ms == lone.act().at_ms
    me = lone.oneself.me(lone.known(made.secret), lone.act().at_ms)
    assert not me.agree_needed
    lone.set(terms_version="3")
    assert lone.oneself.me(lone.known(made.secret), lone.act().at_ms).agree_needed


def test_where_it_is_closed_nobody_registers(lone: People) -> None:
    lone.set(registration=Registration.CLOSED)

    refused(Forbidden, "registration_closed", lone.register)


def test_where_it_is_approved_one_waits_for_an_administrator(people: People) -> None:
    people.set(registration=Registration.APPROVAL)
    made = people.register()
    assert (made.user.status, made.session, made.secret) == (Status.PENDING, None, "")

    refused(Forbidden, "account_pending", people.log_in)
    # Whoever has not the password learns nothing of it.
    refused(Unauthenticated, "invalid_credentials", people.log_in, password="another one")
    with people.world.database.write() as tx:
        assert service.approve(tx, people.act(), made.user)
    people.log_in()


def invitation(people: People, **terms: Any) -> str:
    with people.world.database.write() as tx:
        _, secret = invitations.create(tx, people.act(), people.world.secrets.pepper, **terms)
    return secret


def test_where_it_is_by_invitation_each_lets_in_as_many_as_it_says(people: People) -> None:
    people.set(registration=Registration.INVITATION)
    secret = invitation(people, uses=2)
    refused(Forbidden, "invitation_invalid", people.register)
    refused(Forbidden, "invitation_invalid", people.register, invitation="aipool-invite-x")
    # What fails for another reason uses nothing up.
    refused(Invalid, "password_too_short", people.register, password="x", invitation=secret)

    people.register(PHONE, invitation=secret)
    people.register(OTHER, invitation=f" {secret} ")
    third = "+8613800138003"
    elsewhere = {"ip": "198.51.100.1", "invitation": secret}
    refused(Forbidden, "invitation_invalid", people.register, third, **elsewhere)


def test_an_invitation_ends_and_can_be_taken_back(lone: People) -> None:
    lone.set(registration=Registration.INVITATION)
    at_ms = lone.act().at_ms
    short = invitation(lone, expires_at_ms=at_ms + 1000)
    gone = invitation(lone)
    with lone.world.database.write() as tx:
        (newest, *_) = invitations.page(tx.connection, limit=9)
        invitations.delete(tx, lone.act(), newest.id)
    lone.later(2)

    for secret in (short, gone):
        refused(Forbidden, "invitation_invalid", lone.register, invitation=secret)


def test_a_code_proves_the_number_where_that_is_asked_for(people: People) -> None:
    people.set(verify_phone=Verification.REQUIRED, sms_provider=SmsProvider.WEBHOOK)
    refused(Invalid, "code_needed", people.register)
    asked = people.ask_code(Purpose.REGISTER, PHONE)
    shown = {"phone_code": asked.code, "phone_code_handle": asked.handle}
    wrong = {**shown, "phone_code": f"{(int(asked.code) + 1) % 10**6:06}"}
    refused(Invalid, "code_wrong", people.register, **wrong)

    made = people.register(**shown)
    assert made.user.phone_verified_at_ms == people.act().at_ms


def test_a_right_code_is_kept_when_the_other_one_is_wrong(people: People) -> None:
    people.set(
        verify_phone=Verification.REQUIRED,
        verify_email=Verification.REQUIRED,
        sms_provider=SmsProvider.WEBHOOK,
        smtp_host="mail.example",
    )
    phone, mail = (people.ask_code(Purpose.REGISTER, each) for each in (PHONE, MAIL))
    shown = {
        "email": MAIL,
        "phone_code": phone.code,
        "phone_code_handle": phone.handle,
        "email_code": mail.code,
        "email_code_handle": mail.handle,
    }
    wrong = {**shown, "email_code": f"{(int(mail.code) + 1) % 10**6:06}"}
    for number in range(TRIES_MAX - 1):
        with pytest.raises(Invalid) as caught:
            people.register(ip=f"198.51.100.{number}", **wrong)
        assert (caught.value.code, caught.value.field) == ("code_wrong", "email_code")

    made = people.register(**shown)
    assert made.user.phone_verified_at_ms == made.user.email_verified_at_ms == people.act().at_ms
    refused(Invalid, "code_wrong", people.register, **shown)


def test_a_right_code_beside_a_wrong_one_is_a_try_as_well(lone: People) -> None:
    lone.set(
        verify_phone=Verification.REQUIRED,
        verify_email=Verification.OPTIONAL,
        sms_provider=SmsProvider.WEBHOOK,
    )
    asked = lone.ask_code(Purpose.REGISTER, PHONE)
    shown = {"phone_code": asked.code, "phone_code_handle": asked.handle}
    wrong = {**shown, "email": MAIL, "email_code": "000000", "email_code_handle": "x"}
    for number in range(TRIES_MAX):
        refused(Invalid, "code_wrong", lone.register, ip=f"198.51.100.{number}", **wrong)

    refused(Invalid, "code_wrong", lone.register, **shown)


def test_a_verified_owner_claims_a_number_and_the_old_account_keeps_the_rest(
    people: People,
) -> None:
    old = people.register()
    people.set(verify_phone=Verification.OPTIONAL, sms_provider=SmsProvider.WEBHOOK)
    refused(Conflict, "user_exists", people.register)
    asked = people.ask_code(Purpose.REGISTER, PHONE)
    made = people.register(phone_code=asked.code, phone_code_handle=asked.handle)

    assert made.user.id != old.user.id
    assert people.again(old.user).phone == ""
    assert people.log_in().user.id == made.user.id
    # Its sessions go on, so that it can choose another number; until then it can do nothing else.
    caller = people.known(old.secret)
    assert caller.must == "phone_needed"
    people.oneself.set_phone(people.act(), caller, OTHER, "", "")
    assert people.known(old.secret).must == ""
    assert people.log_in(OTHER).user.id == old.user.id


def test_a_verified_number_and_an_operators_are_not_claimed(lone: People) -> None:
    lone.set(verify_phone=Verification.OPTIONAL, sms_provider=SmsProvider.WEBHOOK)
    lone.user(PHONE, phone_verified_at_ms=1)
    lone.user(OTHER, Role.ROOT)

    for phone in (PHONE, OTHER):
        asked = lone.ask_code(Purpose.REGISTER, phone)
        shown = {"phone_code": asked.code, "phone_code_handle": asked.handle}
        refused(Conflict, "user_exists", lone.register, phone, **shown)


def test_registering_again_and_again_asks_for_work_and_then_for_time(lone: People) -> None:
    for number in range(5):
        refused(Invalid, "password_too_short", lone.register, f"1380013810{number}", password="x")

    with pytest.raises(ChallengeNeeded) as needed:
        lone.register()
    proof = solve(needed.value.more["challenge"], needed.value.more["bits"])
    wish = entry.Wish(PHONE, PASSWORD)
    lone.entry.register(lone.act(), wish, proof)
    with pytest.raises(ChallengeNeeded):
        lone.entry.register(lone.act(), wish, proof)
    lone.register(OTHER, ip="198.51.100.1")


# --- logging in -----------------------------------------------------------------------------------


def test_s_08_an_unknown_number_and_a_wrong_password_are_refused_alike(lone: People) -> None:
    lone.user()
    said = set()
    for login, password in (
        (PHONE, "not the password"),
        (OTHER, PASSWORD),
        ("nobody@example.com", PASSWORD),
        ("neither", PASSWORD),
    ):
        with pytest.raises(Unauthenticated) as refusal:
            lone.log_in(login, password, ip=f"198.51.100.{len(login)}")
        said.add((refusal.value.code, refusal.value.message, refusal.value.field))

    assert len(said) == 1


def test_s_08_a_hash_is_compared_even_where_there_is_no_account(
    lone: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    really = passwords.password_matches

    def counted(stored: str, password: str) -> bool:
        compared.append(stored)
        return really(stored, password)

    monkeypatch.setattr(passwords, "password_matches", counted)
    refused(Unauthenticated, "invalid_credentials", lone.log_in, OTHER)

    assert compared == [passwords.NOBODYS_HASH]


def test_one_logs_in_with_a_mail_address_too(lone: People) -> None:
    user = lone.user(email=MAIL)

    assert lone.log_in("Somebody@Example.COM").user.id == user.id


def test_a_disabled_account_is_told_to_its_owner_alone(lone: People) -> None:
    user = lone.user()
    lone.set_status(user, Status.DISABLED)

    refused(Forbidden, "account_disabled", lone.log_in)
    refused(Unauthenticated, "invalid_credentials", lone.log_in, password="another one")


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compares passwords without the cost of it, and tells how often."""
    compared: list[str] = []

    def counted(stored: str, password: str) -> bool:
        compared.append(stored)
        return password == PASSWORD and stored != passwords.NOBODYS_HASH

    monkeypatch.setattr(passwords, "password_matches", counted)
    return compared


def attack(people: People, times: int, login: Any, ip: Any, seconds: float) -> None:
    """Tries, so long between two, and shows no work."""
    for number in range(times):
        people.later(seconds)
        try:
            people.log_in(login(number), "wrong", ip=ip(number))
        except (ChallengeNeeded, TooMany, Unauthenticated):
            pass


@pytest.mark.slow
def test_s_08_of_ten_thousand_tries_at_one_account_a_hundred_reach_the_hash_at_most(
    lone: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = count_hashes(monkeypatch)
    user = lone.user()
    device = lone.log_in().device
    compared.clear()
    attack(
        lone, 10_000, lambda _: PHONE, lambda number: f"198.51.{number % 250}.{number // 250}", 1
    )

    assert len(compared) <= 100
    # The owner still gets in from the browser they know; from elsewhere they must wait and work.
    assert lone.log_in(device=device).user.id == user.id


@pytest.mark.slow
@pytest.mark.parametrize("many_networks", [False, True])
def test_s_08_of_ten_thousand_tries_at_many_accounts_a_hundred_reach_the_hash_at_most(
    lone: People, monkeypatch: pytest.MonkeyPatch, many_networks: bool
) -> None:
    compared = count_hashes(monkeypatch)

    def ip(number: int) -> str:
        return f"198.{51 + number // 62_500}.{number // 250 % 250}.{number % 250}"

    attack(
        lone,
        10_000,
        lambda number: f"+86138{number:08}",
        ip if many_networks else lambda _: IP,
        0.01,
    )

    assert len(compared) <= 100


def test_s_08_work_is_asked_for_after_five_and_lets_the_owner_in(lone: People) -> None:
    lone.user()
    for _ in range(5):
        refused(Unauthenticated, "invalid_credentials", lone.log_in, password="wrong")
    lone.later(2)

    with pytest.raises(ChallengeNeeded) as needed:
        lone.log_in()
    assert needed.value.more["bits"] == BITS
    proof = solve(needed.value.more["challenge"], BITS)
    lone.log_in(proof=proof)
    lone.log_in()


def test_s_08_where_work_is_off_time_is_asked_for_all_the_same(lone: People) -> None:
    lone.set(proof_of_work=ProofOfWork.OFF)
    for _ in range(5):
        refused(Unauthenticated, "invalid_credentials", lone.log_in, OTHER)

    refused(TooMany, "too_many_tries", lone.log_in, OTHER)
    lone.later(1)
    refused(Unauthenticated, "invalid_credentials", lone.log_in, OTHER)


def test_where_work_is_always_asked_for_the_first_login_shows_it(lone: People) -> None:
    lone.user()
    lone.set(proof_of_work=ProofOfWork.ALWAYS)
    with pytest.raises(ChallengeNeeded) as needed:
        lone.log_in()

    lone.log_in(proof=solve(needed.value.more["challenge"], needed.value.more["bits"]))
    refused(ChallengeNeeded, "challenge_needed", lone.log_in, proof=Proof("x.y", "1"))


def test_s_08_anothers_device_cookie_helps_nobody(lone: People) -> None:
    lone.user()
    lone.user(OTHER)
    foreign = lone.log_in(OTHER).device
    for _ in range(5):
        refused(
            Unauthenticated,
            "invalid_credentials",
            lone.log_in,
            password="wrong",
            device=foreign,
        )

    refused(ChallengeNeeded, "challenge_needed", lone.log_in, device=foreign)


def test_s_07_hashes_are_made_two_at_a_time_and_a_crowd_is_turned_away() -> None:
    turns = passwords.Turns(2, 3)
    running, most, release = [0], [0], threading.Event()
    lock = threading.Lock()
    turned_away = []

    def hashed() -> None:
        try:
            with turns.turn():
                with lock:
                    running[0] += 1
                    most[0] = max(most[0], running[0])
                release.wait(20)
                with lock:
                    running[0] -= 1
        except TooMany as refusal:
            turned_away.append(refusal.status)

    threads = [threading.Thread(target=hashed) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads[5:]:
        thread.join(0.05)
    release.set()
    for thread in threads:
        thread.join(20)
    assert most[0] == 2
    assert turned_away == [503] * 15
    with turns.turn():
        pass
