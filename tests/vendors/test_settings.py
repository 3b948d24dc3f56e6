"""A key's configuration: what it may say, and which field a refusal names."""

from __future__ import annotations

import datetime
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.vendors import VENDORS, VENDORS_BY_TYPE
from aipool.vendors.base import Auth, Vendor
from aipool.vendors.settings import (
    CONTROLLED_FIELDS,
    BadSettings,
    Field,
    Kind,
    is_proxy,
    parse_settings,
    settings_schema,
    shown,
)
from aipool.vendors.types import NO_SETTINGS, KeySettings, Timeouts

OPENAI = VENDORS_BY_TYPE["openai"]
AZURE = VENDORS_BY_TYPE["azure_openai"]
CLOUDFLARE = VENDORS_BY_TYPE["cloudflare"]
SANDBOX = VENDORS_BY_TYPE["sandbox"]

FULL: dict[str, Any] = {
    "base_url": "https://proxy.example/v1",
    "model_map": {"gpt-5": "team/gpt-5", "llama": "@cf/meta/llama-3.1-8b"},
    "models": ["gpt-5", "llama"],
    "headers": {"OpenAI-Organization": "org-1", "X-Empty": ""},
    "query": {"team": "ä b"},
    "body_set": {"store": False, "metadata": {"a": [1, None, "x"]}},
    "body_strip": ["user", "logit_bias"],
    "proxy": "http://127.0.0.1:3128",
    "timeouts": {"first_byte": 60.0, "idle": 0.1},
    "capabilities": {"stream_options": False},
    "weight": 1000,
    "concurrency": 100_000,
}


def refused_field(vendor: Vendor, fields: Any) -> str:
    with pytest.raises(BadSettings) as caught:
        parse_settings(vendor, fields)
    assert caught.value.message
    assert str(caught.value) == f"{caught.value.field}: {caught.value.message}"
    return caught.value.field


def test_nothing_said_is_a_configuration() -> None:
    assert parse_settings(OPENAI, {}) == NO_SETTINGS
    assert shown(NO_SETTINGS) == {}


def test_everything_that_can_be_said_comes_back_as_it_was_said() -> None:
    parsed = parse_settings(OPENAI, FULL)

    assert parsed.model_map["llama"] == "@cf/meta/llama-3.1-8b"
    assert parsed.models == ("gpt-5", "llama")
    assert parsed.timeouts == Timeouts(first_byte=60.0, idle=0.1)
    assert shown(parsed) == FULL


