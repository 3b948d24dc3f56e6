"""Every vendor's file: where it is called, how it is shown the key, what it says is left."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.vendors import VENDORS, VENDORS_BY_TYPE
from aipool.vendors.base import CHAT_RESOURCE, Dialect, Vendor, auth_headers, chat_path, models_path
from aipool.vendors.types import NO_SETTINGS, KeySettings, Money

# Host, path of chat completions, path of the list of models at the usual address.
USUAL = {
    "openai": ("api.openai.com", "/v1/chat/completions", "/v1/models"),
    "anthropic": ("api.anthropic.com", "/v1/chat/completions", "/v1/models"),
    "gemini": (
        "generativelanguage.googleapis.com",
        "/v1beta/openai/chat/completions",
        "/v1beta/openai/models",
    ),
    "deepseek": ("api.deepseek.com", "/v1/chat/completions", "/v1/models"),
    "dashscope": (
        "dashscope.aliyuncs.com",
        "/compatible-mode/v1/chat/completions",
        "/compatible-mode/v1/models",
    ),
    "ark": ("ark.cn-beijing.volces.com", "/api/v3/chat/completions", "/api/v3/models"),
    "zhipu": ("open.bigmodel.cn", "/api/paas/v4/chat/completions", "/api/paas/v4/models"),
    "moonshot": ("api.moonshot.cn", "/v1/chat/completions", "/v1/models"),
    "minimax": ("api.minimaxi.com", "/v1/chat/completions", "/v1/models"),
    "siliconflow": ("api.siliconflow.cn", "/v1/chat/completions", "/v1/models"),
    "openrouter": ("openrouter.ai", "/api/v1/chat/completions", "/api/v1/models"),
    "xai": ("api.x.ai", "/v1/chat/completions", "/v1/models"),
    "mistral": ("api.mistral.ai", "/v1/chat/completions", "/v1/models"),
    "cohere": ("api.cohere.ai", "/compatibility/v1/chat/completions", ""),
    "qianfan": ("qianfan.baidubce.com", "/v2/chat/completions", "/v2/models"),
    "hunyuan": ("api.hunyuan.cloud.tencent.com", "/v1/chat/completions", ""),
    "stepfun": ("api.stepfun.com", "/v1/chat/completions", "/v1/models"),
    "spark": ("spark-api-open.xf-yun.com", "/v1/chat/completions", ""),
    "lingyiwanwu": ("api.lingyiwanwu.com", "/v1/chat/completions", "/v1/models"),
    "baichuan": ("api.baichuan-ai.com", "/v1/chat/completions", ""),
    "ai360": ("api.360.cn", "/v1/chat/completions", "/v1/models"),
    "groq": ("api.groq.com", "/openai/v1/chat/completions", "/openai/v1/models"),
    "together": ("api.together.ai", "/v1/chat/completions", "/v1/models"),
    "fireworks": ("api.fireworks.ai", "/inference/v1/chat/completions", "/inference/v1/models"),
    "deepinfra": ("api.deepinfra.com", "/v1/openai/chat/completions", "/v1/openai/models"),
    "cerebras": ("api.cerebras.ai", "/v1/chat/completions", "/v1/models"),
    "sambanova": ("api.sambanova.ai", "/v1/chat/completions", "/v1/models"),
    "perplexity": ("api.perplexity.ai", "/chat/completions", ""),
    "nvidia": ("integrate.api.nvidia.com", "/v1/chat/completions", "/v1/models"),
    "novita": ("api.novita.ai", "/openai/v1/chat/completions", "/openai/v1/models"),
    "nebius": ("api.tokenfactory.nebius.com", "/v1/chat/completions", "/v1/models"),
    "huggingface": ("router.huggingface.co", "/v1/chat/completions", "/v1/models"),
    "cloudflare": (
        "api.cloudflare.com",
        "/client/v4/accounts/acc-1/ai/v1/chat/completions",
        "",
    ),
    "sandbox": ("sandbox", "/v1/chat/completions", "/v1/models"),
}

#: Those that only the operator knows the address of.
ANYWHERE = {"azure_openai", "openai_compatible"}

of_every_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.type)


def host_of(url: str) -> str:
    match = re.fullmatch(r"https?://([^/:]+)(/.*)?", url)
    assert match, url
    return match[1]


@pytest.mark.parametrize("vendor_type", USUAL)
def test_a_vendor_is_called_where_it_says(vendor_type: str) -> None:
    vendor = VENDORS_BY_TYPE[vendor_type]
    assert vendor.base_url is not None
    configured = msgspec.convert(dict.fromkeys(vendor.required, "acc-1"), KeySettings)

    paths = (
        chat_path(vendor, vendor.base_url, configured, "m"),
        models_path(vendor, vendor.base_url, configured),
    )

    assert (host_of(vendor.base_url), *paths) == USUAL[vendor_type]


def test_the_table_above_has_every_vendor() -> None:
    assert USUAL.keys() | ANYWHERE == VENDORS_BY_TYPE.keys()
    assert {vendor.type for vendor in VENDORS if vendor.base_url is None} == ANYWHERE


@pytest.mark.parametrize(
    ("base_url", "api_version", "path"),
    [
        ("https://r.openai.azure.com", "", "/openai/v1/chat/completions"),
        ("https://r.openai.azure.com/", "", "/openai/v1/chat/completions"),
        ("https://r.openai.azure.com/openai", "", "/openai/v1/chat/completions"),
        ("https://r.openai.azure.com/openai/v1/", "", "/openai/v1/chat/completions"),
        (
            "https://r.openai.azure.com/openai/v1/chat/completions",
            "",
            "/openai/v1/chat/completions",
        ),
        ("https://front.example/azure", "", "/azure/openai/v1/chat/completions"),
        (
            "https://r.openai.azure.com/openai/v1?api-version=preview",
            "",
            "/openai/v1/chat/completions?api-version=preview",
        ),
        (
            "https://r.openai.azure.com",
            "2024-10-21",
            "/openai/deployments/my%2Fgpt%3F/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://r.openai.azure.com/openai/v1?a=b&api-version=preview",
            "2024-10-21",
            "/openai/deployments/my%2Fgpt%3F/chat/completions?a=b&api-version=2024-10-21",
        ),
        (
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-06-01",
            "2024-10-21",
            "/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_azure_names_the_deployment_in_the_path_only_with_an_api_version(
    base_url: str, api_version: str, path: str
) -> None:
    azure = VENDORS_BY_TYPE["azure_openai"]

    assert chat_path(azure, base_url, KeySettings(api_version=api_version), "my/gpt?") == path
    assert auth_headers(azure, "k") == b"api-key: k\r\n"


def test_a_server_of_ones_own_is_called_without_a_key() -> None:
    own = VENDORS_BY_TYPE["openai_compatible"]

    assert chat_path(own, "http://10.0.0.1:11434", NO_SETTINGS, "m") == "/v1/chat/completions"
    assert auth_headers(own, "") == b""


def test_every_vendor_is_listed_once_under_its_own_title() -> None:
    assert len(VENDORS_BY_TYPE) == len(VENDORS) == len({vendor.title for vendor in VENDORS})
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", vendor.type) for vendor in VENDORS)


def test_only_the_sandbox_answers_on_a_socket() -> None:
    assert [vendor.type for vendor in VENDORS if vendor.socket] == ["sandbox"]


@of_every_vendor
def test_what_a_file_says_rests_on_documents_and_nothing_is_called_verified_that_is_not(
    vendor: Vendor,
) -> None:
    assert vendor.verified is (vendor.type == "sandbox")
    assert vendor.sources or vendor.type in ("sandbox", "openai_compatible")
    for source in vendor.sources:
        assert source.title
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", source.read_on)


@of_every_vendor
def test_a_person_is_told_where_to_get_a_key(vendor: Vendor) -> None:
    needs_none = vendor.type in ("sandbox", "openai_compatible")

    assert bool(vendor.key_page) is not needs_none
    assert needs_none or vendor.key_page.startswith("https://")
    assert "?" not in (vendor.base_url or "")


@of_every_vendor
def test_every_vendor_is_called_in_the_chat_dialect_with_a_cap_it_knows(vendor: Vendor) -> None:
    assert Dialect.CHAT in vendor.dialects
    assert len(set(vendor.dialects)) == len(vendor.dialects)
    assert vendor.max_tokens_field in ("max_tokens", "max_completion_tokens")
    assert CHAT_RESOURCE in chat_path(
        vendor, vendor.base_url or "https://x.example", NO_SETTINGS, ""
    )
    assert set(vendor.required) <= set(vendor.fields)


# --- balances -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor_type", "answer", "balance"),
    [
        (
            "deepseek",
            {
                "is_available": True,
                "balance_infos": [{"currency": "CNY", "total_balance": "110.00"}],
            },
            Money("110.00", "CNY"),
        ),
        (
            "deepseek",
            {
                "balance_infos": [
                    {"currency": "CNY", "total_balance": "0.00"},
                    {"currency": "USD", "total_balance": "-20.5"},
                ]
            },
            Money("-20.5", "USD"),
        ),
        (
            "deepseek",
            {"balance_infos": [{"currency": "CNY", "total_balance": "0.00"}]},
            Money("0.00", "CNY"),
        ),
        ("deepseek", {"balance_infos": [{"currency": "CNY"}, 7, {"total_balance": "1"}]}, None),
        ("deepseek", {"balance_infos": []}, None),
        (
            "moonshot",
            {"code": 0, "data": {"available_balance": 49.58894, "cash_balance": 3.00001}},
            Money("49.58894", ""),
        ),
        ("moonshot", {"code": 401, "data": None}, None),
        (
            "siliconflow",
            {"code": 20000, "data": {"balance": "0.88", "totalBalance": "88.88"}},
            Money("88.88", ""),
        ),
        ("siliconflow", {"data": {"totalBalance": "much"}}, None),
        (
            "openrouter",
            {"data": {"total_credits": 100.5, "total_usage": 25.75}},
            Money("74.75", "USD"),
        ),
        ("openrouter", {"data": {"total_credits": 1, "total_usage": 1.5}}, Money("-0.5", "USD")),
        ("openrouter", {"data": {"total_credits": 1}}, None),
    ],
)
def test_a_balance_is_read_as_the_vendor_says_it(
    vendor_type: str, answer: Any, balance: Money | None
) -> None:
    probe = VENDORS_BY_TYPE[vendor_type].balance

    assert probe is not None
    assert probe.path.startswith("/")
    assert probe.read(answer) == balance


PROBES = [vendor.balance for vendor in VENDORS if vendor.balance]

_words = st.sampled_from(
    [
        "data",
        "balance_infos",
        "total_balance",
        "currency",
        "available_balance",
        "totalBalance",
        "total_credits",
        "total_usage",
    ]
)
_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _words
_json = st.recursive(
    _leaves | st.sampled_from(["1.5", "-3", "1e99", "9" * 40]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_words | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=200, database=None)
@given(_json)
def test_no_answer_whatsoever_breaks_the_reading_of_a_balance(answer: Any) -> None:
    for probe in PROBES:
        for shaped in (answer, {"data": answer}, {"balance_infos": [answer]}):
            balance = probe.read(shaped)
            assert balance is None or re.fullmatch(r"-?\d+(\.\d+)?", balance.amount)


def test_the_vendors_that_tell_a_balance_are_asked() -> None:
    told = {vendor.type for vendor in VENDORS if vendor.balance}

    assert told == {"deepseek", "moonshot", "siliconflow", "openrouter"}
