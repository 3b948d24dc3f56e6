"""Chat completions as the meter reads them: answers and stream events, decoded once, in part.

Only what decides money is decoded: the text that was said, the finish, the usage, an error. The
bytes the client gets are relayed as they came; nothing is rendered from these structs.

Vendors differ, so reading is tolerant in two steps. The structs below fit what nearly every vendor
sends and cost about a microsecond. When one field has another shape (content as a list of parts, a
number for a name), the same event is read again by hand, field by field, so that one odd field
never loses the others. What is no JSON object at all reads as None. Nothing here raises.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from aipool.dialects.estimate import TokenCounter
from aipool.rating.types import TOKENS_MAX, Units, Usage


class FunctionCall(msgspec.Struct, gc=False):
    """A tool's name and arguments, or the next piece of them."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, gc=False):
    """One tool call, or a piece of one; `custom` tools carry `input` instead of arguments."""

    function: FunctionCall | None = None
    custom: dict[str, Any] | None = None


class Said(msgspec.Struct, gc=False):
    """What the model said: the `message` of an answer, the `delta` of a stream event."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Any] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    audio: Any = None
    images: Any = None


class ChunkChoice(msgspec.Struct, gc=False):
    """One choice of a stream event. Moonshot puts the final usage here."""

    delta: Said | None = None
    finish_reason: str | None = None
    usage: Any = None


class ChatChunk(msgspec.Struct, gc=False):
    """One event of a streamed answer."""

    choices: list[ChunkChoice] | None = None
    usage: Any = None
    error: Any = None


class AnswerChoice(msgspec.Struct, gc=False):
    """One choice of a whole answer."""

    message: Said | None = None
    finish_reason: str | None = None
    usage: Any = None


class InputDetails(msgspec.Struct, gc=False):
    """What the input was made of."""

    cached_tokens: int | None = None
    audio_tokens: int | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """What the output was made of."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class UsageReport(msgspec.Struct, gc=False):
    """OpenAI's usage object where it is well formed; `usage_of` reads the others."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int = -1
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class AnswerEnvelope(msgspec.Struct, gc=False):
    """A whole answer, when all that is asked of it is whether it is one and what it used."""

    usage: UsageReport
    choices: list[msgspec.Raw]
    error: msgspec.Raw = msgspec.Raw(b"null")


class ChatAnswer(msgspec.Struct, gc=False):
    """A whole answer."""

    choices: list[AnswerChoice] | None = None
    usage: Any = None
    error: Any = None


_chunk = msgspec.json.Decoder(ChatChunk).decode
_answer = msgspec.json.Decoder(ChatAnswer).decode
_envelope = msgspec.json.Decoder(AnswerEnvelope).decode


def decode_chunk(data: bytes) -> ChatChunk | None:
    """The data of one stream event; None when it is no JSON object (`[DONE]`, garbage)."""
    try:
        return _chunk(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _any_json(data)
    if not isinstance(value, dict):
        return None
    choices = [
        ChunkChoice(_said(choice.get("delta")), _finish(choice), choice.get("usage"))
        for choice in _objects(value.get("choices"))
    ]
    return ChatChunk(choices, value.get("usage"), value.get("error"))


def decode_answer(body: bytes) -> ChatAnswer | None:
    """A whole answer; None when it is no JSON object."""
    try:
        return _answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _any_json(body)
    if not isinstance(value, dict):
        return None
    choices = [
        AnswerChoice(_said(choice.get("message")), _finish(choice), choice.get("usage"))
        for choice in _objects(value.get("choices"))
    ]
    return ChatAnswer(choices, value.get("usage"), value.get("error"))


def reported_by(body: bytes) -> Usage | None:
    """The usage of a whole, ordinary answer, at a tenth of the cost of reading it.

    None when it is anything but ordinary: then `decode_answer` reads it.
    """
    try:
        answer = _envelope(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not answer.choices or bytes(answer.error) != b"null":
        return None
    return _plain_usage(answer.usage)


def _plain_usage(report: UsageReport) -> Usage | None:
    """A well-formed report whose figures agree with each other; None for any other."""
    incoming, outgoing = report.prompt_tokens, report.completion_tokens
    details = report.prompt_tokens_details
    cached = details.cached_tokens if details is not None else None
    if not cached:
        cached = report.prompt_cache_hit_tokens or report.cached_tokens or 0
    made = report.completion_tokens_details
    reasoning = made.reasoning_tokens if made is not None else None
    if not reasoning:
        reasoning = report.reasoning_tokens or 0
    if (details is not None and details.audio_tokens) or (made is not None and made.audio_tokens):
        return None
    if 0 <= cached <= incoming <= TOKENS_MAX and 0 <= reasoning <= outgoing <= TOKENS_MAX:
        if reasoning and report.total_tokens == incoming + outgoing + reasoning:
            return None
        return Usage(incoming, cached, outgoing, reasoning)
    return None


def chunk_is_meaningful(chunk: ChatChunk) -> bool:
    """Does this event commit the answer to its vendor?

    True from the first text, reasoning, tool call, refusal, picture or sound on, and for a finish
    reason or usage. A role alone, empty choices and an error do not.
    """
    if chunk.usage:
        return True
    for choice in chunk.choices or ():
        said = choice.delta
        if (
            (said is not None and (said.content or _says_more(said)))
            or choice.finish_reason
            or choice.usage
        ):
            return True
    return False


def chunk_text_count(chunk: ChatChunk, counter: TokenCounter) -> None:
    """Add to the counter what this event said: text, reasoning, refusal, tool calls. No error."""
    for choice in chunk.choices or ():
        if choice.delta is not None:
            _count(choice.delta, counter)


def answer_text_count(answer: ChatAnswer, counter: TokenCounter) -> None:
    """The same for a whole answer."""
    for choice in answer.choices or ():
        if choice.message is not None:
            _count(choice.message, counter)


def chunk_usage(chunk: ChatChunk) -> Usage | None:
    """The usage this event reports, if it does. Of a stream's reports the last one counts."""
    return _reported(chunk.usage, chunk.choices)


