"""What may stand in the file, and how its problems are reported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from aipool.api_tokens.types import Reset
from aipool.apply.document import read_document
from aipool.apply.entries import Document
from aipool.apply.nodes import ApplyRefused
from aipool.groups.types import NO_CALL_LIMITS, CallLimits
from aipool.rating.types import Price
from aipool.vendors.types import Action, KeySettings, Ordering, Timeouts

GOOD = """\
vendors:
  - name: mm
    type: minimax
    keys:
      - {name: main, api_key: "${KEY}"}
models:
  - name: m1
    context: 1000
    max_output_tokens: 100
    price: {input: 2.1, cached_input: 0.21, output: 8.4}
    routes:
      - {vendor: mm, model: up, cost: {input: 1, output: 4}}
groups:
  - {name: vip, multiplier: 0.8, models: [m1]}
users:
  - {phone: 13800138001, password: correct horse, credit: 100}
tokens:
  - {user: 13800138001, name: prod, group: vip, limit: 50, expires: 2027-01-31, ips: [10.0.0.1]}
"""


def read(text: str, environ: Mapping[str, str] | None = None) -> Document:
    return read_document(text, {"KEY": "secret-key-0123456789"} if environ is None else environ)


def problems(text: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ApplyRefused) as caught:
        read(text, environ)
    return str(caught.value)


def test_a_good_file_is_read_exactly() -> None:
    document = read(GOOD)

    (vendor,), (model,), (group,) = document.vendors, document.models, document.groups
    (user,), (token,) = document.users, document.tokens
    assert vendor.keys[0].secret == "secret-key-0123456789"
    assert model.price.input_nano == 2_100_000_000
    assert model.price.cached_input_nano == 210_000_000
    assert model.routes[0].upstream_model == "up"
    assert group.multiplier_ppm == 800_000
    assert user.phone == "+8613800138001"
    assert user.credit_nano == 100_000_000_000
    assert (token.limit_nano, token.expires_at) == (50_000_000_000, 1_801_440_000)
    assert token.ips == ("10.0.0.1/32",)


def test_what_is_left_out_has_its_default() -> None:
    model = read(GOOD.replace("    context: 1000\n    max_output_tokens: 100\n", "")).models[0]

    assert (model.context_tokens, model.max_output_tokens, model.kind) == (128_000, 16_384, "chat")


def test_cached_input_costs_as_much_as_input_unless_said() -> None:
    model = read(GOOD.replace("cached_input: 0.21, ", "")).models[0]

    assert model.price.cached_input_nano == model.price.input_nano


def test_an_empty_file_is_an_empty_document() -> None:
    assert read("") == Document((), (), (), (), ())
    assert read("models:\n") == Document((), (), (), (), ())


def test_limits_are_read_and_what_is_left_out_or_blank_is_not_limited() -> None:
    document = read(
        GOOD.replace(
            "models: [m1]}",
            "limits: {rpm: 60, tpm: 200000, requests_per_day: 5000, concurrency: 8},"
            " group_limits: {rpm: 1000000000, tpm: }}",
        ).replace("limit: 50", "limit: 0, reset: monthly, total: 1000000, limits: {rpm: 1}")
    )

    (group,), (token,) = document.groups, document.tokens
    assert group.each_user == CallLimits(60, 200_000, 5_000, 8)
    assert group.whole == CallLimits(rpm=1_000_000_000)
    assert (token.limit_nano, token.reset, token.total_nano) == (0, Reset.MONTHLY, 10**15)
    assert token.limits == CallLimits(rpm=1)
    assert read(GOOD).groups[0].each_user == NO_CALL_LIMITS
    for nothing in ("limit: , reset: , total: , limits: ", "limit: none, limits: {rpm: none}"):
        blank = read(GOOD.replace("limit: 50", nothing)).tokens[0]
        assert (blank.limit_nano, blank.reset, blank.total_nano) == (None, Reset.NONE, None)
        assert blank.limits == NO_CALL_LIMITS


def test_free_is_a_price_and_a_multiplier_of_zero() -> None:
    document = read(
        GOOD.replace("multiplier: 0.8", "multiplier: 0").replace(
            "price: {input: 2.1, cached_input: 0.21, output: 8.4}", "price: {input: 0, output: 0}"
        )
    )

    assert document.groups[0].multiplier_ppm == 0
    assert document.models[0].price == Price(0, 0, 0, 0)


#: What peers stored, wrapped around or took for another number.
ODD_NUMBERS = [
    "-1",
    "1.5e0",
    str(2**63),
    str(2**64 - 1),
    str(-(2**63)),
    "18446744073686646784",
    "1e308",
    "1e3",
    ".inf",
    "-.inf",
    ".nan",
    "NaN",
    "true",
    "0x10",
    "0o17",
    "1_000",
    "１００",
    "+5",
    "'5 '",
    "''",
    "[1]",
    "{a: 1}",
    "9" * 400,
]
#: Refused by whoever counts whole things, besides.
ODD_COUNTS = [*ODD_NUMBERS, "0", "1.5", str(2**31)]
COUNTS = [
    ("context: 1000", "models[0].context"),
    ("max_output_tokens: 100", "models[0].max_output_tokens"),
    *(
        (f"multiplier: 0.8, {limits}: {{{name}: 5}}", f"groups[0].{limits}.{name}")
        for limits in ("limits", "group_limits")
        for name in ("rpm", "tpm", "requests_per_day", "concurrency")
    ),
    ("limit: 50, limits: {tpm: 5}", "tokens[0].limits.tpm"),
]
AMOUNTS = [
    ("price: {input: 2.1", "models[0].price.input"),
    ("cached_input: 0.21", "models[0].price.cached_input"),
    ("cost: {input: 1", "models[0].routes[0].cost.input"),
    ("multiplier: 0.8", "groups[0].multiplier"),
    ("credit: 100", "users[0].credit"),
    ("limit: 50", "tokens[0].limit"),
    ("limit: 50, total: 50", "tokens[0].total"),
]


@pytest.mark.parametrize(
    ("written", "path", "odd"),
    [(*field, odd) for field in COUNTS for odd in ODD_COUNTS]
    + [(*field, odd) for field in AMOUNTS for odd in [*ODD_NUMBERS, "1000001", "0.0000000001"]],
)
def test_an_odd_number_is_refused_with_its_line_and_its_field(
    written: str, path: str, odd: str
) -> None:
    stands = next(part for part in (written, written.partition(", ")[0]) if part in GOOD)
    name, _, number = written.rpartition(": ")
    text = GOOD.replace(stands, f"{name}: {odd}{'}' if number.endswith('}') else ''}", 1)
    line = next(n for n, one in enumerate(text.splitlines(), 1) if f"{name}: {odd}" in one)

    assert f"line {line}, {path}: " in problems(text)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("type: minimax", "typ: minimax"),
            ["line 3, vendors[0].typ: unknown field", "type: is missing"],
        ),
        (("type: minimax", "type: mini"), ["line 3, vendors[0].type: 'mini' is none of"]),
        (("name: mm\n", "name:\n"), ["vendors[0].name: is missing"]),
        (("input: 2.1", "input: -2.1"), ["line 10, models[0].price.input: a price per 1M"]),
        (("input: 2.1", "input: 1e9"), ["line 10, models[0].price.input: not a plain decimal"]),
        (("input: 2.1", "input: 2000000"), ["between 0 and 1000000 CNY, not 2000000"]),
        (("input: 2.1", "input: 0.0000000001"), ["at most 9 digits"]),
        (("input: 2.1", "input: .nan"), ["not a plain decimal"]),
        (("input: 2.1, ", ""), ["models[0].price.input: is missing"]),
        (
            ("context: 1000", "context: 10"),
            ["max_output_tokens: 100 is more than the context of 10"],
        ),
        (("context: 1000", "context: -1"), ["line 8, models[0].context"]),
        (("name: m1\n", "name: m1\n    kind: colour\n"), ["'colour' is not supported"]),
        (("multiplier: 0.8", "multiplier: -0.8"), ["line 14, groups[0].multiplier"]),
        (("multiplier: 0.8", "multiplier: 1000"), ["between 0 and 100"]),
        (
            ("multiplier: 0.8", "rpm: 5"),
            ["line 14, groups[0].rpm: unknown field; known: group_limits, limits, models"],
        ),
        (
            ("multiplier: 0.8", "limits: {rpm: 0, rpd: 1}"),
            [
                "line 14, groups[0].limits.rpm: 0 is no limit: write none",
                "line 14, groups[0].limits.rpd: unknown field; known: concurrency, requests_per",
            ],
        ),
        (("multiplier: 0.8", "limits: 5"), ["groups[0].limits: must be fields with values"]),
        (("phone: 13800138001", "role: admin"), ["users[0].role: is not supported yet"]),
        (("limit: 50", "limit: 50, reset: hourly"), ["tokens[0].reset: 'hourly' is no reset type"]),
        (("limit: 50", "total: -1"), ["line 18, tokens[0].total: a limit lies between 0 and"]),
        (("limit: 50", 'limit: ""'), ["tokens[0].limit: not a plain decimal"]),
        (("phone: 13800138001", "phone: 12"), ["line 16, users[0].phone: '12' is no phone number"]),
        (("password: correct horse", "password: short"), ["users[0].password: a password needs"]),
        (("credit: 100", "credit: -1"), ["users[0].credit: an opening credit lies above 0"]),
        (("credit: 100", "credit: 0"), ["users[0].credit: an opening credit lies above 0"]),
        (("credit: 100", "credit: 1000001"), ["users[0].credit"]),
        (("limit: 50", "limit: fifty"), ["line 18, tokens[0].limit"]),
        (("expires: 2027-01-31", "expires: soon"), ["tokens[0].expires: 'soon' is no moment"]),
        (
            ("ips: [10.0.0.1]", "ips: [10.0.0.5/8]"),
            ["tokens[0].ips: '10.0.0.5/8' is an address within a network"],
        ),
        (("ips: [10.0.0.1]", "secret: sk-short"), ["tokens[0].secret: a token is sk-"]),
        (("ips: [10.0.0.1]", "ips: 10.0.0.1"), ["tokens[0].ips: must be a list"]),
        (("models: [m1]", "models: [[m1]]"), ["groups[0].models[0]: must be a text"]),
        (("name: vip", "name: [vip]"), ["groups[0].name: must be a text"]),
        (
            ("keys:\n      - {name: main", "keys:\n      - {nam: main"),
            ["vendors[0].keys[0].nam: unknown"],
        ),
        (
            ("\ntokens:", "\ntokenz:"),
            ["line 17, tokenz: unknown field; known: groups, keywords, models"],
        ),
        (("users:", "groups:"), ["line 15, groups: written twice"]),
        (("name: vip,", "name: vip, name: vop,"), ["groups[0].name: written twice"]),
    ],
)
def test_a_problem_is_reported_with_its_line_and_path(
    change: tuple[str, str], expected: list[str]
) -> None:
    assert change[0] in GOOD

    found = problems(GOOD.replace(*change, 1))

    for text in expected:
        assert text in found


def test_every_problem_is_reported_at_once_and_in_order() -> None:
    found = problems(
        GOOD.replace("multiplier: 0.8", "multiplier: x").replace("credit: 100", "credit: y")
    ).splitlines()

    assert [line.split(",")[0] for line in found] == ["line 14", "line 16"]


def test_the_same_name_twice_is_refused() -> None:
    found = problems(GOOD + "  - {user: +86 138 0013 8001, name: prod}\n")

    assert "line 19, tokens[1]: the same as in line 18" in found


def test_a_missing_variable_is_named_with_its_line_and_nothing_follows_from_it() -> None:
    assert problems(GOOD, {}) == (
        "line 5, vendors[0].keys[0].api_key: the environment variable KEY is not set"
    )


@pytest.mark.parametrize("written", ["${}", "${1X}", "${KEY", "${KEY:-x}"])
def test_another_form_of_variable_is_refused(written: str) -> None:
    assert "is not of the form ${NAME}" in problems(GOOD.replace("${KEY}", written))


def test_a_variable_is_not_read_as_yaml() -> None:
    value = "]: {evil: true} # ${OTHER}"

    assert read(GOOD, {"KEY": value}).vendors[0].keys[0].secret == value


def test_a_secret_is_not_in_a_message() -> None:
    found = problems(GOOD, {"KEY": "schlüssel-geheim"})

    assert "api_key" in found
    assert "geheim" not in found


@pytest.mark.parametrize(
    "text",
    [
        "a: [b, c: }",
        "a: b: c",
        "\t- x",
        "- !!python/object:os.system x",
        "just text",
        "[1, 2]",
        "a: &x [*x]",
    ],
)
def test_what_is_not_such_a_file_is_refused_with_a_line(text: str) -> None:
    assert problems(text).startswith("line 1")


CONFIGURED = """
vendors:
  - name: mm
    type: moonshot
    ordering: weighted
    concurrency: 20
    low_balance: 9.5
    keys:
      - {name: main, api_key: "${KEY}", proxy: "http://10.0.0.1:3128"}
      - name: spare
        api_key: "${KEY}"
        expires: 2027-01-31
        config:
          weight: 3
          model_map: {m1: "17"}
          headers: {X-Team: blue, X-Key: "${KEY}"}
          body_set: {top_k: 5, precise: true, nothing: null, share: 0.5, word: "5"}
          capabilities: {stream_options: false}
          timeouts: {first_byte: 60}
