"""A request's body as a vendor gets it: the client's bytes, and the few that must differ. Pure.

Where only values of controlled fields change they are spliced in. Where a key's configuration sets
or takes out other fields, or the vendor has refused one, the object is put together anew from its
members, each of them with the client's own bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aipool.gateway.body import ChatBody, members_of, splice, with_usage
from aipool.gateway.candidates import Candidate
from aipool.gateway.unwanted import NOTHING, STREAM_OPTIONS, THEIR_STREAM_OPTIONS

#: Stands for everything in a conversation that only the vendor that wrote it can read.
REASONING = "reasoning"

_REASONING_FIELDS = frozenset({"reasoning", "reasoning_content", "reasoning_details"})
_REASONING_PARTS = frozenset({"thinking", "redacted_thinking", "reasoning"})

#: `stream_options` as the gateway writes them; and what stands for no member of the body, or for
#: one that is only there when the client wrote it.
_PLAIN = b'{"include_usage":true}'
_NO_MEMBERS = frozenset({STREAM_OPTIONS, THEIR_STREAM_OPTIONS})

_BRACKET = ord("[")
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_any = msgspec.json.Decoder()


def outgoing(
    body: ChatBody, candidate: Candidate, cap: int | None, unwanted: frozenset[str] = NOTHING
) -> bytes:
    """The body for this key.

    cap: of the answer's tokens, where the gateway sets one.  unwanted: what this key has refused
    before, top-level fields, THEIR_STREAM_OPTIONS or REASONING.
    """
    changes: dict[str, bytes] = {}
    if candidate.model_json is not None:
        changes["model"] = candidate.model_json
    if body.stream:
        options = _stream_options(body, candidate, unwanted)
        if options is not None:
            changes[STREAM_OPTIONS] = options
    if cap is not None:
        changes[candidate.cap_field] = b"%d" % cap
    raw = splice(body, changes) if changes else body.raw
    strip = candidate.strip
    if unwanted:
        strip |= unwanted - _NO_MEMBERS
        if STREAM_OPTIONS in unwanted and STREAM_OPTIONS in body.spans:
            strip |= {STREAM_OPTIONS}
    return _reshaped(raw, candidate.put, strip) if candidate.put or strip else raw


def _stream_options(body: ChatBody, candidate: Candidate, unwanted: frozenset[str]) -> bytes | None:
    """What they become, so that usage is reported; None = what the client wrote, or nothing."""
    if STREAM_OPTIONS in unwanted:
        return None
    if THEIR_STREAM_OPTIONS in unwanted and STREAM_OPTIONS in body.spans:
        start, end = body.spans[STREAM_OPTIONS]
        is_plain = _any.decode(body.raw[start:end]) == _any.decode(_PLAIN)
        return None if is_plain else _PLAIN
    if body.usage_wanted or not candidate.takes_stream_options:
        return None
    return with_usage(body)


def _reshaped(raw: bytes, put: dict[str, bytes], strip: frozenset[str]) -> bytes:
    """The object without some of its members, and with others set; the same bytes when it had
    none of them."""
    members = []
    changed = bool(put)
    for name, text in members_of(raw):
        if name in strip or name in put:
            changed = True
            continue
        if name == "messages" and REASONING in strip:
            text = b'"messages":' + _without_reasoning(text.partition(b":")[2])
            changed = True
        members.append(text)
    if not changed:
        return raw
    members += [msgspec.json.encode(name) + b":" + text for name, text in put.items()]
    return b"{" + b",".join(members) + b"}"


def _without_reasoning(messages: bytes) -> bytes:
    """The conversation without what a vendor wrote for itself. As it is when it cannot be read."""
    try:
        kept = [
            {
                name: _without_parts(value) if name == "content" else value
                for name, value in message.items()
                if name not in _REASONING_FIELDS
            }
            for message in _messages.decode(messages)
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return messages
    return msgspec.json.encode(kept)


def _without_parts(content: msgspec.Raw) -> msgspec.Raw:
    if memoryview(content)[0] != _BRACKET:
        return content
    parts: list[Any] = msgspec.json.decode(content, type=list[msgspec.Raw])
    kept = [part for part in parts if not _is_reasoning(_any.decode(part))]
    return content if len(kept) == len(parts) else msgspec.Raw(msgspec.json.encode(kept))


def _is_reasoning(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in _REASONING_PARTS
