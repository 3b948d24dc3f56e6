"""Over HTTP, with a carrier of text messages: a code is for whoever asked for it, and nobody else
does anything with it or to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from aipool.accounts import codes, entry, throttle
from aipool.accounts.tables import users
from tests.accounts.people import solve
from tests.accounts.test_routes import PASSWORD, Browser
from tests.control.api_rig import Api, api
from tests.fakes.aliyun import Aliyun, aliyun
from tests.platform import eventually

NEW_PASSWORD = "orange kettle 51"
_phones = count(13_700_000_100)
_addresses = count(1)


@dataclass
class Place:
    """A site that sends codes. carrier: who carries them."""

    api: Api
    carrier: Aliyun

    def browser(self) -> Browser:
        """Somebody, somewhere else than all before."""
        return Browser(self.api.path, f"192.0.2.{next(_addresses)}")

    def sent_to(self, phone: str) -> str:
        """The code that reached the number last."""

        def reached() -> list[str]:
            return [one.code for one in self.carrier.carried if one.phone.endswith(phone)]

        eventually(lambda: bool(reached()), f"a code for {phone}")
        return reached()[-1]

    def registered(self) -> tuple[Browser, str]:
        """Somebody who registered, and proved the number so long ago that a code may be asked for
        again."""
        person, phone = self.browser(), number()
        register(person, phone)
        with self.api.world.database.write() as tx:
            tx.connection.execute(
                users.update().where(users.c.phone == f"+86{phone}").values(phone_verified_at_ms=1)
            )
        return person, phone


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    environ = {"AIPOOL_PRIVATE_UPSTREAMS": "127.0.0.0/8"}
    with pytest.MonkeyPatch.context() as patched, aliyun() as carrier:
        for module in (entry, throttle):
            patched.setattr(module, "BITS_LEAST", 6)
        with api(tmp_path_factory.mktemp("handles") / "data", environ=environ) as served:
            settings = {**carrier.settings(), "verify_phone": "optional"}
            served.good("PATCH", "/api/admin/settings", {"settings": settings})
            yield Place(served, carrier)


def number() -> str:
    return str(next(_phones))


def asked(person: Browser, purpose: str, phone: str) -> dict[str, Any]:
    """The answer to who asks for a code, with the work that it takes."""
    wanted = {"purpose": purpose, "phone": phone}
    needed = person.refused(428, "challenge_needed", "POST", "/api/auth/codes", wanted)
    proof = solve(needed["challenge"], needed["bits"])
    shown = {"challenge": proof.challenge, "answer": proof.answer}
    answer: dict[str, Any] = person.good("POST", "/api/auth/codes", {**wanted, "proof": shown})
    return answer


def register(person: Browser, phone: str, code: str = "", handle: str = "") -> Any:
    sent = {"phone": phone, "password": PASSWORD, "phone_code": code, "phone_code_handle": handle}
    return person.good("POST", "/api/auth/register", sent)


def wrong(person: Browser, method: str, target: str, body: dict[str, Any]) -> dict[str, Any]:
    """The refusal of a code, without what names the request."""
    said: dict[str, Any] = person.refused(422, "code_wrong", method, target, body)
    return {name: value for name, value in said.items() if name != "request_id"}


def other(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06}"


def test_s_09_who_learns_a_code_registers_nothing_with_it_at_another_browser(
    place: Place,
) -> None:
    owner, thief, phone = place.browser(), place.browser(), number()
    handle = asked(owner, "register", phone)["handle"]
    code = place.sent_to(phone)
    theirs = asked(thief, "register", number())["handle"]
    sent = {"phone": phone, "password": PASSWORD, "phone_code": code}

    for foreign in (theirs, "", "x", handle.swapcase()):
        wrong(thief, "POST", "/api/auth/register", {**sent, "phone_code_handle": foreign})
    wrong(thief, "POST", "/api/auth/register", sent)
    assert register(owner, phone, code, handle)["me"]["phone_verified"]


def test_s_09_a_foreign_handle_none_and_a_wrong_code_are_refused_in_the_same_words(
    place: Place,
) -> None:
    owner, phone = place.registered()
    stranger = asked(place.browser(), "reset", number())["handle"]
    handle = asked(owner, "reset", phone)["handle"]
    code = place.sent_to(phone)
    reset = {"login": phone, "password": NEW_PASSWORD}
    tries = (
        {"code": code},
        {"code": code, "code_handle": stranger},
        {"code": other(code), "code_handle": handle},
        {"code": code, "code_handle": "\x00"},
    )
    said = [wrong(place.browser(), "POST", "/api/auth/reset", {**reset, **each}) for each in tries]

    assert all(one == said[0] for one in said)
    owner.good("POST", "/api/auth/reset", {**reset, "code": code, "code_handle": handle})


def test_s_09_who_hammers_at_a_number_neither_uses_up_the_owners_tries_nor_holds_them_up(
    place: Place,
) -> None:
    owner, phone = place.registered()
    handle = asked(owner, "reset", phone)["handle"]
    code = place.sent_to(phone)
    reset = {"login": phone, "password": NEW_PASSWORD}
    refusals = []
    for step in range(3 * codes.TRIES_MAX):
        guess = {**reset, "code": f"{step:06}", "code_handle": "guessed"}
        refusals.append(place.browser().ask("POST", "/api/auth/reset", guess).json["code"])

    assert set(refusals) == {"code_wrong", "too_many_tries"}
    owner.good("POST", "/api/auth/reset", {**reset, "code": code, "code_handle": handle})
    owner.good("POST", "/api/auth/login", {"login": phone, "password": NEW_PASSWORD})


def test_s_09_with_the_handle_five_codes_are_tried_and_no_more(place: Place) -> None:
    owner, phone = place.registered()
    handle = asked(owner, "reset", phone)["handle"]
    code = place.sent_to(phone)
    reset = {"login": phone, "password": NEW_PASSWORD, "code_handle": handle}

    for _ in range(codes.TRIES_MAX):
        wrong(owner, "POST", "/api/auth/reset", {**reset, "code": other(code)})
    assert owner.ask("POST", "/api/auth/reset", {**reset, "code": code}).status in (422, 429)
    owner.good("POST", "/api/auth/login", {"login": phone, "password": PASSWORD})


def test_s_09_what_one_session_asked_for_proves_nothing_in_another(place: Place) -> None:
    (owner, phone), (thief, _) = place.registered(), place.registered()
    elsewhere = place.browser()
    elsewhere.good("POST", "/api/auth/login", {"login": phone, "password": PASSWORD})
    new = number()
    handle = asked(owner, "verify", new)["handle"]
    sent = {"phone": new, "code": place.sent_to(new), "code_handle": handle}

    for other_session in (thief, elsewhere):
        wrong(other_session, "PUT", "/api/me/phone", sent)
    wrong(owner, "PUT", "/api/me/phone", {**sent, "code_handle": ""})
    # Another secret of the cookie, and the same session.
    owner.good("POST", "/api/me/step-up", {"password": PASSWORD})
    assert owner.good("PUT", "/api/me/phone", sent)["phone_verified"]


def test_s_09_a_handle_is_good_for_the_purpose_that_it_was_given_for(place: Place) -> None:
    owner, phone = place.registered()
    handle = asked(owner, "verify", phone)["handle"]
    shown = {"code": place.sent_to(phone), "code_handle": handle}

    reset = {"login": phone, "password": NEW_PASSWORD, **shown}
    wrong(place.browser(), "POST", "/api/auth/reset", reset)
    assert owner.good("PUT", "/api/me/phone", {"phone": phone, **shown})["phone"] == f"+86{phone}"


def test_s_09_the_answer_has_a_handle_whether_anything_is_sent_or_not(place: Place) -> None:
    _, known = place.registered()
    before = len(place.carrier.carried)
    first = asked(place.browser(), "reset", number())
    second = asked(place.browser(), "reset", known)
    place.sent_to(known)

    assert first.keys() == second.keys()
    assert len(first.pop("handle")) == len(second.pop("handle")) == 43
    assert first == second
    eventually(lambda: len(place.carrier.carried) == before + 1, "only one was sent")
