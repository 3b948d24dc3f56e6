"""What a setting of the site may be, however it is written."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from aipool.site import types as settings
from aipool.site.types import SETTINGS, Setting

GOOD: list[tuple[Setting[Any], object, object]] = [
    (settings.NAME, "  算力池 ", "算力池"),
    (settings.LOGO, "/logo.png", "/logo.png"),
    (settings.LOGO, "data:image/png;base64,aGk=", "data:image/png;base64,aGk="),
    (settings.BASE_URL, "https://ai.example.com/", "https://ai.example.com"),
    (settings.ANNOUNCEMENT, "a\r\nb\rc ", "a\nb\nc"),
    (settings.LOW_BALANCE, "0.5", 500_000_000),
    (settings.COUNTRY_CODES, ["+86", "852", "86"], ("86", "852")),
    (settings.COUNTRY_CODES, [], ()),
    (settings.TOTP_REQUIRED, True, True),
    (settings.CALL_RETENTION_DAYS, 0, 0),
]

BAD: list[tuple[Setting[Any], object]] = [
    (settings.NAME, "two\nlines"),
    (settings.NAME, "n" * 61),
    (settings.NAME, 7),
    (settings.LOGO, "https://elsewhere.example/logo.png"),
    (settings.LOGO, "//elsewhere.example/logo.png"),
    (settings.LOGO, "data:text/html;base64,aGk="),
    (settings.LOGO, "data:image/png;base64,<script>"),
    (settings.LOGO, "data:image/png;base64," + base64.b64encode(bytes(60_000)).decode()),
    (settings.BASE_URL, "javascript:alert(1)"),
    (settings.BASE_URL, "https://user:pass@host"),
    (settings.BASE_URL, "https://host?x=1"),
    (settings.BASE_URL, "https://host:99999"),
    (settings.ANNOUNCEMENT, "a\0b"),
    (settings.DISPLAY_CURRENCY, "yuan"),
    (settings.CREDIT_FACTOR, "0"),
    (settings.CREDIT_FACTOR, "1e3"),
    (settings.LOW_BALANCE, "-1"),
    (settings.LOW_BALANCE, 5),
    (settings.COUNTRY_CODES, "86"),
    (settings.COUNTRY_CODES, ["086"]),
    (settings.COUNTRY_CODES, ["86"] * 51),
    (settings.TOTP_REQUIRED, 1),
    (settings.TOTP_REQUIRED, "true"),
    (settings.CALL_RETENTION_DAYS, True),
    (settings.CALL_RETENTION_DAYS, -1),
    (settings.REGISTRATION, "anybody"),
    (settings.SMTP_PORT, "587"),
]


@pytest.mark.parametrize(("setting", "raw", "value"), GOOD)
def test_a_good_value_is_taken(setting: Setting[Any], raw: object, value: object) -> None:
    assert setting.kind.check(raw) == value


@pytest.mark.parametrize(("setting", "raw"), BAD)
def test_a_bad_value_is_refused(setting: Setting[Any], raw: object) -> None:
    with pytest.raises(ValueError):
        setting.kind.check(raw)


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        (settings.TOTP_REQUIRED, "True", True),
        (settings.TOTP_REQUIRED, "off", False),
        (settings.SMTP_PORT, "465", 465),
        (settings.COUNTRY_CODES, "86, 852", ("86", "852")),
        (settings.REGISTRATION, "closed", settings.Registration.CLOSED),
        (settings.LOW_BALANCE, "12.5", 12_500_000_000),
    ],
)
def test_text_of_the_environment_means_the_same(
    setting: Setting[Any], text: str, value: object
) -> None:
    assert setting.kind.check(setting.kind.read(text)) == value


def test_every_setting_is_written_once_and_takes_its_own_default() -> None:
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)
    for setting in SETTINGS:
        assert setting.kind.check(setting.kind.write(setting.default)) == setting.default
        assert not (setting.secret and setting.public)
