"""Writes to people, over what the settings of the site name at that moment.

Whoever asked for a code is answered before it is sent, and the same whether there is somebody to
send it to: so nothing here raises, and what went wrong is told to the log alone, with the number
or address masked. How many messages there may be is decided before, by whoever makes the code.

A route that answers first hands `send_code` to its background tasks.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

import structlog

from aipool.config import Settings
from aipool.kit.clock import now_ms
from aipool.kit.db import PASSING_ERRORS, Database
from aipool.kit.outbound import Vet
from aipool.notices import rendering
from aipool.notices.codes import (
    CodeSent,
    Letter,
    Locale,
    Purpose,
    letter_of_code,
    masked_mail,
    masked_phone,
    scrubbed,
)
from aipool.notices.sending import Outcome, Sender
from aipool.notices.sms import Carrier
from aipool.notices.sms.aliyun import Account, Aliyun
from aipool.notices.sms.console import Console
from aipool.notices.sms.webhook import Webhook
from aipool.notices.types import Secrets
from aipool.site import types as settings_of
from aipool.site.rules import Values, aliyun_template, mail_server
from aipool.site.service import Site
from aipool.site.types import SmsProvider
from aipool.wire.limits import Limits

_log = structlog.get_logger()

#: Messages under way at once; the others wait their turn.
_AT_ONCE_MAX = 20

_NOT_SET = Outcome("nobody is set who would carry it")


class Messenger:
    """Sends from the event loop of the control process, which closes it at its end."""

    def __init__(
        self,
        database: Database,
        site: Site,
        settings: Settings,
        *,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._database = database
        self._site = site
        self._vet = Vet(settings.private_upstreams)
        self._limits: Limits = settings.limits
        self._ca_file: Path | None = settings.upstream_ca_file
        self._clock_ms = clock_ms
        # Made by the first message: an application may be built without an event loop.
        self._sender: Sender | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE_MAX)

    async def send_code(self, to: str, purpose: Purpose, code: str, locale: Locale) -> bool:
        """Sends a code to a phone (E.164) or a mail address. True = it was handed over."""
        values = await self._values()
        if values is None:
            return False
        name = values[settings_of.NAME]
        if "@" in to:
            letter = letter_of_code(purpose, code, locale, name)
            outcome = await self._mail(values, to, letter)
        else:
            outcome = await self._text(values, CodeSent(to, purpose, code, locale, name))
        return self._told(values, to, f"code to {purpose.value}", outcome)

    async def send_letter(self, to: str, letter: Letter) -> bool:
        """Sends a mail. True = it was handed over."""
        values = await self._values()
        if values is None:
            return False
        return self._told(values, to, "letter", await self._mail(values, to, letter))

    async def try_text(self, to: str, purpose: Purpose, code: str, locale: Locale) -> Outcome:
        """Sends a code for an administrator who wants to know what becomes of it."""
        values = await self._values()
        if values is None:
            return Outcome("the database cannot be read now")
        return await self._text(
            values, CodeSent(to, purpose, code, locale, values[settings_of.NAME])
        )

    async def try_letter(self, to: str, letter: Letter) -> Outcome:
        """Sends a mail for an administrator who wants to know what becomes of it."""
        values = await self._values()
        if values is None:
            return Outcome("the database cannot be read now")
        return await self._mail(values, to, letter)

    async def close(self) -> None:
        """Ends every connection."""
        if self._sender is not None:
            await self._sender.close()

    # --- inside -----------------------------------------------------------------------------

    async def _values(self) -> Values | None:
        try:
            return await asyncio.to_thread(self._read)
        except PASSING_ERRORS as error:
            _log.warning("message_without_database", reason=str(error))
            return None

    def _read(self) -> Values:
        with self._database.read() as connection:
            return self._site.values(connection)

    async def _text(self, values: Values, sent: CodeSent) -> Outcome:
        carrier = self._carrier(values)
        if carrier is None:
            return _NOT_SET
        try:
            async with self._turns:
                outcome = await carrier.send(sent, self._clock_ms())
        except Exception as mistake:  # noqa: BLE001 - its text may hold what it was working on
            outcome = Outcome(f"it could not be sent ({type(mistake).__name__})")
        return _scrubbed(outcome, sent.phone, sent.code)

    async def _mail(self, values: Values, to: str, letter: Letter) -> Outcome:
        server = mail_server(values, to)
        if not server.host:
            return _NOT_SET
        password = values[settings_of.SMTP_PASSWORD]
        try:
            message = rendering.letter(server, letter, self._clock_ms(), secrets.token_hex(12))
            async with self._turns:
                outcome = await self._open().hand_in(server, Secrets(password=password), message)
        except Exception as mistake:  # noqa: BLE001 - its text may hold what it was working on
            outcome = Outcome(f"it could not be sent ({type(mistake).__name__})")
        return _scrubbed(outcome, to, password)

    def _carrier(self, values: Values) -> Carrier | None:
        match values[settings_of.SMS_PROVIDER]:
            case SmsProvider.CONSOLE if self._site.is_local:
                return Console()
            case SmsProvider.WEBHOOK:
                url = values[settings_of.SMS_WEBHOOK_URL]
                signing = values[settings_of.SMS_WEBHOOK_SECRET]
                return Webhook(self._open(), self._vet, url, signing)
            case SmsProvider.ALIYUN:
                return Aliyun(self._open(), self._vet, _account(values))
            case _:
                return None

    def _open(self) -> Sender:
        if self._sender is None:
            self._sender = Sender(self._vet, self._limits, self._ca_file)
        return self._sender

    def _told(self, values: Values, to: str, what: str, outcome: Outcome) -> bool:
        if outcome.refusal is None:
            return True
        is_mail = "@" in to
        _log.error(
            "message_not_sent",
            what=what,
            by="mail" if is_mail else values[settings_of.SMS_PROVIDER].value,
            to=masked_mail(to) if is_mail else masked_phone(to),
            reason=outcome.refusal,
        )
        return False


def _account(values: Values) -> Account:
    return Account(
        values[settings_of.ALIYUN_ENDPOINT],
        values[settings_of.ALIYUN_ACCESS_KEY_ID],
        values[settings_of.ALIYUN_ACCESS_KEY_SECRET],
        values[settings_of.ALIYUN_SIGN_NAME],
        {purpose: aliyun_template(values, purpose) for purpose in Purpose},
    )


def _scrubbed(outcome: Outcome, *secret: str) -> Outcome:
    if outcome.refusal is None:
        return outcome
    return Outcome(scrubbed(outcome.refusal, *secret))
