"""A body that is changed on its way is the original plus the change, byte for byte.

Bodies are written value by value, in every style that JSON allows, by a writer that knows where
each top-level value stands because it put it there. So what the product must make of a body is
known without parsing anything: the writer's own bytes, with the new value at the place of the old
one, or appended before the closing brace. Besides, both texts are parsed by another parser than
the product's, with duplicates, order and the spelling of numbers kept, and compared.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aipool.gateway.body import ChatBody, parse, splice, with_usage
from benchmarks.bars import Bars

BODIES: Final = 200_000
BODIES_QUICK: Final = 20_000
LARGE_BYTES: Final = 76_000
LARGE_MICROSECONDS_MAX: Final = 60.0
LARGE_ROUNDS: Final = 3_000
LARGE_ROUNDS_QUICK: Final = 500

#: Mistakes that are shown; there may be more.
SHOWN_MAX: Final = 5

_BLANKS: Final = ("", "", "", "", " ", "  ", "\n", "\r\n\t", "\n    ", "\t ")
_NUMBERS: Final = (
    "0", "-0", "1", "-1", "0.1", "-0.0", "1e5", "1E+5", "1.50e-7", "0.1e1", "1e999", "-1E-999",
    "123456789012345678901234567890", "9007199254740993", "2.2250738585072014e-308",
)  # fmt: skip
_CHARACTERS: Final = (
    "a", "b", "model", " ", "{", "}", "[", "]", ",", ":", "'", "/", "é", "ß", "你", "好", "🦊",
    "👩‍🚀", "\u2028", "\x7f", "\u0085", "\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t",
    "\\u0000", "\\u00e9", "\\u4f60", "\\uD83E\\uDD8A", "\\\\\\\"", "\\\"model\\\":",
    "\\\"max_tokens\\\": 5}", "\\u007d",
)  # fmt: skip
#: Halves of a pair that stand alone: some parsers refuse them, others let them pass.
_LONELY: Final = ("\\uD83E", "\\uDD8A", "\\ud800x")
#: Fields that vendors know, and some nobody does.
_FIELDS: Final = (
    "temperature", "top_p", "stop", "user", "metadata", "tools", "seed", "response_format",
    "logit_bias", "X-Custom", "mod", "models", "Messages2", "", " model", "max_token", "模型",
    "stream_option", "a b", "N ", "logprobs",
)  # fmt: skip
#: Names of models are printable; how they are spelled is the client's business.
_MODELS: Final = (
    '"gpt-4o-mini"', '"gpt-4o-mini"', '"gpt-4o\\u002dmini"', '"vendor\\/model"', '"模型 é 🦊"',
    '"\\uD83E\\uDD8A"', '"\\"model\\":\\"x\\""', '"}{][,:"', '"\\\\"',
)  # fmt: skip
_CAPS: Final = ("max_tokens", "max_completion_tokens")


class Made(NamedTuple):
    """A body as it was written. pieces: before, between and after the controlled values, which
    stand in `values` in their order by name; the last piece ends with the closing brace."""

    pieces: list[bytes]
    values: list[tuple[str, bytes]]

    @property
    def raw(self) -> bytes:
        """The body."""
        parts = [self.pieces[0]]
        for (_, value), piece in zip(self.values, self.pieces[1:], strict=True):
            parts += [value, piece]
        return b"".join(parts)

    def with_changes(self, changes: dict[str, bytes]) -> bytes:
        """The body as it must become."""
        values = [(name, changes.get(name, value)) for name, value in self.values]
        there = {name for name, _ in values}
        added = b"".join(
            b',"%b":%b' % (name.encode(), text)
            for name, text in changes.items()
            if name not in there
        )
        raw = Made(self.pieces, values).raw
        brace = raw.rindex(b"}")
        return raw[:brace] + added + raw[brace:]


class Writer:
    """Writes bodies. One writer, one sequence of them."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._blank: Sequence[str] = _BLANKS
        self._lonely = False

    def body(self) -> Made:
        """One chat request that the gateway admits."""
        chance = self._chance
        self._blank = chance.choice((("",), ("",), ("", " "), (" ",), _BLANKS))
        self._lonely = chance.random() < 0.05
        members: list[tuple[str, str | None]]
        members = [(name, None) for name in chance.choices(_FIELDS, k=chance.randrange(5))]
        members.append(("messages", None))
        members += [(name, value) for name, value in self._controlled() if value is not None]
        chance.shuffle(members)
        return self._written(members)

    def _controlled(self) -> list[tuple[str, str | None]]:
        chance = self._chance

        def maybe(value: str) -> str | None:
            return chance.choice((None, None, "null", value, value))

        return [
            ("model", chance.choice(_MODELS)),
            ("stream", maybe(chance.choice(("true", "false")))),
            ("stream_options", maybe(self._stream_options())),
            ("max_tokens", maybe(str(chance.randint(1, 99_999)))),
            ("max_completion_tokens", maybe(str(chance.randint(1, 99_999)))),
            ("n", maybe(str(chance.randint(1, 10)))),
            ("service_tier", maybe(self._text())),
        ]

    def _stream_options(self) -> str:
        members = []
        if self._chance.random() < 0.5:
            members.append(f'"include_usage"{self._gap()}:{self._gap()}false')
        if self._chance.random() < 0.5:
            members.append(f'"include_obfuscation"{self._gap()}:{self._value(1)}')
        return "{" + self._gap() + ",".join(members) + self._gap() + "}"

    def _written(self, members: Sequence[tuple[str, str | None]]) -> Made:
        """The text, cut around its controlled values."""
        text = [f"{self._gap()}{{{self._gap()}"]
        pieces: list[bytes] = []
        values: list[tuple[str, bytes]] = []
        for index, (name, value) in enumerate(members):
            if index:
                text.append(f"{self._gap()},{self._gap()}")
            text.append(f"{self._key(name)}{self._gap()}:{self._gap()}")
            if value is None:
                text.append(self._messages() if name == "messages" else self._value(3))
            else:
                pieces.append("".join(text).encode())
                text = []
                values.append((name, value.encode()))
        text.append(f"{self._gap()}}}{self._gap()}")
        return Made([*pieces, "".join(text).encode()], values)

    def _key(self, name: str) -> str:
        """A key, now and then with a letter written as an escape."""
        if name and self._chance.random() < 0.1:
            at = self._chance.randrange(len(name))
            return f'"{name[:at]}\\u{ord(name[at]):04{self._chance.choice("xX")}}{name[at + 1 :]}"'
        return f'"{name}"'

    def _messages(self) -> str:
        return f"[{','.join(self._value(2) for _ in range(self._chance.randrange(4)))}]"

    def _value(self, depth: int) -> str:
        kind = self._chance.randrange(8 if depth else 5)
        if kind < 2:
            return self._text()
        if kind == 2:
            return self._chance.choice(_NUMBERS)
        if kind < 5:
            return self._chance.choice(("true", "false", "null", '""', "[]", "{}"))
        inner = [self._value(depth - 1) for _ in range(self._chance.randrange(4))]
        if kind == 5:
            return "[" + self._gap() + f"{self._gap()},{self._gap()}".join(inner) + "]"
        # Controlled names further down, and the same one twice, are none of our business.
        names = self._chance.choices(("a", "model", "max_tokens", "role", "b"), k=len(inner))
        pairs = [
            f"{self._key(name)}{self._gap()}:{self._gap()}{value}"
            for name, value in zip(names, inner, strict=True)
        ]
        return "{" + f"{self._gap()},{self._gap()}".join(pairs) + self._gap() + "}"

    def _text(self) -> str:
        parts = self._chance.choices(_CHARACTERS, k=self._chance.randrange(1, 8))
        if self._lonely:
            parts.append(self._chance.choice(_LONELY))
        return f'"{"".join(parts)}"'

    def _gap(self) -> str:
        return self._chance.choice(self._blank)


