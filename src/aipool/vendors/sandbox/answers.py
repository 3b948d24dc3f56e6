"""What the sandbox answers: request bytes in, answer bytes out, the same every time."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aipool.vendors.sandbox.examples import example

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"

MESSAGE_TOKENS = 3
MEDIA_TOKENS = 85

# field, least, most: as OpenAI bounds them, except that 10 choices are enough.
_NUMBERS = (
    ("n", 1, 10),
    ("max_tokens", 1, 10**8),
    ("max_completion_tokens", 1, 10**8),
)
_EXCERPT_CHARACTERS = 80

_CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_PIECE = re.compile(rf"\s*[{_CJK}]|\s*[^\s{_CJK}]{{1,16}}|\s+")
_HAS_CJK = re.compile(f"[{_CJK}]").search


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: one part for a whole answer, one part per event for a stream."""

    status: int
    content_type: bytes
    parts: tuple[bytes, ...]


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str]


@dataclass(slots=True)
class _Choice:
    """What one choice says, in pieces of one token each."""

    text: list[str] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)
    finish_reason: str = "stop"

    @property
    def tokens(self) -> int:
        return len(self.text) + sum(1 + len(call.arguments) for call in self.calls)

    def cut(self, tokens: int) -> None:
        """Keep the first so many tokens, and say so when some were lost."""
        if self.tokens <= tokens:
            return
        self.finish_reason = "length"
        self.text = self.text[:tokens]
        tokens -= len(self.text)
        kept = []
        for call in self.calls:
            if tokens < 1:
                break
            call.arguments = call.arguments[: tokens - 1]
            tokens -= 1 + len(call.arguments)
            kept.append(call)
        self.calls = kept


def answer(body: bytes, *, created: int) -> Answer:
    """The answer to `POST /v1/chat/completions` with this body.

    created: seconds since 1970, for the answer's `created`.
    """
    try:
        request = json.loads(body, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return _refused("The body is not valid JSON.", None)
    if not isinstance(request, dict):
        return _refused("The body has to be a JSON object.", None)
    if problem := _problem(request):
        return _refused(*problem)
    try:
        return _answer(request, hashlib.sha256(body).hexdigest(), created)
    except RecursionError:
        return _refused("The body is nested too deeply.", None)


def _answer(request: dict[str, Any], digest: str, created: int) -> Answer:
    count = request.get("n") or 1
    choices = [_choice(request, digest, index) for index in range(count)]
    frame = {
        "id": f"chatcmpl-{digest[:24]}",
        "object": "chat.completion.chunk" if request.get("stream") else "chat.completion",
        "created": created,
        "model": request["model"],
        "system_fingerprint": "fp_sandbox",
    }
    usage = _usage(request, choices)
    if request.get("stream"):
        options = request.get("stream_options") or {}
        reported = usage if options.get("include_usage") else None
        return Answer(200, EVENT_STREAM, tuple(_events(frame, choices, reported)))
    whole = frame | {"choices": [_whole(i, c) for i, c in enumerate(choices)], "usage": usage}
    return Answer(200, JSON, (_json(whole),))


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def tokens_of(text: str) -> int:
    """How many prompt tokens a text is: a quarter of its bytes, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


# --- refusals ----------------------------------------------------------------------------------


def _problem(request: dict[str, Any]) -> tuple[str, str] | None:
    """What is wrong with the request, and with which field."""
    model, messages = request.get("model"), request.get("messages")
    if not isinstance(model, str) or not model:
        return "You must provide a model parameter.", "model"
    if not isinstance(messages, list) or not messages:
        return "'messages' has to be an array of at least one message.", "messages"
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return "A message is an object with a role.", f"messages[{index}]"
        if not isinstance(message.get("content"), str | list | None):
            return "Content is a string or an array of parts.", f"messages[{index}].content"
    for name, least, most in _NUMBERS:
        value = request.get(name)
        if value is not None and (type(value) is not int or not least <= value <= most):
            return f"'{name}' has to be an integer from {least} to {most}.", name
    if not isinstance(request.get("stream"), bool | None):
        return "'stream' has to be a boolean.", "stream"
    options = request.get("stream_options")
    if options is not None and not (isinstance(options, dict) and request.get("stream")):
        return "'stream_options' is an object, allowed only with a stream.", "stream_options"
    return _problem_with_tools(request)


def _problem_with_tools(request: dict[str, Any]) -> tuple[str, str] | None:
    tools = request.get("tools")
    if not isinstance(tools, list | None):
        return "'tools' has to be an array.", "tools"
    for index, tool in enumerate(tools or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return "A tool is an object with a function that has a name.", f"tools[{index}]"
    choice = request.get("tool_choice")
    if choice in (None, "auto", "none"):
        return None
    if not tools:
        return "'tool_choice' is only allowed with tools.", "tool_choice"
    if choice == "required" or _forced_name(choice) in {t["function"]["name"] for t in tools}:
        return None
    return "'tool_choice' names none of the tools.", "tool_choice"


def _refused(message: str, param: str | None) -> Answer:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    return Answer(400, JSON, (_json({"error": error}),))


# --- what is said ------------------------------------------------------------------------------


def _choice(request: dict[str, Any], digest: str, index: int) -> _Choice:
    choice = _Choice()
    for number, tool in enumerate(_called_tools(request)):
        call_id = hashlib.sha256(f"{digest}:{index}:{number}".encode()).hexdigest()[:24]
        arguments = _json(example(tool.get("parameters"))).decode()
        choice.calls.append(_Call(f"call_{call_id}", tool["name"], _pieces(arguments)))
        choice.finish_reason = "tool_calls"
    if not choice.calls:
        choice.text = _pieces(_text(request, index))
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    if limit is not None:
        choice.cut(limit)
    return choice


def _called_tools(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The functions to call: the forced one, or those the last message mentions."""
    functions: list[dict[str, Any]] = [tool["function"] for tool in request.get("tools") or ()]
    last, choice = request["messages"][-1], request.get("tool_choice")
    if not functions or choice == "none" or last["role"] == "tool":
        return []
    if forced := _forced_name(choice):
        return [function for function in functions if function["name"] == forced][:1]
    said = _text_of(last.get("content")) if last["role"] == "user" else ""
    named = [function for function in functions if _mentions(said, function["name"])]
    if not named and choice == "required":
        named = functions[:1]
    return named[:1] if request.get("parallel_tool_calls") is False else named


def _forced_name(choice: object) -> str | None:
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _mentions(text: str, name: str) -> bool:
    """Is the name there as a word? Chinese may stand right beside it."""
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.ASCII) is not None


