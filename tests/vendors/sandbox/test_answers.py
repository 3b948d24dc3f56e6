"""The sandbox answers the same request the same way, and its usage is what it sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aipool.dialects.chat import answer_usage, chunk_usage, decode_answer, decode_chunk
from aipool.vendors.sandbox.answers import EVENT_STREAM, JSON, Answer, answer, tokens_of

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 2},
            },
            "required": ["city", "unit", "days"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}


def ask(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


def reply(request: dict[str, Any]) -> Answer:
    return answer(json.dumps(request).encode(), created=1_800_000_000)


def whole(request: dict[str, Any]) -> dict[str, Any]:
    answered = reply(request)
    assert (answered.status, answered.content_type, len(answered.parts)) == (200, JSON, 1)
    value: dict[str, Any] = json.loads(answered.parts[0])
    return value


def chunks(request: dict[str, Any]) -> list[dict[str, Any]]:
    answered = reply(request | {"stream": True})
    assert (answered.status, answered.content_type) == (200, EVENT_STREAM)
    assert answered.parts[-1] == b"data: [DONE]\n\n"
    for part in answered.parts:
        assert part.startswith(b"data: ") and part.endswith(b"\n\n") and part.count(b"\n") == 2
    return [json.loads(part[6:]) for part in answered.parts[:-1]]


def streamed_text(events: list[dict[str, Any]], index: int = 0) -> str:
    deltas = [c["delta"] for e in events for c in e["choices"] if c["index"] == index]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_the_same_request_gets_the_same_answer() -> None:
    first, second, other = reply(ask()), reply(ask()), whole(ask("ho"))

    assert first == second
    assert json.loads(first.parts[0])["id"] != other["id"]
    assert json.loads(first.parts[0])["created"] == 1_800_000_000


def test_any_model_is_served_under_its_own_name() -> None:
    answered = whole(ask() | {"model": "MiniMax-M3"})

    assert answered["model"] == "MiniMax-M3"
    assert "MiniMax-M3" in answered["choices"][0]["message"]["content"]


def test_a_chinese_question_gets_a_chinese_answer() -> None:
    assert "沙盒" in whole(ask("你好"))["choices"][0]["message"]["content"]


def test_a_stream_says_what_the_whole_answer_says_and_counts_its_deltas() -> None:
    content = whole(ask())["choices"][0]["message"]["content"]
    events = chunks(ask(stream_options={"include_usage": True}))

    said = [e for e in events if e["choices"] and e["choices"][0]["delta"].get("content")]
    assert streamed_text(events) == content
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == len(said)
    assert all(event["usage"] is None for event in events[:-1])
    assert len({event["id"] for event in events}) == 1


def test_usage_is_the_same_streamed_or_not_and_is_read_by_the_meter() -> None:
    request = ask("你好, 世界" * 20)
    body = decode_answer(reply(request).parts[0])
    last = decode_chunk(
        reply(request | {"stream": True, "stream_options": {"include_usage": True}}).parts[-2][6:]
    )

    assert body is not None
    assert last is not None
    assert answer_usage(body) == chunk_usage(last)
    usage = answer_usage(body)
    assert usage is not None
    assert usage.input_tokens == 3 + tokens_of("你好, 世界" * 20)


def test_a_stream_reports_no_usage_unless_asked() -> None:
    assert all("usage" not in event for event in chunks(ask()))
    off = chunks(ask(stream_options={"include_usage": False}))
    assert all("usage" not in event for event in off)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_cap_on_tokens_is_honoured(name: str) -> None:
    answered = whole(ask() | {name: 5})

    assert answered["choices"][0]["finish_reason"] == "length"
    assert answered["usage"]["completion_tokens"] == 5
    assert chunks(ask() | {name: 5})[-1]["choices"][0]["finish_reason"] == "length"


def test_max_completion_tokens_wins() -> None:
    answered = whole(ask(max_tokens=3, max_completion_tokens=7))

    assert answered["usage"]["completion_tokens"] == 7


def test_a_cap_that_is_large_enough_changes_nothing() -> None:
    free = whole(ask())
    tokens = free["usage"]["completion_tokens"]

    assert whole(ask(max_tokens=tokens))["choices"][0]["finish_reason"] == "stop"
    assert whole(ask(max_tokens=tokens - 1))["choices"][0]["finish_reason"] == "length"


def test_n_choices_are_counted_together() -> None:
    one, three = whole(ask()), whole(ask(n=3))
    events = chunks(ask(n=3))

    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert three["usage"]["completion_tokens"] > 3 * one["usage"]["completion_tokens"]
    for index in range(3):
        said = three["choices"][index]["message"]["content"]
        assert streamed_text(events, index) == said
    assert whole(ask(n=3, max_tokens=4))["usage"]["completion_tokens"] == 12


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        {"messages": [{"role": "user", "content": "请调用get_weather查天气"}]},
    ],
)
def test_a_tool_is_called_when_demanded_or_named(more: dict[str, Any]) -> None:
    request = ask(tools=[WEATHER]) | more
    choice = whole(request)["choices"][0]
    call = choice["message"]["tool_calls"][0]

    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert call["function"]["name"] == "get_weather"
    arguments = json.loads(call["function"]["arguments"])
    assert arguments == {"city": "sandbox", "unit": "celsius", "days": 2}

    deltas = [e["choices"][0]["delta"] for e in chunks(request)]
    pieces = [piece for delta in deltas for piece in delta.get("tool_calls", ())]
    assert pieces[0]["id"].startswith("call_")
    assert pieces[0]["function"]["name"] == "get_weather"
    assert all(piece["index"] == 0 for piece in pieces)
    assert len(pieces) > 2
    joined = "".join(piece["function"]["arguments"] for piece in pieces)
    assert json.loads(joined) == arguments


def test_two_named_tools_are_called_in_parallel_unless_forbidden() -> None:
    request = ask("use get_weather and get_time", tools=[WEATHER, CLOCK])

    calls = whole(request)["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["get_weather", "get_time"]
    assert len({call["id"] for call in calls}) == 2
    serial = whole(request | {"parallel_tool_calls": False})
    assert len(serial["choices"][0]["message"]["tool_calls"]) == 1


def test_no_tool_is_called_when_none_is_named_or_none_is_wanted() -> None:
    for request in (
        ask("hello", tools=[WEATHER]),
        ask("get_weather_report", tools=[WEATHER]),
        ask("get_weather", tools=[WEATHER], tool_choice="none"),
    ):
        assert "tool_calls" not in whole(request)["choices"][0]["message"]


def test_a_tools_result_gets_a_text() -> None:
    called = whole(ask("get_weather", tools=[WEATHER]))["choices"][0]["message"]
    request = ask("get_weather", tools=[WEATHER], tool_choice="required")
    result = {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": "21 °C"}
    request["messages"] += [called, result]

    choice = whole(request)["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert "21 °C" in choice["message"]["content"]


def test_a_cap_cuts_a_tool_call_short() -> None:
    request = ask("get_weather", tools=[WEATHER], max_tokens=2)
    answered = whole(request)

    assert answered["choices"][0]["finish_reason"] == "length"
    assert answered["usage"]["completion_tokens"] == 2
    assert len(answered["choices"][0]["message"]["tool_calls"]) == 1


def test_a_structured_answer_fits_its_schema() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    content = whole(ask(response_format=wanted))["choices"][0]["message"]["content"]
    assert json.loads(content) == {"ok": True}
    content = whole(ask(response_format={"type": "json_object"}))["choices"][0]["message"][
        "content"
    ]
    assert json.loads(content)["you_said"] == "hi"


BAD: list[tuple[bytes, str | None]] = [
    (b"", None),
    (b"{", None),
    (b"\xff", None),
    (b"[]", None),
    (b"null", None),
    (b'{"model":NaN}', None),
    (b'{"model":"m","messages":[{"role":"user"}],"temperature":1e400}', None),
    (b"[" * 100_000, None),
    (b'{"n":' + b"9" * 5000 + b"}", None),
    (b"{}", "model"),
    (b'{"model":5,"messages":[{"role":"user"}]}', "model"),
    (b'{"model":"m"}', "messages"),
    (b'{"model":"m","messages":[]}', "messages"),
    (b'{"model":"m","messages":"hi"}', "messages"),
    (b'{"model":"m","messages":["hi"]}', "messages[0]"),
    (b'{"model":"m","messages":[{"role":"user","content":5}]}', "messages[0].content"),
]
ABSURD = [-1, 0, 11, 2**31, 2**63, 2**64 - 1, 1e308, "NaN", 1.5, True, [], 18446744073686646784]


@pytest.mark.parametrize(("body", "param"), BAD)
def test_a_bad_body_is_a_400_in_the_error_shape(body: bytes, param: str | None) -> None:
    answered = answer(body, created=0)

    error = json.loads(answered.parts[0])["error"]
    assert (answered.status, answered.content_type) == (400, JSON)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"]


@pytest.mark.parametrize("value", ABSURD)
def test_absurd_numbers_are_refused(value: object) -> None:
    for name in ("n", "max_tokens", "max_completion_tokens"):
        answered = reply(ask() | {name: value})
        if answered.status == 400:
            assert json.loads(answered.parts[0])["error"]["param"] == name
        else:
            assert name != "n" and value == 11


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": 5}, "stream_options"),
        ({"tools": {}}, "tools"),
        ({"tools": [{}]}, "tools[0]"),
        ({"tools": [{"function": {"name": 5}}]}, "tools[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"function": {"name": "x"}}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": "sometimes"}, "tool_choice"),
    ],
)
def test_a_wrong_field_is_named(more: dict[str, Any], param: str) -> None:
    answered = reply(ask() | more)

    assert answered.status == 400
    assert json.loads(answered.parts[0])["error"]["param"] == param


FIELDS = ["n", "max_tokens", "stream", "stream_options", "tools", "tool_choice"]
FIELDS += ["messages", "response_format", "parallel_tool_calls"]
words = st.text("a你", max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4))
def test_every_request_gets_an_answer(more: dict[str, Any]) -> None:
    answered = reply(ask() | more)

    assert answered.status in (200, 400)
    assert answered.parts


@pytest.mark.parametrize("depth", [500, 900, 980])
def test_deep_nesting_gets_an_answer(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    body = b'{"model":"m","messages":[{"role":"user","content":"f"}],"tools":[{"function":'
    body += b'{"name":"f","parameters":{"properties":{"x":{"default":' + deep + b"}}}}}]}"

    assert answer(body, created=0).status in (200, 400)
