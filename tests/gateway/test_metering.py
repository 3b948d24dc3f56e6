"""A report of the vendor wins; else what was relayed is counted, and only that."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aipool.dialects.chat import ChatChunk, chunk_usage, decode_chunk
from aipool.dialects.estimate import TokenCounter, estimate_request, estimate_text
from aipool.doors.outcome import UsageSource
from aipool.gateway.body import LARGE_BYTES
from aipool.gateway.metering import (
    DRAIN_TOKENS,
    PROGRESS_SECONDS,
    PROGRESS_SECONDS_LEAST,
    PROGRESS_TOKENS,
    StreamMeter,
    estimate_input,
    usage_of_answer,
)
from aipool.rating.types import NO_USAGE, TOKENS_MAX, Usage

INPUT = 17
#: A text of this many tokens and one of it for each.
TOKEN_TEXT = "abcd "


def chunk(**fields: Any) -> ChatChunk:
    decoded = decode_chunk(json.dumps(fields).encode())
    assert decoded is not None
    return decoded


def says(text: str, **more: Any) -> ChatChunk:
    return chunk(choices=[{"index": 0, "delta": {"content": text}, **more}])


def reports(prompt: Any, completion: Any, choices: list[Any] | None = None) -> ChatChunk:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return chunk(choices=choices or [], usage=usage)


class Metered(StreamMeter):
    """A meter that reads chunks as the stream does."""

    __slots__ = ()

    def hear(self, *chunks: ChatChunk) -> None:
        for heard in chunks:
            self.read(heard, chunk_usage(heard))


def meter(now: float = 0.0) -> Metered:
    return Metered(lambda: INPUT, now, TokenCounter())


# --- streams --------------------------------------------------------------------------------------


def test_what_was_relayed_is_counted_however_it_was_cut() -> None:
    text = "The 快 brown fox, " * 40
    whole, pieces = meter(), meter()

    whole.hear(says(text))
    pieces.hear(*[says(character) for character in text])

    wanted = (Usage(INPUT, 0, estimate_text(text), 0), UsageSource.COUNTED)
    assert whole.usage() == pieces.usage() == wanted


def test_reasoning_refusals_and_tool_calls_are_counted() -> None:
    call = {"function": {"name": "weather", "arguments": '{"city":"Berlin"}'}}
    for delta in (
        {"reasoning_content": "let me think"},
        {"reasoning": "let me think"},
        {"refusal": "I had better not"},
        {"tool_calls": [call]},
    ):
        metered = meter()
        metered.hear(chunk(choices=[{"delta": delta}]))
        usage, source = metered.usage()
        assert (usage.output_tokens > 0, source) == (True, UsageSource.COUNTED), delta


def test_an_error_is_never_counted() -> None:
    metered = meter()
    metered.hear(chunk(error={"message": "all of this is an apology " * 50}))

    assert metered.usage() == (NO_USAGE, UsageSource.NONE)


def test_a_stream_that_said_nothing_costs_nothing() -> None:
    metered = meter()
    metered.hear(chunk(choices=[]), chunk(choices=[{"delta": {"role": "assistant"}}]), says(""))

    assert metered.is_empty
    assert metered.usage() == (NO_USAGE, UsageSource.NONE)


def test_a_report_wins_over_the_count() -> None:
    metered = meter()
    metered.hear(says("a long answer " * 100), reports(5, 6))

    assert metered.usage() == (Usage(5, 0, 6, 0), UsageSource.VENDOR)


def test_an_explicit_zero_is_a_report() -> None:
    metered = meter()
    metered.hear(says("words"), reports(0, 0))

    assert not metered.is_empty
    assert metered.usage() == (NO_USAGE, UsageSource.VENDOR)


def test_of_several_reports_the_last_counts() -> None:
    metered = meter()
    metered.hear(reports(5, 1), reports(5, 2), says("x"), reports(5, 9))

    assert metered.usage()[0] == Usage(5, 0, 9, 0)


@pytest.mark.parametrize("absurd", [-5, 1e308, 2**63, TOKENS_MAX + 1, "NaN", None, True, [1]])
def test_an_absurd_report_never_costs_less_than_nothing(absurd: Any) -> None:
    metered = meter()
    metered.hear(says("some words"), reports(absurd, absurd))

    usage, _ = metered.usage()

    assert all(0 <= count <= TOKENS_MAX for count in usage[:4])
    assert usage.cached_tokens <= usage.input_tokens


def test_a_report_alone_finishes_a_stream_and_one_beside_choices_does_not() -> None:
    along, alone, reason = meter(), meter(), meter()

    along.hear(reports(1, 1, [{"delta": {"content": "x"}}]))
    alone.hear(reports(1, 1))
    reason.hear(says("", finish_reason="stop"))

    assert [m.finish_seen for m in (along, alone, reason)] == [False, True, True]


def test_after_the_client_left_only_what_was_relayed_is_counted() -> None:
    metered = meter()
    metered.hear(says("relayed"))
    metered.client_left()
    metered.hear(says("never seen " * 100))

    assert metered.usage() == (Usage(INPUT, 0, estimate_text("relayed"), 0), UsageSource.COUNTED)


def test_after_the_client_left_a_report_still_wins() -> None:
    metered = meter()
    metered.client_left()
    metered.hear(says("never seen"), reports(3, 4))

    assert metered.usage() == (Usage(3, 0, 4, 0), UsageSource.VENDOR)


def test_nothing_was_relayed_when_the_client_left_at_once() -> None:
    metered = meter()
    metered.client_left()
    metered.hear(says("never seen"))

    assert metered.usage() == (NO_USAGE, UsageSource.NONE)


def test_a_drain_has_an_end() -> None:
    metered = meter()
    many = TOKEN_TEXT * DRAIN_TOKENS
    metered.hear(says(many))
    assert not metered.drained_enough, "the client is there"

    metered.client_left()
    assert not metered.drained_enough
    metered.hear(says(many))

    assert metered.drained_enough


# --- progress -------------------------------------------------------------------------------------


def test_progress_is_due_after_enough_tokens_or_enough_time() -> None:
    few, many = says("word"), says(TOKEN_TEXT * PROGRESS_TOKENS)
    metered = meter(100.0)

    assert metered.progress(100.0 + PROGRESS_SECONDS) is None, "nothing new"
    metered.hear(few)
    assert metered.progress(100.0 + PROGRESS_SECONDS - 0.01) is None
    assert metered.progress(100.0 + PROGRESS_SECONDS) == (INPUT, metered.counter.tokens)
    now = 100.0 + PROGRESS_SECONDS
    metered.hear(many)
    assert metered.progress(now + PROGRESS_SECONDS_LEAST - 0.01) is None, "not so often"
    assert metered.progress(now + PROGRESS_SECONDS_LEAST) == (INPUT, metered.counter.tokens)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 200)), max_size=60))
def test_a_kill_forgets_at_most_one_interval(steps: list[tuple[float, int]]) -> None:
    metered, now = meter(), 0.0
    journaled_at, journaled = 0.0, 0
    for seconds, tokens in steps:
        now += seconds
        metered.hear(says(TOKEN_TEXT * tokens))
        progress = metered.progress(now)
        if progress is not None:
            assert now - journaled_at >= PROGRESS_SECONDS_LEAST, "at most four a second"
            assert progress[1] > journaled
            journaled_at, journaled = now, progress[1]
        since, grown = now - journaled_at, metered.counter.tokens - journaled
        assert not grown or since < PROGRESS_SECONDS
        assert grown < PROGRESS_TOKENS or since < PROGRESS_SECONDS_LEAST


# --- whole answers --------------------------------------------------------------------------------


def answered(**fields: Any) -> tuple[Usage, UsageSource] | None:
    return usage_of_answer(json.dumps(fields).encode(), lambda: INPUT)


CHOICES = [{"index": 0, "message": {"role": "assistant", "content": "four words of text"}}]


def test_a_whole_answer_is_charged_as_it_reports() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }

    assert answered(choices=CHOICES, usage=usage) == (Usage(10, 4, 7, 2), UsageSource.VENDOR)


def test_a_whole_answer_without_a_report_is_counted() -> None:
    wanted = Usage(INPUT, 0, estimate_text("four words of text"), 0)

    assert answered(choices=CHOICES) == (wanted, UsageSource.COUNTED)
    assert answered(choices=[{"message": {"content": ""}}]) == (NO_USAGE, UsageSource.NONE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices":[]}',
        b'{"error":{"message":"no"}}',
        b'{"error":{"message":"no"},"choices":[{"message":{"content":"x"}}]}',
        b'{"error":"no","usage":{"prompt_tokens":1,"completion_tokens":1},"choices":[1]}',
        b"\xff",
    ],
)
def test_what_is_no_answer_is_none(body: bytes) -> None:
    assert usage_of_answer(body, lambda: INPUT) is None


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
                    lambda v: st.lists(v, max_size=3) | st.dictionaries(
                        st.sampled_from(["choices", "usage", "error", "message", "content",
                                         "prompt_tokens", "completion_tokens", "cached_tokens"]),
                        v, max_size=4)))  # fmt: skip
def test_no_answer_makes_the_count_absurd(value: object) -> None:
    used = usage_of_answer(json.dumps(value).encode(), lambda: INPUT)

    if used is not None:
        usage, _ = used
        assert 0 <= usage.cached_tokens <= usage.input_tokens <= TOKENS_MAX
        assert 0 <= usage.reasoning_tokens <= usage.output_tokens <= TOKENS_MAX


# --- input ----------------------------------------------------------------------------------------


def test_input_is_estimated_from_the_request_and_never_above_its_bound() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hello there " * 20}]}
    raw = json.dumps(body).encode()

    assert estimate_input(raw, len(raw)) == estimate_request(body)
    assert estimate_input(raw, 5) == 5
    assert estimate_input(b" " * LARGE_BYTES + raw, 4_000) == 1_000
    assert estimate_input(b'{"x":"\\ud800","messages":[]}', 1_000) <= 1_000
    assert estimate_input(b"[" * 100_000, 100) <= 100


def test_a_report_in_an_event_whose_choices_cannot_be_read_is_no_end() -> None:
    for text, ends in (
        (b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}', True),
        (b'{"choicec":[{"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}', False),
    ):
        stream, chunk = StreamMeter(lambda: 0, 0.0, TokenCounter()), decode_chunk(text)
        assert chunk is not None
        stream.read(chunk, chunk_usage(chunk))
        assert stream.finish_seen is ends
        assert stream.reported is not None
