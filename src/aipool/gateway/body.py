"""A chat request's body: what the gateway reads of it, and the splices it may make.

The body a client sent is the body the vendor gets, byte for byte, except for the values
of a few top-level fields. So nothing is parsed into objects and written again: two
passes of a C decoder give the typed value of each controlled field and the length of
every top-level value, and from those lengths follow the places of all of them.

Two readers of one JSON text must never disagree about a field that money depends on.
Therefore a controlled field that occurs twice is refused, and so is a key that only
looks like one after case folding, since some vendor's parser may take it for it. Keys
are compared after unescaping: `"mod\\u0065l"` is `model`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from aipool.gateway.errors import Refusal, invalid
from aipool.rating.types import TOKENS_MAX

#: Fields whose value decides money, routing or framing.
CONTROLLED = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "service_tier",
    }
)

_CAPS = ("max_tokens", "max_completion_tokens")

#: No vendor returns more alternatives at once, and each is held for.
CHOICES_MAX = 10

#: What one image may cost in tokens when its model's entry says nothing else; the
#: base64 text of an image says nothing about its tokens.
IMAGE_TOKENS = 4_096

#: A request has some thirty fields at the top; each costs time to look at.
_FIELDS_MAX = 1_000
_TOO_MANY_FIELDS = invalid(f"The body has more than {_FIELDS_MAX} fields.")

#: No model has a longer name; what is longer, or has what cannot be shown, is no name.
_NAME_MAX = 200


#: Where a top-level value stands in the body: its first byte, and the one after its last.
Span = tuple[int, int]


class ChatBody(msgspec.Struct, frozen=True, gc=False):
    """A body that can be admitted.

    input_tokens_max: an upper bound of its input: one token a byte, images by their
    bound.  output_cap: the larger of the caps the client set, None when it set none.
    spans: where each controlled value stands.
    cache_key: `prompt_cache_key` as JSON text, b"" = none.
    """

    raw: bytes
    model: str
    stream: bool
    usage_wanted: bool
    output_cap: int | None
    choices: int
    input_tokens_max: int
    spans: dict[str, Span]
    cache_key: bytes = b""


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any = msgspec.json.Decoder()
# Numbers stay text: only their ends matter, and `int` refuses thousands of digits.
_scan = json.JSONDecoder(parse_int=str)
_WHITESPACE = b" \t\r\n"
_AFTER_VALUE = b",}"
_URL_KEYS = (b'"url"', b'"image_url"', b'"file_data"')
_URL_KEY_BYTES_MAX = 32  # the longest of them, its colon and some blanks
_BRACE, _COMMA, _QUOTE, _BRACKET = b'},"['

# Keys met all the time that look like no controlled one; others are looked at closely.
_USUAL = frozenset(
    {
        "messages",
        "temperature",
        "top_p",
        "tools",
        "tool_choice",
        "response_format",
        "stop",
        "seed",
        "user",
        "metadata",
        "presence_penalty",
        "frequency_penalty",
        "reasoning_effort",
        "parallel_tool_calls",
        "logprobs",
        "prompt_cache_key",
    }
)


#: A body above this is read without making objects of its values, whatever is odd about
#: it: 64 MiB of `[[],[],…` would become gigabytes of them. The bound is also what the
#: event loop can read without standing still for milliseconds.
LARGE_BYTES = 1024 * 1024


def parse(raw: bytes) -> ChatBody | Refusal:
    """Read a chat request, or say what is wrong with it. Never raises."""
    try:
        return _parse(raw)
    except RecursionError:
        return invalid("The body is nested too deeply.")


def _parse(raw: bytes) -> ChatBody | Refusal:
    """The places follow by arithmetic in a body without blanks and escapes between its
    values: if the lengths of all distinct members and their punctuation add up to the
    length of the body, there is no room for a duplicate, a blank or an escaped key. When
    they do not, or a key needs a closer look, the text is walked.
    """
    try:
        members = _members.decode(raw)
        fields: dict[str, Any] = {}
        spans: dict[str, Span] = {}
        position = 1
        compact = True
        for key, value in members.items():
            start = position + len(key) + 3
            position = start + len(memoryview(value))
            if key in CONTROLLED:
                spans[key] = (start, position)
                fields[key] = _any.decode(value)
            elif key not in _USUAL and not (key.isascii() and key.islower()):
                compact = False
            position += 1
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if len(raw) > LARGE_BYTES:
            return invalid(f"The body is not valid JSON: {error}.")
        return _parse_unusual(raw)
    if len(members) > _FIELDS_MAX:
        return _TOO_MANY_FIELDS
    messages = members.get("messages")
    if messages is None:
        return invalid("`messages` is missing.", "messages")
    if memoryview(messages)[0] != _BRACKET:
        return invalid("`messages` must be an array.", "messages")
    if not compact or position != len(raw):
        walked = _walk(raw, members)
        if isinstance(walked, Refusal):
            return walked
        spans = walked
    cache_key = members.get("prompt_cache_key")
    return _checked(raw, fields, spans, b"" if cache_key is None else bytes(cache_key))


def _parse_unusual(raw: bytes) -> ChatBody | Refusal:
    """What the fast decoder refuses: broken JSON, or lone surrogates, which other
    parsers let pass and so do we."""
    try:
        # Decoded here: by itself `json` also takes UTF-16 and UTF-32, which JSON is not.
        value: Any = json.loads(raw.decode(), parse_constant=_refuse_constant)
    except json.JSONDecodeError as broken:
        return invalid(f"The body is not valid JSON: {broken}.")
    except UnicodeDecodeError:
        return invalid("The body is not valid JSON: it is not UTF-8.")
    except ValueError:
        return invalid("The body holds a number that is none, or one of thousands of digits.")
    if not isinstance(value, dict):
        return invalid("The body must be a JSON object.")
    if not isinstance(value.get("messages"), list):
        return invalid("`messages` must be an array.", "messages")
    spans = _walk(raw, None)
    if isinstance(spans, Refusal):
        return spans
    return _checked(raw, {name: value[name] for name in CONTROLLED & value.keys()}, spans)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _checked(
    raw: bytes, fields: dict[str, Any], spans: dict[str, Span], cache_key: bytes = b""
) -> ChatBody | Refusal:
    """Types and ranges. `fields` holds the controlled ones; null is absent."""
    model = fields.pop("model", None)
    if type(model) is not str or not 0 < len(model) <= _NAME_MAX or not model.isprintable():
        return invalid("`model` must name one of GET /v1/models.", "model")
    stream = usage_wanted = False
    cap = None
    choices = 1
    for name, value in fields.items():
        if value is None:
            continue
        if name in _CAPS:
            if type(value) is not int or not 1 <= value <= TOKENS_MAX:
                return invalid(f"`{name}` must be a whole number from 1 to {TOKENS_MAX}.", name)
            cap = value if cap is None or value > cap else cap
        elif name == "stream":
            if type(value) is not bool:
                return invalid("`stream` must be true or false.", name)
            stream = value
        elif name == "stream_options":
            if type(value) is not dict:
                return invalid("`stream_options` must be an object.", name)
            usage_wanted = value.get("include_usage") is True
        elif name == "n":
            if type(value) is not int or not 1 <= value <= CHOICES_MAX:
                return invalid(f"`n` must be a whole number from 1 to {CHOICES_MAX}.", name)
            choices = value
        elif type(value) is not str:
            return invalid(f"`{name}` must be text.", name)
    # A data URL says `;base64,`; looking for one character is many times quicker.
    has_data = raw.find(b";") >= 0 and raw.find(b";base64,") >= 0
    bound = _input_bound(raw) if has_data else len(raw)
    return ChatBody(raw, model, stream, usage_wanted, cap, choices, bound, spans, cache_key)


def _input_bound(raw: bytes) -> int:
    """Tokens the input cannot exceed: a token is at least one byte of text.

    A data URL is counted as one image instead of by its length, where vendors look for
    one: text that merely begins like one is text. It ends at the quote that closes its
    string; base64 has no escapes.
    """
    bound = len(raw)
    at = raw.find(b'"data:')
    while at >= 0:
        end = raw.find(b'"', at + 6)
        if end < 0:
            break
        before = raw[max(0, at - _URL_KEY_BYTES_MAX) : at].rstrip(_WHITESPACE)
        if before[-1:] == b":" and before[:-1].rstrip(_WHITESPACE).endswith(_URL_KEYS):
            bound += IMAGE_TOKENS - (end - at)
        at = raw.find(b'"data:', end)
    return bound


def _walk(raw: bytes, members: dict[str, msgspec.Raw] | None) -> dict[str, Span] | Refusal:
    """Places by walking the text; refuses doubled and look-alike controlled keys.

    `raw` is a valid JSON object. With `members`, its values as a decoder saw them, values
    are not parsed again: no JSON text is a proper prefix of another that is followed by a
    comma or a brace, so a value that matches and ends there is the value. Each is compared
    once, at the first occurrence of its key, and the text is decoded once: so the time is
    in proportion to the length of the body, whatever stands in it.
    """
    spans: dict[str, Span] = {}
    text = _Text(raw)
    compared: set[str] = set()
    fields = 0
    at = _skip(raw, _skip(raw, 0) + 1)
    while raw[at] != _BRACE:
        key_end = text.value_end(at)
        key = json.loads(raw[at:key_end])
        start = _skip(raw, _skip(raw, key_end) + 1)
        end = 0
        if members is not None and key not in compared:
            compared.add(key)
            value = bytes(members[key])
            if raw.startswith(value, start):
                end = start + len(value)
                if raw[_skip(raw, end)] not in _AFTER_VALUE:
                    end = 0
        if not end and members is not None and len(raw) > LARGE_BYTES:
            return invalid(f"`{key}` occurs twice.")
        if not end:
            end = text.value_end(start)
        fields += 1
        if fields > _FIELDS_MAX:
            return _TOO_MANY_FIELDS
        if key in CONTROLLED:
            if key in spans:
                return invalid(f"`{key}` occurs twice.", key)
            spans[key] = (start, end)
        elif key.casefold() in CONTROLLED:
            return invalid(f"`{key}` is no field, but reads like one; write it in lower case.")
        at = _skip(raw, end)
        if raw[at] == _COMMA:
            at = _skip(raw, at + 1)
    return spans


def members_of(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of a valid JSON object: each key, and the member's text without blanks
    around its colon."""
    text = _Text(raw)
    at = _skip(raw, _skip(raw, 0) + 1)
    while raw[at] != _BRACE:
        key_end = text.value_end(at)
        start = _skip(raw, _skip(raw, key_end) + 1)
        end = text.value_end(start)
        yield json.loads(raw[at:key_end]), b"%b:%b" % (raw[at:key_end], raw[start:end])
        at = _skip(raw, end)
        if raw[at] == _COMMA:
            at = _skip(raw, at + 1)


