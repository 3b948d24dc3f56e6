"""Refusals beyond the first of a minute share a row, and every one of them is counted."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.doors.outcome import Outcome, UsageSource
from aipool.gateway.refusals import MINUTE_SECONDS, ROWS_PER_MINUTE, Refusals


def refusal(number: int, token_id: int, code: str) -> Outcome:
    return Outcome(
        f"req_{number:08}", 0, 0, -1, 1, token_id, 1, "m", "chat.completions", False, 402, code,
        0, 0, 0, 0, UsageSource.NONE, 0, 0, 0, 0, (), 0, 0, 0, "", "", (), "", "", False,
    )  # fmt: skip


def test_the_first_of_a_minute_get_rows_of_their_own_and_the_rest_one_together() -> None:
    refusals = Refusals()
    facts = [refusal(number, 1, "insufficient_quota") for number in range(ROWS_PER_MINUTE + 40)]

    rows = [refusals.row_of(1, "insufficient_quota", lambda one=one: one) for one in facts]  # type: ignore[misc]

    assert rows == facts[:ROWS_PER_MINUTE] + [None] * 40
    assert refusals.due(MINUTE_SECONDS - 1) == []
    (shared,) = refusals.due(MINUTE_SECONDS)
    assert shared == msgspec.structs.replace(facts[ROWS_PER_MINUTE], calls=40)
    assert refusals.row_of(1, "insufficient_quota", lambda: facts[0]) == facts[0]


def test_a_worker_that_ends_writes_what_it_has_counted() -> None:
    refusals = Refusals(share=0)
    refusals.row_of(1, "token_disabled", lambda: refusal(1, 1, "token_disabled"))

    assert [one.calls for one in refusals.due(1.0, at_once=True)] == [1]
    assert refusals.due(1.0, at_once=True) == []


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["a", "b"])), max_size=60),
    st.integers(0, 5),
)
def test_no_refusal_is_lost_or_counted_twice(said: list[tuple[int, str]], share: int) -> None:
    refusals = Refusals(share)
    written: list[Outcome] = []
    for number, (token_id, code) in enumerate(said):
        row = refusals.row_of(token_id, code, lambda at=(number, token_id, code): refusal(*at))  # type: ignore[misc]
        written += [row] if row is not None else []
    written += refusals.due(0.0, at_once=True)

    for token_id, code in set(said):
        rows = [one for one in written if (one.token_id, one.error) == (token_id, code)]
        assert sum(one.calls for one in rows) == said.count((token_id, code))
    assert len({one.rid for one in written}) == len(written)