def test_what_has_its_default_is_not_shown() -> None:
    fields = {"base_url": "", "weight": 1, "timeouts": {}, "headers": {}, "models": None}

    assert shown(parse_settings(OPENAI, fields)) == {}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        # what is not a field, or not of its kind
        ([], "config"),
        ("https://x.example", "config"),
        (None, "config"),
        ({1: "a"}, "config"),
        ({"secret": "sk-1"}, "config.secret"),
        ({"Headers": {}}, "config.Headers"),
        ({"a` - at `$.timeouts`": 1}, "config.a` - at `$.timeouts`"),
        ({"base_url": 5}, "config.base_url"),
        ({"base_url": None}, "config.base_url"),
        ({"model_map": ["a"]}, "config.model_map"),
        ({"model_map": {"a": 1}}, "config.model_map.a"),
        ({"models": "gpt-5"}, "config.models"),
        ({"models": ["a", 2]}, "config.models[1]"),
        ({"headers": "X-A: b"}, "config.headers"),
        ({"headers": {"X-A": "b", "X-B": None}}, "config.headers.X-B"),
        ({"headers": {1: "b"}}, "config.headers"),
        ({"query": {"a": ["b"]}}, "config.query.a"),
        ({"body_set": []}, "config.body_set"),
        ({"body_strip": {"a": 1}}, "config.body_strip"),
        ({"body_strip": [None]}, "config.body_strip[0]"),
        ({"proxy": False}, "config.proxy"),
        ({"timeouts": 5}, "config.timeouts"),
        ({"timeouts": None}, "config.timeouts"),
        ({"timeouts": {"idle": "5"}}, "config.timeouts.idle"),
        ({"timeouts": {"idle": True}}, "config.timeouts.idle"),
        ({"timeouts": {"total": 5}}, "config.timeouts.total"),
        ({"capabilities": {"stream_options": 0}}, "config.capabilities.stream_options"),
        ({"weight": "1"}, "config.weight"),
        ({"weight": True}, "config.weight"),
        ({"weight": 1.5}, "config.weight"),
        ({"concurrency": None}, "config.concurrency"),
        # numbers
        ({"weight": 0}, "config.weight"),
        ({"weight": 1001}, "config.weight"),
        ({"concurrency": -1}, "config.concurrency"),
        ({"concurrency": 100_001}, "config.concurrency"),
        ({"timeouts": {"first_byte": 0.05}}, "config.timeouts.first_byte"),
        ({"timeouts": {"first_event": 3600.5}}, "config.timeouts.first_event"),
        ({"timeouts": {"idle": math.nan}}, "config.timeouts.idle"),
        ({"timeouts": {"idle": math.inf}}, "config.timeouts.idle"),
        ({"capabilities": {"json_schema": True}}, "config.capabilities.json_schema"),
        # names of models
        ({"models": []}, "config.models"),
        ({"models": ["a b"]}, "config.models[0]"),
        ({"models": ["a", ""]}, "config.models[1]"),
        ({"models": [".."]}, "config.models[0]"),
        ({"models": ["x" * 201]}, "config.models[0]"),
        ({"models": [f"m{n}" for n in range(2001)]}, "config.models"),
        ({"model_map": {"a": "b c"}}, "config.model_map.a"),
        ({"model_map": {"a": ""}}, "config.model_map.a"),
        ({"model_map": {"a?": "b"}}, "config.model_map.a?"),
        ({"model_map": {"a": "b#c"}}, "config.model_map.a"),
        ({"model_map": {f"m{n}": "m" for n in range(2001)}}, "config.model_map"),
        # the query
        ({"query": {"": "a"}}, "config.query."),
        ({"query": {"a": "b\r\nc"}}, "config.query.a"),
        ({"query": {"a\x00": "b"}}, "config.query.a\x00"),
        ({"query": {"a": "\ud800"}}, "config.query.a"),
        ({"query": {f"a{n}": "" for n in range(33)}}, "config.query"),
        ({"query": {"a": "x" * 8192}}, "config.query"),
        # the body
        ({"body_set": {"": 1}}, "config.body_set."),
        ({"body_set": {"a b": 1}}, "config.body_set.a b"),
        ({"body_set": {"a": math.nan}}, "config.body_set.a"),
        ({"body_set": {"a": {"b": [math.inf]}}}, "config.body_set.a"),
        ({"body_set": {"a": "\ud800"}}, "config.body_set.a"),
        ({"body_set": {"a": datetime.date(2026, 11, 22)}}, "config.body_set.a"),
        ({"body_set": {"a": {1: 2}}}, "config.body_set.a"),
        ({"body_set": {"a": object()}}, "config.body_set.a"),
        ({"body_set": {"a": "x" * 16384}}, "config.body_set"),
        ({"body_strip": ["a b"]}, "config.body_strip[0]"),
        ({"body_strip": ["a", "x" * 101]}, "config.body_strip[1]"),
        ({"body_strip": ["a"] * 2001}, "config.body_strip"),
        ({"body_set": {"a": 1}, "body_strip": ["b", "a"]}, "config.body_strip[1]"),
        # elsewhere
        ({"base_url": "https://x.example/" + "a" * 2048}, "config.base_url"),
        ({"proxy": "https://p.example:1"}, "config.proxy"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(fields: Any, field: str) -> None:
    assert refused_field(OPENAI, fields) == field


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "host",
        "Content-Length",
        "Content-Type",
        "Content-Encoding",
        "Transfer-Encoding",
        "Accept-Encoding",
        "Authorization",
        "x-api-key",
        "API-Key",
        "X-Goog-Api-Key",
        "Cookie",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Proxy-Authorization",
        "proxy-connection",
        "Proxy-Whatever",
        "X-Own",
        "",
        "X A",
        "X-A:",
        "X\r\nHost",
        "Ü",
        "X\x00",
    ],
)
def test_headers_of_the_gateway_and_those_that_carry_a_key_cannot_be_set(name: str) -> None:
    vendor = Vendor(type="a", title="A", base_url=None, auth=Auth("x-own"))

    assert (
        refused_field(vendor, {"headers": {"X-Fine": "a", name: "b"}}) == f"config.headers.{name}"
    )