def answer_usage(answer: ChatAnswer) -> Usage | None:
    """The usage this answer reports, if it does."""
    return _reported(answer.usage, answer.choices)


def usage_of(raw: object) -> Usage | None:
    """OpenAI's usage object, as it and its imitators write it; None = no usable report.

    `prompt_tokens` includes the cached ones (`prompt_tokens_details.cached_tokens`, with DeepSeek
    `prompt_cache_hit_tokens`, with Moonshot `cached_tokens`); `completion_tokens` includes
    `completion_tokens_details.reasoning_tokens`, except with xAI, where the total says so. An
    explicit zero is a report, a negative count is read as zero. A count that is no whole number
    or lies above TOKENS_MAX makes the whole report unusable: then the relayed text is counted,
    which is nearer to the truth than any part of a broken report.
    """
    if not isinstance(raw, dict):
        return None
    prompt, completion = raw.get("prompt_tokens"), raw.get("completion_tokens")
    if prompt is None and completion is None:
        return None
    input_tokens = 0 if prompt is None else _tokens(prompt)
    output_tokens = 0 if completion is None else _tokens(completion)
    if input_tokens is None or output_tokens is None:
        return None

    cached_tokens = (
        _tokens(_detail(raw, "prompt_tokens_details", "cached_tokens"))
        or _tokens(raw.get("prompt_cache_hit_tokens"))
        or _tokens(raw.get("cached_tokens"))
        or 0
    )
    reasoning_tokens = (
        _tokens(_detail(raw, "completion_tokens_details", "reasoning_tokens"))
        or _tokens(raw.get("reasoning_tokens"))
        or 0
    )
    if _tokens(raw.get("total_tokens")) == input_tokens + output_tokens + reasoning_tokens:
        output_tokens = min(output_tokens + reasoning_tokens, TOKENS_MAX)
    cached_tokens = min(cached_tokens, input_tokens)
    return Usage(
        input_tokens,
        cached_tokens,
        output_tokens,
        min(reasoning_tokens, output_tokens),
        _sound(raw, input_tokens - cached_tokens, output_tokens),
    )


