"""From a behaviour and a request to the steps of an answer. Pure: the server only carries them out.

An answer is a list of steps: send these bytes, wait, stall, cut, end. Each `Send` says what it
means for the books: how many events it completes, which text it tells, which usage it reports.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from aipool.dialects.estimate import TokenCounter, estimate_request
from tests.fakes.behaviour import Behaviour
from tests.fakes.sse import KINDS, halves

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required"}
REASONS |= {403: "Forbidden", 404: "Not Found", 408: "Request Timeout", 429: "Too Many Requests"}
REASONS |= {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}

# What a vendor tells about itself and about the account; none of it may reach a client.
TELLTALE = {
    "openai-organization": "org-of-the-fake-vendor",
    "openai-processing-ms": "7",
    "x-ratelimit-remaining-requests": "4999",
    "set-cookie": "__cf_bm=fake; path=/",
    "server": "fake-vendor",
}

ABSURD = {"prompt_tokens": 2**63, "completion_tokens": 18446744073686646784, "total_tokens": -1}
NEGATIVE = {"prompt_tokens": -5, "completion_tokens": -7, "total_tokens": -12}
TEXT = {"prompt_tokens": "many", "completion_tokens": "NaN", "total_tokens": None}
ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@dataclass(frozen=True, slots=True)
class Send:
    """Hand these bytes to the socket."""

    data: bytes
    events: int = 0
    text: str = ""
    usage: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Do nothing any more, and keep the connection open."""


@dataclass(frozen=True, slots=True)
class Cut:
    """End the connection before the answer's end."""

    how: str


@dataclass(frozen=True, slots=True)
class End:
    """The answer is whole."""

    keep_alive: bool


Step = Send | Wait | Stall | Cut | End


@dataclass(frozen=True, slots=True)
class _Event:
    """One stream event before it is framed: its data, what it tells, which usage it reports."""

    data: bytes
    text: str = ""
    usage: dict[str, Any] | None = None


def steps(behaviour: Behaviour, body: dict[str, Any], *, number: int, key: str) -> list[Step]:
    """All of an answer."""
    if behaviour.never:
        return [Stall()]
    planned: list[Step] = [Wait(behaviour.delay)] if behaviour.delay else []
    is_stream = body.get("stream") is True and behaviour.status == 200 and behaviour.body is None
    if is_stream:
        planned += _stream(behaviour, body, number)
    else:
        planned += _whole(behaviour, body, number, key)
    if behaviour.cut_at is not None:
        planned = _cut_at(planned, behaviour.cut_at, behaviour.cut)
    if behaviour.dribble is not None:
        planned = list(_dribbled(planned, behaviour.dribble.bytes, behaviour.dribble.seconds))
    return planned


# --- a whole answer ----------------------------------------------------------------------------


def _whole(behaviour: Behaviour, body: dict[str, Any], number: int, key: str) -> Iterator[Step]:
    text, usage = "", None
    if isinstance(behaviour.body, str):
        payload = behaviour.body.encode()
    elif behaviour.body is not None:
        payload = _json(behaviour.body)
    elif behaviour.status != 200 or behaviour.error is not None:
        payload = _json({"error": behaviour.error or _error(behaviour.status, key)})
    else:
        answer, text, usage = _completion(behaviour, body, number)
        payload = _json(answer)
    if behaviour.gzip:
        payload = _gzip(payload)
    framing = "length" if behaviour.framing == "auto" else behaviour.framing
    head = _head(behaviour, number, behaviour.content_type or "application/json", framing, payload)
    if framing == "chunked":
        payload = _chunk(payload) + b"0\r\n\r\n"
    if behaviour.pause_after is not None:
        half = len(payload) // 2
        yield Send(head + payload[:half])
        yield Wait(behaviour.pause)
        head, payload = b"", payload[half:]
    yield Send(head + payload, 1, text, usage)
    yield End(behaviour.keep_alive and framing != "close")


def _completion(
    behaviour: Behaviour, body: dict[str, Any], number: int
) -> tuple[dict[str, Any], str, dict[str, Any] | None]:
    """The answer, the text it tells, the usage it reports."""
    said, finish = _said(behaviour, body)
    message: dict[str, Any] = {"role": "assistant", "content": None}
    for piece in said:
        for name, value in piece.items():
            if name == "tool_calls":
                message.setdefault(name, []).extend(
                    {k: v for k, v in call.items() if k != "index"} for call in value
                )
            else:
                message[name] = (message.get(name) or "") + value
    choices = [
        {"index": i, "message": message, "finish_reason": finish} for i in range(_count(body))
    ]
    text = "".join(_text(piece) for piece in said) * len(choices)
    answer = _frame(body, number, "chat.completion") | {"choices": choices}
    usage = _usage(behaviour, body, text)
    if usage is not None and behaviour.usage_at == "choice":
        choices[0]["usage"] = usage
    elif usage is not None:
        answer["usage"] = usage
    return answer, text, usage