@pytest.mark.parametrize("value", ["a\r\nHost: evil", "a\nb", "a\x00", "ä", "a\tb", "\x7f"])
def test_the_value_of_a_header_stays_in_its_line(value: str) -> None:
    assert refused_field(OPENAI, {"headers": {"X-A": value}}) == "config.headers.X-A"


@pytest.mark.parametrize(
    "headers",
    [{f"X-{n}": "" for n in range(33)}, {"X-A": "a" * 8190}, {"X" * 8193: ""}],
)
def test_headers_are_few_and_short(headers: dict[str, str]) -> None:
    assert refused_field(OPENAI, {"headers": headers}) == "config.headers"


def test_a_header_is_there_once_however_it_is_written() -> None:
    assert refused_field(OPENAI, {"headers": {"X-A": "1", "x-a": "2"}}) == "config.headers.x-a"


@pytest.mark.parametrize("name", sorted(CONTROLLED_FIELDS))
def test_fields_the_price_hangs_on_are_neither_put_in_nor_taken_out(name: str) -> None:
    assert refused_field(OPENAI, {"body_set": {name: 1}}) == f"config.body_set.{name}"
    assert refused_field(OPENAI, {"body_strip": [name]}) == "config.body_strip[0]"


@pytest.mark.parametrize("name", ["api_version", "region", "project"])
def test_a_field_that_the_vendor_does_not_have_is_refused_unless_it_says_nothing(name: str) -> None:
    assert refused_field(OPENAI, {name: "x"}) == f"config.{name}"
    assert parse_settings(OPENAI, {name: ""}) == NO_SETTINGS


@pytest.mark.parametrize("version", ["2024-10-21", "2024-10-01-preview"])
def test_a_vendor_takes_the_fields_it_names(version: str) -> None:
    assert parse_settings(AZURE, {"api_version": version}).api_version == version
    assert parse_settings(AZURE, {}).api_version == ""


@pytest.mark.parametrize(
    "part", ["../x", "a/b", "a b", "a&b=c", "a?b", "..", "ü", "x" * 101, "a\n"]
)
def test_what_goes_into_a_path_is_only_letters_and_digits(part: str) -> None:
    assert refused_field(AZURE, {"api_version": part}) == "config.api_version"
    assert refused_field(CLOUDFLARE, {"project": part}) == "config.project"


def test_a_field_that_the_vendor_cannot_do_without_is_asked_for() -> None:
    assert refused_field(CLOUDFLARE, {}) == "config.project"
    assert parse_settings(CLOUDFLARE, {"project": "0a1b"}).project == "0a1b"


@pytest.mark.parametrize(
    ("name", "value"), [("base_url", "https://x.example"), ("proxy", "http://p.example:1")]
)
def test_what_answers_on_a_socket_has_neither_address_nor_proxy(name: str, value: str) -> None:
    assert refused_field(SANDBOX, {name: value}) == f"config.{name}"


@pytest.mark.parametrize(
    "text", ["http://p.example:3128", "http://10.0.0.1:1", "http://[::1]:3128", "http://p:80/"]
)
def test_a_proxy_is_an_address_with_a_port(text: str) -> None:
    assert is_proxy(text)
    assert parse_settings(OPENAI, {"proxy": text}).proxy == text


@pytest.mark.parametrize(
    "text",
    [
        "p.example:3128",
        "http://p.example",
        "https://p.example:3128",
        "socks5://p.example:1080",
        "http://user:pass@p.example:3128",
        "http://p.example:3128/path",
        "http://p.example:3128?x=1",
        "http://p.example:3128#x",
        "http://p.example:99999",
        "http://p.example:x",
        "http://[::1:1",
        "http://p.exämple:1",
        "http://a b:1",
        "http://a\\b:1",
        "http://p.example:1\r\nX: y",
        "",
    ],
)
def test_anything_else_is_no_proxy(text: str) -> None:
    assert not is_proxy(text)


