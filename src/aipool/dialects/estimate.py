"""Counting tokens without a vocabulary: what a call is charged when the vendor reports no usage.

Every vendor cuts text by its own vocabulary, and most of them publish none. So text is counted by
weight: each character belongs to one of three classes, and a class has one weight. Weights add up,
so the count does not depend on how the text was cut into pieces on its way here, and no text has
to be kept; the sum is rounded once, at the end.

- ASCII (U+0000 to U+007F) weighs 0.21 tokens a character: English prose measures 4.5 to 4.8
  characters a token (o200k and cl100k alike); Markdown, dense code and JSON are a little heavier.
- Alphabets (U+0080 to U+0FFF) weigh 0.30: Russian, Greek, Arabic, Hindi and Thai measure 0.25 to
  0.41 with o200k, and about twice that with older vocabularies.
- Everything from U+1000 on weighs 0.60: Chinese measures 0.70 to 1.0 with o200k; the vocabularies
  of Chinese vendors are kinder to it, DeepSeek documents 0.6 tokens a character.

The weights lean to the low side on purpose: where nobody can say what was used, the customer gets
the benefit of the doubt. Of the o200k count, English prose comes out at 0.9 to 1.1, Chinese prose
at 0.6 to 1.0, code and JSON at 0.6 to 1.1, Markdown at 0.7, emoji at 0.7, and columns of numbers at
a third, since digits go by threes at the most (`tests/dialects/test_accuracy.py` holds them to it,
kind by kind). This is not an upper bound: holds are sized by bytes.

Which counter counts is the choice of whoever makes it: `dialects.exact` has one that counts by the
vocabulary itself, for vendors whose vocabulary is public.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

# Weights in hundredths of a token, so that everything stays an integer.
_ASCII = 21
_ALPHABETIC = 30
_DENSE = 60
_PER_TOKEN = 100

# UTF-8 leads a character of U+0080..U+07FF by C2..DF, of U+0800..U+0FFF by E0, of U+1000 and above
# by E1..F4. Deleting everything but a class's lead bytes counts its characters at the speed of C.
_NOT_ALPHABETIC = bytes(b for b in range(256) if not 0xC2 <= b <= 0xE0)
_NOT_DENSE = bytes(b for b in range(256) if not 0xE1 <= b <= 0xF4)

#: Around each message stand marks of its beginning, role and end (OpenAI's published count).
MESSAGE_TOKENS = 3
#: And the answer is primed by as many.
PRIMING_TOKENS = 3
#: One picture, sound or file, whatever its size: 1024 x 1024 pixels at OpenAI's high detail
#: (85 and 4 tiles of 170). The length of its base64 says nothing about its tokens.
MEDIA_TOKENS = 765
#: One picture at `detail: low`.
MEDIA_LOW_TOKENS = 85


class TokenCounter:
    """Counts text that arrives in pieces; the pieces themselves are not kept."""

    __slots__ = ("_units",)

    def __init__(self) -> None:
        self._units = 0

    def add(self, text: str) -> None:
        """Count this piece too."""
        if text.isascii():
            self._units += _ASCII * len(text)
        else:
            self._units += units_of(text)

    @property
    def tokens(self) -> int:
        """What was added so far, in tokens, rounded up once: any text is at least one.

        Asked again and again while text still comes.
        """
        return estimate_units(self._units)

    @property
    def total(self) -> int:
        """The same at the end, as exactly as this counter can."""
        return self.tokens


#: Makes the counter of one text.
CounterMaker = Callable[[], TokenCounter]


def estimated(_vocabulary: str) -> CounterMaker:
    """The maker of counters for text of this vocabulary: every text is estimated."""
    return TokenCounter


def estimate_text(text: str) -> int:
    """About how many tokens this text is, rounded up."""
    counter = TokenCounter()
    counter.add(text)
    return counter.tokens


def estimate_request(body: Mapping[str, Any], counter: TokenCounter | None = None) -> int:
    """About how many input tokens a chat request is.

    Counts what the model reads: the messages' text, names, tool calls and tool results, and the
    definitions of tools and of the answer's schema. Each picture, sound or file counts a fixed
    number. Takes any JSON object; what is not of the expected shape counts nothing.

    counter: a fresh one that counts the text; default the estimating one.
    """
    if counter is None:
        counter = TokenCounter()
    tokens = 0
    messages = body.get("messages")
    if isinstance(messages, list) and messages:
        tokens = PRIMING_TOKENS + MESSAGE_TOKENS * len(messages)
        for message in messages:
            if isinstance(message, dict):
                tokens += _count_message(message, counter)
    for key in ("tools", "functions", "response_format"):
        if definitions := body.get(key):
            _count_json(definitions, counter)
    return tokens + counter.total


def _count_message(message: Mapping[str, Any], counter: TokenCounter) -> int:
    """Add the message's text to the counter; gives the tokens of what is not text."""
    for key in ("name", "reasoning_content", "refusal"):
        _count_string(message.get(key), counter)
    for call in _objects(message.get("tool_calls")):
        _count_function(call.get("function"), counter)
    _count_function(message.get("function_call"), counter)
    content = message.get("content")
    _count_string(content, counter)
    return sum(_count_part(part, counter) for part in _objects(content))


def _count_part(part: Mapping[str, Any], counter: TokenCounter) -> int:
    text = part.get("text", part.get("refusal"))
    if isinstance(text, str):
        counter.add(text)
        return 0
    picture = part.get("image_url")
    if isinstance(picture, dict) and picture.get("detail") == "low":
        return MEDIA_LOW_TOKENS
    return MEDIA_TOKENS


def _count_function(call: object, counter: TokenCounter) -> None:
    if isinstance(call, dict):
        _count_string(call.get("name"), counter)
        _count_string(call.get("arguments"), counter)


def _count_string(value: object, counter: TokenCounter) -> None:
    if isinstance(value, str):
        counter.add(value)


def _count_json(value: object, counter: TokenCounter) -> None:
    """Definitions are read by the model in some compact form; its JSON stands for it."""
    try:
        written = msgspec.json.encode(value).decode()
    except (UnicodeEncodeError, RecursionError):
        # Lone surrogates, which only `json` reads and writes; nesting at the edge of the stack.
        try:
            written = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        except RecursionError:
            return
    counter.add(written)


def _objects(value: object) -> Iterable[Mapping[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def estimate_units(units: int) -> int:
    """Hundredths of a token as tokens, rounded up."""
    return -(-units // _PER_TOKEN)


def units_of(text: str) -> int:
    """What this text weighs, in hundredths of a token."""
    encoded = text.encode("utf-8", "surrogatepass")
    alphabetic = len(encoded.translate(None, _NOT_ALPHABETIC))
    dense = len(encoded.translate(None, _NOT_DENSE))
    ascii_ = len(text) - alphabetic - dense
    return _ASCII * ascii_ + _ALPHABETIC * alphabetic + _DENSE * dense