class Mistakes:
    """What went wrong, the first few with their bodies."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, what: str, made: Made, became: object) -> None:
        """One more."""
        self.count += 1
        if self.count <= SHOWN_MAX:
            print(f"{what}\n  body   {made.raw!r}\n  became {became!r}")


def changes_of(body: ChatBody, chance: random.Random) -> dict[str, bytes]:
    """Some of the changes that the gateway makes."""
    changes: dict[str, bytes] = {}
    if chance.random() < 0.7:
        changes["model"] = chance.choice((b'"m"', b'"vendor/their-name"', '"模型-1"'.encode()))
    if chance.random() < 0.5:
        changes["stream_options"] = with_usage(body)
    if chance.random() < 0.5:
        changes[chance.choice(_CAPS)] = b"%d" % chance.randint(16, 99_999)
    return changes


def check(made: Made, chance: random.Random, mistakes: Mistakes) -> None:
    """One body."""
    raw = made.raw
    body = parse(raw)
    if not isinstance(body, ChatBody):
        mistakes.add("refused", made, body)
        return
    try:
        changes = changes_of(body, chance)
        became = splice(body, changes)
    except Exception as error:
        mistakes.add("raised", made, error)
        return
    if became != made.with_changes(changes):
        mistakes.add("other bytes than the change's differ", made, became)
        return
    before, after = _parsed(raw), _parsed(became)
    expected = [
        (name, _parsed(changes[name]) if name in changes else value) for name, value in before
    ]
    there = {name for name, _ in before}
    expected += [(name, _parsed(text)) for name, text in changes.items() if name not in there]
    if after != expected:
        mistakes.add("parsed, it is not the original plus the change", made, became)
    elif "stream_options" in changes and not _asks_for_usage(body, changes["stream_options"]):
        mistakes.add("stream_options lost something", made, changes["stream_options"])


def _asks_for_usage(body: ChatBody, text: bytes) -> bool:
    """Does the new value ask for usage, and keep what else the client wrote there?

    It may be written anew, so it is compared by what it means.
    """
    start, end = body.spans.get("stream_options", (0, 0))
    old = json.loads(body.raw[start:end] or b"null") or {}
    try:
        new = json.loads(text, parse_constant=_refused)
    except ValueError:
        return False
    return bool(new == {**old, "include_usage": True})


def _refused(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parsed(raw: bytes) -> Any:
    """A JSON text by the standard library: objects as pairs, numbers as they are spelled."""
    return json.loads(
        raw,
        object_pairs_hook=list,
        parse_int=lambda text: ("number", text),
        parse_float=lambda text: ("number", text),
    )


def large_body(separators: tuple[str, str]) -> bytes:
    """A long conversation, as an SDK sends it."""
    text = 'She said: "The quick brown fox",\n and then it jumped over the lazy dog — twice. '
    messages: list[dict[str, str]] = []
    body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": messages, "temperature": 0.7}
    body |= {"max_tokens": 1000, "stream": True}
    while len(json.dumps(body, separators=separators, ensure_ascii=False).encode()) < LARGE_BYTES:
        role = "assistant" if len(messages) % 2 else "user"
        messages.append({"role": role, "content": text * 20})
    return json.dumps(body, separators=separators, ensure_ascii=False).encode()


def cpu_microseconds(raw: bytes, rounds: int) -> float:
    """CPU of reading and changing a body, the best of many times."""
    best = float("inf")
    gc.collect()
    for _ in range(rounds):
        began = time.thread_time_ns()
        body = parse(raw)
        assert isinstance(body, ChatBody)
        splice(body, {"model": b'"their-name"', "stream_options": with_usage(body)})
        best = min(best, (time.thread_time_ns() - began) / 1000)
    return best


def main(arguments: Sequence[str]) -> int:
    """Run the proof; 1 when the claim does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove splice", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer bodies; for a first look")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other bodies")
    options = parser.parse_args(arguments)
    bodies = BODIES_QUICK if options.quick else BODIES
    chance = random.Random(options.seed)
    writer, mistakes = Writer(chance), Mistakes()
    for _ in range(bodies):
        check(writer.body(), chance, mistakes)
    bars = Bars("splice")
    bars.say("bodies", f"{bodies:,}")
    bars.at_most("not the original plus the change", mistakes.count, 0)
    rounds = LARGE_ROUNDS_QUICK if options.quick else LARGE_ROUNDS
    compact, blanks = large_body((",", ":")), large_body((", ", ": "))
    spent = cpu_microseconds(compact, rounds)
    bars.at_most(
        f"{len(compact) // 1000} KB, as SDKs write it", spent, LARGE_MICROSECONDS_MAX, "µs"
    )
    bars.say(
        f"{len(blanks) // 1000} KB, with blanks between",
        f"{cpu_microseconds(blanks, rounds):.1f} µs",
    )
    return bars.finish(f"{mistakes.count} of {bodies:,} bodies wrong; {spent:.0f} µs for 76 KB")
