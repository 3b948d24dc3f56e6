"""Bodies: what is read of them, and that splicing changes nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.gateway.body import (
    CHOICES_MAX,
    CONTROLLED,
    IMAGE_TOKENS,
    ChatBody,
    parse,
    splice,
    with_usage,
)
from aipool.gateway.errors import Refusal
from aipool.rating.types import TOKENS_MAX


def read(raw: bytes | str) -> ChatBody:
    body = parse(raw.encode() if isinstance(raw, str) else raw)
    assert isinstance(body, ChatBody), body
    return body


def refusal(raw: bytes | str) -> Refusal:
    body = parse(raw.encode() if isinstance(raw, str) else raw)
    assert isinstance(body, Refusal), body
    assert body.status == 400
    return body


def test_an_ordinary_body_is_read() -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"n":2}'

    body = read(raw)

    assert (body.model, body.stream, body.choices, body.output_cap) == ("m", True, 2, None)
    assert body.raw is raw
    assert body.input_tokens_max == len(raw)
    assert {name: raw[start:end] for name, (start, end) in body.spans.items()} == {
        "model": b'"m"',
        "stream": b"true",
        "n": b"2",
    }


@pytest.mark.parametrize(
    ("fields", "cap"),
    [
        ("", None),
        (',"max_tokens":5', 5),
        (',"max_completion_tokens":7', 7),
        (',"max_tokens":5,"max_completion_tokens":7', 7),
        (',"max_tokens":9,"max_completion_tokens":7', 9),
        (',"max_tokens":null,"max_completion_tokens":7', 7),
        (f',"max_tokens":{TOKENS_MAX}', TOKENS_MAX),
    ],
)
def test_the_larger_cap_counts(fields: str, cap: int | None) -> None:
    assert read('{"model":"m","messages":[]%s}' % fields).output_cap == cap


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("null", False),
        ("{}", False),
        ('{"include_usage":true}', True),
        ('{"include_usage":false}', False),
        ('{"include_usage":1}', False),
        ('{"include_usage":"true"}', False),
        ('{"include\\u005fusage":true}', True),
    ],
)
def test_usage_is_wanted_by_those_who_say_so(options: str, wanted: bool) -> None:
    body = read('{"model":"m","messages":[],"stream":true,"stream_options":%s}' % options)
    assert body.usage_wanted is wanted


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ('{"model":"m","messages":[],"model":"m"}', "model"),
        ('{"model":"m","messages":[],"mod\\u0065l":"m"}', "model"),
        ('{"mod\\u0065l":"m","messages":[],"model":"m"}', "model"),
        ('{"model":"m","messages":[],"n":1,"n":1}', "n"),
        ('{"model":"m","messages":[],"\\u006e":1,"n":1}', "n"),
        ('{"model":"m", "messages":[], "max_tokens":1, "max_tokens":1}', "max_tokens"),
        ('{"model":"m","messages":["\\ud800"],"stream":true,"stream":false}', "stream"),
    ],
)
def test_a_controlled_field_that_occurs_twice_is_refused_by_name(raw: str, param: str) -> None:
    assert refusal(raw).param == param


@pytest.mark.parametrize("key", ["Model", "MODEL", "moDel", "N", "\\u017ftream", "\u017ftream", "Max_Tokens"])
def test_a_key_that_reads_like_a_controlled_one_is_refused(key: str) -> None:
    assert "reads like one" in refusal('{"model":"m","messages":[],"%s":1}' % key).message
    assert "reads like one" in refusal('{"%s":1,"model":"m","messages":["\\ud800"]}' % key).message


def test_an_escaped_key_is_the_key() -> None:
    body = read('{"mod\\u0065l":"m","messages":[],"\\u006e":3}')

    assert (body.model, body.choices) == ("m", 3)


def test_other_fields_may_occur_twice() -> None:
    assert read('{"model":"m","messages":[],"seed":1,"seed":2,"seed":[1]}').model == "m"
    assert read('{"model":"m","messages":[],"seed":12,"seed":1}').model == "m"


def test_a_controlled_name_deeper_down_or_in_text_means_nothing() -> None:
    body = read('{"model":"m","messages":[{"model":"x","n":9,"content":"\\"n\\":9"}],"a":{"n":9}}')

    assert (body.model, body.choices) == ("m", 1)


@pytest.mark.parametrize("value", ["0", "-1", "1.0", "1e2", "true", '"1"', "[]", str(TOKENS_MAX + 1), "1" * 400])
def test_a_cap_is_a_whole_number_in_its_range(value: str) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        assert refusal('{"model":"m","messages":[],"%s":%s}' % (name, value)).param == name


@pytest.mark.parametrize("value", ["0", "-1", str(CHOICES_MAX + 1), "1.5", "true", "1e1"])
def test_so_is_the_number_of_choices(value: str) -> None:
    assert refusal('{"model":"m","messages":[],"n":%s}' % value).param == "n"


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf{}",
        '{"model":"m","messages":[]}'.encode("utf-16"),
        '{"model":"m","messages":[]}'.encode("utf-32-be"),
        b"{" * 100_000,
        b'{"a":' * 100_000,
        b'{"model":"m","messages":[],"x":' + b"[" * 990 + b"]" * 990 + b',"x":1}',
        b"\x00",
        b"{}" * 2,
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_what_is_no_json_never_raises(raw: bytes) -> None:
    parse(raw)


def test_every_depth_is_either_read_or_refused() -> None:
    # Near the interpreter's limit the two parsers may differ; neither may raise.
    for depth in (10, 60, 200, 480, *range(900, 1010, 7), 5_000):
        nest = "[" * depth + "]" * depth
        parse(f'{{"model":"m","messages":[],"a":{nest},"a":1}}'.encode())
        parse(f'{{"model":"m","messages":["\\ud800"],"a":{nest}}}'.encode())


def test_lone_surrogates_pass_untouched() -> None:
    raw = b'{"messages":[{"content":"\\ud800"}],"model":"m","n":2}'

    body = read(raw)

    assert (body.raw, body.choices) == (raw, 2)
    assert splice(body, {"model": b'"x"'}) == raw.replace(b'"m"', b'"x"')


URL = "data:image/png;base64," + "A" * 50_000


@pytest.mark.parametrize(
    "part",
    [
        '{"type":"image_url","image_url":{"url":"%s"}}' % URL,
        '{"type":"image_url","image_url": {"url" : "%s"}}' % URL,
        '{"type":"image_url","image_url":"%s"}' % URL,
        '{"type":"file","file":{"file_data":"%s"}}' % URL,
    ],
)
def test_a_picture_is_held_for_as_a_picture(part: str) -> None:
    raw = '{"model":"m","messages":[{"role":"user","content":[%s]}]}' % part

    assert len(raw) - 50_100 < read(raw).input_tokens_max - IMAGE_TOKENS < len(raw) - 50_000


@pytest.mark.parametrize(
    "part",
    [
        '{"type":"text","text":"%s"}' % URL,
        '{"type":"text","text":"\\"url\\":\\"%s\\""}' % URL,
        '{"type":"text","text":"x"},"%s"' % URL,
        '"%s"' % URL,
    ],
)
def test_text_that_begins_like_a_picture_is_held_for_as_text(part: str) -> None:
    raw = '{"model":"m","messages":[{"role":"user","content":[%s]}]}' % part

    assert read(raw).input_tokens_max == len(raw)


# --- splicing -------------------------------------------------------------------------------------


def test_an_absent_field_is_added_at_the_end() -> None:
    body = read('{"model":"m","messages":[] }\n')

    assert splice(body, {"max_tokens": b"16"}) == b'{"model":"m","messages":[] ,"max_tokens":16}\n'


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (None, {"include_usage": True}),
        ("null", {"include_usage": True}),
        ("{ }", {"include_usage": True}),
        ('{"include_usage":false}', {"include_usage": True}),
        ('{"a":[1, 2],"include_usage":false}', {"include_usage": True, "a": [1, 2]}),
        ('{"\\ud800":1}', {"include_usage": True, "\ud800": 1}),
        ('{"a":"\\ud800"}', {"include_usage": True, "a": "\ud800"}),
    ],
)
def test_usage_is_asked_for_beside_what_the_client_wrote(
    options: str | None, wanted: dict[str, Any]
) -> None:
    more = "" if options is None else f',"stream_options":{options}'
    body = read('{"model":"m","messages":[],"stream":true%s}' % more)

    spliced = json.loads(splice(body, {"stream_options": with_usage(body)}))

    assert spliced["stream_options"] == wanted


_blanks = st.text(" \t\r\n", max_size=2)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(['"model":', "\\", '"', "}", "{", ",", "\ud800", "data:"]),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_keys = st.text(max_size=8).filter(lambda key: key.casefold() not in CONTROLLED | {"messages"})


@st.composite
def _written(draw: st.DrawFn, value: Any) -> str:
    """JSON text of a value, escaped and spaced in some way."""
    ascii_only = draw(st.booleans())
    return json.dumps(value, ensure_ascii=ascii_only or _has_surrogate(value))


def _has_surrogate(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _escaped(key: str) -> str:
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in key) + '"'


@st.composite
def _bodies(draw: st.DrawFn) -> str:
    members: list[tuple[str, str]] = [
        ('"messages"', draw(_written(draw(st.lists(_values, max_size=3)))))
    ]
    controlled: dict[str, Any] = {"model": draw(st.sampled_from(["m", "gpt-4o", "模型", 'a"b\\']))}
    if draw(st.booleans()):
        controlled["stream"] = draw(st.sampled_from([True, False, None]))
    if draw(st.booleans()):
        controlled["max_tokens"] = draw(st.sampled_from([None, 1, 77]))
    if draw(st.booleans()):
        options = draw(st.dictionaries(_keys, _values, max_size=2))
        controlled["stream_options"] = options | draw(
            st.sampled_from([{}, {"include_usage": True}, {"include_usage": False}])
        )
    for name, value in controlled.items():
        key = _escaped(name) if draw(st.integers(0, 9)) == 0 else f'"{name}"'
        members.append((key, draw(_written(value))))
    for key in draw(st.lists(_keys, max_size=4)):
        members.append((draw(_written(key)), draw(_written(draw(_values)))))
    order = draw(st.permutations(members))
    spaced = draw(st.booleans())

    def blank() -> str:
        return draw(_blanks) if spaced else ""

    inner = ",".join(
        f"{blank()}{key}{blank()}:{blank()}{value}{blank()}" for key, value in order
    )
    return f"{blank()}{{{inner}}}{blank()}"


_changes = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from([b'"other"', b'"\xe5\x88\xab"']),
        "max_tokens": st.sampled_from([b"16", b"4096"]),
        "max_completion_tokens": st.just(b"32"),
        "stream_options": st.just(b'{"include_usage":true}'),
    },
)


@settings(max_examples=150, deadline=None)
@given(text=_bodies(), changes=_changes)
def test_what_is_spliced_is_the_original_and_the_change_and_nothing_else(
    text: str, changes: dict[str, bytes]
) -> None:
    raw = text.encode()
    body = read(raw)

    spliced = splice(body, changes)

    assert json.loads(spliced) == json.loads(raw) | {
        name: json.loads(value) for name, value in changes.items()
    }
    # All other bytes are the client's: putting its values back gives its body again.
    again = parse(spliced)
    assert isinstance(again, ChatBody)
    back = splice(
        again,
        {name: raw[slice(*body.spans[name])] for name in changes if name in body.spans},
    )
    for name, value in changes.items():
        if name not in body.spans:
            back = back.replace(b',"%b":%b' % (name.encode(), value), b"", 1)
    assert back == raw


@settings(max_examples=100, deadline=None)
@given(text=_bodies())
def test_places_are_where_the_values_are(text: str) -> None:
    raw = text.encode()
    original = json.loads(raw)

    body = read(raw)

    assert set(body.spans) == CONTROLLED & original.keys()
    for name, (start, end) in body.spans.items():
        assert json.loads(raw[start:end]) == original[name]
    assert body.stream is (original.get("stream") is True)


def test_every_accepted_body_takes_the_usage_of_a_stream() -> None:
    for options in ("", ',"stream_options":{"x":{"include_usage":false}}'):
        body = read('{"model":"m","messages":[],"stream":true%s}' % options)
        assert read(splice(body, {"stream_options": with_usage(body)})).usage_wanted


@pytest.mark.parametrize(
    "inner",
    [
        ",".join(f'"a{number}":1' for number in range(60_000)),
        ",".join(f'"\\u0061{number}":1' for number in range(60_000)),
        ",".join('"a":1' for _ in range(170_000)),
        ",".join('"a":1' for _ in range(80_000)) + ',"a":"' + "x" * 500_000 + '"',
    ],
    ids=["many keys", "escaped keys", "one key again and again", "a long last value"],
)
def test_a_body_of_a_thousand_fields_is_none(inner: str) -> None:
    assert "fields" in refusal('{"model":"m","messages":[],%s}' % inner).message


@pytest.mark.parametrize(
    "inner",
    [
        ",".join('"\\u0061":"\\n' + "x" * 1_000 + '"' for _ in range(990)),
        ",".join('"a":1' for _ in range(990)) + ',"a":"' + "x" * 900_000 + '"',
        '"x":' + "[" * 800 + "]" * 800 + "," + " " * 900_000 + '"y":1',
    ],
    ids=["escapes", "a long last value", "blanks"],
)
def test_a_large_odd_body_is_read(inner: str) -> None:
    assert read('{"model":"m","messages":[],%s}' % inner).model == "m"


def test_numbers_of_thousands_of_digits_are_refused_in_words() -> None:
    message = refusal('{"model":"m","messages":["\\ud800"],"x":%s}' % ("1" * 5000)).message

    assert "sys." not in message
