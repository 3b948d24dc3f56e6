"""Decisions about settings of the site that need each other.

A value by itself is judged by its kind (`site.values`); here is what must hold between them, so
that nobody switches on what cannot work: a phone number is not verified without somebody who
carries text messages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aipool.kit.errors import Invalid
from aipool.kit.outbound import Vet
from aipool.notices import rules as notices
from aipool.notices.codes import Purpose
from aipool.notices.types import Kind, MailServer
from aipool.site import types as settings
from aipool.site.types import Setting, SmsProvider, Verification

T = TypeVar("T")


class Values:
    """What is in force at one moment, by setting."""

    __slots__ = ("_by_name",)

    def __init__(self, by_name: Mapping[str, Any]) -> None:
        self._by_name = by_name

    def __getitem__(self, setting: Setting[T]) -> T:
        found: T = self._by_name[setting.name]
        return found

    def by_name(self) -> Mapping[str, Any]:
        """All of it."""
        return self._by_name


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the settings of the site must fit. is_local: nobody but this machine is listened to."""

    vet: Vet
    is_local: bool


@dataclass(frozen=True, slots=True)
class _Discord:
    """Settings that do not go together. field: the first that people would change."""

    code: str
    message: str
    between: tuple[Setting[Any], ...]
    params: Mapping[str, object] = field(default_factory=dict)


def check_together(values: Values, changed: Collection[str], around: Surroundings) -> None:
    """Raises Invalid for the first discord that a change of these settings has a part in: one
    that was there before, and is about others, is not theirs to put right."""
    for discord in _discords(values, around):
        touched = [setting.name for setting in discord.between if setting.name in changed]
        if touched:
            raise Invalid(discord.code, discord.message, field=touched[0], params=discord.params)


def mail_server(values: Values, to: str) -> MailServer:
    """Where mail to somebody is handed in."""
    return MailServer(
        values[settings.SMTP_HOST],
        values[settings.SMTP_PORT],
        values[settings.SMTP_TLS],
        values[settings.SMTP_USER],
        values[settings.SMTP_FROM],
        (to,),
    )


def aliyun_template(values: Values, purpose: Purpose) -> str:
    """The template for a purpose; that of registering where there is none of its own."""
    own = values[settings.ALIYUN_TEMPLATES[purpose]]
    return own or values[settings.ALIYUN_TEMPLATES[Purpose.REGISTER]]


# --- what must hold -------------------------------------------------------------------------


def _discords(values: Values, around: Surroundings) -> Iterator[_Discord]:
    yield from _about_terms(values)
    yield from _about_verification(values)
    match values[settings.SMS_PROVIDER]:
        case SmsProvider.CONSOLE:
            yield from _about_console(around)
        case SmsProvider.WEBHOOK:
            yield from _about_webhook(values, around)
        case SmsProvider.ALIYUN:
            yield from _about_aliyun(values, around)
        case SmsProvider.NONE:
            pass
    if values[settings.SMTP_HOST]:
        yield from _about_mail(values, around)


def _of(problem: Invalid, between: tuple[Setting[Any], ...]) -> _Discord:
    return _Discord(problem.code, problem.message, between, problem.params)


def _about_terms(values: Values) -> Iterator[_Discord]:
    for version, text in (
        (settings.TERMS_VERSION, settings.TERMS_TEXT),
        (settings.PRIVACY_VERSION, settings.PRIVACY_TEXT),
    ):
        if values[version] and not values[text]:
            yield _Discord(
                "text_missing",
                f"nobody can agree to an empty {text.name}",
                (version, text),
                {"name": text.name},
            )


def _about_verification(values: Values) -> Iterator[_Discord]:
    if (
        values[settings.VERIFY_PHONE] is not Verification.OFF
        and values[settings.SMS_PROVIDER] is SmsProvider.NONE
    ):
        yield _Discord(
            "sms_provider_missing",
            "a phone is verified by a text message: choose sms_provider first",
            (settings.VERIFY_PHONE, settings.SMS_PROVIDER),
        )
    if values[settings.VERIFY_EMAIL] is not Verification.OFF and not values[settings.SMTP_HOST]:
        yield _Discord(
            "mail_server_missing",
            "an address is verified by a mail: set smtp_host first",
            (settings.VERIFY_EMAIL, settings.SMTP_HOST),
        )


def _about_console(around: Surroundings) -> Iterator[_Discord]:
    if not around.is_local:
        yield _Discord(
            "console_not_allowed",
            "codes are printed to the log only where nobody but this machine is listened to "
            "(AIPOOL_HOST)",
            (settings.SMS_PROVIDER,),
        )


def _about_webhook(values: Values, around: Surroundings) -> Iterator[_Discord]:
    url, secret = settings.SMS_WEBHOOK_URL, settings.SMS_WEBHOOK_SECRET
    try:
        notices.checked_url(values[url], around.vet)
    except Invalid as problem:
        yield _of(problem, (url, settings.SMS_PROVIDER))
    try:
        notices.check_signing(Kind.WEBHOOK, values[secret])
    except Invalid as problem:
        yield _of(problem, (secret, settings.SMS_PROVIDER))


def _about_aliyun(values: Values, around: Surroundings) -> Iterator[_Discord]:
    try:
        notices.checked_url(values[settings.ALIYUN_ENDPOINT], around.vet)
    except Invalid as problem:
        between = (settings.ALIYUN_ENDPOINT, settings.SMS_PROVIDER)
        yield _of(problem, between)
    for needed in (
        settings.ALIYUN_ACCESS_KEY_ID,
        settings.ALIYUN_ACCESS_KEY_SECRET,
        settings.ALIYUN_SIGN_NAME,
        settings.ALIYUN_TEMPLATES[Purpose.REGISTER],
    ):
        if not values[needed]:
            between = (needed, settings.SMS_PROVIDER)
            yield _Discord(
                "setting_missing", f"Aliyun needs {needed.name}", between, {"name": needed.name}
            )


_FIELDS_OF_MAIL: Mapping[str, Setting[Any]] = {
    "host": settings.SMTP_HOST,
    "port": settings.SMTP_PORT,
    "tls": settings.SMTP_TLS,
    "user": settings.SMTP_USER,
    "password": settings.SMTP_PASSWORD,
    "from": settings.SMTP_FROM,
}


def _about_mail(values: Values, around: Surroundings) -> Iterator[_Discord]:
    sender = values[settings.SMTP_FROM]
    try:
        notices.check_mail(mail_server(values, sender), values[settings.SMTP_PASSWORD], around.vet)
    except Invalid as problem:
        own = _FIELDS_OF_MAIL[problem.field]
        others = (one for one in _FIELDS_OF_MAIL.values() if one is not own)
        yield _of(problem, (own, *others))
