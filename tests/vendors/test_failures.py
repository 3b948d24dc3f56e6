"""What a failure means: the table with its rows, who is heard first, and that nothing breaks it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.vendors import VENDORS, VENDORS_BY_TYPE
from aipool.vendors.base import Vendor
from aipool.vendors.failures import WHYS, classify, classify_event
from aipool.vendors.retry_after import SECONDS_MAX
from aipool.vendors.types import Action, Keyword, Rule, Said, Scope, Verdict
from tests.vendors.failure_examples import EXAMPLES, UNIX_NOW, FailureExample

PLAIN = VENDORS_BY_TYPE["openai_compatible"]
CONTROLLED = {"model", "messages", "max_tokens", "max_completion_tokens", "n", "stream"}
CONTROLLED |= {"service_tier"}


def judge(
    status: int,
    body: Any,
    *keywords: Keyword,
    vendor: Vendor = PLAIN,
    headers: dict[bytes, bytes] | None = None,
) -> Verdict | None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify(vendor, status, headers or {}, raw, keywords, unix_now=UNIX_NOW)


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


def action_of(verdict: Verdict | None) -> Action | None:
    return verdict and verdict.action


# --- the rows -------------------------------------------------------------------------------------


def verdict_on(example: FailureExample) -> Verdict | None:
    vendor = VENDORS_BY_TYPE[example.vendor]
    if example.event:
        return classify_event(vendor, example.body, unix_now=UNIX_NOW)
    return judge(example.status, example.body, vendor=vendor, headers=example.headers)


@pytest.mark.parametrize("vendor_type", sorted({example.vendor for example in EXAMPLES}))
def test_each_row_of_the_table_means_what_it_should(vendor_type: str) -> None:
    rows = [example for example in EXAMPLES if example.vendor == vendor_type]

    verdicts = {example.name: verdict_on(example) for example in rows}

    assert verdicts == {example.name: example.verdict for example in rows}


def test_every_reason_is_a_known_word_and_is_met_in_a_row() -> None:
    told = {rule.why for vendor in VENDORS for rule in vendor.rules}
    told |= {example.why for example in EXAMPLES}

    assert told | {"operator_rule"} == set(WHYS)


def test_a_rule_of_a_vendor_can_be_met() -> None:
    """A condition written in capitals, or none at all, would never or always fit."""
    for vendor in VENDORS:
        for rule in vendor.rules:
            assert any((rule.statuses, rule.codes, rule.types, rule.reasons, rule.contains))
            assert all(part == part.lower() for part in rule.contains)


def test_no_rule_of_a_vendor_shows_a_client_what_is_between_it_and_us() -> None:
    for vendor in VENDORS:
        for rule in vendor.rules:
            if rule.action is Action.PASS:
                assert not {401, 402} & set(rule.statuses)
                assert rule.why in ("content_refused", "request_refused", "field_refused")


# --- who is heard first ---------------------------------------------------------------------------


def test_a_rule_of_the_vendor_is_heard_before_the_operator() -> None:
    body = error("account in arrears", code="1301")
    keyword = Keyword("", "arrears", Action.EXCEEDED)

    assert action_of(judge(429, body, keyword, vendor=VENDORS_BY_TYPE["zhipu"])) is Action.PASS
    assert action_of(judge(429, body, keyword)) is Action.EXCEEDED


def test_the_operator_is_heard_before_names_words_and_status() -> None:
    named = error("our account is closed", code="rate_limit_exceeded")
    worded = error("insufficient balance of patience")
    closed = Keyword("", "account is closed", Action.INVALID)
    patience = Keyword("", "patience", Action.PASS)

    assert action_of(judge(429, named)) is Action.COOL
    assert action_of(judge(429, named, closed)) is Action.INVALID
    assert action_of(judge(400, worded)) is Action.EXCEEDED
    assert action_of(judge(400, worded, patience)) is Action.PASS
    assert action_of(judge(500, error("our account is closed"), closed)) is Action.INVALID
    assert judge(403, error("bad words"), Keyword("", "bad words", Action.PASS)) == Verdict(
        Action.PASS, "operator_rule"
    )


def test_a_name_is_heard_before_words_and_words_before_the_status() -> None:
    assert action_of(judge(429, error("insufficient balance"))) is Action.EXCEEDED
    assert action_of(judge(429, error("insufficient balance", code="rate_limit_error"))) is (
        Action.COOL
    )
    assert action_of(judge(429, error("slower, please"))) is Action.COOL


def test_nothing_has_a_call_repeated_that_may_have_been_done() -> None:
    keyword = Keyword("", "timeout", Action.NEXT)

    for status in (504, 524):
        assert judge(status, error("timeout"), keyword) == Verdict(Action.STOP, "timeout")
    timed_out = json.dumps(error("timeout", type="timeout_error")).encode()
    assert action_of(classify_event(PLAIN, timed_out, unix_now=UNIX_NOW)) is Action.STOP


def test_an_operator_speaks_of_one_vendor_or_of_all() -> None:
    body = error("the pot is empty")

    assert action_of(judge(400, body, Keyword("ark", "pot", Action.EXCEEDED))) is Action.PASS
    assert action_of(judge(400, body, Keyword("", "pot", Action.EXCEEDED))) is Action.EXCEEDED
    first = Keyword(PLAIN.type, "pot", Action.COOL)
    assert action_of(judge(400, body, first, Keyword("", "pot", Action.STOP))) is Action.COOL


def test_an_operator_cannot_pass_on_what_is_about_our_key() -> None:
    keyword = Keyword("", "no", Action.PASS)

    assert action_of(judge(401, error("no"), keyword)) is Action.INVALID
    assert action_of(judge(402, error("no"), keyword)) is Action.EXCEEDED


def test_keywords_that_say_nothing_are_not_heard() -> None:
    for keyword in (Keyword("", "", Action.INVALID), Keyword("", "bad", Action.STRIP)):
        assert action_of(judge(400, error("a bad day"), keyword)) is Action.PASS


# --- what the client wrote ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "insufficient balance",
        "x' insufficient balance 'y",
        'x" invalid api key "y',
        "余额不足",
        "the pot is empty",
        "no such model",
    ],
)
def test_a_prompt_echoed_in_a_message_does_not_convict_the_key(written: str) -> None:
    keyword = Keyword("", "the pot is empty", Action.EXCEEDED)
    for mark in ("'{}'", '"{}"', "`{}`", "“{}”", "「{}」"):
        body = error(f"Invalid value: {mark.format(written)}. It's one of 'system' and 'user'.")

        for status in (400, 404, 422):
            assert action_of(judge(status, body, keyword)) is Action.PASS


def test_what_stands_beside_the_message_is_not_searched() -> None:
    body = error("Bad request.") | {
        "input": "insufficient balance 余额不足 invalid api key",
        "tokens": [429, 1113],
    }

    assert judge(400, body) == Verdict(Action.PASS, "request_refused")


def test_an_error_that_names_its_parameter_is_about_the_request() -> None:
    for message in ("Insufficient balance is not one of the roles", "no such model in this schema"):
        body = error(message, param="messages[0].role")

        assert action_of(judge(400, body)) is Action.PASS


def test_a_quota_that_is_over_in_a_moment_is_a_rate() -> None:
    body = error("Monthly quota exceeded")

    assert action_of(judge(429, body)) is Action.EXCEEDED
    assert action_of(judge(429, body, headers={b"retry-after": b"30"})) is Action.COOL
    assert judge(429, body, headers={b"retry-after": b"7200"}) == Verdict(
        Action.EXCEEDED, "quota_exceeded", Scope.MODEL, 7200.0
    )


def test_an_apostrophe_is_no_quotation_mark() -> None:
    body = error("You've run into arrears, so it's over")

    assert action_of(judge(400, body)) is Action.EXCEEDED


def test_a_vendor_that_has_not_looked_at_the_request_echoes_nothing() -> None:
    keyword = Keyword("", "the pot is empty", Action.EXCEEDED)

    assert action_of(judge(429, error("'the pot is empty'"), keyword)) is Action.EXCEEDED


# --- what may be left out -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        "Unrecognized request argument supplied: {}",
        "Unsupported parameter: '{}' is not supported with this model.",
        "{}: Extra inputs are not permitted",
        'Invalid JSON payload received. Unknown name "{}": Cannot find field.',
    ],
)
def test_what_decides_the_price_is_never_left_out(message: str) -> None:
    for name in CONTROLLED:
        assert judge(400, error(message.format(name))) == Verdict(Action.PASS, "field_refused")
    assert judge(400, error(message.format("seed"))) == Verdict(
        Action.STRIP, "field_refused", strip="seed"
    )


@pytest.mark.parametrize(
    "message",
    [
        "stream_options is not supported",
        "Unsupported parameter: 'stream_options.include_usage'",
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        "Unknown parameter: 'stream_options'.",
    ],
)
def test_stream_options_may_be_left_out(message: str) -> None:
    assert judge(400, error(message)) == Verdict(
        Action.STRIP, "field_refused", strip="stream_options"
    )


@pytest.mark.parametrize(
    "message",
    [
        "This is not supported.",
        "Images are not supported by this model.",
        "Unsupported value: 'temperature' does not support 0.2 with this model.",
    ],
)
def test_not_everything_that_is_not_supported_is_a_field(message: str) -> None:
    assert judge(400, error(message)) == Verdict(Action.PASS, "request_refused")


# --- answers that are none, and answers that are --------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "insufficient balance, error 429"}}]},
        {"choices": [{"message": {"content": ""}}], "error": None},
        {"choices": [], "error": {}},
        {"choices": [{"message": {"content": "x"}}], "base_resp": {"status_code": 0}},
        {"choices": [{"message": {"content": "x"}}], "code": 7, "message": "a word"},
        {"code": 0, "message": "success"},
        [],
        "error",
        None,
        b"no JSON",
    ],
)
def test_status_200_without_an_error_is_no_failure(body: Any) -> None:
    for vendor in VENDORS:
        assert judge(200, body, vendor=vendor) is None


def test_an_event_that_says_nothing_known_is_a_failure_of_the_vendor() -> None:
    assert classify_event(PLAIN, b"{}", unix_now=UNIX_NOW) == Verdict(Action.NEXT, "server_error")


def test_a_half_answer_that_broke_off_is_an_answer() -> None:
    broken = {"finish_reason": "error", "error": {"code": 502, "message": "gone"}}
    body = {"choices": [broken | {"message": {"content": "Once upon a"}}]}

    assert judge(200, body, vendor=VENDORS_BY_TYPE["openrouter"]) is None


def test_of_a_body_that_is_too_long_status_and_headers_decide() -> None:
    long = error("insufficient balance " + "x" * 256 * 1024)

    assert judge(429, long, headers={b"retry-after": b"7"}) == judge(
        429, b"", headers={b"retry-after": b"7"}
    )
    assert action_of(judge(400, long)) is Action.PASS
    assert judge(200, long) is None


def test_only_a_rate_rests_as_long_as_the_limits_say() -> None:
    headers = {b"x-ratelimit-remaining-tokens": b"0", b"x-ratelimit-reset-tokens": b"6m0s"}

    limited = judge(429, b"", headers=headers)
    spent = judge(429, error("no money", code="insufficient_quota"), headers=headers)
    assert limited and limited.seconds == 360.0
    assert spent and spent.seconds is None


# --- whatever comes -------------------------------------------------------------------------------


def check(status: int, verdict: Verdict | None) -> None:
    """What every verdict keeps to."""
    if verdict is None:
        assert status == 200
        return
    assert verdict.why in WHYS
    assert verdict.seconds is None or 0.0 <= verdict.seconds <= SECONDS_MAX
    assert (verdict.action is Action.STRIP) == bool(verdict.strip)
    assert verdict.strip not in CONTROLLED
    verdict.strip.encode()
    if status in (401, 402):
        assert verdict.action is not Action.PASS


NAMES = (
    "error message code type param details status innererror base_resp status_code choices metadata"
    " reason retryDelay detail loc msg errors violations quotaId delta __type"
)
HEADER_NAMES = (
    b"retry-after retry-after-ms x-ratelimit-reset-tokens x-ratelimit-remaining-tokens"
    b" anthropic-ratelimit-requests-reset x-amzn-errortype"
)
ODD_TIMES = b"nan inf -1 1e999 6m0s 2026-13-40T00:00:00Z"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=5)
    ),
    max_leaves=12,
)
HEADERS = st.dictionaries(
    st.sampled_from(HEADER_NAMES.split()),
    st.binary(max_size=40) | st.sampled_from(ODD_TIMES.split()),
    max_size=3,
)


@settings(max_examples=150)
@given(st.sampled_from(VENDORS), st.integers(0, 1000), HEADERS, st.binary(max_size=200) | JSON)
def test_whatever_comes_there_is_a_verdict(
    vendor: Vendor, status: int, headers: dict[bytes, bytes], body: Any
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    check(status, classify(vendor, status, headers, raw, unix_now=UNIX_NOW))
    check(0, classify_event(vendor, raw, unix_now=UNIX_NOW))


def test_five_thousand_damaged_answers_have_a_verdict_each() -> None:
    chance = random.Random(20260310)
    pieces = [b'"', b"{", b"}", b"[", b"]", b"null", b"0", b"\\ud800", b"\xff", b"'", b"\n", b""]
    for _ in range(5000):
        example = chance.choice(EXAMPLES)
        body = bytearray(example.body)
        for _ in range(chance.randint(1, 4)):
            at = chance.randint(0, len(body))
            body[at : at + chance.choice((0, 1, 8))] = chance.choice(pieces)
        status = chance.choice((example.status, 200, 400, 401, 402, 403, 429))
        vendor = chance.choice((VENDORS_BY_TYPE[example.vendor], PLAIN))

        verdict = classify(vendor, status, example.headers, bytes(body), unix_now=UNIX_NOW)

        check(status, verdict)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"error":' * 20_000,
        b'{"error":{"message":"\\ud800","code":"\\ud800","type":1e999}}',
        b'{"error":{"code":' + b"9" * 5000 + b',"message":"x"}}',
        b'{"error":{"message":"' + b"'" * 200_000 + b'"}}',
        b'{"error":{"message":"' + b"try again in 1m" * 10_000 + b'"}}',
    ],
)
def test_hostile_bodies_are_only_bodies(body: bytes) -> None:
    for vendor in VENDORS:
        for status in (200, 400, 429):
            check(status, classify(vendor, status, {}, body, unix_now=UNIX_NOW))


def test_a_vendors_own_reading_may_stumble() -> None:
    def stumbling(_status: int, value: Any) -> Said | None:
        return Said(value["error"]["nothing"]["here"])

    vendor = Vendor(
        type="odd",
        title="Odd",
        base_url=None,
        rules=(Rule(Action.COOL, "overloaded", contains=("tired",)),),
        read_error=stumbling,
    )

    assert action_of(judge(400, error("so tired"), vendor=vendor)) is Action.COOL
