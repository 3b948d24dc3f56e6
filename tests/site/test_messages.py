"""The messenger writes over what is set at that moment; of failures only the log is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from aipool import config
from aipool.notices.codes import Locale, Purpose, letter_of_low_balance
from aipool.site.messages import Messenger
from aipool.site.service import Site
from tests.fakes.aliyun import KEY_SECRET, aliyun
from tests.notices.receivers import mailing, run
from tests.world import World, open_world

PHONE, ADDRESS, CODE = "+8613800138000", "somebody@example.com", "123456"
PASSWORD = "canary-mail-password-0123456789"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path / "data") as opened:
        yield opened


@asynccontextmanager
async def messaging(
    world: World, settings: dict[str, Any], *, host: str = "127.0.0.1", **environ: str
) -> AsyncIterator[Messenger]:
    given = {"AIPOOL_PRIVATE_UPSTREAMS": "127.0.0.0/8", **environ}
    read = config.load({"data_dir": world.data_dir, "host": host}, given)
    site = Site(read, world.secrets.keyring)
    with world.database.write() as tx:
        site.set_values(tx, world.act, settings)
    messenger = Messenger(world.database, site, read)
    try:
        yield messenger
    finally:
        await messenger.close()


def mail_settings(port: int) -> dict[str, Any]:
    return {
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_tls": "none",
        "smtp_from": "site@example.com",
        "name": "算力池",
    }


async def send(messenger: Messenger, to: str, locale: Locale = Locale.CHINESE) -> bool:
    return await messenger.send_code(to, Purpose.RESET, CODE, locale)


def test_a_code_goes_to_a_phone_over_the_carrier_that_is_set(world: World) -> None:
    async def scene() -> None:
        with aliyun() as fake:
            async with messaging(world, fake.settings()) as messenger:
                assert await send(messenger, PHONE)
                assert [one.template for one in fake.carried] == ["SMS_200"]
                assert await messenger.send_code(PHONE, Purpose.LOGIN, CODE, Locale.ENGLISH)
                # Without a template of its own it is that of registering.
                assert [one.template for one in fake.carried] == ["SMS_200", "SMS_100"]

    run(scene())


def test_a_code_goes_to_a_mailbox_in_the_language_of_its_owner(world: World) -> None:
    async def scene() -> None:
        async with mailing() as box, messaging(world, mail_settings(box.port)) as messenger:
            assert await send(messenger, ADDRESS)
            assert await send(messenger, ADDRESS, Locale.ENGLISH)

            chinese, english = (mail.message for mail in box.box)
            assert (chinese["To"], chinese["From"]) == (ADDRESS, "site@example.com")
            assert chinese["Subject"] == "算力池 验证码"
            assert CODE in chinese.get_content() and "重置" in chinese.get_content()
            assert CODE in english.get_content() and "new password" in english.get_content()
            assert chinese["Message-ID"] != english["Message-ID"]

    run(scene())


def test_letters_carry_what_they_are_about(world: World) -> None:
    async def scene() -> None:
        async with mailing() as box, messaging(world, mail_settings(box.port)) as messenger:
            chinese = letter_of_low_balance("0.3", "4", Locale.CHINESE, "算力池")
            low = letter_of_low_balance("0.5", "5", Locale.ENGLISH, "AI-POOL")
            assert await messenger.send_letter(ADDRESS, chinese)
            assert await messenger.send_letter(ADDRESS, low)

            first, second = (mail.message.get_content() for mail in box.box)
            assert "¥0.3" in first and "¥4" in first
            assert "¥0.5" in second and "¥5" in second

    run(scene())


@pytest.mark.parametrize("to", [PHONE, ADDRESS])
def test_without_anybody_to_carry_it_nothing_is_raised_and_the_log_is_told(
    world: World, to: str
) -> None:
    async def scene() -> None:
        async with messaging(world, {"name": "x"}) as messenger:
            with structlog.testing.capture_logs() as told:
                assert not await send(messenger, to)
        assert [line["event"] for line in told] == ["message_not_sent"]
        assert to not in repr(told) and CODE not in repr(told)

    run(scene())


def test_what_a_provider_says_is_logged_without_numbers_codes_and_secrets(world: World) -> None:
    async def scene() -> None:
        with aliyun() as fake:
            fake.answers.append((200, "isv.X", f"13800138000 {CODE} {KEY_SECRET}"))
            async with (
                mailing(refuses=[ADDRESS]) as box,
                messaging(world, fake.settings() | mail_settings(box.port)) as messenger,
            ):
                with structlog.testing.capture_logs() as told:
                    assert not await send(messenger, PHONE)
                    assert not await send(messenger, ADDRESS)
        by_phone, by_mail = told
        assert (by_phone["by"], by_phone["to"]) == ("aliyun", "+86…8000")
        assert "isv.X" in by_phone["reason"]
        assert (by_mail["by"], by_mail["to"]) == ("mail", "s…@example.com")
        assert "550 nobody here" in by_mail["reason"]
        for secret in ("13800138000", CODE, KEY_SECRET, ADDRESS):
            assert secret not in repr(told)

    run(scene())


def test_an_address_that_would_be_two_headers_is_sent_nothing(world: World) -> None:
    async def scene() -> None:
        async with mailing() as box, messaging(world, mail_settings(box.port)) as messenger:
            assert not await send(messenger, "a@b.c\r\nBcc: d@e.f")
            assert box.visits == 0

    run(scene())


def test_the_console_is_deaf_once_others_can_listen(world: World) -> None:
    async def scene() -> None:
        async with messaging(world, {"sms_provider": "console"}) as messenger:
            assert await send(messenger, PHONE)
        async with messaging(world, {"name": "x"}, host="0.0.0.0") as messenger:
            with structlog.testing.capture_logs() as told:
                assert not await send(messenger, PHONE)
        assert CODE not in repr(told)

    run(scene())


def test_many_at_once_are_each_carried_once(world: World) -> None:
    async def scene() -> None:
        with aliyun() as fake:
            async with messaging(world, fake.settings()) as messenger:
                phones = [f"+86138001380{number:02}" for number in range(30)]
                sent = await asyncio.gather(*(send(messenger, phone) for phone in phones))

        assert all(sent)
        assert sorted(one.phone for one in fake.carried) == [phone[3:] for phone in phones]

    run(scene())
