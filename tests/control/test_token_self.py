"""An API token asks about itself and about its calls, over the control process's own interface."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken, Reset
from aipool.calls import service as calls
from aipool.calls.types import CallRow
from aipool.control import token_self
from aipool.control.last_used import last_used
from aipool.control.token_self import Refused
from aipool.control.tries import TRIES_MAX
from aipool.gateway import admission
from aipool.gateway.errors import Refusal
from aipool.kit.clock import iso_ms, now_ms
from aipool.kit.digests import generate
from aipool.kit.ids import RequestIds
from tests.control.api_rig import Api, Said, api

_ids = RequestIds()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("self") / "data") as served:
        yield served


@pytest.fixture(scope="module")
def made(opened: Api) -> tuple[ApiToken, str]:
    world = opened.world
    with world.database.write() as tx:
        user = world.user(tx)
        return world.token(
            tx, user, "shop", limit_nano=5_000_000_000, reset=Reset.DAILY, models=("m1",)
        )


def ask(opened: Api, path: str, secret: str = "", **headers: str) -> Said:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if secret:
        given["Authorization"] = f"Bearer {secret}"
    return opened.ask("GET", path, headers=given)


def call_of(token: ApiToken, rid: str, at_ms: int, *, charged_nano: int = 1_234_000) -> CallRow:
    blank: dict[str, Any] = dict.fromkeys(CallRow._fields, 0)
    texts = (
        "error",
        "upstream_model",
        "upstream_request_id",
        "ip",
        "user_agent",
        "units",
        "origin",
    )
    return CallRow(
        **blank
        | dict.fromkeys(texts, "")
        | {
            "rid": rid,
            "at_ms": at_ms,
            "duration_ms": 120,
            "user_id": token.user_id,
            "token_id": token.id,
            "group_id": token.group_id,
            "model": "m1",
            "endpoint": "chat",
            "stream": True,
            "status": 200,
            "input_tokens": 10,
            "output_tokens": 20,
            "charged_nano": charged_nano,
            "attempts": "[]",
            "recovered": False,
            "calls": 1,
        }
    )


def record(opened: Api, row: CallRow) -> None:
    with opened.world.database.write() as tx:
        calls.record(tx, [row])


def test_a_token_is_told_what_it_may_and_what_is_left(
    opened: Api, made: tuple[ApiToken, str]
) -> None:
    said = ask(opened, "/v1/token", made[1])

    assert said.status == 200
    assert said.json["resets_at"].endswith("T00:00:00.000Z")
    assert {**said.json, "resets_at": None} == {
        "object": "token",
        "name": "shop",
        "status": "active",
        "group": {"name": "default", "multiplier": "1"},
        "limit": "5",
        "reset": "daily",
        "total_limit": None,
        "used": "0",
        "remaining": "5",
        "used_total": "0",
        "resets_at": None,
        "expires_at": None,
        "models": ["m1"],
        "rpm": None,
        "tpm": None,
        "requests_per_day": None,
        "concurrency": None,
    }
    assert ask(opened, "/v1/token", x_api_key=made[1]).status == 200


def test_whoever_has_no_token_is_refused_in_the_gateways_words(opened: Api) -> None:
    for said, expected in (
        (ask(opened, "/v1/token"), admission.MISSING_TOKEN),
        (
            ask(opened, "/v1/token", generate(), X_Forwarded_For="203.0.113.1"),
            admission.UNKNOWN_TOKEN,
        ),
        (
            ask(opened, "/v1/calls/x", "sk-no", X_Forwarded_For="203.0.113.1"),
            admission.UNKNOWN_TOKEN,
        ),
    ):
        error = said.json["error"]
        assert (said.status, error["type"], error["code"]) == (401, expected.kind, expected.code)
        assert error["message"].startswith(expected.message)
        assert said.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (token_self.MISSING_TOKEN, admission.MISSING_TOKEN),
        (token_self.UNKNOWN_TOKEN, admission.UNKNOWN_TOKEN),
        (token_self.EXPIRED, admission._EXPIRED),
        (token_self.ADDRESS, admission._ADDRESS),
        *((one, admission._BLOCKED[name]) for name, one in token_self.BLOCKED.items()),
    ],
)
def test_what_is_refused_is_refused_as_a_call_is(here: Refused, there: Refusal) -> None:
    assert (here.status, here.kind, here.code, here.message) == (
        there.status,
        there.kind,
        there.code,
        there.message,
    )


def test_an_expired_and_a_disabled_token_are_told_so(opened: Api) -> None:
    world = opened.world
    with world.database.write() as tx:
        user = world.user(tx, "+8613900000099")
        _, expired = world.token(tx, user, "expired", expires_at=now_ms() // 1000 - 1)
        token, disabled = world.token(tx, user, "disabled")
        api_tokens.set_enabled(tx, world.act, token, enabled=False)

    codes = [ask(opened, "/v1/token", one).json["error"]["code"] for one in (expired, disabled)]

    assert codes == ["token_expired", "token_disabled"]


def test_after_too_many_unknown_tokens_an_address_waits_and_others_do_not(
    opened: Api, made: tuple[ApiToken, str]
) -> None:
    answers = [
        ask(opened, "/v1/token", generate(), X_Forwarded_For="198.51.100.7")
        for _ in range(TRIES_MAX + 1)
    ]

    assert [said.status for said in answers] == [401] * TRIES_MAX + [429]
    last = answers[-1]
    assert last.json["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(last.headers["retry-after"]) <= 60
    assert ask(opened, "/v1/token", generate(), X_Forwarded_For="198.51.100.8").status == 401
    assert ask(opened, "/v1/token", made[1], X_Forwarded_For="198.51.100.7").status == 200


def test_a_call_is_told_with_its_charge_to_its_own_token(
    opened: Api, made: tuple[ApiToken, str]
) -> None:
    token, secret = made
    at_ms = now_ms()
    rid = _ids.new(at_ms)
    record(opened, call_of(token, rid, at_ms))

    said = ask(opened, f"/v1/calls/{rid}", secret)

    assert (said.status, said.json["charge"]) == (200, "0.001234")
    assert said.json["started_at"] == iso_ms(at_ms)
    assert (said.json["input_tokens"], said.json["output_tokens"]) == (10, 20)
    for nonsense in ("x", "req_1", rid + "0", "%00", rid.upper()):
        assert ask(opened, f"/v1/calls/{nonsense}", secret).status == 404


def test_a_call_that_is_about_to_be_recorded_is_waited_for(
    opened: Api, made: tuple[ApiToken, str]
) -> None:
    token, secret = made
    rid = _ids.new(now_ms())
    answers: list[Said] = []
    asking = threading.Thread(
        target=lambda: answers.append(ask(opened, f"/v1/calls/{rid}", secret))
    )

    asking.start()
    time.sleep(0.3)
    assert answers == []
    record(opened, call_of(token, rid, now_ms()))
    asking.join(10)

    assert [said.status for said in answers] == [200]


@pytest.mark.slow
def test_x06_anothers_call_is_looked_for_as_long_as_one_that_never_was(
    opened: Api, made: tuple[ApiToken, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: Counter[str] = Counter()

    def counted(connection: Connection, rid: str) -> CallRow | None:
        looks[rid] += 1
        return get(connection, rid)

    get = calls.get
    monkeypatch.setattr(calls, "get", counted)
    monkeypatch.setattr(token_self, "LOOK_SECONDS", 0.9)
    theirs, missing = _ids.new(now_ms()), _ids.new(now_ms())
    record(opened, call_of(made[0], theirs, now_ms()))
    with opened.world.database.write() as tx:
        _, others = opened.world.token(tx, opened.world.user(tx, "+8613900000096"))

    told = [
        (said.status, said.json["error"]["code"])
        for rid in (theirs, missing)
        for said in [ask(opened, f"/v1/calls/{rid}", others)]
    ]

    assert told == [(404, "call_not_found")] * 2
    assert looks[theirs] == looks[missing] > 1


def test_the_newest_call_of_each_token_is_its_last_use(
    opened: Api, made: tuple[ApiToken, str]
) -> None:
    world = opened.world
    with world.database.write() as tx:
        user = world.user(tx, "+8613900000097")
        busy, idle, old = (world.token(tx, user, name)[0] for name in ("busy", "idle", "old"))
    moments = {busy.id: 1_795_219_200_000, old.id: 1_792_540_800_000}
    for token, at_ms in (
        (busy, moments[busy.id] - 40 * 86_400_000),
        (busy, moments[busy.id]),
        (busy, moments[busy.id] - 1),
        (old, moments[old.id]),
    ):
        record(opened, call_of(token, _ids.new(at_ms), at_ms))

    with world.database.read() as connection:
        assert last_used(connection, [busy.id, idle.id, old.id]) == moments
        assert last_used(connection, []) == {}
