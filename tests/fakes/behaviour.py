"""What the fake vendor does with one request: a table of wishes, readable from JSON.

A test states only what differs from a well-behaved vendor: `{"status": 503}`,
`{"events": 50, "interval": 0.02, "cut_after": 10, "cut": "rst"}`, `{"sse": "crlf"}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from tests.fakes.sse import KINDS


class Dribble(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer leaves in pieces of so many bytes, with a pause after each."""

    bytes: int
    seconds: float = 0.0


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer. The defaults are a vendor that does everything right.

    Where a count of events is meant, every SSE event counts, the role's and `[DONE]` too.
    """

    # the head
    status: int = 200
    headers: dict[str, str] = {}
    content_type: str | None = None
    framing: Literal["auto", "length", "chunked", "close"] = "auto"
    keep_alive: bool = True
    gzip: bool = False

    # a body as it stands, text or JSON; otherwise a completion or, by the status, an error
    body: Any = None
    # this error in a body or an event; by default one that quotes the key, as vendors do
    error: Any = None

    # what the model says
    content: str | None = None
    events: int = 8
    word: str = " word"
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, str]] = []
    ignore_max_tokens: bool = False

    # its usage: counted, left out, zero, nonsense, or exactly this
    usage: Literal["counted", "none", "zero", "absurd", "negative", "text"] | dict[str, Any] = (
        "counted"
    )
    usage_at: Literal["end", "finish", "every", "choice"] = "end"
    usage_unasked: bool = False

    # the shape of the stream
    sse: str = "plain"
    role_first: bool = True
    empty_first: bool = False
    done: bool = True
    error_after: int | None = None

    # time
    delay: float = 0.0
    interval: float = 0.0
    never: bool = False
    stall_after: int | None = None
    # after so many events (of a whole answer: within it) nothing comes for so many seconds
    pause_after: int | None = None
    pause: float = 0.0
    dribble: Dribble | None = None

    # the cut: after so many events, or after so many bytes of the answer, head included, or
    # right after the head
    cut_after: int | None = None
    cut_inside: bool = False
    cut_at: int | Literal["head"] | None = None
    cut: Literal["fin", "rst"] = "fin"

    def __post_init__(self) -> None:
        if self.sse not in KINDS:
            raise ValueError(f"no such kind of stream: {self.sse}")

    @classmethod
    def of(cls, wishes: Behaviour | Mapping[str, Any]) -> Behaviour:
        """From a mapping; raises msgspec.ValidationError for a wish that does not exist."""
        if isinstance(wishes, Behaviour):
            return wishes
        return msgspec.convert(dict(wishes), cls)


Wishes = Behaviour | Mapping[str, Any]
#: key presented, number of the request (from 1), body → what to do.
ScriptFunction = Callable[[str, int, dict[str, Any]], Wishes]


class Script:
    """Decides what each request meets.

    In order: what the request's own last user message asks for, then the function, then the
    queue of the key, then the common queue, then the default of the key, then the default.

    A request asks by saying `{"fake": WISHES}` and nothing else in its last user message, where
    WISHES is one behaviour, a list of them (one per attempt of the same body, the last one stays)
    or `{"keys": {"KEY": WISHES, "*": WISHES}}`.
    """

    def __init__(
        self,
        function: ScriptFunction | None = None,
        *,
        queue: Sequence[Wishes] = (),
        keys: Mapping[str, Wishes | Sequence[Wishes]] | None = None,
        default: Wishes | None = None,
    ) -> None:
        self.function = function
        self.queue = [Behaviour.of(wishes) for wishes in queue]
        self.queues: dict[str, list[Behaviour]] = {}
        self.defaults: dict[str, Behaviour] = {}
        self.default = Behaviour.of(default or {})
        self._attempts: dict[str, int] = {}
        for key, wishes in (keys or {}).items():
            if isinstance(wishes, Behaviour | Mapping):
                self.defaults[key] = Behaviour.of(wishes)
            else:
                self.queues[key] = [Behaviour.of(wish) for wish in wishes]

    @classmethod
    def of(cls, wanted: Script | ScriptFunction | Wishes | Sequence[Wishes] | None) -> Script:
        """A script from whatever a test finds handy: nothing, a behaviour, a queue, a function."""
        if isinstance(wanted, Script):
            return wanted
        if wanted is None or isinstance(wanted, Behaviour | Mapping):
            return cls(default=wanted)
        if callable(wanted):
            return cls(wanted)
        return cls(queue=wanted)

    @classmethod
    def load(cls, path: Path) -> Script:
        """From a file: a list is a queue, an object is `{queue, keys, default}`."""
        held = json.loads(path.read_text())
        if isinstance(held, list):
            return cls(queue=held)
        return cls(queue=held.get("queue", ()), keys=held.get("keys"), default=held.get("default"))

    def behaviour(self, key: str, number: int, body: dict[str, Any], digest: str) -> Behaviour:
        """What this request meets. Raises msgspec.ValidationError for wishes that make no sense."""
        wishes = _asked_for(body)
        if wishes is not None:
            return self._chosen(wishes, key, digest)
        if self.function is not None:
            return Behaviour.of(self.function(key, number, body))
        for queue in (self.queues.get(key), self.queue):
            if queue:
                return queue.pop(0)
        return self.defaults.get(key, self.default)

    def _chosen(self, wishes: Any, key: str, digest: str) -> Behaviour:
        if isinstance(wishes, Mapping) and "keys" in wishes:
            by_key = wishes["keys"]
            return self._chosen(by_key.get(key, by_key.get("*", {})), key, f"{digest}:{key}")
        if isinstance(wishes, list):
            attempt = self._attempts.get(digest, 0)
            self._attempts[digest] = attempt + 1
            wishes = wishes[min(attempt, len(wishes) - 1)]
        return Behaviour.of(wishes)


def last_user_text(body: Mapping[str, Any]) -> str:
    """The text of the last user message."""
    messages: Any = body.get("messages")
    for message in reversed(messages) if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):
                texts = [part.get("text") for part in content if isinstance(part, dict)]
                content = "".join(text for text in texts if isinstance(text, str))
            return content if isinstance(content, str) else ""
    return ""


def _asked_for(body: Mapping[str, Any]) -> Any:
    said = last_user_text(body)
    if not said.lstrip().startswith("{"):
        return None
    try:
        wishes = json.loads(said)
    except ValueError:
        return None
    return wishes.get("fake") if isinstance(wishes, dict) else None
