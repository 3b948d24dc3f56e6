"""What vendors are asked, and what of their answers people see."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from aipool.pool import asking
from aipool.pool.asking import Answer, Target
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.types import Action, KeySettings, Keyword

SECRET = "sk-canary-0123456789abcdefghij"
PLAIN = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"


def target(vendor_type: str = "openai_compatible", secret: str = SECRET, **settings: Any) -> Target:
    base_url = "https://vendor.example/v1"
    return Target(VENDORS_BY_TYPE[vendor_type], base_url, KeySettings(**settings), secret)


def answer(body: Any, status: int = 200, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {name.encode(): value.encode() for name, value in headers.items()}
    return Answer(status, named, raw, 7)


def read(body: Any, status: int = 200, of: Target | None = None) -> asking.KeyTest:
    return asking.read_test(of or target(), "m", answer(body, status), (), unix_now=0.0)


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor_type", sorted(VENDORS_BY_TYPE))
def test_every_vendor_is_tested_with_at_most_sixteen_tokens_under_its_own_name(
    vendor_type: str,
) -> None:
    of = target(vendor_type, project="p", api_version="2024-10-21")

    question = asking.test_question(of, "m")

    body = msgspec.json.decode(question.body)
    assert body[of.traits.max_tokens_field] == asking.TEST_OUTPUT_TOKENS
    assert (body["model"], body["stream"]) == ("m", False)
    assert question.path.startswith("/")
    head = asking.head_of(of, question)
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n\r\n") == 1
    assert SECRET.encode() in head
    assert b"Content-Length: %d\r\n" % len(question.body) in head


def test_a_keys_own_credential_header_stands_alone_and_its_framing_is_not_taken() -> None:
    of = target(headers={"Authorization": "Signed x", "Host": "evil.example", "X-A": "b"})

    head = asking.head_of(of, asking.test_question(of, "m")).decode()

    assert head.lower().count("authorization:") == 1
    assert "Authorization: Signed x\r\n" in head
    assert "X-A: b\r\n" in head
    assert head.count("Host: ") == 1
    assert "Host: vendor.example\r\n" in head


def test_a_vendor_without_a_list_or_a_balance_is_asked_for_none() -> None:
    assert asking.models_question(target("azure_openai")) is None
    assert asking.balance_question(target("openai")) is None


def test_the_address_is_shown_without_what_is_secret_in_it() -> None:
    of = target(query={"api-version": "2024", "access_token": "hush-hush", "q": SECRET})

    shown = asking.shown_url(of, asking.test_question(of, "m"))

    assert shown == (
        "https://vendor.example/v1/chat/completions?api-version=2024&access_token=…&q=[removed]"
    )


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"delta": {"content": "x"}}]},
        {"choices": "x"},
        {"error": {"message": "busy"}, "choices": [{"message": {"content": "x"}}]},
    ],
)
def test_a_200_without_a_message_is_no_good_test(body: Any) -> None:
    result = read(body)

    assert not result.ok
    assert result.said


@pytest.mark.parametrize("content", ["pong", "", None])
def test_an_answer_is_good_however_short(content: str | None) -> None:
    result = read({"choices": [{"message": {"role": "assistant", "content": content}}]})

    assert (result.ok, result.verdict, result.said) == (True, None, "")


def test_an_error_inside_a_200_has_a_verdict() -> None:
    result = read({"error": {"message": "no money", "code": "insufficient_quota"}})

    assert result.verdict is not None
    assert (result.ok, result.verdict.action) == (False, Action.EXCEEDED)


def test_the_operators_keyword_is_in_the_verdict() -> None:
    keyword = Keyword("", "full moon", Action.EXCEEDED)
    body = answer({"error": {"message": "It is full moon"}}, 400)

    result = asking.read_test(target(), "m", body, (keyword,), unix_now=0.0)

    assert result.verdict is not None
    assert result.verdict.why == "operator_rule"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "no such model"}}, "no such model"),
        ({"error": "plain words"}, "plain words"),
        ({"message": "at the top"}, "at the top"),
        ({"detail": "of a server"}, "of a server"),
        (b"<html><b>Blocked</b>\n by a  firewall</html>", "Blocked by a firewall"),
        ({}, "The vendor answered with status 400 and no message."),
    ],
)
def test_what_the_vendor_said_is_found_wherever_it_put_it(body: Any, words: str) -> None:
    assert read(body, 400).said == words


def test_what_the_vendor_said_is_one_bounded_line_without_control_characters() -> None:
    said = read({"error": {"message": "a\x1b[31m\nb" + " word" * 10_000}}, 400).said

    assert said.startswith("a [31m b word")
    assert len(said) <= asking.SAID_CHARACTERS_MAX + 1
    assert said.isprintable()


@pytest.mark.parametrize(
    "words",
    [
        f"key {SECRET} is wrong",
        f"key {SECRET[:12]}… is wrong",
        f"key …{SECRET[-9:]} is wrong",
        f"key={SECRET};",
        f"sent 'Bearer {SECRET}'",
        f"Your api key: ****{SECRET[-4:]} is invalid",
    ],
)
def test_no_part_of_a_secret_is_shown(words: str) -> None:
    said = read({"error": {"message": words}}, 401).said

    assert "[removed]" in said
    assert not any(SECRET[at : at + 8] in said for at in range(len(SECRET) - 7))


@pytest.mark.parametrize("other", ["sk-proj-Abcdef123456", "org-Abcdef123456", PLAIN])
def test_what_looks_like_a_credential_is_not_shown_whosever_it_is(other: str) -> None:
    assert other not in read({"error": {"message": f"of {other}, no"}}, 403).said


def test_a_secret_without_a_form_is_not_shown_nor_are_those_in_headers_and_query() -> None:
    of = target(
        secret="correct horse battery",
        headers={"X-Api-Key": "grey heron at noon"},
        query={"token": "violet tulips"},
        proxy="http://me:marmalade9@proxy.example:3128",
    )
    words = "correct horse battery grey heron at noon violet tulips marmalade9"

    assert read({"message": words}, 400, of).said.replace("[removed]", "").strip() == ""


def test_ordinary_words_are_shown_as_they_are() -> None:
    words = (
        "The model `doubao-seed-2-1-pro-260915` does not exist; your API key provided is fine, see "
        "https://vendor.example/docs/errors#model_not_found (request 3f2c9a10-77aa-4b0e-9c55-0a)"
    )

    assert read({"error": {"message": words}}, 404).said == words


def test_a_redirect_says_where_it_leads_without_its_query() -> None:
    to = f"https://elsewhere.example/v1?key={SECRET}"
    result = asking.read_test(target(), "m", answer(b"", 308, location=to), (), unix_now=0.0)

    assert (result.ok, result.verdict) == (False, None)
    assert "redirects to https://elsewhere.example/v1." in result.said


def test_a_failure_of_the_way_has_no_verdict() -> None:
    broken = Answer(0, {}, b"", 3, f"No connection: {SECRET}.")

    result = asking.read_test(target(), "m", broken, (), unix_now=0.0)

    assert (result.verdict, result.said) == (None, "No connection: [removed].")


def test_a_target_does_not_show_its_secret() -> None:
    assert SECRET not in repr(target())
