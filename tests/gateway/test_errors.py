"""A refusal has one shape, says whether repeating helps, and tells nothing of our account."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aipool.gateway import errors
from aipool.gateway.errors import Refusal, body_of, event_of, headers_of, passed_on

RID = "req_0123"
KEY = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.secret-of-minimax"
NAMES = ("abab-9", "chat-large")

EVERY = [
    errors.invalid("no", "n"),
    errors.unauthorized("who"),
    errors.forbidden("model_not_allowed", "no", "model"),
    errors.not_found("no"),
    errors.out_of_funds("no"),
    errors.unavailable("overloaded", "later"),
    errors.upstream_failed(),
    errors.upstream_timed_out(),
    errors.internal(),
]


def passed(error: object, status: int = 400) -> Refusal:
    return passed_on(status, json.dumps({"error": error}).encode(), (KEY,), NAMES)


@pytest.mark.parametrize("refusal", EVERY, ids=lambda refusal: refusal.code)
def test_a_refusal_has_openais_shape_and_the_request_id(refusal: Refusal) -> None:
    shown = json.loads(body_of(refusal, RID))

    assert shown == {
        "error": {
            "message": f"{refusal.message} (request id: {RID})",
            "type": refusal.kind,
            "param": refusal.param,
            "code": refusal.code,
        }
    }
    assert event_of(refusal, RID) == b"data: " + body_of(refusal, RID) + b"\n\n"


@pytest.mark.parametrize("refusal", EVERY, ids=lambda refusal: refusal.code)
def test_it_says_whether_repeating_helps(refusal: Refusal) -> None:
    lines = headers_of(refusal).lower().split(b"\r\n")

    assert lines[0] == b"content-type: application/json"
    assert (b"x-should-retry: false" in lines) is (refusal.status < 500)
    assert (b"retry-after: 1" in lines) is (refusal.status == 503)
    assert lines[-1] == b""


@pytest.mark.parametrize(
    "leak",
    [
        KEY,
        "sk-proj-abcdef0123456789",
        "sk-abcde***************wxyz",
        "sk-ant-api03-AbCdEf_123-xyz",
        "org-AbCdEfGhIjKl",
        "proj_AbCdEfGh",
        "req_011CSHoEeqs5C35K2UUqR7Fy",
        "user-AbCdEf123",
        "https://platform.vendor.example/account/api-keys",
        "http://10.1.2.3:8080/internal?x=y",
    ],
)
@pytest.mark.parametrize("field", ["message", "type", "code", "param"])
def test_nothing_of_our_account_is_passed_on(leak: str, field: str) -> None:
    refusal = passed({"message": "m", field: f"wrong: {leak}, see ({leak})"})

    shown = body_of(refusal, "rid").decode() + headers_of(refusal).decode()
    assert leak not in shown
    assert "[removed]" in shown


def test_a_secret_that_looks_like_nothing_is_removed_too() -> None:
    refusal = passed_on(
        400, b'{"error":{"message":"token hunter2 is bad"}}', ("", "hunter2"), NAMES
    )

    assert refusal.message == "token [removed] is bad"


def test_what_the_client_can_act_on_passes() -> None:
    refusal = passed(
        {
            "message": "max_tokens is too large: 99999 for model abab-9.",
            "type": "invalid_request_error",
            "param": "max_tokens",
            "code": "invalid_value",
        },
        422,
    )

    assert refusal == Refusal(
        422,
        "invalid_request_error",
        "invalid_value",
        "max_tokens is too large: 99999 for model chat-large.",
        "max_tokens",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad Request</html>",
        b"[]",
        b"null",
        b'{"error":null}',
        b'{"error":[]}',
        b'{"error":{"message":7,"type":{},"code":null,"param":[]}}',
        b'{"detail":"sk-abcdef0123456789"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_an_answer_that_says_nothing_gets_words_of_ours(body: bytes) -> None:
    refusal = passed_on(400, body, (KEY,), NAMES)

    assert refusal[:3] == (400, "invalid_request_error", "upstream_refused")
    assert refusal.message == "The model's vendor refused the request."
    assert refusal.param is None


def test_an_error_that_is_a_text_is_the_message() -> None:
    assert passed("no such abab-9").message == "no such chat-large"


def test_what_a_vendor_says_is_bounded() -> None:
    assert len(passed({"message": "x" * 1_000_000}).message) <= 2_000


@given(
    st.binary(max_size=80) | st.text(max_size=40).map(lambda t: json.dumps({"error": t}).encode())
)
def test_no_answer_of_a_vendor_makes_it_raise(body: bytes) -> None:
    refusal = passed_on(400, body, (KEY,), NAMES)

    assert json.loads(body_of(refusal, RID))["error"]["code"]
