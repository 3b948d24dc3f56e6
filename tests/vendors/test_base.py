"""A vendor's table becomes a path and a header."""

from __future__ import annotations

import pytest

from aipool.vendors import VENDORS, VENDORS_BY_TYPE
from aipool.vendors.base import BEARER, Auth, Vendor, auth_headers, chat_url, vocabulary_of


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("https://api.openai.com/v1", "/v1/chat/completions"),
        ("https://api.openai.com/v1/", "/v1/chat/completions"),
        ("https://api.openai.com", "/v1/chat/completions"),
        ("https://api.openai.com/", "/v1/chat/completions"),
        ("https://api.moonshot.cn/v1", "/v1/chat/completions"),
        ("https://open.bigmodel.cn/api/paas/v4", "/api/paas/v4/chat/completions"),
        ("https://ark.cn-beijing.volces.com/api/v3", "/api/v3/chat/completions"),
        ("https://qianfan.baidubce.com/v2", "/v2/chat/completions"),
        ("https://api.groq.com/openai/v1", "/openai/v1/chat/completions"),
        ("https://api.deepinfra.com/v1/openai", "/v1/openai/chat/completions"),
        (
            "https://google.example/v1beta/openai",
            "/v1beta/openai/chat/completions",
        ),
        (
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            "/compatible-mode/v1/chat/completions",
        ),
        ("https://api.kimi.com/coding", "/coding/v1/chat/completions"),
        ("https://api.perplexity.ai/chat/completions", "/chat/completions"),
        ("http://127.0.0.1:8000", "/v1/chat/completions"),
        ("http://[::1]:8000/v1", "/v1/chat/completions"),
        ("https://x.example/v1?api-version=2", "/v1/chat/completions?api-version=2"),
        ("https://video.example/vendor", "/vendor/v1/chat/completions"),
    ],
)
def test_a_base_address_that_names_a_version_gets_only_the_resource(
    base_url: str, path: str
) -> None:
    assert chat_url(base_url) == path


def test_a_key_is_presented_as_the_vendor_wants_it() -> None:
    plain = Vendor(type="a", title="A", base_url=None, auth=BEARER)
    header = Vendor(type="b", title="B", base_url=None, auth=Auth("api-key"))

    assert auth_headers(plain, "sk-1") == b"Authorization: Bearer sk-1\r\n"
    assert auth_headers(header, "sk-1") == b"api-key: sk-1\r\n"


def test_no_key_presents_nothing() -> None:
    assert auth_headers(VENDORS[0], "") == b""


@pytest.mark.parametrize("key", ["a\r\nX-Evil: 1", "a\nb", "a\x00", "密钥", "a\x7f"])
def test_a_key_cannot_end_its_header(key: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        auth_headers(VENDORS[0], key)


def test_every_vendor_is_listed_once() -> None:
    assert len(VENDORS_BY_TYPE) == len(VENDORS)
    for vendor in VENDORS:
        assert vendor.base_url is None or chat_url(vendor.base_url) == "/v1/chat/completions"


def test_only_the_sandbox_answers_on_a_socket() -> None:
    assert [vendor.type for vendor in VENDORS if vendor.socket] == ["sandbox"]


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