def _sound(raw: dict[str, Any], input_tokens: int, output_tokens: int) -> Units | None:
    """How much of the input that was not cached, and of the output, was sound; None = nothing."""
    heard = _tokens(_detail(raw, "prompt_tokens_details", "audio_tokens")) or 0
    said = _tokens(_detail(raw, "completion_tokens_details", "audio_tokens")) or 0
    if not heard and not said:
        return None
    return Units(
        audio_input_tokens=min(heard, input_tokens), audio_output_tokens=min(said, output_tokens)
    )


def _count(said: Said, counter: TokenCounter) -> None:
    if said.content:
        counter.add(said.content)
        if not _says_more(said):
            return
    # Some vendors send the same reasoning under two names: it counts once.
    if reasoning := said.reasoning_content or said.reasoning:
        counter.add(reasoning)
    elif said.reasoning_details:
        counter.add(_text(said.reasoning_details) or "")
    if said.refusal:
        counter.add(said.refusal)
    for call in said.tool_calls or ():
        _count_call(call.function, counter)
        if call.custom:
            for key in ("name", "input"):
                counter.add(_text(call.custom.get(key)) or "")
    _count_call(said.function_call, counter)


def _says_more(said: Said) -> bool:
    """Does it say anything besides plain content?"""
    return bool(
        said.reasoning_content
        or said.reasoning
        or said.tool_calls
        or said.refusal
        or said.reasoning_details
        or said.function_call
        or said.audio
        or said.images
    )


def _count_call(call: FunctionCall | None, counter: TokenCounter) -> None:
    if call is not None:
        if call.name:
            counter.add(call.name)
        if call.arguments:
            counter.add(call.arguments)


def _reported(usage: object, choices: Sequence[ChunkChoice | AnswerChoice] | None) -> Usage | None:
    found = usage_of(usage) if usage else None
    if found is None:
        for choice in choices or ():
            if choice.usage and (found := usage_of(choice.usage)) is not None:
                break
    return found


def _tokens(value: object) -> int | None:
    """A count of tokens, or None for what is none: text, true, NaN, 1.5, more than the most."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value > TOKENS_MAX:
        return None
    return max(value, 0)


def _detail(raw: dict[str, Any], group: str, name: str) -> object:
    details = raw.get(group)
    return details.get(name) if isinstance(details, dict) else None


# --- the second reading, field by field --------------------------------------------------------


def _any_json(data: bytes) -> object:
    """Whatever JSON this is; None when it is none. `json` also takes NaN and lone surrogates."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _said(value: object) -> Said | None:
    if not isinstance(value, dict):
        return None
    calls = [
        ToolCall(_function(call.get("function")), _object(call.get("custom")))
        for call in _objects(value.get("tool_calls"))
    ]
    details = value.get("reasoning_details")
    return Said(
        content=_text(value.get("content")),
        reasoning_content=_text(value.get("reasoning_content")),
        reasoning=_text(value.get("reasoning")),
        reasoning_details=details if isinstance(details, list) else None,
        refusal=_text(value.get("refusal")),
        tool_calls=calls,
        function_call=_function(value.get("function_call")),
        audio=value.get("audio"),
        images=value.get("images"),
    )


def _function(value: object) -> FunctionCall | None:
    if not isinstance(value, dict):
        return None
    arguments = value.get("arguments")
    if isinstance(arguments, (dict, list)):
        # Some servers send the arguments as an object instead of as its text.
        try:
            arguments = json.dumps(arguments, ensure_ascii=False)
        except RecursionError:
            arguments = None
    return FunctionCall(_text(value.get("name")), _text(arguments))


def _finish(choice: dict[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    return None if reason is None or reason is False else str(reason)


def _text(value: object) -> str | None:
    """Text, or the text of a list of parts (Mistral sends thoughts as parts within a part)."""
    if isinstance(value, str):
        return value
    pieces: list[str] = []
    for part in _objects(value):
        for held in (part.get("text"), part.get("thinking")):
            if isinstance(held, str):
                pieces.append(held)
            else:
                pieces.extend(
                    inner["text"] for inner in _objects(held) if isinstance(inner.get("text"), str)
                )
    return "".join(pieces) or None


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
