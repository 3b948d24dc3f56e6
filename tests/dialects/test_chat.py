"""Reading answers and stream events: what counts is found, and nothing odd loses the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aipool.dialects.chat import (
    answer_text_count,
    answer_usage,
    chunk_is_meaningful,
    chunk_text_count,
    chunk_usage,
    decode_answer,
    decode_chunk,
    usage_of,
)
from aipool.dialects.estimate import TokenCounter, estimate_text
from aipool.rating.types import Units, Usage


def chunk_of(delta: Any = None, **choice: Any) -> bytes:
    return json.dumps({"id": "c", "choices": [{"index": 0, "delta": delta, **choice}]}).encode()


def counted(data: bytes) -> int:
    chunk, counter = decode_chunk(data), TokenCounter()
    assert chunk is not None
    chunk_text_count(chunk, counter)
    return counter.tokens


MEANINGFUL = [
    chunk_of({"content": "x"}),
    chunk_of({"reasoning_content": "x"}),
    chunk_of({"reasoning": "x"}),
    chunk_of({"reasoning_details": [{"type": "reasoning.text", "text": "x"}]}),
    chunk_of({"refusal": "x"}),
    chunk_of({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}),
    chunk_of({"function_call": {"name": "f", "arguments": ""}}),
    chunk_of({"audio": {"data": "AAAA"}}),
    chunk_of({"images": [{"type": "image_url"}]}),
    chunk_of({}, finish_reason="stop"),
    chunk_of({}, usage={"prompt_tokens": 1}),
    b'{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}',
    chunk_of({"content": [{"type": "text", "text": "x"}]}),
    b'{"choices":[{"delta":{"role":"assistant"}},{"index":1,"delta":{"content":"x"}}]}',
]
NOT_MEANINGFUL = [
    b"{}",
    b'{"choices":[]}',
    b'{"choices":null,"usage":null}',
    b'{"choices":[],"usage":null,"prompt_filter_results":[{"content_filter_results":{}}]}',
    b'{"error":{"message":"overloaded"}}',
    b'{"choices":[{}]}',
    b'{"choices":[{"delta":null}]}',
    chunk_of({"role": "assistant"}),
    chunk_of({"role": "assistant", "content": "", "refusal": None, "tool_calls": []}),
    chunk_of({"content": None}, finish_reason=None, usage=None),
]


@pytest.mark.parametrize("data", MEANINGFUL)
def test_the_first_thing_said_finished_or_counted_is_meaningful(data: bytes) -> None:
    chunk = decode_chunk(data)

    assert chunk is not None
    assert chunk_is_meaningful(chunk)


@pytest.mark.parametrize("data", NOT_MEANINGFUL)
def test_roles_empty_choices_and_errors_are_not_meaningful(data: bytes) -> None:
    chunk = decode_chunk(data)

    assert chunk is not None
    assert not chunk_is_meaningful(chunk)


def test_text_reasoning_refusal_and_tool_calls_count_and_nothing_else_does() -> None:
    text = "t" * 100
    one = estimate_text(text)

    assert counted(chunk_of({"content": text})) == one
    assert counted(chunk_of({"reasoning_content": text})) == one
    assert counted(chunk_of({"reasoning": text})) == one
    assert counted(chunk_of({"reasoning": text, "reasoning_content": text})) == one
    assert counted(chunk_of({"reasoning_details": [{"text": text}]})) == one
    assert counted(chunk_of({"refusal": text})) == one
    assert counted(chunk_of({"content": text, "refusal": text})) == 2 * one
    assert counted(chunk_of({"function_call": {"name": text}})) == one
    call = {"id": text, "type": "function", "function": {"name": text, "arguments": text}}
    assert counted(chunk_of({"tool_calls": [call, call]})) == 4 * one
    custom = {"id": text, "type": "custom", "custom": {"name": text, "input": text}}
    assert counted(chunk_of({"tool_calls": [custom]})) == 2 * one
    assert counted(chunk_of({"role": text, "audio": {"data": text}, "other": text})) == 0


def test_error_text_is_never_counted() -> None:
    assert counted(json.dumps({"error": {"message": "x" * 1000}}).encode()) == 0


def test_an_odd_field_does_not_lose_the_others() -> None:
    data = json.dumps(
        {
            "choices": [
                "odd",
                {
                    "delta": {
                        "role": 5,
                        "content": [
                            {"type": "thinking", "thinking": [{"type": "text", "text": "t" * 50}]},
                            {"type": "text", "text": "t" * 50},
                        ],
                        "reasoning": 7,
                        "tool_calls": [{"function": {"name": 3, "arguments": {"city": "Rome"}}}],
                    },
                    "finish_reason": 1,
                },
            ],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7},
            "error": None,
        }
    ).encode()

    chunk = decode_chunk(data)
    assert chunk is not None
    assert chunk.error is None
    assert chunk_usage(chunk) == Usage(5, 0, 7, 0)
    assert chunk_is_meaningful(chunk)
    assert counted(data) == estimate_text("t" * 100 + '{"city": "Rome"}')


def test_what_only_json_itself_accepts_is_read_too() -> None:
    split_pair = b'{"choices":[{"delta":{"content":"\\ud83d"}}],"usage":{"prompt_tokens":NaN}}'

    chunk = decode_chunk(split_pair)
    assert chunk is not None
    assert chunk_usage(chunk) is None
    assert counted(split_pair) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[DONE]",
        b"null",
        b"5",
        b'"x"',
        b"[]",
        b"{",
        b"\xff\xfe",
        b"{}{}",
        b"\x00",
        b"[" * 9999,
    ],
)
def test_what_is_no_object_is_none(data: bytes) -> None:
    assert decode_chunk(data) is None
    assert decode_answer(data) is None


def test_a_whole_answer_is_read_alike() -> None:
    body = json.dumps(
        {
            "id": "a",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "t" * 100,
                        "reasoning_content": "r" * 100,
                        "tool_calls": [{"function": {"name": "f" * 50, "arguments": "a" * 50}}],
                    },
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4},
        }
    ).encode()

    answer, counter = decode_answer(body), TokenCounter()
    assert answer is not None
    answer_text_count(answer, counter)
    assert counter.tokens == 63
    assert answer_usage(answer) == Usage(3, 0, 4, 0)

    odd = decode_answer(body.replace(b'"stop"', b"17").replace(b'"a"', b"[1]"))
    assert odd is not None
    assert answer_usage(odd) == Usage(3, 0, 4, 0)


def test_a_200_with_an_error_body_shows_its_error() -> None:
    answer = decode_answer(b'{"error":{"message":"no","code":"insufficient_quota"}}')

    assert answer is not None
    assert answer.error == {"message": "no", "code": "insufficient_quota"}
    assert answer_usage(answer) is None


USAGES: list[tuple[str, object, Usage | None]] = [
    ("plain", {"prompt_tokens": 10, "completion_tokens": 5}, Usage(10, 0, 5, 0)),
    (
        "OpenAI",
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        Usage(100, 64, 50, 20),
    ),
    (
        "DeepSeek",
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
        },
        Usage(100, 64, 5, 0),
    ),
    (
        "Moonshot",
        {"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 7},
        Usage(100, 7, 5, 0),
    ),
    (
        "xAI: reasoning stands outside completion",
        {
            "prompt_tokens": 10,
            "completion_tokens": 9,
            "total_tokens": 319,
            "completion_tokens_details": {"reasoning_tokens": 300},
        },
        Usage(10, 0, 309, 300),
    ),
    ("null details", {"prompt_tokens": 1, "prompt_tokens_details": None}, Usage(1, 0, 0, 0)),
    ("explicit zero", {"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0, 0, 0)),
    ("negative", {"prompt_tokens": -5, "completion_tokens": 3}, Usage(0, 0, 3, 0)),
    ("whole floats", {"prompt_tokens": 5.0, "completion_tokens": 3.0}, Usage(5, 0, 3, 0)),
    (
        "more cached than read",
        {"prompt_tokens": 5, "completion_tokens": 1, "cached_tokens": 9},
        Usage(5, 5, 1, 0),
    ),
    (
        "odd details",
        {
            "prompt_tokens": 5,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": "many"},
            "completion_tokens_details": [1],
            "total_tokens": {},
        },
        Usage(5, 0, 1, 0),
    ),
    (
        "sound",
        {
            "prompt_tokens": 50,
            "completion_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": 10, "audio_tokens": 45},
            "completion_tokens_details": {"audio_tokens": 12},
        },
        Usage(50, 10, 20, 0, Units(audio_input_tokens=40, audio_output_tokens=12)),
    ),
    ("the most", {"prompt_tokens": 10**8, "completion_tokens": 1}, Usage(10**8, 0, 1, 0)),
    ("too many", {"prompt_tokens": 10**8 + 1, "completion_tokens": 1}, None),
    ("absurd", {"prompt_tokens": 18446744073686646784, "completion_tokens": 1}, None),
    ("1e308", {"prompt_tokens": 1, "completion_tokens": 1e308}, None),
    ("text", {"prompt_tokens": "10", "completion_tokens": 5}, None),
    ("NaN", {"prompt_tokens": float("nan"), "completion_tokens": 5}, None),
    ("infinite", {"prompt_tokens": 1, "completion_tokens": float("inf")}, None),
    ("fraction", {"prompt_tokens": 1.5, "completion_tokens": 5}, None),
    ("true", {"prompt_tokens": True, "completion_tokens": 5}, None),
    ("null", None, None),
    ("empty", {}, None),
    ("list", [1, 2], None),
    ("a total alone", {"total_tokens": 9}, None),
]


@pytest.mark.parametrize(("raw", "usage"), [u[1:] for u in USAGES], ids=[u[0] for u in USAGES])
def test_usage_is_read_as_each_vendor_writes_it(raw: object, usage: Usage | None) -> None:
    assert usage_of(raw) == usage


def test_usage_inside_the_first_choice_is_found() -> None:
    chunk = decode_chunk(chunk_of({}, usage={"prompt_tokens": 4, "completion_tokens": 2}))

    assert chunk is not None
    assert chunk_usage(chunk) == Usage(4, 0, 2, 0)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "reasoning",
                    "reasoning_details",
                    "text",
                    "thinking",
                    "tool_calls",
                    "function",
                    "custom",
                    "name",
                    "input",
                    "arguments",
                    "finish_reason",
                    "usage",
                    "prompt_tokens",
                    "completion_tokens",
                    "prompt_tokens_details",
                    "cached_tokens",
                    "total_tokens",
                    "error",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@given(json_values)
def test_no_json_makes_the_reader_raise(value: object) -> None:
    data = json.dumps(value).encode()
    counter = TokenCounter()

    chunk, answer = decode_chunk(data), decode_answer(data)
    assert (chunk is None) == (answer is None) == (not isinstance(value, dict))
    if chunk is not None and answer is not None:
        chunk_is_meaningful(chunk)
        chunk_text_count(chunk, counter)
        answer_text_count(answer, counter)
        for usage in (chunk_usage(chunk), answer_usage(answer)):
            if usage is not None:
                assert 0 <= usage.cached_tokens <= usage.input_tokens <= 10**8
                assert 0 <= usage.reasoning_tokens <= usage.output_tokens <= 10**8


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    decode_chunk(data)
    decode_answer(data)


@pytest.mark.parametrize("depth", [200, 500, 900, 990, 5000])
def test_no_depth_makes_the_reader_raise(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    for data in (
        b'{"choices":[{"delta":{"content":1,"function_call":{"arguments":' + deep + b"}}}]}",
        b'{"usage":' + deep + b"}",
        b'{"choices":' + deep + b"}",
    ):
        chunk = decode_chunk(data)
        if chunk is not None:
            chunk_text_count(chunk, TokenCounter())
            chunk_usage(chunk)
