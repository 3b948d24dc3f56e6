"""The estimator adds up, whatever the pieces, and stays near what a real vocabulary counts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aipool.dialects.estimate import (
    MEDIA_LOW_TOKENS,
    MEDIA_TOKENS,
    MESSAGE_TOKENS,
    PRIMING_TOKENS,
    TokenCounter,
    estimate_request,
    estimate_text,
)

HARBOUR = (
    "The harbour was quiet in the early morning, and the fishermen had already gone out beyond "
    "the breakwater. A thin mist lay over the water. Nobody on the quay spoke above a whisper, "
    "because the sound carried so far that it seemed rude to disturb the stillness. By nine the "
    "sun had burned the fog away and the market was full of voices again."
)
NOTICE = (
    "Your balance pays for calls as they happen. When a call is cut off, only the part that "
    "reached you is charged, and the rest of what was set aside returns to your balance at once. "
    "Every charge can be traced to the call that caused it."
)
GATEWAY_ZH = (
    "人工智能网关是一种放在应用程序与多家模型供应商之间的服务。它统一了接口格式，集中保管密钥，"
    "并且按照实际用量为每一次调用计费。用户只需要充值一次，就可以使用不同厂商的模型，而不必分别注册帐号。"
    "当某一家供应商出现故障时，网关会自动切换到下一把密钥，调用方几乎察觉不到。"
)
SHOP_ZH = (
    "早上七点，街角的小店刚刚开门，老板把热气腾腾的包子端上柜台。几个上学的孩子跑过来，"
    "一边搓着手一边等着找零钱。冬天的阳光很淡，落在湿漉漉的石板路上，像一层薄薄的糖霜。"
)
PYTHON = '''\
class TokenBucket:
    """Allows `rate` events a second, and short bursts of `burst`."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self.level = float(burst)
        self.updated_at = 0.0

    def take(self, now: float) -> bool:
        elapsed = max(0.0, now - self.updated_at)
        self.level = min(self.burst, self.level + elapsed * self.rate)
        self.updated_at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True
'''
SQL = """\
SELECT u.name, SUM(t.amount) AS spent
  FROM users AS u JOIN transfers AS t ON t.debit = u.account_id
 WHERE t.created_at >= '2026-01-01' AND t.kind = 'usage'
 GROUP BY u.name HAVING SUM(t.amount) > 1000000
 ORDER BY spent DESC LIMIT 20;
"""

# Counted once with o200k_base, the vocabulary of GPT-4o and later.
O200K = {
    "harbour": (HARBOUR, 72),
    "notice": (NOTICE, 52),
    "gateway_zh": (GATEWAY_ZH, 93),
    "shop_zh": (SHOP_ZH, 80),
    "python": (PYTHON, 145),
    "sql": (SQL, 73),
}

anything = st.text(st.characters(exclude_categories=[]), max_size=200)  # surrogates too


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("harbour", 0.90, 1.05),
        ("notice", 0.90, 1.05),
        ("gateway_zh", 0.60, 1.00),
        ("shop_zh", 0.60, 1.00),
        ("python", 0.60, 1.10),
        ("sql", 0.60, 1.10),
    ],
)
def test_an_estimate_lies_within_its_band_of_a_real_count(
    name: str, least: float, most: float
) -> None:
    text, counted = O200K[name]

    assert least <= estimate_text(text) / counted <= most


@given(st.lists(anything, max_size=20))
def test_the_sum_does_not_depend_on_how_the_text_was_cut(pieces: list[str]) -> None:
    counter = TokenCounter()
    for piece in pieces:
        counter.add(piece)

    assert counter.tokens == estimate_text("".join(pieces))


@given(anything)
def test_every_character_weighs_what_its_class_weighs(text: str) -> None:
    hundredths = sum(21 if c < "\x80" else 30 if c < "\u1000" else 60 for c in text)

    assert estimate_text(text) == -(-hundredths // 100)


def test_nothing_is_nothing_and_anything_is_at_least_one_token() -> None:
    assert TokenCounter().tokens == 0
    assert estimate_text("") == 0
    assert estimate_text(".") == estimate_text("好") == 1


def test_a_request_counts_what_the_model_reads() -> None:
    empty = {"model": "m", "messages": [{"role": "user", "content": ""}]}
    said = {"model": "m", "messages": [{"role": "user", "content": "a" * 1000}]}
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a" * 1000}]}]}
    called = {
        "messages": [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "x" * 500, "function": {"name": "f" * 50, "arguments": "a" * 950}}
                ],
            }
        ]
    }

    frame = PRIMING_TOKENS + MESSAGE_TOKENS
    assert estimate_request(empty) == frame
    assert estimate_request(said) == frame + 210
    assert estimate_request(parts) == frame + 210
    assert estimate_request(called) == frame + 210


def test_tool_definitions_count() -> None:
    plain = {"messages": [{"role": "user", "content": "hi"}]}
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 1000}}

    assert estimate_request(plain | {"tools": [tool]}) >= estimate_request(plain) + 210


def test_a_picture_counts_the_same_however_long_its_base64_is() -> None:
    def request(url: str, **more: str) -> dict:
        part = {"type": "image_url", "image_url": {"url": url, **more}}
        return {"messages": [{"role": "user", "content": [part]}]}

    frame = PRIMING_TOKENS + MESSAGE_TOKENS
    short = request("data:image/png;base64,AAAA")
    long = request("data:image/png;base64," + "A" * 1_000_000)
    assert estimate_request(short) == estimate_request(long) == frame + MEDIA_TOKENS
    assert estimate_request(request("https://x.example/", detail="low")) == frame + MEDIA_LOW_TOKENS


def nested(depth: int) -> object:
    return json.loads("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": None},
        {"messages": "hi"},
        {"messages": [None, 1, "x", [], {}]},
        {"messages": [{"content": 5, "tool_calls": 7, "function_call": "x", "name": {}}]},
        {"messages": [{"content": [None, 3, {"text": 4}, {"image_url": None}]}]},
        {"messages": [{"tool_calls": [None, {"function": 3}, {"function": {"name": 1}}]}]},
        {"tools": 5, "response_format": "x", "functions": {"a": float("inf")}},
        {"tools": ["\ud800"], "messages": [{"content": "\udfff"}]},
        {"tools": nested(900)},
    ],
)
def test_no_request_is_too_odd_to_estimate(body: dict) -> None:
    assert estimate_request(body) >= 0
