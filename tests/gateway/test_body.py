"""What is read of a chat request, and that nothing but the named values is ever changed."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aipool.gateway import body as bodies
from aipool.gateway.body import (
    CHOICES_MAX,
    CONTROLLED,
    IMAGE_TOKENS,
    LARGE_BYTES,
    ChatBody,
    parse,
    splice,
    with_usage,
)
from aipool.gateway.errors import Refusal
from aipool.rating.types import TOKENS_MAX

REST = b'"model":"m","messages":[]'
PLAIN = b"{" + REST + b"}"
#: Numbers with which other gateways were made to pay their customers.
ABSURD = [
    b"-1",
    b"0",
    b"2147483648",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073686646784",
    b"1180591620717411303424",
    b"1e308",
    b"1e400",
    b"1.5",
    b"1.0",
    b'"NaN"',
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"true",
    b'"5"',
    b"[1]",
    b"{}",
    b"1" * 5000,
]


def good(raw: bytes) -> ChatBody:
    parsed = parse(raw)
    assert isinstance(parsed, ChatBody), parsed
    return parsed


def refused(raw: bytes) -> Refusal:
    parsed = parse(raw)
    assert isinstance(parsed, Refusal), parsed
    assert parsed.status == 400
    return parsed


# --- what is read ---------------------------------------------------------------------------------


def test_what_the_client_did_not_say_has_its_default() -> None:
    parsed = good(PLAIN)

    assert (parsed.raw, parsed.model, parsed.input_tokens_max) == (PLAIN, "m", len(PLAIN))
    assert (parsed.stream, parsed.usage_wanted, parsed.output_cap) == (False, False, None)
    assert parsed.choices == 1
    assert parsed.spans == {"model": (9, 12)}


def test_what_the_client_said_is_read_with_its_place() -> None:
    raw = (
        b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"n":3,'
        b'"max_tokens":10,"max_completion_tokens":20,"service_tier":"flex","messages":[1]}'
    )

    parsed = good(raw)

    assert (parsed.stream, parsed.usage_wanted, parsed.choices) == (True, True, 3)
    assert parsed.output_cap == 20, "of two caps the larger is held for"
    assert {name: raw[slice(*span)] for name, span in parsed.spans.items()} == {
        "model": b'"m"',
        "stream": b"true",
        "stream_options": b'{"include_usage":true}',
        "n": b"3",
        "max_tokens": b"10",
        "max_completion_tokens": b"20",
        "service_tier": b'"flex"',
    }


@pytest.mark.parametrize("name", sorted(CONTROLLED - {"model"}))
def test_null_is_absent(name: str) -> None:
    parsed = good(b'{"%b":null,%b}' % (name.encode(), REST))

    assert (parsed.stream, parsed.usage_wanted, parsed.output_cap) == (False, False, None)
    assert parsed.choices == 1
    assert name in parsed.spans


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "7"),
        ("model", "null"),
        ("model", '""'),
        ("model", '["m"]'),
        ("model", '"a\\u0000b"'),
        ("model", '"\\ud800"'),
        ("model", '"' + "m" * 201 + '"'),
        ("messages", "null"),
        ("messages", '"hello"'),
        ("messages", "{}"),
        ("stream", "1"),
        ("stream", '"true"'),
        ("stream_options", "true"),
        ("stream_options", "[]"),
        ("service_tier", "1"),
        ("service_tier", "{}"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(field: str, value: str) -> None:
    fields = {"model": '"m"', "messages": "[]", field: value}
    raw = "{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}"

    assert refused(raw.encode()).param == field


@pytest.mark.parametrize("raw", [b'{"model":"m"}', b'{"messages":[]}', b"{}", b"{ }"])
def test_a_missing_field_is_refused(raw: bytes) -> None:
    assert refused(raw).param in ("model", "messages")


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens", "n"])
@pytest.mark.parametrize("value", ABSURD, ids=lambda value: value[:20].decode())
def test_an_absurd_number_is_refused(field: str, value: bytes) -> None:
    refused(b'{"%b":%b,%b}' % (field.encode(), value, REST))


@pytest.mark.parametrize(
    ("field", "most"),
    [("max_tokens", TOKENS_MAX), ("max_completion_tokens", TOKENS_MAX), ("n", CHOICES_MAX)],
)
def test_the_bounds_of_a_number_are_its_last_good_values(field: str, most: int) -> None:
    for value, is_good in ((0, False), (1, True), (most, True), (most + 1, False)):
        parsed = parse(b'{"%b":%d,%b}' % (field.encode(), value, REST))
        assert isinstance(parsed, ChatBody) is is_good


@pytest.mark.parametrize("value", ABSURD, ids=lambda value: value[:20].decode())
def test_an_absurd_number_elsewhere_is_the_vendors_to_judge(value: bytes) -> None:
    parsed = parse(b'{"seed":%b,%b}' % (value, REST))

    if value in (b"NaN", b"Infinity", b"-Infinity"):
        assert isinstance(parsed, Refusal), "no JSON at all"
    else:
        assert isinstance(parsed, ChatBody)
        assert value in splice(parsed, {"model": b'"x"'})


# --- what is no JSON object -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"text"',
        b"7",
        b"{",
        b"{" + REST,
        b"{" + REST + b",}",
        PLAIN + b"x",
        PLAIN + b"\0",
        PLAIN + PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
        b'\xef\xbb\xbf{"x":"\\ud800",' + REST + b"}",
        PLAIN.decode().encode("utf-16"),
        PLAIN.decode().encode("utf-16-le"),
        PLAIN.decode().encode("utf-32"),
        b"{'model':'m','messages':[]}",
        b'{"x":"\x01",' + REST + b"}",
        b'{"\xff":1,' + REST + b"}",
        b'{"x":NaN,' + REST + b"}",
        b'{"x":[-Infinity],' + REST + b"}",
        b'{"x":01,' + REST + b"}",
        b'{"x":"\\x",' + REST + b"}",
        b"[" * 1_000_000,
        b'{"x":' * 100_000,
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    refused(raw)


@pytest.mark.parametrize("first", [b"", b'"x":1,'], ids=["once", "twice"])
def test_what_is_nested_too_deeply_is_refused(first: bytes) -> None:
    deep = sys.getrecursionlimit() * 100

    said = refused(b'{%b"x":%b%b,%b}' % (first, b"[" * deep, b"]" * deep, REST))

    assert "deeply" in said.message


def test_blanks_around_a_body_are_no_mistake() -> None:
    raw = b" \r\n\t" + PLAIN + b"\n \t\r"

    assert splice(good(raw), {"model": b'"x"'}) == raw.replace(b'"m"', b'"x"')


# --- two readers of one text ----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CONTROLLED))
@pytest.mark.parametrize("again", ["plain", "escaped"])
def test_a_controlled_field_that_occurs_twice_is_refused(name: str, again: str) -> None:
    values = {"model": b'"m"', "stream": b"true", "stream_options": b"{}", "service_tier": b'"a"'}
    value = values.get(name, b"1")
    second = name if again == "plain" else f"{name[:-1]}\\u{ord(name[-1]):04x}"
    fields = b'"%b":%b,"x":1,"%b":%b' % (name.encode(), value, second.encode(), value)
    rest = b'"messages":[]' if name == "model" else REST

    assert refused(b"{%b,%b}" % (fields, rest)).param == name


@pytest.mark.parametrize(
    "key",
    [
        "Model",
        "MODEL",
        "\u017ftream",  # a long s folds to s
        "max_token\u017f",
        "max_to\u212aens",  # the sign of the Kelvin folds to k
        "\\u004dodel",
        "\\u017ftream",
        "N",
        "Stream_Options",
        "service_Tier",
    ],
)
def test_a_key_that_folds_to_a_controlled_one_is_refused(key: str) -> None:
    said = refused(f'{{"{key}":1,{REST.decode()}}}'.encode())

    assert "lower case" in said.message


@pytest.mark.parametrize("key", ["models", "mode", "nn", "", "ﬁeld", "温度", "Seed", "\\u0078"])
def test_any_other_key_passes(key: str) -> None:
    raw = f'{{"{key}":1,{REST.decode()}}}'.encode()

    assert splice(good(raw), {"model": b'"x"'}) == raw.replace(b'"m"', b'"x"')


def test_an_escaped_key_is_the_field_it_names() -> None:
    raw = b'{"mod\\u0065l":"a","\\u006d\\u0061x_tokens":7,"messages":[]}'

    parsed = good(raw)

    assert (parsed.model, parsed.output_cap) == ("a", 7)
    assert splice(parsed, {"model": b'"b"', "max_tokens": b"9"}) == (
        b'{"mod\\u0065l":"b","\\u006d\\u0061x_tokens":9,"messages":[]}'
    )


def test_a_field_that_decides_nothing_may_occur_twice() -> None:
    raw = b'{"x":[1,2],"x":%b,"x":[12,3],"x":[1],"seed":1,"seed":12,%b}' % (b"7" * 5000, REST)

    assert splice(good(raw), {"model": b'"x"'}) == raw.replace(b'"m"', b'"x"')


def test_a_body_of_very_many_fields_is_refused_and_not_walked() -> None:
    refused(b"{" + b'"x":1,' * 100_000 + REST + b"}")
    refused(b"{" + b'"\\u0078":1,' * 100_000 + REST + b"}")
    refused(b"{" + b",".join(b'"x%d":1' % n for n in range(50_000)) + b"," + REST + b"}")


def test_a_large_body_is_read_without_making_objects_of_it() -> None:
    large = b"[" + b"[]," * (LARGE_BYTES // 3) + b"[]]"
    raw = b'{ "x" : %b , "mod\\u0065l" : "m", "messages":[]}' % large

    assert splice(good(raw), {"model": b'"x"'}) == raw.replace(b'"m"', b'"x"')
    refused(b'{"x":1,"x":%b,%b}' % (large, REST))
    refused(b'{"x":%b,"x":%b,%b}' % (large, large, REST))
    refused(b'{"x":%b,"y":"\\ud800",%b,}' % (large, REST))


def test_lone_surrogates_pass_as_they_are() -> None:
    raw = (
        b'{"user":"\\ud800","\\udfff":"x","stream_options":{"a":"\\ud83d"}, "stream":true,%b}'
        % REST
    )

    parsed = good(raw)
    changed = splice(parsed, {"model": b'"x"', "stream_options": with_usage(parsed)})

    assert parsed.stream
    assert json.loads(changed) == json.loads(raw) | {
        "model": "x",
        "stream_options": {"a": "\ud83d", "include_usage": True},
    }


# --- pictures -------------------------------------------------------------------------------------


def _picture(base64_bytes: int, key: bytes = b'"url"') -> bytes:
    part = b'{"type":"image_url","image_url":{%b : "data:image/png;base64,%b"}}'
    text = b'"model":"m","messages":[{"role":"user","content":[%b]}]'
    return b"{" + text % (part % (key, b"A" * base64_bytes)) + b"}"


def test_a_picture_counts_as_one_however_long_it_is() -> None:
    for base64_bytes in (10, 10_000, 1_000_000):
        bound = good(_picture(base64_bytes)).input_tokens_max
        assert IMAGE_TOKENS < bound < IMAGE_TOKENS + 300


def test_text_that_begins_like_a_picture_counts_as_text() -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"data:%b"}]}' % (b"a " * 50_000)

    assert good(raw).input_tokens_max == len(raw)


# --- splicing -------------------------------------------------------------------------------------


def test_what_is_absent_is_appended() -> None:
    raw = b'{"model":"m" , "messages":[] }\n'

    assert splice(good(raw), {"max_tokens": b"5"}) == (
        b'{"model":"m" , "messages":[] ,"max_tokens":5}\n'
    )


def test_nothing_to_change_changes_nothing() -> None:
    raw = b'{ "a":1e400,"a":"\\/", %b}' % REST

    assert splice(good(raw), {}) == raw


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (None, {"include_usage": True}),
        (b"null", {"include_usage": True}),
        (b"{ }", {"include_usage": True}),
        (b'{"include_usage":false}', {"include_usage": True}),
        (b'{"include_usage":null,"x":[1,{"y":2}]}', {"include_usage": True, "x": [1, {"y": 2}]}),
        (b'{"x":1,"include\\u005fusage":false}', {"include_usage": True, "x": 1}),
        (b'{"a\\"b":1}', {"include_usage": True, 'a"b': 1}),
    ],
)
def test_usage_is_asked_for_beside_what_the_client_wrote(
    options: bytes | None, wanted: dict[str, Any]
) -> None:
    fields = b"" if options is None else b'"stream_options":%b,' % options

    assert json.loads(with_usage(good(b"{" + fields + REST + b"}"))) == wanted


# --- generated bodies -----------------------------------------------------------------------------

_text = st.text(max_size=12)
_scalar = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text
)
_value = st.recursive(
    _scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_controlled = st.fixed_dictionaries(
    {"model": st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9)},
    optional={
        "stream": st.booleans() | st.none(),
        "stream_options": st.none() | st.dictionaries(_text, _value, max_size=2),
        "max_tokens": st.integers(1, TOKENS_MAX) | st.none(),
        "max_completion_tokens": st.integers(1, TOKENS_MAX),
        "n": st.integers(1, CHOICES_MAX),
        "service_tier": _text,
    },
)
_other_key = (st.sampled_from(["temperature", "tools", "seed", "Seed"]) | _text).filter(
    lambda key: key.casefold() not in CONTROLLED and key != "messages"
)
_changes = st.dictionaries(
    st.sampled_from(["model", "stream_options", "max_tokens", "max_completion_tokens"]),
    st.sampled_from([b"1", b'"x"', b'{"include_usage":true}', b"null", b"123456789"]),
    min_size=1,
)


class _Writer:
    """Writes JSON in one of many styles."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self._blanks = draw(st.sampled_from(["", " ", "mixed"]))
        self._escapes = draw(st.sampled_from(["none", "ascii", "all"]))

    def blank(self) -> str:
        if self._blanks != "mixed":
            return str(self._blanks)
        return str(self._draw(st.text(" \t\r\n", max_size=3)))

    def string(self, text: str) -> str:
        if self._escapes == "all":
            units = text.encode("utf-16-be")
            pairs = [units[i : i + 2].hex() for i in range(0, len(units), 2)]
            return '"' + "".join(f"\\u{pair}" for pair in pairs) + '"'
        return json.dumps(text, ensure_ascii=self._escapes == "ascii").replace("/", "\\/")

    def value(self, value: Any) -> str:
        if isinstance(value, str):
            return self.string(value)
        if isinstance(value, list):
            return "[" + ",".join(self.padded(self.value(item)) for item in value) + "]"
        if isinstance(value, dict):
            return self.object(list(value.items()))
        return json.dumps(value)

    def padded(self, text: str) -> str:
        return self.blank() + text + self.blank()

    def object(self, items: list[tuple[str, Any]]) -> str:
        members = (
            self.padded(self.string(key)) + ":" + self.padded(self.value(value))
            for key, value in items
        )
        return "{" + ",".join(members) + "}"