def _text(request: dict[str, Any], index: int) -> str:
    last = request["messages"][-1]
    said = " ".join(_text_of(last.get("content")).split())
    excerpt = said[:_EXCERPT_CHARACTERS] + ("…" if len(said) > _EXCERPT_CHARACTERS else "")
    wanted = request.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        schema = wanted.get("json_schema")
        schema = schema.get("schema") if isinstance(schema, dict) else None
        return _json(example(schema)).decode()
    if isinstance(wanted, dict) and wanted.get("type") == "json_object":
        return _json({"vendor": "sandbox", "you_said": excerpt}).decode()
    again = f" ({index + 1})" if index else ""
    model = request["model"]
    if last["role"] == "tool":
        return f"The tool answered: “{excerpt}”. The sandbox thanks you for running it.{again}"
    if _HAS_CJK(said):
        return (
            f"你好！我是 AI-POOL 的沙盒，正在代替 {model} 回答。你说的是：“{excerpt}”。"
            f"我不是真正的模型：同样的请求总会得到同样的回答，用量按实计算，"
            f"所以不需要任何厂商的密钥，就可以试用从准入到记账的全部流程。{again}"
        )
    return (
        f"Hello! This is the sandbox of AI-POOL, answering in place of {model}. "
        f"You said: “{excerpt}”. I am not a real model: the same request always gets the same "
        f"answer, and its usage is counted exactly, so everything from admission to the ledger "
        f"can be tried without a vendor's key.{again}"
    )


def _text_of(content: object) -> str:
    """The text of a message's content, a string or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return " ".join(
        part["text"]
        for part in content
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _pieces(text: str) -> list[str]:
    return _PIECE.findall(text)


# --- how it is written -------------------------------------------------------------------------


def _usage(request: dict[str, Any], choices: Sequence[_Choice]) -> dict[str, Any]:
    prompt = sum(_message_tokens(message) for message in request["messages"])
    if definitions := request.get("tools"):
        prompt += tokens_of(json.dumps(definitions, ensure_ascii=False))
    completion = sum(choice.tokens for choice in choices)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _message_tokens(message: dict[str, Any]) -> int:
    content = message.get("content")
    tokens = MESSAGE_TOKENS + tokens_of(_text_of(content))
    if isinstance(content, list):
        others = [p for p in content if not (isinstance(p, dict) and p.get("type") == "text")]
        tokens += MEDIA_TOKENS * len(others)
    if calls := message.get("tool_calls"):
        tokens += tokens_of(json.dumps(calls, ensure_ascii=False))
    return tokens


def _whole(index: int, choice: _Choice) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(choice.text) if choice.text or not choice.calls else None,
        "refusal": None,
    }
    if choice.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.arguments)},
            }
            for call in choice.calls
        ]
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": choice.finish_reason,
    }


def _events(
    frame: dict[str, Any], choices: Sequence[_Choice], usage: dict[str, Any] | None
) -> Iterator[bytes]:
    # With usage asked for, every chunk before the last carries `usage: null`, as OpenAI's do.
    common = frame | ({"usage": None} if usage else {})
    for index, choice in enumerate(choices):
        for delta in _deltas(choice):
            yield _event(common, [_chunk(index, delta, None)])
        yield _event(common, [_chunk(index, {}, choice.finish_reason)])
    if usage:
        yield _event(frame | {"usage": usage}, [])
    yield b"data: [DONE]\n\n"


def _deltas(choice: _Choice) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None if choice.calls else "", "refusal": None}
    for piece in choice.text:
        yield {"content": piece}
    for number, call in enumerate(choice.calls):
        begun = {"name": call.name, "arguments": ""}
        yield {
            "tool_calls": [{"index": number, "id": call.id, "type": "function", "function": begun}]
        }
        for piece in call.arguments:
            yield {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}


def _chunk(index: int, delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(common: dict[str, Any], choices: list[dict[str, Any]]) -> bytes:
    return b"data: " + _json(common | {"choices": choices}) + b"\n\n"


def _json(value: object) -> bytes:
    # Lone surrogates of an excerpt cannot be written as UTF-8; escaped they can.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
