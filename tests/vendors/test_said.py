"""What a vendor said, in the shapes in which vendors say it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.said import BODY_BYTES_MAX, decode, read_said
from aipool.vendors.types import Said

PLAIN = VENDORS_BY_TYPE["openai_compatible"]
NOW = 1_773_144_000.0


def read(status: int, value: Any, headers: dict[bytes, bytes] | None = None) -> Said | None:
    return read_said(PLAIN, status, headers or {}, json.dumps(value).encode(), unix_now=NOW)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {"error": {"message": "m", "type": "t", "param": "p", "code": "c"}},
            Said(400, "c", "t", "m", "", "p"),
        ),
        ({"error": {"message": "m", "code": 429}}, Said(400, "429", "", "m")),
        ({"error": "m", "code": "c"}, Said(400, "c", "", "m")),
        ({"error": {"error": {"message": "m", "type": "t"}}}, Said(400, "", "t", "m")),
        (
            {
                "type": "error",
                "error": {"type": "t", "message": "m", "details": {"error_code": "r"}},
            },
            Said(400, "", "t", "m", "r"),
        ),
        (
            [
                {
                    "error": {
                        "code": 429,
                        "message": "m",
                        "status": "RESOURCE_EXHAUSTED",
                        "details": [
                            {"reason": "WHY"},
                            {"violations": [{"quotaId": "A"}, {"quotaId": "B"}]},
                            {"retryDelay": "34s"},
                        ],
                    }
                }
            ],
            Said(400, "429", "RESOURCE_EXHAUSTED", "m", "WHY A B", "", 34.0),
        ),
        (
            {"error": {"code": "c", "message": "m", "innererror": {"code": "inner"}}},
            Said(400, "c", "", "m", "inner"),
        ),
        ({"message": "m", "code": 7}, Said(400, "7", "", "m")),
        ({"__type": "com.amazon#Kind", "Message": "m"}, Said(400, "", "Kind", "m")),
        ({"detail": "m"}, Said(400, "", "", "m")),
        (
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "a", 0, "b"], "msg": "m"}]},
            Said(400, "extra_forbidden", "", "m", "", "a.0.b"),
        ),
        ({"errors": [{"code": 10000, "message": "m"}]}, Said(400, "10000", "", "m")),
        ({"base_resp": {"status_code": 1008, "status_msg": "m"}}, Said(400, "1008", "", "m")),
        ({"error": {"message": {"nested": 1}, "code": [], "type": 1.5}}, Said(400)),
        ({}, Said(400)),
        ([], Said(400)),
        ("text", Said(400)),
    ],
)
def test_every_shape_is_read(value: Any, said: Said) -> None:
    assert read(400, value) == said


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "m", "code": 502}, 502),
        ({"message": "m", "code": "429"}, 429),
        ({"message": "m", "type": "overloaded_error"}, 529),
        ({"message": "m", "code": "insufficient_quota"}, 429),
        ({"message": "m", "code": 1008}, 200),
    ],
)
def test_an_error_inside_200_has_the_status_it_would_have_had(
    error: dict[str, Any], status: int
) -> None:
    said = read(200, {"error": error})

    assert said and said.status == status


def test_what_the_headers_ask_for_counts_before_what_the_body_says() -> None:
    value = {"error": {"message": "m", "details": [{"retryDelay": "34s"}]}}

    said = read(429, value, {b"retry-after": b"5"})

    assert said and said.retry_seconds == 5.0


def test_bedrock_names_its_error_in_a_header() -> None:
    said = read(400, {"message": "m"}, {b"x-amzn-errortype": b"Throttling:http://x/"})

    assert said == Said(400, "Throttling", "", "m")


def test_what_was_said_can_be_written_down() -> None:
    body = b'{"error":{"message":"a\\ud800b","code":"\\udfff"},"x":"\xff"}'

    said = read_said(PLAIN, 400, {}, body, unix_now=NOW)

    assert said == Said(400, "?", "", "a?b")


def test_what_was_said_is_bounded() -> None:
    said = read(400, {"error": {"message": "m" * 9999, "code": "c" * 9999}})

    assert said and len(said.message) == 2000 and len(said.code) == 200
    assert read_said(PLAIN, 400, {}, b" " * BODY_BYTES_MAX + b"{}", unix_now=NOW) == Said(400)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_json_is_nothing(body: bytes) -> None:
    decode(body)

    assert read_said(PLAIN, 400, {}, body, unix_now=NOW) == Said(400)