# --- a streamed answer -------------------------------------------------------------------------


def _stream(behaviour: Behaviour, body: dict[str, Any], number: int) -> Iterator[Step]:
    kind = KINDS[behaviour.sse]
    packer = zlib.compressobj(wbits=31) if behaviour.gzip else None

    def packed(data: bytes) -> bytes:
        if packer is None:
            return data
        return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)

    framed: list[tuple[bytes, _Event]] = []
    for index, event in enumerate(_events(behaviour, body, number)):
        if event.data != b"[DONE]" or kind.done:
            framed.append((packed(kind.frame(event.data, index)), event))
    trailer = packer.flush() if packer else b""

    framing = "chunked" if behaviour.framing == "auto" else behaviour.framing
    everything = b"".join(data for data, _ in framed) + trailer
    wrap = _chunk if framing == "chunked" else bytes
    content_type = behaviour.content_type or kind.content_type
    yield Send(_head(behaviour, number, content_type, framing, everything))
    for index, (data, event) in enumerate(framed):
        if index == behaviour.stall_after:
            yield Stall()
            return
        if index == behaviour.cut_after:
            if behaviour.cut_inside:
                yield Send(wrap(data)[: len(data) // 2])
            yield Cut(behaviour.cut)
            return
        if index == behaviour.pause_after:
            yield Wait(behaviour.pause)
        if index and behaviour.interval:
            yield Wait(behaviour.interval)
        if kind.halved:
            first, data = halves(data)
            yield Send(wrap(first))
            yield Wait(0.002)
        yield Send(wrap(data), 1, event.text, event.usage)
    if trailer:
        yield Send(wrap(trailer))
    if framing == "chunked":
        yield Send(b"0\r\n\r\n")
    yield End(behaviour.keep_alive and framing != "close")


def _events(behaviour: Behaviour, body: dict[str, Any], number: int) -> list[_Event]:
    frame = _frame(body, number, "chat.completion.chunk")
    options = body.get("stream_options")
    asked = behaviour.usage_unasked or (
        isinstance(options, dict) and options.get("include_usage") is True
    )
    count, told = _count(body), ""
    said, finish = _said(behaviour, body)
    events: list[_Event] = []

    def add(choices: list[dict[str, Any]], text: str = "", *, usage: Any = None) -> None:
        held = frame | {"choices": choices} | ({"usage": usage} if usage is not None else {})
        events.append(_Event(_json(held), text, usage))

    if behaviour.empty_first:
        events.append(_Event(_json(frame | {"choices": [], "prompt_filter_results": []})))
    if behaviour.role_first:
        for index in range(count):
            add([_choice(index, {"role": "assistant", "content": ""})])
    for piece in said:
        for index in range(count):
            told += _text(piece)
            so_far = _usage(behaviour, body, told) if behaviour.usage_at == "every" else None
            add([_choice(index, piece)], _text(piece), usage=so_far)
    usage = _usage(behaviour, body, told)
    for index in range(count):
        choice, last = _choice(index, {}, finish), index == count - 1
        if usage is not None and behaviour.usage_at == "choice" and last:
            events.append(
                _Event(_json(frame | {"choices": [choice | {"usage": usage}]}), usage=usage)
            )
        elif behaviour.usage_at == "finish" and last:
            add([choice], usage=usage)
        else:
            add([choice])
    if behaviour.usage_at == "end" and asked and usage is not None:
        add([], usage=usage)
    if behaviour.error_after is not None:
        error = behaviour.error or _error(500, "")
        return [*events[: behaviour.error_after], _Event(_json({"error": error}))]
    if behaviour.done:
        events.append(_Event(b"[DONE]"))
    return events


# --- what is said ------------------------------------------------------------------------------


def _said(behaviour: Behaviour, body: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The deltas of the answer, cut at the request's cap, and the finish reason."""
    pieces: list[dict[str, Any]] = []
    if behaviour.reasoning:
        pieces += [{"reasoning_content": word} for word in _words(behaviour.reasoning)]
    if behaviour.refusal:
        pieces += [{"refusal": word} for word in _words(behaviour.refusal)]
    for index, call in enumerate(behaviour.tool_calls):
        function = {"name": call["name"], "arguments": call.get("arguments", "{}")}
        pieces.append(
            {
                "tool_calls": [
                    {
                        "index": index,
                        "id": f"call_{index}",
                        "type": "function",
                        "function": function,
                    }
                ]
            }
        )
    if behaviour.content is not None:
        pieces += [{"content": word} for word in _words(behaviour.content)]
    elif not (behaviour.tool_calls or behaviour.refusal):
        pieces += [{"content": behaviour.word}] * behaviour.events

    finish = "tool_calls" if behaviour.tool_calls else "stop"
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if behaviour.ignore_max_tokens or not isinstance(limit, int):
        return pieces, finish
    counter = TokenCounter()
    kept: list[dict[str, Any]] = []
    for piece in pieces:
        counter.add(_text(piece))
        if counter.tokens > limit:
            return kept, "length"
        kept.append(piece)
    return kept, finish


def _words(text: str) -> list[str]:
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def _text(piece: dict[str, Any]) -> str:
    """What the vendor counts of a delta."""
    if calls := piece.get("tool_calls"):
        return "".join(call["function"]["name"] + call["function"]["arguments"] for call in calls)
    return "".join(str(value) for value in piece.values())


def _usage(behaviour: Behaviour, body: dict[str, Any], text: str) -> dict[str, Any] | None:
    wanted = behaviour.usage
    if isinstance(wanted, dict):
        return wanted
    if wanted == "counted":
        counter = TokenCounter()
        counter.add(text)
        prompt = estimate_request(body)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": counter.tokens,
            "total_tokens": prompt + counter.tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
    return {"none": None, "zero": ZERO, "absurd": ABSURD, "negative": NEGATIVE, "text": TEXT}[
        wanted
    ]


def _error(status: int, key: str) -> dict[str, Any]:
    kinds = {401: "invalid_api_key", 402: "insufficient_quota", 429: "rate_limit_exceeded"}
    return {
        "message": f"The fake vendor says {status} about the key {key} of org-of-the-fake-vendor.",
        "type": "server_error" if status >= 500 else "invalid_request_error",
        "param": None,
        "code": kinds.get(status),
    }


def _count(body: dict[str, Any]) -> int:
    count = body.get("n")
    return count if type(count) is int and 1 <= count <= 128 else 1


def _frame(body: dict[str, Any], number: int, kind: str) -> dict[str, Any]:
    model = body.get("model")
    return {
        "id": f"chatcmpl-fake-{number}",
        "object": kind,
        "created": 1_800_000_000,
        "model": model,
    }


def _choice(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


def _json(value: object) -> bytes:
    # As it is, so that Chinese text really has characters of several bytes in it.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


# --- how it leaves -----------------------------------------------------------------------------


def _head(
    behaviour: Behaviour, number: int, content_type: str, framing: str, payload: bytes
) -> bytes:
    headers = {"content-type": content_type, "x-request-id": f"req-fake-{number}", **TELLTALE}
    if behaviour.gzip:
        headers["content-encoding"] = "gzip"
    if framing == "length":
        headers["content-length"] = str(len(payload))
    elif framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    if framing == "close" or not behaviour.keep_alive:
        headers["connection"] = "close"
    headers |= {name.lower(): value for name, value in behaviour.headers.items()}
    lines = [f"HTTP/1.1 {behaviour.status} {REASONS.get(behaviour.status, 'Whatever')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


def _cut_at(planned: list[Step], where: int | str, how: str) -> list[Step]:
    """The same answer, cut after so many bytes, or after its head."""
    kept: list[Step] = []
    if isinstance(where, str):
        first = next((step for step in planned if isinstance(step, Send)), Send(b""))
        where = first.data.index(b"\r\n\r\n") + 4
    size = where
    for step in planned:
        if isinstance(step, Send):
            if len(step.data) >= size:
                # What was cut inside an event told nothing, unless nothing of it was cut.
                whole = len(step.data) == size
                kept.append(step if whole else Send(step.data[:size]))
                return [*kept, Cut(how)]
            size -= len(step.data)
        kept.append(step)
    return kept


def _dribbled(planned: list[Step], size: int, seconds: float) -> Iterator[Step]:
    for step in planned:
        if not isinstance(step, Send):
            yield step
            continue
        pieces = [step.data[at : at + size] for at in range(0, len(step.data), size)] or [b""]
        for piece in pieces[:-1]:
            yield Send(piece)
            yield Wait(seconds)
        yield replace(step, data=pieces[-1])