@st.composite
def _bodies(draw: Any) -> bytes:
    fields = draw(_controlled)
    fields["messages"] = draw(st.lists(_value, max_size=3))
    items = list(fields.items()) + draw(st.lists(st.tuples(_other_key, _value), max_size=4))
    writer = _Writer(draw)
    return writer.padded(writer.object(draw(st.permutations(items)))).encode()


@settings(max_examples=150)
@given(_bodies(), _changes)
def test_a_splice_changes_what_it_names_and_no_other_byte(
    raw: bytes, changes: dict[str, bytes]
) -> None:
    parsed = good(raw)

    spliced = splice(parsed, changes)

    wanted = {name: json.loads(text) for name, text in changes.items()}
    assert json.loads(spliced) == json.loads(raw) | wanted
    # Put back what was there, cut off what was appended: the same bytes.
    at, restored = 0, b""
    for name, (start, end) in sorted(parsed.spans.items(), key=lambda item: item[1]):
        length = len(changes[name]) if name in changes else end - start
        gap = start - len(restored)
        restored += spliced[at : at + gap] + raw[start:end]
        at += gap + length
    appended = b"".join(
        b',"%b":%b' % (name.encode(), text)
        for name, text in changes.items()
        if name not in parsed.spans
    )
    rest = spliced[at:]
    brace = rest.rindex(b"}")
    assert rest[:brace].endswith(appended)
    assert restored + rest[: brace - len(appended)] + rest[brace:] == raw


