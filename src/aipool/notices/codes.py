"""What a person is written who must prove that a phone or a mailbox is theirs, or is to be told
of something. The words, and who it is for in a log. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum


class Locale(StrEnum):
    """The languages this program speaks to people."""

    CHINESE = "zh-CN"
    ENGLISH = "en"


class Purpose(StrEnum):
    """What a code is good for; it is good for nothing else."""

    REGISTER = "register"
    LOGIN = "login"
    RESET = "reset"
    VERIFY = "verify"


#: How long the text says a code is good.
CODE_MINUTES = 5

_CODE_TEXTS = {
    Locale.CHINESE: {
        Purpose.REGISTER: "您正在注册 {site}，验证码 {code}，{minutes} 分钟内有效。请勿告诉他人。",
        Purpose.LOGIN: "您正在登录 {site}，验证码 {code}，{minutes} 分钟内有效。请勿告诉他人。",
        Purpose.RESET: "您正在重置 {site} 的密码，验证码 {code}，{minutes} 分钟内有效。"
        "如非本人操作，请忽略。",
        Purpose.VERIFY: "您正在 {site} 验证联系方式，验证码 {code}，{minutes} 分钟内有效。"
        "请勿告诉他人。",
    },
    Locale.ENGLISH: {
        Purpose.REGISTER: "{code} is your code to register at {site}. It is good for {minutes} "
        "minutes. Tell it to nobody.",
        Purpose.LOGIN: "{code} is your code to log in to {site}. It is good for {minutes} minutes. "
        "Tell it to nobody.",
        Purpose.RESET: "{code} is your code to set a new password at {site}. It is good for "
        "{minutes} minutes. If you did not ask for it, do nothing.",
        Purpose.VERIFY: "{code} is your code to confirm your number or address at {site}. It is "
        "good for {minutes} minutes. Tell it to nobody.",
    },
}

_CODE_SUBJECTS = {
    Locale.CHINESE: "{site} 验证码",
    Locale.ENGLISH: "Your code for {site}",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail to one person: one line of subject, and text."""

    subject: str
    text: str


def text_of_code(purpose: Purpose, code: str, locale: Locale, site: str) -> str:
    """The sentence that carries a code. site: its name."""
    return _CODE_TEXTS[locale][purpose].format(code=code, site=site, minutes=CODE_MINUTES)


def letter_of_code(purpose: Purpose, code: str, locale: Locale, site: str) -> Letter:
    """The mail that carries a code."""
    subject = _CODE_SUBJECTS[locale].format(site=site)
    return Letter(subject, text_of_code(purpose, code, locale, site))


@dataclass(frozen=True, slots=True)
class CodeSent:
    """A code on its way to a phone. phone: E.164.  site: its name."""

    phone: str
    purpose: Purpose
    code: str = field(repr=False)
    locale: Locale
    site: str

    @property
    def text(self) -> str:
        """The sentence that carries it."""
        return text_of_code(self.purpose, self.code, self.locale, self.site)


# --- other letters ----------------------------------------------------------------------------

_LOW_BALANCE = {
    Locale.CHINESE: Letter(
        "{site} 余额不足",
        "您的余额为 ¥{balance}，已低于您设置的 ¥{limit}。余额用完后调用会被拒绝，请及时充值。",
    ),
    Locale.ENGLISH: Letter(
        "Your balance at {site} is low",
        "Your balance is ¥{balance}, below the ¥{limit} that was set. When it is used up, calls "
        "are refused; please recharge in time.",
    ),
}

_FAILED_LOGINS = {
    Locale.CHINESE: Letter(
        "{site} 登录失败提醒",
        "过去 24 小时内，您的 {site} 账号有 {tries} 次登录失败，最近一次来自网络 {network}。"
        "如果是您本人，无需处理。如果不是，请更换一个未在别处使用的密码，并开启两步验证。"
        "此提醒每天最多发送一次。",
    ),
    Locale.ENGLISH: Letter(
        "Failed logins at {site}",
        "In the last 24 hours {tries} logins to your account at {site} failed, the last of them "
        "from the network {network}. If it was you, there is nothing to do. If it was not, choose "
        "another password, one that you use nowhere else, and switch on the second factor. You "
        "are told of this once a day at most.",
    ),
}

_UNKNOWN = {Locale.CHINESE: "（未知）", Locale.ENGLISH: "(unknown)"}

_TRIAL = {
    Locale.CHINESE: Letter("{site} 测试邮件", "这封邮件说明邮件服务器的设置可以使用。"),
    Locale.ENGLISH: Letter("Test mail of {site}", "This mail says that the mail server works."),
}


def letter_of_low_balance(balance: str, limit: str, locale: Locale, site: str) -> Letter:
    """The mail that warns of an empty wallet. balance, limit: CNY as decimal text."""
    return _filled(_LOW_BALANCE[locale], balance=balance, limit=limit, site=site)


def letter_of_failed_logins(tries: int, network: str, locale: Locale, site: str) -> Letter:
    """The mail that warns of somebody who tries to get in. network: masked; "" = not known."""
    shown = network or _UNKNOWN[locale]
    return _filled(_FAILED_LOGINS[locale], tries=tries, network=shown, site=site)


def letter_of_trial(locale: Locale, site: str) -> Letter:
    """The mail by which an administrator tries out a mail server."""
    return _filled(_TRIAL[locale], site=site)


def _filled(letter: Letter, **words: object) -> Letter:
    return Letter(letter.subject.format(**words), letter.text.format(**words))


# --- in a log ---------------------------------------------------------------------------------

#: A number of a phone, or a code.
_DIGITS = re.compile(r"\d{4,}")


def scrubbed(text: str, *secrets: str) -> str:
    """What a provider said, without secrets and without what looks like a number or a code."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "…")
    return _DIGITS.sub("…", text)[:_SAID_CHARACTERS_MAX]


_SAID_CHARACTERS_MAX = 300


def masked_phone(phone: str) -> str:
    """A number for a log: +8613800138000 is +86…8000."""
    return f"{phone[:3]}…{phone[-4:]}" if len(phone) >= 10 else "…"


def masked_mail(address: str) -> str:
    """A mail address for a log: somebody@example.com is s…@example.com."""
    name, _, domain = address.rpartition("@")
    return f"{name[:1]}…@{domain}"
