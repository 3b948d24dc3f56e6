"""A vendor's table becomes paths and a header."""

from __future__ import annotations

from typing import Any

import pytest

from aipool.vendors import VENDORS, VENDORS_BY_TYPE
from aipool.vendors.base import (
    BEARER,
    CHAT_RESOURCE,
    Auth,
    Vendor,
    auth_headers,
    chat_path,
    decimal_text,
    joined,
    models_path,
    vocabulary_of,
    with_query,
)
from aipool.vendors.types import NO_SETTINGS, KeySettings

USUAL = Vendor(type="usual", title="Usual", base_url=None)

# A base address, and what stands before the resource in the path it makes.
ADDRESSES = [
    ("https://api.openai.com/v1", "/v1"),
    ("https://api.openai.com/v1/", "/v1"),
    ("https://api.openai.com/v1//", "/v1"),
    ("https://api.openai.com", "/v1"),
    ("https://api.openai.com/", "/v1"),
    ("https://api.moonshot.cn/v1", "/v1"),
    ("https://open.bigmodel.cn/api/paas/v4", "/api/paas/v4"),
    ("https://open.bigmodel.cn/api/coding/paas/v4/", "/api/coding/paas/v4"),
    ("https://ark.cn-beijing.volces.com/api/v3", "/api/v3"),
    ("https://qianfan.baidubce.com/v2", "/v2"),
    ("https://api.groq.com/openai/v1", "/openai/v1"),
    ("https://api.deepinfra.com/v1/openai", "/v1/openai"),
    ("https://api.novita.ai/v3/openai", "/v3/openai"),
    ("https://google.example/v1beta/openai", "/v1beta/openai"),
    ("https://google.example/v1beta2", "/v1beta2"),
    ("https://dashscope.aliyuncs.com/compatible-mode/v1", "/compatible-mode/v1"),
    ("https://api.kimi.com/coding", "/coding/v1"),
    ("http://127.0.0.1:8000", "/v1"),
    ("http://[::1]:8000/v1", "/v1"),
    ("https://video.example/vendor", "/vendor/v1"),
    ("https://v1.example", "/v1"),
    ("https://x.example/v1x", "/v1x/v1"),
]


@pytest.mark.parametrize(("base_url", "before"), ADDRESSES)
def test_a_base_address_that_names_a_version_gets_only_the_resource(
    base_url: str, before: str
) -> None:
    assert joined(base_url, CHAT_RESOURCE) == before + "/chat/completions"
    assert chat_path(USUAL, base_url, NO_SETTINGS, "m") == before + "/chat/completions"
    assert models_path(USUAL, base_url, NO_SETTINGS) == before + "/models"


@pytest.mark.parametrize(
    ("base_url", "chat", "models"),
    [
        ("https://api.perplexity.ai/chat/completions", "/chat/completions", "/models"),
        ("https://x.example/v1/chat/completions", "/v1/chat/completions", "/v1/models"),
        ("https://x.example/v1/chat/completions/", "/v1/chat/completions", "/v1/models"),
        ("https://x.example/chat/completions?a=1", "/chat/completions?a=1", "/models?a=1"),
    ],
)
def test_an_address_that_ends_in_the_resource_is_taken_as_it_stands(
    base_url: str, chat: str, models: str
) -> None:
    assert chat_path(USUAL, base_url, NO_SETTINGS, "m") == chat
    assert models_path(USUAL, base_url, NO_SETTINGS) == models


def test_the_query_of_the_address_and_that_of_the_key_are_both_sent() -> None:
    settings = KeySettings(query={"team": "a b&c", "ü": "?"})

    path = chat_path(USUAL, "https://x.example/v1?api-version=2", settings, "m")

    assert path == "/v1/chat/completions?api-version=2&team=a+b%26c&%C3%BC=%3F"
    assert models_path(USUAL, "https://x.example", settings) == "/v1/models?team=a+b%26c&%C3%BC=%3F"
    assert with_query("/v1", {}) == "/v1"


def test_a_vendor_without_a_list_of_models_is_not_asked_for_one() -> None:
    silent = Vendor(type="a", title="A", base_url=None, models_path="")

    assert models_path(silent, "https://x.example/v1", KeySettings(query={"a": "b"})) == ""


def test_a_vendors_own_way_of_joining_gets_the_address_the_settings_and_the_model() -> None:
    own = Vendor(
        type="a",
        title="A",
        base_url=None,
        chat_path=lambda base_url, settings, model: f"/{base_url}/{settings.region}/{model}?x=1",
    )

    path = chat_path(own, "base", KeySettings(region="east", query={"y": "2"}), "m")

    assert path == "/base/east/m?x=1&y=2"


def test_a_key_is_presented_as_the_vendor_wants_it() -> None:
    plain = Vendor(type="a", title="A", base_url=None, auth=BEARER)
    header = Vendor(type="b", title="B", base_url=None, auth=Auth("api-key"))

    assert auth_headers(plain, "sk-1") == b"Authorization: Bearer sk-1\r\n"
    assert auth_headers(header, "sk-1") == b"api-key: sk-1\r\n"


def test_no_key_presents_nothing() -> None:
    assert auth_headers(VENDORS[0], "") == b""


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.type)
@pytest.mark.parametrize("key", ["a\r\nX-Evil: 1", "a\nb", "a\x00", "密钥", "a\x7f"])
def test_a_key_cannot_end_its_header(vendor: Vendor, key: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        auth_headers(vendor, key)

    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (49.58894, "49.58894"),
        (1e-7, "0.0000001"),
        (-3, "-3"),
        (0, "0"),
        ("110.00", "110.00"),
        ("-0.5", "-0.5"),
        (True, ""),
        (None, ""),
        (float("nan"), ""),
        (float("inf"), ""),
        (1e300, ""),
        (10**30, ""),
        pytest.param(10**5000, "", id="endless"),
        ("1e9", ""),
        ("1,000.00", ""),
        ("¥5", ""),
        ("٣", ""),
        ("", ""),
        ([], ""),
        ({}, ""),
    ],
)
def test_an_amount_is_a_plain_decimal_or_nothing(value: Any, text: str) -> None:
    assert decimal_text(value) == text


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
    ],
)
def test_a_model_cuts_text_by_the_vocabulary_of_its_generation(model: str, vocabulary: str) -> None:
    assert vocabulary_of(VENDORS_BY_TYPE["openai"], model) == vocabulary


def test_nobody_claims_to_know_the_vocabulary_of_other_vendors() -> None:
    others = [vendor for vendor in VENDORS if vendor.type != "openai"]

    assert {vocabulary_of(vendor, "gpt-4o") for vendor in others} == {""}