@pytest.mark.parametrize("secret", ["sk-canary-1", "http://user:sk-canary-1@p.example:1"])
def test_a_refusal_does_not_repeat_what_was_said(secret: str) -> None:
    for fields in (
        {"headers": {"Authorization": secret}},
        {"headers": {"X-A": secret + "\n"}},
        {"query": {"key": secret + "\n"}},
        {"proxy": secret},
        {"weight": secret},
        {"base_url": [secret]},
        {"body_set": {"model": secret}},
        {"api_version": secret},
        {"models": [secret + " "]},
        {"capabilities": {"stream_options": secret}},
    ):
        with pytest.raises(BadSettings) as caught:
            parse_settings(OPENAI, fields)
        assert "canary" not in str(caught.value)


def test_the_name_of_a_field_in_a_refusal_is_not_endless() -> None:
    assert len(refused_field(OPENAI, {"x" * 10_000: 1})) == 200


def test_lists_inside_lists_without_end_are_refused() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]

    assert refused_field(OPENAI, {"body_set": {"a": deep}}) == "config.body_set.a"


# --- the form -------------------------------------------------------------------------------------


def leaf_names(settings_type: type[msgspec.Struct]) -> set[str]:
    plain = set(settings_type.__struct_fields__) - {"timeouts"}
    return plain | {f"timeouts.{name}" for name in Timeouts.__struct_fields__}


def test_the_form_of_some_vendor_has_every_field_there_is() -> None:
    offered = {field.name for vendor in VENDORS for field in settings_schema(vendor)}

    # No vendor so far has regions.
    assert offered == leaf_names(KeySettings) - {"region"}


def sample(field: Field) -> Any:
    samples: dict[Kind, Any] = {
        Kind.TEXT: "abc",
        Kind.ADDRESS: "http://p.example:3128",
        Kind.INTEGER: 7,
        Kind.SECONDS: 7.5,
        Kind.NAMES: ["abc"],
        Kind.PAIRS: {"X-A": "abc"},
        Kind.SWITCHES: {"stream_options": False},
        Kind.VALUES: {"x": [1]},
    }
    return samples[field.kind]


def said(name: str, value: Any) -> dict[str, Any]:
    outer, _, inner = name.partition(".")
    return {outer: {inner: value}} if inner else {outer: value}


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.type)
def test_what_a_form_asks_for_is_taken_and_nothing_else(vendor: Vendor) -> None:
    schema = settings_schema(vendor)
    needed: dict[str, Any] = dict.fromkeys(vendor.required, "abc")

    for field in schema:
        assert field.help.endswith(".")
        assert field.required is (field.name in vendor.required)
        parsed = parse_settings(vendor, needed | said(field.name, sample(field)))
        assert shown(parsed) == needed | said(field.name, sample(field))

    for name in leaf_names(KeySettings) - {field.name for field in schema}:
        assert refused_field(vendor, needed | said(name, "abc")) == f"config.{name}"


def test_a_form_shows_what_counts_when_nothing_is_said() -> None:
    defaults = {field.name: field.default for field in settings_schema(OPENAI)}

    assert defaults["base_url"] == OPENAI.base_url
    assert defaults["models"] is None
    assert defaults["weight"] == 1
    assert defaults["timeouts.idle"] is None
    assert {field.name: field.default for field in settings_schema(AZURE)}["base_url"] == ""
    assert msgspec.json.encode(settings_schema(OPENAI))


# --- everything else ------------------------------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
_fields = st.dictionaries(st.sampled_from([*KeySettings.__struct_fields__, "x"]), _json, max_size=4)


@settings(max_examples=200, database=None)
@given(st.sampled_from([OPENAI, AZURE, CLOUDFLARE, SANDBOX]), _fields)
def test_any_json_is_either_taken_whole_or_refused_by_a_field(
    vendor: Vendor, fields: dict[str, Any]
) -> None:
    try:
        parsed = parse_settings(vendor, fields)
    except BadSettings as problem:
        assert problem.field.startswith("config")
    else:
        assert parse_settings(vendor, shown(parsed)) == parsed