keywords:
  - {vendor_type: minimax, phrase: Account  Frozen, action: invalid}
models:
  - name: m1
    price: {input: 1, output: 2}
    timeouts: {first_byte: 120, idle: none}
    routes:
      - {vendor: mm, groups: [vip, default]}
"""


def test_what_a_key_is_configured_with_is_read_as_json() -> None:
    document = read(CONFIGURED)

    (vendor,), (model,) = document.vendors, document.models
    main, spare = vendor.keys
    assert (vendor.ordering, vendor.concurrency, vendor.low_balance) == (
        Ordering.WEIGHTED,
        20,
        "9.5",
    )
    assert main.settings == KeySettings(proxy="http://10.0.0.1:3128")
    assert spare.expires_at == 1_801_440_000
    assert spare.settings == KeySettings(
        weight=3,
        model_map={"m1": "17"},
        headers={"X-Team": "blue", "X-Key": "secret-key-0123456789"},
        body_set={"top_k": 5, "precise": True, "nothing": None, "share": 0.5, "word": "5"},
        capabilities={"stream_options": False},
        timeouts=Timeouts(first_byte=60),
    )
    assert model.timeouts == Timeouts(first_byte=120)
    assert model.routes[0].groups == ("vip", "default")
    (keyword,) = document.keywords
    assert (keyword.phrase, keyword.action) == ("account frozen", Action.INVALID)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("weight: 3", "weight: 0", "line 13, vendors[0].keys[1].config.weight"),
        ("weight: 3", "heavy: 3", "config.heavy: there is no such field"),
        ("X-Team: blue", "Authorization: x", "config.headers.Authorization"),
        ('{m1: "17"}', "{m1: 17}", "config.model_map.m1"),
        ("weight: 3", 'proxy: "x"', "config.proxy"),
        ("http://10.0.0.1:3128", "socks5://x", "keys[0].proxy: a proxy is written"),
        ("config:\n          weight: 3", "config: 3\n        x:", "must be fields with values"),
        ('"http://10.0.0.1:3128"', '"http://a:1", config: {proxy: "http://a:1"}', "is in config"),
        ('"${KEY}", proxy', '"${KEY}", expires: 2027-01-31, proxy', "does not expire"),
        ("ordering: weighted", "ordering: any", "vendors[0].ordering"),
        ("concurrency: 20", "concurrency: -1", "vendors[0].concurrency"),
        ("low_balance: 9.5", "low_balance: much", "vendors[0].low_balance"),
        ("action: invalid", "action: strip", "keywords[0].action"),
        ("Account  Frozen", "A", "keywords[0].phrase"),
        ("first_byte: 120", "first_byte: 0", "models[0].timeouts.first_byte"),
        ("idle: none", "never: 1", "models[0].timeouts.never: unknown field"),
    ],
)
def test_a_problem_of_the_pool_is_reported_with_its_place(old: str, new: str, problem: str) -> None:
    assert old in CONFIGURED
    assert problem in problems(CONFIGURED.replace(old, new, 1))


def test_the_example_of_the_documentation_is_a_good_file() -> None:
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text("utf-8")
    example = page[page.index("```yaml\n") + 8 :].partition("```")[0]

    secret = "sk-" + "x" * 43
    environ = {"MINIMAX_KEY": secret, "SPARE_KEY": secret, "PASSWORD": "long enough"}
    assert read(example, environ).vendors[0].keys[1].settings.concurrency == 8
