"""What goes to each kind of receiver, signed as its documentation has it, and what refusals are."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from aipool.notices import rendering
from aipool.notices.rules import without_secrets
from aipool.notices.types import Event, Kind, MailServer, Notice, NoticeId, Secrets, Tls

AT_MS = 1_700_000_000_000
NOW_MS = AT_MS + 90_500
SECRETS = Secrets(url="https://a.example/hook?access_token=0123456789", signing="SECabc")
NOTICE = Notice(
    NoticeId(12),
    AT_MS,
    Event.KEY_INVALID,
    "key:7",
    "密钥 main 无效",
    "Its vendor answers 401.\nSee <https://a.example>.",
    {"vendor": "mm"},
)


def sent(kind: Kind, notice: Notice = NOTICE, secrets: Secrets = SECRETS) -> rendering.Post:
    return rendering.post(kind, secrets, notice, NOW_MS)


def told(kind: Kind, notice: Notice = NOTICE, secrets: Secrets = SECRETS) -> Any:
    return json.loads(sent(kind, notice, secrets).body)


def test_a_webhook_gets_the_notice_whole_and_signed() -> None:
    post = sent(Kind.WEBHOOK)

    assert json.loads(post.body) == {
        "id": 12,
        "event": "key_invalid",
        "target": "key:7",
        "subject": NOTICE.subject,
        "text": NOTICE.text,
        "fields": {"vendor": "mm"},
        "at": "2023-11-14T22:13:20.000Z",
    }
    assert post.target == "/hook?access_token=0123456789"
    moment, signature = (
        part.split("=")[1] for part in post.headers["X-AIPOOL-Signature"].split(",")
    )
    assert moment == "1700000090"
    signed = moment.encode() + b"." + post.body
    assert signature == hmac.new(b"SECabc", signed, hashlib.sha256).hexdigest()
    assert "0123456789" not in repr(post)


def test_feishu_gets_text_with_the_signature_in_the_body() -> None:
    message = told(Kind.FEISHU)

    assert message["msg_type"] == "text"
    assert message["content"]["text"].startswith("密钥 main 无效\nIts vendor answers 401.\n")
    # As the bot's documentation computes it: the text to sign is the key, the message is empty.
    mac = hmac.new(b"1700000090\nSECabc", b"", hashlib.sha256)
    assert message["timestamp"] == "1700000090"
    assert message["sign"] == base64.b64encode(mac.digest()).decode()
    assert "sign" not in told(Kind.FEISHU, secrets=replace(SECRETS, signing=""))


def test_dingtalk_gets_markdown_with_the_signature_in_the_query() -> None:
    post = sent(Kind.DINGTALK)

    query = parse_qs(urlsplit(post.target).query, strict_parsing=True)
    mac = hmac.new(b"SECabc", b"1700000090500\nSECabc", hashlib.sha256)
    assert query == {
        "access_token": ["0123456789"],
        "timestamp": ["1700000090500"],
        "sign": [base64.b64encode(mac.digest()).decode()],
    }
    message = json.loads(post.body)
    assert (message["msgtype"], message["markdown"]["title"]) == ("markdown", NOTICE.subject)
    assert "> vendor: mm" in message["markdown"]["text"].splitlines()
    unsigned = sent(Kind.DINGTALK, secrets=replace(SECRETS, signing=""))
    assert unsigned.target == "/hook?access_token=0123456789"


def test_wecom_gets_no_more_bytes_than_it_takes() -> None:
    message = told(Kind.WECOM, replace(NOTICE, text="长" * 2000))

    assert message["msgtype"] == "markdown"
    content = message["markdown"]["content"]
    assert len(content.encode()) <= 4096
    assert content.startswith("**密钥 main 无效**") and content.endswith("长…")


@pytest.mark.parametrize("kind", [Kind.FEISHU, Kind.DINGTALK, Kind.WECOM])
def test_what_a_vendor_said_becomes_no_link_and_no_mention(kind: Kind) -> None:
    bad = '<at user_id="all">x</at> [here](https://bad.example) ![p](q) <@all> `c` *b*'
    notice = replace(NOTICE, subject=bad, text=bad, fields={bad: bad})
    message = told(kind, notice)

    shown = message.get("content", {}).get("text") or message["markdown"].get(
        "text", message["markdown"].get("content")
    )
    assert "](" not in shown and "<" not in shown and "`" not in shown
    assert "＜@all＞" in shown


@pytest.mark.parametrize("kind", list(Kind))
def test_every_message_has_the_number_of_its_notice(kind: Kind) -> None:
    if kind is Kind.MAIL:
        return
    number = '"id":12' if kind is Kind.WEBHOOK else "notice: 12"

    assert number in sent(kind).body.decode()


def test_a_mail_says_all_and_keeps_its_number_when_it_is_repeated() -> None:
    server = MailServer("a.b", 587, Tls.TLS, "", "pool@example.com", ("x@e.com", "y@e.com"))
    message = rendering.mail(server, NOTICE)

    assert message["Subject"] == "[AI-POOL] 密钥 main 无效"
    assert message["To"] == "x@e.com, y@e.com"
    assert message["Message-ID"] == "<aipool-notice-12-1700000000000@example.com>"
    assert message["Date"] == "Tue, 14 Nov 2023 22:13:20 -0000"
    body = message.get_content()
    assert body.startswith(NOTICE.text) and "vendor: mm\n" in body
    assert message.as_bytes().isascii()


REFUSALS: list[tuple[Kind, int, bytes, str | None]] = [
    (Kind.WEBHOOK, 204, b"", None),
    (Kind.WEBHOOK, 200, b"whatever", None),
    (Kind.WEBHOOK, 302, b"", "answered 302: redirects are not followed"),
    (Kind.WEBHOOK, 500, b"", "answered 500"),
    (Kind.FEISHU, 200, b'{"code":0,"msg":"success","data":{}}', None),
    (Kind.FEISHU, 200, b'{"StatusCode":0,"StatusMessage":"success"}', None),
    (Kind.FEISHU, 200, b'{"code":19021,"msg":"sign match fail"}', "with 19021: sign match fail"),
    (Kind.DINGTALK, 200, b'{"errcode":0,"errmsg":"ok"}', None),
    (Kind.DINGTALK, 200, b'{"errcode":310000,"errmsg":"sign not match"}', "310000: sign not"),
    (Kind.WECOM, 200, b'{"errcode":0,"errmsg":"ok"}', None),
    (Kind.WECOM, 200, b'{"errcode":40058,"errmsg":"exceed max length"}', "40058: exceed max"),
    (Kind.WECOM, 200, b'{"errcode":false}', "refused with False"),
    (Kind.WECOM, 200, b"<html>", "not JSON"),
    (Kind.WECOM, 200, b"[]", "not JSON"),
    (Kind.WECOM, 200, b"\xff", "not JSON"),
    (Kind.DINGTALK, 200, b"{}", "without saying"),
    (Kind.DINGTALK, 502, b'{"errcode":0}', "answered 502"),
]


@pytest.mark.parametrize(("kind", "status", "answer", "why"), REFUSALS)
def test_a_refusal_is_known_also_when_its_status_is_200(
    kind: Kind, status: int, answer: bytes, why: str | None
) -> None:
    said = rendering.refusal(kind, status, answer)

    assert said is None if why is None else why in str(said)


def test_what_a_receiver_says_gives_nothing_away() -> None:
    secrets = replace(SECRETS, url="https://a.example/bot/v2/hook/abcdefgh-1?k=0123456789")
    text = "bad abcdefgh-1\nSECabc 0123456789 at https://a.example/bot/v2/hook/abcdefgh-1?k=01234"

    assert without_secrets(text, secrets) == "bad … … … at https://a.example/bot/v2/hook/…?k=01234"
    assert len(without_secrets("x" * 5000, secrets)) == 300
