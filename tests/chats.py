"""Chat calls as tests make them: what is asked, what comes back, and what it costs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from aipool.kit.money import format_cny
from aipool.rating.rate import rate
from aipool.rating.types import Price, Usage

CHAT = "/v1/chat/completions"
#: ¥2 a million tokens in, ¥0.5 cached, ¥8 out: 2,000, 500 and 8,000 nano a token.
PRICE = Price(0, 2_000_000_000, 500_000_000, 8_000_000_000)
PRICE_YAML = "{input: 2, cached_input: 0.5, output: 8}"


@dataclass
class Reply:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def rid(self) -> str:
        return self.headers["x-request-id"]

    @property
    def error(self) -> dict[str, Any]:
        """The error object; its shape is checked."""
        held = self.json
        assert set(held) == {"error"}, held
        assert set(held["error"]) == {"message", "type", "param", "code"}, held
        error: dict[str, Any] = held["error"]
        return error

    @property
    def events(self) -> list[bytes]:
        """The data of a stream's events."""
        return [
            line[6:]
            for block in self.body.split(b"\n\n")
            for line in block.split(b"\n")
            if line.startswith(b"data: ")
        ]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """A stream's events but for `[DONE]`."""
        return [json.loads(data) for data in self.events if data != b"[DONE]"]

    @property
    def text(self) -> str:
        """What the model said, streamed or not."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            return "".join(
                choice["delta"].get("content") or ""
                for chunk in self.chunks
                for choice in chunk.get("choices", ())
            )
        return "".join(choice["message"]["content"] or "" for choice in self.json["choices"])


def head(token: str, length: int, *more: str, path: str = CHAT) -> bytes:
    """The head of a chat request."""
    lines = [f"POST {path} HTTP/1.1", "host: test", f"authorization: Bearer {token}"]
    lines += ["content-type: application/json", f"content-length: {length}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def parse_reply(raw: bytes) -> Reply:
    """A whole answer from its bytes."""
    top, _, body = raw.partition(b"\r\n\r\n")
    line, *lines = top.decode("latin-1").split("\r\n")
    headers = dict(item.lower().split(": ", 1) for item in lines)
    return Reply(int(line.split(" ")[1]), headers, body)


def is_whole(got: bytes) -> bool:
    top, blank, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", top.lower())
    return bool(blank and length and len(body) >= int(length[1]))


def charge(usage: tuple[int, ...] | None, price: Price = PRICE, ppm: int = 1_000_000) -> int:
    """What this usage costs: (input, output) or (input, cached, output)."""
    if usage is None:
        return 0
    given, cached, answered = (usage[0], 0, usage[1]) if len(usage) == 2 else usage
    return rate(Usage(given, cached, answered, 0), price, ppm)


def messages(text: str = "Hello!", *, marker: str = "") -> dict[str, Any]:
    """The plainest body of a call, without its model."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    return body | ({"user": marker} if marker else {})


def wish(marker: str, wishes: Any, **more: Any) -> dict[str, Any]:
    """A call that tells the fake vendor what to do."""
    said = json.dumps({"fake": wishes})
    return {"model": "m", "user": marker, **messages(said), **more}


def cny(nano: int) -> str:
    return format_cny(nano)
