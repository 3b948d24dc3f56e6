"""Notices reach real receivers; those that fail, hang, lie or lead inwards are told apart."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import smtplib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from aipool.kit.outbound import Vet
from aipool.notices.sending import Outcome, Sender
from aipool.notices.types import (
    Channel,
    ChannelId,
    Event,
    Kind,
    MailServer,
    Notice,
    NoticeId,
    Secrets,
    Tls,
)
from aipool.wire.limits import Limits
from tests.notices.receivers import SIGNING, Reply, mailing, receiving, run

pytestmark = pytest.mark.slow

AT_MS = 1_700_000_000_000
NOTICE = Notice(NoticeId(5), AT_MS, Event.KEY_INVALID, "key:7", "主题", "line\n.\n..last", {})
HERE = Vet([ip_network("127.0.0.0/8")])
TOKEN = "token-0123456789"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def certified(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@asynccontextmanager
async def sending(
    ca_file: Path | None = None, *, vet: Vet = HERE, seconds: float = 10.0
) -> AsyncIterator[Sender]:
    limits = Limits(sweep_seconds=0.02)
    sender = Sender(vet, limits, ca_file, post_seconds=seconds, mail_seconds=seconds)
    try:
        yield sender
    finally:
        await sender.close()


async def post(sender: Sender, kind: Kind, url: str, signing: str = SIGNING) -> Outcome:
    channel = Channel(ChannelId(1), "ops", kind, "127.0.0.1", None, (), True)
    return await sender.send(channel, Secrets(url=url, signing=signing), NOTICE, AT_MS)


async def hand_in(
    sender: Sender, port: int, tls: Tls, *, user: str = "", to: tuple[str, ...] = ("ops@e.com",)
) -> Outcome:
    server = MailServer("127.0.0.1", port, tls, user, "pool@e.com", to)
    channel = Channel(ChannelId(1), "ops", Kind.MAIL, server.host, server, (), True)
    return await sender.send(channel, Secrets(password="the pass word"), NOTICE, AT_MS)


# --- webhooks and bots -----------------------------------------------------------------------


def test_each_kind_of_bot_gets_what_it_can_check() -> None:
    async def scene() -> None:
        async with receiving() as receiver, sending() as sender:
            for kind in (Kind.WEBHOOK, Kind.FEISHU, Kind.DINGTALK):
                url = receiver.url(f"/{kind}/{TOKEN}?a=b")
                assert await post(sender, kind, url) == Outcome(None)
            assert await post(sender, Kind.WECOM, receiver.url(), "") == Outcome(None)

            hook, feishu, dingtalk, wecom = receiver.told
            moment, signature = hook.headers["X-AIPOOL-Signature"].split(",")
            signed = moment.removeprefix("t=").encode() + b"." + hook.body
            mac = hmac.new(SIGNING.encode(), signed, hashlib.sha256)
            assert signature == f"v1={mac.hexdigest()}"
            assert hook.target == f"/webhook/{TOKEN}?a=b"
            assert hook.headers["Host"] == f"127.0.0.1:{receiver.port}"

            key = f"{feishu.json['timestamp']}\n{SIGNING}".encode()
            mac = hmac.new(key, None, hashlib.sha256)
            assert base64.b64decode(feishu.json["sign"]) == mac.digest()

            query = parse_qs(urlsplit(dingtalk.target).query)
            signed = f"{query['timestamp'][0]}\n{SIGNING}".encode()
            mac = hmac.new(SIGNING.encode(), signed, hashlib.sha256)
            assert base64.b64decode(query["sign"][0]) == mac.digest()
            assert query["a"] == ["b"]

            assert wecom.json["markdown"]["content"].startswith("**主题**")

    run(scene())


def test_a_receiver_behind_tls_must_prove_who_it_is(authority: trustme.CA, ca_file: Path) -> None:
    async def scene() -> None:
        async with receiving(certified(authority)) as receiver, sending(ca_file) as sender:
            assert await post(sender, Kind.WEBHOOK, receiver.url()) == Outcome(None)
        for context in (certified(authority, "other.example"), certified(trustme.CA())):
            async with receiving(context) as receiver, sending(ca_file) as sender:
                outcome = await post(sender, Kind.WEBHOOK, receiver.url())
                assert outcome.refusal == "it could not prove who it is"
                assert receiver.told == []

    run(scene())


def test_a_refusal_is_told_without_the_token_that_it_repeats() -> None:
    async def scene() -> None:
        async with receiving() as receiver, sending() as sender:
            said = f'{{"errcode":310000,"errmsg":"{TOKEN} and {SIGNING} are wrong"}}'
            receiver.will(Reply(body=said.encode()))
            outcome = await post(sender, Kind.DINGTALK, receiver.url())
            assert outcome.refusal == "refused with 310000: … and … are wrong"

    run(scene())


def test_a_redirect_is_not_followed() -> None:
    async def scene() -> None:
        async with receiving() as inside, receiving() as receiver, sending() as sender:
            receiver.will(Reply(302, headers=f"Location: {inside.url()}\r\n"))
            outcome = await post(sender, Kind.WEBHOOK, receiver.url())
            assert outcome.refusal == "answered 302: redirects are not followed"
            assert (len(receiver.told), inside.told) == (1, [])

    run(scene())


def test_a_receiver_that_hangs_or_says_too_much_has_failed() -> None:
    async def scene() -> None:
        async with receiving() as receiver, sending(seconds=0.2) as sender:
            receiver.will(Reply(hangs=True), Reply(body=b"x" * 2_000_000))
            outcome = await post(sender, Kind.WEBHOOK, receiver.url())
            assert outcome.refusal == "no answer in time"
            outcome = await post(sender, Kind.WEBHOOK, receiver.url())
            assert outcome.refusal == "its answer is larger than 65536 bytes"
            assert len(receiver.told) == 2

    run(scene())


def test_an_address_that_leads_inwards_is_not_called() -> None:
    async def scene() -> None:
        async with receiving() as receiver, mailing() as server:
            async with sending(vet=Vet()) as sender:
                outcome = await post(sender, Kind.WEBHOOK, receiver.url())
                assert "AIPOOL_PRIVATE_UPSTREAMS" in str(outcome.refusal)
                outcome = await hand_in(sender, server.port, Tls.NONE)
                assert outcome.refusal == "its address is not one that may be reached"
            # A name that was let through is judged by where it leads.
            async with sending(vet=Vet([ip_network("10.0.0.0/8")])) as sender:
                url = f"http://localhost:{receiver.port}/{TOKEN}"
                outcome = await post(sender, Kind.WEBHOOK, url)
                assert outcome.refusal == "its address is not one that may be reached"
            assert (receiver.told, server.visits) == ([], 0)

    run(scene())


def test_a_receiver_that_is_not_there_has_failed() -> None:
    async def scene() -> None:
        async with receiving() as receiver:
            url, port = receiver.url(), receiver.port
        async with sending() as sender:
            for outcome in (
                await post(sender, Kind.WEBHOOK, url),
                await hand_in(sender, port, Tls.NONE),
            ):
                assert outcome.refusal
                assert TOKEN not in outcome.refusal

    run(scene())


# --- mail ------------------------------------------------------------------------------------


def test_mail_arrives_over_tls_with_a_login(authority: trustme.CA, ca_file: Path) -> None:
    async def scene() -> None:
        tls, logins = certified(authority), ["me:the pass word"]
        async with sending(ca_file) as sender:
            async with mailing(starttls=tls, logins=logins) as server:
                outcome = await hand_in(sender, server.port, Tls.STARTTLS, user="me")
                assert outcome == Outcome(None)
                (mail,) = server.box
            async with mailing(tls=tls, logins=logins) as server:
                outcome = await hand_in(sender, server.port, Tls.TLS, user="me")
                assert outcome == Outcome(None)
                (other,) = server.box

        assert (mail.sender, mail.to, mail.encrypted) == ("pool@e.com", ["ops@e.com"], True)
        assert mail.login == other.login == "me:the pass word"
        assert other.encrypted
        assert mail.message["Subject"] == "[AI-POOL] 主题"
        assert mail.message.get_content().startswith("line\n.\n..last\n\nevent: key_invalid\n")

    run(scene())


def test_a_mail_server_must_prove_who_it_is(authority: trustme.CA, ca_file: Path) -> None:
    async def scene() -> None:
        other = certified(authority, "other.example")
        async with sending(ca_file) as sender:
            async with mailing(starttls=other, logins=["me:the pass word"]) as server:
                outcome = await hand_in(sender, server.port, Tls.STARTTLS, user="me")
                assert "CERTIFICATE_VERIFY_FAILED" in str(outcome.refusal)
                assert server.box == []
            async with mailing(logins=["me:the pass word"]) as server:
                outcome = await hand_in(sender, server.port, Tls.STARTTLS, user="me")
                assert "STARTTLS extension not supported" in str(outcome.refusal)
                assert server.box == []

    run(scene())


def test_what_a_mail_server_refuses_is_told_without_the_password(
    authority: trustme.CA, ca_file: Path
) -> None:
    async def scene() -> None:
        async with sending(ca_file) as sender:
            async with mailing(tls=certified(authority), logins=["you:x"]) as server:
                outcome = await hand_in(sender, server.port, Tls.TLS, user="me")
                assert outcome.refusal == "535 … is not me's"
            async with mailing(refuses=["a@e.com", "b@e.com"]) as server:
                outcome = await hand_in(sender, server.port, Tls.NONE, to=("a@e.com", "b@e.com"))
                assert (
                    outcome.refusal == "refused a@e.com: 550 nobody here, b@e.com: 550 nobody here"
                )
                outcome = await hand_in(sender, server.port, Tls.NONE, to=("a@e.com", "c@e.com"))
                assert outcome == Outcome(None, "refused a@e.com: 550 nobody here")
                assert [mail.to for mail in server.box] == [["c@e.com"]]

    run(scene())


@pytest.mark.parametrize("how", ["hangs", "drips"])
def test_a_mail_server_that_has_no_end_is_left_in_time(how: str) -> None:
    async def scene() -> None:
        visited = mailing(hangs=how == "hangs", drips=how == "drips")
        async with visited as server, sending(seconds=0.2) as sender:
            outcome = await hand_in(sender, server.port, Tls.NONE)
            assert "unexpectedly closed" in str(outcome.refusal)
            assert server.visits == 1

    run(scene())


def test_the_standard_librarys_own_client_agrees_with_the_mail_server() -> None:
    async def scene() -> None:
        async with mailing() as server:

            def talk() -> None:
                with smtplib.SMTP("127.0.0.1", server.port, "here") as session:
                    session.sendmail("a@e.com", ["b@e.com"], "Subject: x\r\n\r\n.hidden\r\n")

            await asyncio.to_thread(talk)
            (mail,) = server.box
            assert mail.message.get_content() == ".hidden\n"
            assert (mail.sender, mail.to) == ("a@e.com", ["b@e.com"])

    run(scene())
