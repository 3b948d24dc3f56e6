"""Usage: as the vendor reported it, else counted from what was relayed. Pure.

What was relayed is counted as it passes, as one integer; no text is kept. A report of the
vendor wins whenever there is one, an explicit zero too. Error text is never counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from aipool.dialects.chat import (
    ChatAnswer,
    ChatChunk,
    answer_text_count,
    answer_usage,
    chunk_text_count,
    decode_answer,
    reported_by,
)
from aipool.dialects.estimate import CounterMaker, TokenCounter, estimate_request
from aipool.doors.outcome import UsageSource
from aipool.gateway.body import LARGE_BYTES
from aipool.rating.types import NO_USAGE, TOKENS_MAX, Usage

#: A stream's progress is journaled when this many more tokens were relayed, or when this
#: long ago, whichever is earlier …
PROGRESS_TOKENS = 64
PROGRESS_SECONDS = 2.0
#: … but not more often than this.
PROGRESS_SECONDS_LEAST = 0.25

#: After the client left, this much more of its stream is read for the vendor's own report.
DRAIN_TOKENS = 2_000
DRAIN_SECONDS = 10.0


def estimate_input(raw: bytes, tokens_max: int, counter: TokenCounter | None = None) -> int:
    """About how many input tokens this request is; only called when nobody reported it.

    tokens_max: the bound that was held for, at one token a byte of text; the estimate
    never exceeds it. A body too large to be read in the event loop is taken for English
    prose: four bytes a token.  counter: a fresh one of the vendor's vocabulary.
    """
    if len(raw) > LARGE_BYTES:
        return tokens_max // 4
    try:
        body: Any = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return min(len(raw) // 4, tokens_max)
    return min(estimate_request(body, counter), tokens_max) if isinstance(body, dict) else 0


class StreamMeter:
    """Counts a stream.

    input_tokens: the estimate, made when it is first needed.  counter: a fresh one.
    """

    __slots__ = (
        "_at_progress",
        "_input",
        "_tokens_at_progress",
        "counter",
        "finish_seen",
        "relayed",
        "reported",
    )

    def __init__(self, input_tokens: Callable[[], int], now: float, counter: TokenCounter) -> None:
        self.counter = counter
        self.reported: Usage | None = None
        self.relayed: int | None = None
        self.finish_seen = False
        self._input = input_tokens
        self._at_progress = now
        self._tokens_at_progress = 0

    def read(self, chunk: ChatChunk, usage: Usage | None) -> None:
        """One more event, and the usage it reported: of several reports the last counts.

        A report beside choices says nothing about the end: some vendors report all along. Nor does
        one in an event whose choices cannot be read: it may be the middle of a garbled stream.
        """
        if usage is not None:
            self.reported = usage
            self.finish_seen |= chunk.choices == []
        chunk_text_count(chunk, self.counter)
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self.finish_seen = True

    def progress(self, now: float) -> tuple[int, int] | None:
        """(input, output) tokens to journal now, or None when it is not time."""
        since = now - self._at_progress
        if since < PROGRESS_SECONDS_LEAST:
            return None
        tokens = self.counter.tokens
        grown = tokens - self._tokens_at_progress
        if not grown or (grown < PROGRESS_TOKENS and since < PROGRESS_SECONDS):
            return None
        self._at_progress = now
        self._tokens_at_progress = tokens
        return self._input(), tokens

    def client_left(self) -> None:
        """From here on nothing is relayed any more, only read."""
        self.relayed = self.counter.total

    @property
    def is_empty(self) -> bool:
        """Has it neither said anything nor reported usage?"""
        return self.reported is None and not self.counter.tokens

    @property
    def drained_enough(self) -> bool:
        """Has as much been read after the client left as may be?"""
        return self.relayed is not None and self.counter.tokens - self.relayed >= DRAIN_TOKENS

    def usage(self) -> tuple[Usage, UsageSource]:
        """What the stream used, at its end, however it ended."""
        if self.reported is not None:
            return self.reported, UsageSource.VENDOR
        tokens = self.counter.total if self.relayed is None else self.relayed
        if not tokens:
            return NO_USAGE, UsageSource.NONE
        return Usage(self._input(), 0, min(tokens, TOKENS_MAX), 0), UsageSource.COUNTED


def usage_of_answer(
    body: bytes, input_tokens: Callable[[], int], new_counter: CounterMaker = TokenCounter
) -> tuple[Usage, UsageSource] | None:
    """What a whole answer used; None when it is no answer, whatever its status says."""
    plain = reported_by(body)
    if plain is not None:
        return plain, UsageSource.VENDOR
    answer = decode_answer(body)
    if answer is None or answer.error or not (answer.choices or answer.usage):
        return None
    return _usage_of(answer, input_tokens, new_counter)


def _usage_of(
    answer: ChatAnswer, input_tokens: Callable[[], int], new_counter: CounterMaker
) -> tuple[Usage, UsageSource]:
    """What a whole answer used, as it says or as it is counted."""
    reported = answer_usage(answer)
    if reported is not None:
        return reported, UsageSource.VENDOR
    counter = new_counter()
    answer_text_count(answer, counter)
    tokens = counter.total
    if not tokens:
        return NO_USAGE, UsageSource.NONE
    return Usage(input_tokens(), 0, min(tokens, TOKENS_MAX), 0), UsageSource.COUNTED
