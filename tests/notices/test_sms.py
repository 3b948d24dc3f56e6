"""Codes reach phones over every carrier, signed as it asks, and are told to nobody else."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network

import pytest
import structlog

from aipool.kit.outbound import Vet
from aipool.notices.codes import CodeSent, Locale, Purpose, masked_mail, masked_phone, scrubbed
from aipool.notices.rendering import SIGNATURE_HEADER
from aipool.notices.sending import Sender
from aipool.notices.sms.aliyun import Account, Aliyun, canonical_query, signature
from aipool.notices.sms.console import Console
from aipool.notices.sms.webhook import Webhook
from aipool.wire.limits import Limits
from tests.fakes.aliyun import KEY_ID, KEY_SECRET, SIGN_NAME, Carried, aliyun
from tests.notices.receivers import SIGNING, Reply, receiving, run

AT_MS = 1_700_000_000_123
HERE = Vet([ip_network("127.0.0.0/8")])
CODE = CodeSent("+8613800138000", Purpose.REGISTER, "123456", Locale.CHINESE, "算力池")
TEMPLATES = dict.fromkeys(Purpose, "SMS_100") | {Purpose.RESET: "SMS_200"}


@asynccontextmanager
async def sending(vet: Vet = HERE) -> AsyncIterator[Sender]:
    sender = Sender(vet, Limits(sweep_seconds=0.02), post_seconds=5.0)
    try:
        yield sender
    finally:
        await sender.close()


def account(endpoint: str, secret: str = KEY_SECRET) -> Account:
    return Account(endpoint, KEY_ID, secret, SIGN_NAME, TEMPLATES)


# --- Aliyun -----------------------------------------------------------------------------------


def test_the_signature_is_that_of_aliyuns_own_example() -> None:
    query = canonical_query(
        {
            "RegionId": "cn-shanghai",
            "ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd",
        }
    )
    headers = {
        "x-acs-action": "RunInstances",
        "host": "ecs.cn-shanghai.aliyuncs.com",
        "x-acs-date": "2023-10-26T10:22:32Z",
        "x-acs-version": "2014-05-26",
        "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
        "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
    }

    names, signed = signature("YourAccessKeySecret", "POST", "/", query, headers, b"")

    assert names == (
        "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version"
    )
    assert signed == "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"


def test_aliyun_carries_a_code_with_the_template_of_its_purpose() -> None:
    async def scene() -> None:
        with aliyun() as fake:
            async with sending() as sender:
                carrier = Aliyun(sender, HERE, account(fake.endpoint))
                first = await carrier.send(CODE, AT_MS)
                second = await carrier.send(replace(CODE, purpose=Purpose.RESET), AT_MS)
                abroad = await carrier.send(replace(CODE, phone="+85261234567"), AT_MS)

            assert [first.refusal, second.refusal, abroad.refusal] == [None] * 3
            assert fake.carried == [
                Carried("13800138000", "SMS_100", "123456"),
                Carried("13800138000", "SMS_200", "123456"),
                Carried("85261234567", "SMS_100", "123456"),
            ]

    run(scene())


def test_aliyun_refuses_another_secret_and_nothing_is_carried() -> None:
    async def scene() -> None:
        with aliyun() as fake:
            async with sending() as sender:
                carrier = Aliyun(sender, HERE, account(fake.endpoint, "another-secret"))
                outcome = await carrier.send(CODE, AT_MS)

            assert outcome.refusal is not None
            assert "SignatureDoesNotMatch" in outcome.refusal
            assert fake.carried == []

    run(scene())


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, "isv.BUSINESS_LIMIT_CONTROL", "too many"), "isv.BUSINESS_LIMIT_CONTROL: too many"),
        ((200, "isv.MOBILE_NUMBER_ILLEGAL", "13800138000invalid"), "ILLEGAL: …invalid"),
        ((403, "Forbidden", f"of {KEY_SECRET} or {KEY_ID}, code 123456"), "of … or …, code …"),
        ((500, "OK", "OK"), "answered 500 OK"),
    ],
)
def test_a_refusal_is_told_without_numbers_codes_and_secrets(
    answer: tuple[int, str, str], told: str
) -> None:
    async def scene() -> None:
        with aliyun() as fake:
            fake.answers.append(answer)
            async with sending() as sender:
                outcome = await Aliyun(sender, HERE, account(fake.endpoint)).send(CODE, AT_MS)

            assert outcome.refusal is not None
            assert told in outcome.refusal
            for secret in ("13800138000", "123456", KEY_SECRET):
                assert secret not in outcome.refusal
            assert fake.carried == []

    run(scene())


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"Code": 7}', b"[]"])
def test_an_answer_that_says_nothing_is_a_failure(body: bytes) -> None:
    async def scene() -> None:
        async with receiving() as receiver, sending() as sender:
            receiver.will(Reply(200, body))
            endpoint = f"http://127.0.0.1:{receiver.port}"
            outcome = await Aliyun(sender, HERE, account(endpoint)).send(CODE, AT_MS)

        assert outcome.refusal is not None

    run(scene())


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "https://169.254.169.254", ""])
def test_a_carrier_is_not_sought_inwards(endpoint: str) -> None:
    async def scene() -> None:
        async with sending(Vet()) as sender:
            first = await Aliyun(sender, Vet(), account(endpoint)).send(CODE, AT_MS)
            second = await Webhook(sender, Vet(), endpoint, SIGNING).send(CODE, AT_MS)

        assert first.refusal is not None and second.refusal is not None

    run(scene())


# --- webhook ----------------------------------------------------------------------------------


def test_a_webhook_is_signed_with_its_moment() -> None:
    async def scene() -> None:
        async with receiving() as receiver, sending() as sender:
            outcome = await Webhook(sender, HERE, receiver.url(), SIGNING).send(CODE, AT_MS)
            told = receiver.told[0]

        assert outcome.refusal is None
        unix = str(AT_MS // 1000)
        own = hmac.new(SIGNING.encode(), unix.encode() + b"." + told.body, "sha256").hexdigest()
        assert told.headers[SIGNATURE_HEADER] == f"t={unix},v1={own}"
        assert told.json == {
            "to": "+8613800138000",
            "purpose": "register",
            "code": "123456",
            "locale": "zh-CN",
            "text": CODE.text,
            "site": "算力池",
            "at": "2023-11-14T22:13:20.123Z",
        }

    run(scene())


def test_a_webhook_that_refuses_is_not_quoted() -> None:
    async def scene() -> None:
        async with receiving() as receiver, sending() as sender:
            receiver.will(Reply(500, b"no 123456 for +8613800138000"), Reply(302))
            webhook = Webhook(sender, HERE, receiver.url(), SIGNING)
            first, second = await webhook.send(CODE, AT_MS), await webhook.send(CODE, AT_MS)

        assert first.refusal == "answered 500"
        assert second.refusal == "answered 302: redirects are not followed"

    run(scene())


# --- console, words ---------------------------------------------------------------------------


def test_the_console_prints_the_code() -> None:
    async def scene() -> None:
        with structlog.testing.capture_logs() as printed:
            outcome = await Console().send(CODE, AT_MS)

        assert outcome.refusal is None
        assert [(line["to"], "123456" in line["text"]) for line in printed] == [
            ("+8613800138000", True)
        ]

    run(scene())


@pytest.mark.parametrize("locale", Locale)
@pytest.mark.parametrize("purpose", Purpose)
def test_every_text_names_the_site_and_the_code_once(locale: Locale, purpose: Purpose) -> None:
    text = CodeSent("+86", purpose, "123456", locale, "{code}").text

    assert text.count("123456") == 1
    assert text.count("{code}") == 1


def test_a_code_is_in_no_repr_and_a_number_is_masked_in_a_log() -> None:
    assert "123456" not in repr(CODE)
    assert masked_phone("+8613800138000") == "+86…8000"
    assert masked_phone("+1234") == "…"
    assert masked_mail("somebody@example.com") == "s…@example.com"
    assert scrubbed("a\x00b 12345 x-secret 123", "x-secret", "") == "a\x00b … … 123"