@settings(max_examples=80)
@given(_bodies())
def test_the_values_read_are_those_of_another_parser(raw: bytes) -> None:
    parsed, fields = good(raw), json.loads(raw)

    assert parsed.model == fields["model"]
    assert parsed.stream is (fields.get("stream") is True)
    assert parsed.choices == fields.get("n", 1)
    caps = [fields[n] for n in ("max_tokens", "max_completion_tokens") if fields.get(n)]
    assert parsed.output_cap == (max(caps) if caps else None)
    for name, (start, end) in parsed.spans.items():
        assert json.loads(raw[start:end]) == fields[name]


@settings(max_examples=80)
@given(_controlled, st.dictionaries(_other_key, _value, max_size=4))
def test_arithmetic_and_walking_find_the_same_places(
    fields: dict[str, Any], others: dict[str, Any]
) -> None:
    items = {**others, **fields, "messages": []}
    raw = json.dumps(items, separators=(",", ":"), ensure_ascii=False).encode()

    walked = bodies._walk(raw, None)
    helped = bodies._walk(raw, bodies._members.decode(raw))

    assert good(raw).spans == walked == helped


@settings(max_examples=150)
@given(st.binary(max_size=60) | st.text('{}[]",:\\u0019truefalsn mdo', max_size=60).map(str.encode))
@example(b'{"a":"\\')
def test_no_bytes_make_it_raise(raw: bytes) -> None:
    assert isinstance(parse(raw), ChatBody | Refusal)


@settings(max_examples=100)
@given(_bodies(), st.data())
def test_no_damaged_body_makes_it_raise(raw: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(raw) - 1))
    piece = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"}", b",", b'"n":1,']))
    damaged = raw[:at] + piece + raw[at + data.draw(st.integers(0, 3)) :]

    parsed = parse(damaged)

    if isinstance(parsed, ChatBody):
        changed = splice(parsed, {"model": b'"x"'})
        assert json.loads(changed.decode("utf-8", "replace"))["model"] == "x"


@settings(max_examples=100)
@given(
    st.sampled_from(["max_tokens", "max_completion_tokens", "n"]),
    st.integers() | st.floats() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
)
def test_a_number_is_refused_or_bounded(field: str, value: float | str) -> None:
    parsed = parse(json.dumps({field: value, "model": "m", "messages": []}).encode())

    if isinstance(parsed, ChatBody):
        assert type(value) is int
        assert 1 <= parsed.choices <= CHOICES_MAX
        assert parsed.output_cap is None or 1 <= parsed.output_cap <= TOKENS_MAX
