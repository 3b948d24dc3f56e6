"""Which headers reach a vendor, where a token is looked for, what pages of others may see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import aipool.gateway
from aipool.gateway.cors import Cors
from aipool.gateway.headers import credential, forwarded

SDK = {
    b"user-agent": b"OpenAI/Python 3.51",
    b"openai-beta": b"assistants=v2",
    b"x-stainless-lang": b"python",
    b"idempotency-key": b"k",
    b"x-claude-code-session-id": b"s",
}
OURS = [
    b"authorization",
    b"x-api-key",
    b"x-goog-api-key",
    b"api-key",
    b"mj-api-secret",
    b"cookie",
    b"host",
    b"connection",
    b"transfer-encoding",
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"accept-encoding",
    b"expect",
    b"upgrade",
    b"te",
    b"x-forwarded-for",
    b"x-real-ip",
    b"forwarded",
    b"cf-connecting-ip",
    b"openai-organization",
    b"openai-project",
    b"origin",
    b"referer",
    b"sec-websocket-protocol",
    b"x-request-id",
    b"x-anything-else",
]


def test_only_what_is_allowed_reaches_a_vendor() -> None:
    lines = forwarded({**SDK, **dict.fromkeys(OURS, b"canary")})

    assert lines == b"".join(b"%b: %b\r\n" % pair for pair in SDK.items())
    assert b"canary" not in lines
    assert forwarded({}) == b""


@pytest.mark.parametrize(
    ("headers", "query", "found"),
    [
        ({}, b"", None),
        ({b"authorization": b"Bearer sk-1"}, b"", b"sk-1"),
        ({b"authorization": b"bearer   sk-1 "}, b"", b"sk-1"),
        ({b"authorization": b"Basic c2s="}, b"", None),
        ({b"authorization": b"Basic c2s=", b"x-api-key": b"sk-2"}, b"", b"sk-2"),
        ({b"authorization": b"Bearer sk-1", b"x-api-key": b"sk-2"}, b"key=sk-5", b"sk-1"),
        ({b"x-api-key": b"sk-2", b"x-goog-api-key": b"sk-3", b"api-key": b"sk-4"}, b"", b"sk-2"),
        ({b"x-goog-api-key": b"sk-3", b"api-key": b"sk-4"}, b"", b"sk-3"),
        ({b"api-key": b"sk-4"}, b"key=sk-5", b"sk-4"),
        ({}, b"alt=sse&key=sk-5", b"sk-5"),
        ({}, b"monkey=sk-5", None),
        ({b"sec-websocket-protocol": b"realtime, openai-insecure-api-key.sk-6"}, b"", b"sk-6"),
        ({b"sec-websocket-protocol": b"realtime"}, b"", None),
        ({b"mj-api-secret": b"sk-7"}, b"", b"sk-7"),
        ({b"authorization": b"Bearer "}, b"", b""),
    ],
)
def test_a_token_is_looked_for_where_clients_put_it(
    headers: dict[bytes, bytes], query: bytes, found: bytes | None
) -> None:
    assert credential(headers, query) == found


PAGE = b"https://page.test"


def test_by_default_any_page_may_call_and_none_may_send_cookies() -> None:
    lines = Cors(("*",)).headers(PAGE)

    assert lines.startswith(b"Access-Control-Allow-Origin: *\r\n")
    assert b"x-request-id" in lines
    assert b"redentials" not in lines


#: A header line of ours in the source: it begins a text, or follows another line or a part.
_WRITTEN = r"(?:\"|\\n|%b)(x-[a-z-]+(?:%b)?|Retry-After): "


def test_a_page_may_read_every_header_of_ours() -> None:
    source = "".join(path.read_text() for path in Path(aipool.gateway.__path__[0]).rglob("*.py"))
    ours = {name.lower() for name in re.findall(_WRITTEN, source)}
    for name in [name for name in ours if name.endswith("%b")]:
        ours.remove(name)
        ours |= {name.replace("%b", unit) for unit in ("requests", "tokens")}
    (exposed,) = re.findall(rb"Expose-Headers: ([^\r]*)", Cors(("*",)).headers(PAGE))

    assert {"x-request-id", "retry-after", "x-ratelimit-reset-tokens"} < ours
    assert set(exposed.decode().split(", ")) == ours


def test_named_origins_are_echoed_and_others_get_nothing() -> None:
    cors = Cors(("https://page.test", "http://localhost:3000"))

    assert b"Access-Control-Allow-Origin: https://page.test\r\nVary: Origin\r\n" in cors.headers(
        PAGE
    )
    for stranger in (b"https://page.test.evil", b"http://page.test", b"null", b"*"):
        assert cors.headers(stranger) == b"Vary: Origin\r\n"


def test_who_is_no_page_gets_no_lines() -> None:
    assert Cors(("*",)).headers(None) == b""


def test_a_preflight_grants_the_headers_asked_for_by_name() -> None:
    lines = Cors(("*",)).preflight(PAGE, b"authorization, content-type")

    assert b"Access-Control-Allow-Headers: authorization, content-type\r\n" in lines
    assert b"Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n" in lines
    assert b"Allow-Headers" not in Cors(("*",)).preflight(PAGE, None)
    assert b"Allow-Headers" not in Cors(("*",)).preflight(PAGE, b"x" * 5_000)