def _skip(raw: bytes, at: int) -> int:
    while raw[at] in _WHITESPACE:
        at += 1
    return at


class _Text:
    """A body read one character a byte, which finds the right places: JSON's structure is
    ASCII."""

    __slots__ = ("_characters", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._characters: str | None = None

    def value_end(self, start: int) -> int:
        """Where the JSON value that begins at `start` ends."""
        raw = self._raw
        if raw[start] == _QUOTE:
            end = raw.index(b'"', start + 1)
            if raw.find(b"\\", start, end) < 0:
                return end + 1
        if self._characters is None:
            self._characters = raw.decode("latin-1")
        return int(_scan.raw_decode(self._characters, start)[1])


def splice(body: ChatBody, changes: dict[str, bytes]) -> bytes:
    """The body with some top-level values replaced and absent ones appended.

    changes: JSON text of each new value by field. Every byte outside the replaced values
    is the client's.
    """
    raw = body.raw
    replaced = sorted(
        (body.spans[name], text) for name, text in changes.items() if name in body.spans
    )
    pieces: list[bytes] = []
    at = 0
    for (start, end), text in replaced:
        pieces.append(raw[at:start])
        pieces.append(text)
        at = end
    added = [(name, text) for name, text in changes.items() if name not in body.spans]
    if not added:
        pieces.append(raw[at:])
        return b"".join(pieces)
    brace = raw.rindex(b"}")
    pieces.append(raw[at:brace])
    for name, text in added:
        pieces.append(b',"%b":%b' % (name.encode(), text))
    pieces.append(raw[brace:])
    return b"".join(pieces)


def with_usage(body: ChatBody) -> bytes:
    """The value of `stream_options` that asks for usage and keeps what the client wrote."""
    span = body.spans.get("stream_options")
    if span is None:
        return b'{"include_usage":true}'
    written = body.raw[span[0] : span[1]]
    if written == b"null" or not written.strip(_WHITESPACE + b"{}"):
        return b'{"include_usage":true}'
    try:
        inner = _members.decode(written)
    except msgspec.MsgspecError:  # lone surrogates
        kept = [text for key, text in members_of(written) if key != "include_usage"]
        return b"{" + b",".join([b'"include_usage":true', *kept]) + b"}"
    kept = [
        b"%b:%b" % (msgspec.json.encode(key), bytes(value))
        for key, value in inner.items()
        if key != "include_usage"
    ]
    return b"{" + b",".join([b'"include_usage":true', *kept]) + b"}"
