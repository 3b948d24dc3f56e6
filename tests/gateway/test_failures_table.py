"""The table of failures at work: each row in each place of an answer, through a real worker.

A row (`tests/vendors/failure_examples.txt`) comes as the answer itself, to a whole call and to a
stream, as the first event of a stream, and in the middle of one. Asked is what the client gets,
which key is called next, and what is reported of the first. Every row has a vendor of its own with
two keys, so that none knows of another's.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest

from aipool.dialects.estimate import estimate_text
from aipool.doors.frames import Applied, KeyReports, Publish
from aipool.doors.outcome import Outcome
from aipool.doors.snapshot import GroupView, KeyView, ModelView, RouteView, Snapshot, VendorView
from aipool.pool.health import MODEL_GONE_SECONDS, Signal
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.failures import classify, classify_event
from aipool.vendors.types import Action, KeySettings, Scope, Verdict
from tests.gateway.rig import Rig, rig
from tests.platform import PRICE, Reply
from tests.vendors.failure_examples import EXAMPLES, FailureExample

pytestmark = pytest.mark.slow

AT_ONCE = 24
WORDS = 3
#: Seconds of a verdict are counted from the moment at which it is made.
SECONDS_OFF_MAX = 20.0


class Place(Enum):
    """Where in an answer the failure stands."""

    WHOLE = "the answer to a whole call"
    STREAM = "the answer to a stream"
    FIRST = "the first event"
    MIDDLE = "an event in the middle"


@dataclass
class Case:
    """One row in one place, and what came of it."""

    number: int
    example: FailureExample
    place: Place
    called: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    reply: Reply | None = None
    outcome: Outcome | None = None
    reports: list[tuple[Signal, str, str, float]] = field(default_factory=list)

    @property
    def model(self) -> str:
        return f"case-{self.number}"

    @property
    def stream(self) -> bool:
        return self.place is not Place.WHOLE

    @property
    def row(self) -> str:
        return f"{self.example.vendor}: {self.example.name}, {self.place.value}"

    def wishes(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the vendor does: the first try fails, and whatever comes next goes well."""
        self.called.append(key)
        self.bodies.append(body)
        if len(self.called) > 1:
            return {}
        example, text = self.example, self.example.body.decode("utf-8", "surrogateescape")
        if self.place in (Place.WHOLE, Place.STREAM):
            headers = {n.decode(): v.decode("latin-1") for n, v in example.headers.items()}
            return {"status": example.status, "body": text, "headers": headers}
        before = [_chunk({"role": "assistant", "content": ""})]
        if self.place is Place.MIDDLE:
            before += [_chunk({"content": " word"})] * WORDS
        events = [*before, text]
        return {
            "body": "".join(f"data: {event}\n\n" for event in events),
            "content_type": "text/event-stream",
            "framing": "chunked",
        }

    def body(self) -> dict[str, Any]:
        """What the client asks."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [
                {"role": "user", "content": "Hello!"},
                {"role": "assistant", "content": "Hi.", "reasoning_content": "somebody greets"},
                {"role": "user", "content": "Go on."},
            ],
        }
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        strip = self.example.strip
        if strip == "stream_options":
            return {"stream_options": {}} | body
        return body if strip in ("", "reasoning") else body | {strip: 1}

    @property
    def verdict(self) -> Verdict:
        """What the table says. Its seconds as of now."""
        example, now = self.example, time.time()
        vendor = VENDORS_BY_TYPE[example.vendor]
        if self.place in (Place.WHOLE, Place.STREAM):
            said = classify(vendor, example.status, example.headers, example.body, unix_now=now)
            assert said is not None
            told = (said.action, said.why, said.scope)
            assert told == (example.action, example.why, example.scope), self.row
            return said
        return classify_event(vendor, example.body, unix_now=now)


def _chunk(delta: dict[str, str]) -> str:
    chunk = {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return json.dumps(chunk)


def _cases() -> Iterator[Case]:
    number = 0
    for example in EXAMPLES:
        for place in Place:
            if example.event and place in (Place.WHOLE, Place.STREAM):
                continue
            if example.status == 103 and place in (Place.WHOLE, Place.STREAM):
                continue  # no answer yet; another one would follow
            if place is Place.FIRST and not _fails(example.body, "error", "base_resp"):
                continue
            if place is Place.MIDDLE and not _fails(example.body, "error"):
                continue
            number += 1
            yield Case(number, example, place)


def _fails(body: bytes, *members: str) -> bool:
    """Is this an event by which a vendor says, in one of these members, that it failed?"""
    try:
        value = json.loads(body)
    except ValueError:
        return False
    return isinstance(value, dict) and any(value.get(member) for member in members)


CASES = list(_cases())


def _snapshot(base_url: str) -> Snapshot:
    vendors, models = [], []
    for case in CASES:
        number = case.number
        settings = KeySettings(project="p", api_version="2024-10-21", region="r")
        keys = tuple(
            KeyView(2 * number + place, name, f"canary-{number}-{name}", settings=settings)
            for place, name in enumerate("ab")
        )
        vendors.append(VendorView(number, f"v{number}", case.example.vendor, base_url, keys))
        route = RouteView(number, case.model, PRICE, ())
        models.append(ModelView(number, case.model, "chat", 0, 100_000, 1_000, PRICE, (route,)))
    groups = (GroupView(1, "default", 1_000_000, None),)
    return Snapshot(1, groups, tuple(vendors), tuple(models))


async def _run() -> None:
    by_number = {case.number: case for case in CASES}

    def script(key: str, _number: int, body: dict[str, Any]) -> dict[str, Any]:
        _, number, name = key.split("-")
        return by_number[int(number)].wishes(name, body)

    async with rig() as it:
        it.vendor.script.function = script
        it.ledger.say(Publish(1, _snapshot(it.vendor.base_url), (), everything=True))
        # After the rig's own.
        await it.until(lambda: sum(isinstance(m, Applied) for m in it.ledger.heard) == 2)
        queue = iter(CASES)
        await asyncio.gather(*(_asker(it, queue) for _ in range(AT_ONCE)))
        await it.until(lambda: len(it.ledger.outcomes) >= len(CASES))
        outcomes = {outcome.rid: outcome for outcome in it.ledger.outcomes}
        for case in CASES:
            assert case.reply is not None
            case.outcome = outcomes[case.reply.rid]
        for message in it.ledger.heard:
            if isinstance(message, KeyReports):
                for report in message.reports:
                    shown = (report.signal, report.model, report.why, report.seconds)
                    by_number[report.key_id // 2].reports.append(shown)


async def _asker(it: Rig, queue: Iterator[Case]) -> None:
    for case in queue:
        case.reply = await it.ask(case.body())


@pytest.fixture(scope="module")
def cases() -> Sequence[Case]:
    """All of them, asked."""
    asyncio.run(_run())
    return CASES


def at(cases: Sequence[Case], *places: Place) -> list[Case]:
    found = [case for case in cases if case.place in places]
    assert len(found) > 100 or places[0] is Place.MIDDLE
    return found


def differing(seen: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """The rows that are not as they should be: what they are, and what they should be."""
    return {row: (seen[row], expected[row]) for row in expected if seen[row] != expected[row]}


BEFORE = (Place.WHOLE, Place.STREAM, Place.FIRST)


def test_before_the_commit_the_client_gets_the_answer_of_the_next_key_or_is_told_why(
    cases: Sequence[Case],
) -> None:
    seen, expected = {}, {}
    for case in at(cases, *BEFORE):
        reply, action = case.reply, case.verdict.action
        assert reply is not None
        seen[case.row] = (reply.status, reply.status == 200 and reply.text == " word" * 8)
        status = case.example.status
        match action:
            case Action.PASS:
                passed = status if status >= 400 and case.place is not Place.FIRST else 400
                expected[case.row] = (passed, False)
            case Action.STOP:
                expected[case.row] = (504, False)
            case _:
                expected[case.row] = (200, True)
    assert differing(seen, expected) == {}


def test_before_the_commit_the_next_key_is_called_or_the_same_once_more_or_none(
    cases: Sequence[Case],
) -> None:
    calls = {Action.PASS: ["a"], Action.STOP: ["a"], Action.STRIP: ["a", "a"]}

    seen = {case.row: case.called for case in at(cases, *BEFORE)}

    expected = {case.row: calls.get(case.verdict.action, ["a", "b"]) for case in at(cases, *BEFORE)}
    assert differing(seen, expected) == {}


def test_what_a_key_did_not_take_is_left_out_the_second_time(cases: Sequence[Case]) -> None:
    for case in at(cases, *BEFORE):
        verdict = case.verdict
        if verdict.action is not Action.STRIP:
            continue
        first, second = case.bodies
        if verdict.strip == "reasoning":
            assert "reasoning_content" in first["messages"][1], case.row
            assert "reasoning_content" not in second["messages"][1], case.row
        elif verdict.strip in first:
            assert second == {n: v for n, v in first.items() if n != verdict.strip}, case.row


SIGNALS = {
    Action.NEXT: Signal.FAILED,
    Action.STOP: Signal.FAILED,
    Action.COOL: Signal.COOL,
    Action.DROP_MODEL: Signal.COOL,
    Action.EXCEEDED: Signal.EXCEEDED,
    Action.INVALID: Signal.INVALID,
}


def test_each_failure_is_reported_as_what_it_shows_of_the_key(cases: Sequence[Case]) -> None:
    seen, expected = {}, {}
    for case in cases:
        verdict = case.verdict
        seen[case.row] = [report[:3] for report in case.reports]
        signal = SIGNALS.get(verdict.action)
        if verdict.why == "request_refused":
            signal = None  # another key may take the request; this one did nothing wrong
        if verdict.action is Action.NEXT and verdict.why == "request_refused":
            signal = None  # the request was too much for this key; no other would have been
        lane = case.model if verdict.scope is Scope.MODEL else ""
        expected[case.row] = [] if signal is None else [(signal, lane, verdict.why)]
    assert differing(seen, expected) == {}


def test_a_key_rests_for_as_long_as_its_vendor_says(cases: Sequence[Case]) -> None:
    seen, expected = {}, {}
    for case in cases:
        verdict = case.verdict
        if verdict.action in (Action.COOL, Action.EXCEEDED, Action.DROP_MODEL):
            seconds = verdict.seconds if verdict.seconds is not None else -1.0
            if verdict.action is Action.DROP_MODEL:
                seconds = MODEL_GONE_SECONDS
            seen[case.row] = [told for _, _, _, told in case.reports]
            expected[case.row] = [pytest.approx(seconds, abs=SECONDS_OFF_MAX)]
    assert differing(seen, expected) == {}


def test_after_the_commit_the_stream_ends_with_an_error_and_what_was_relayed_is_paid(
    cases: Sequence[Case],
) -> None:
    seen, expected = {}, {}
    for case in at(cases, Place.MIDDLE):
        reply, outcome = case.reply, case.outcome
        assert reply is not None and outcome is not None
        code = reply.chunks[-1].get("error", {}).get("code")
        done = b"[DONE]" in reply.events
        tokens = outcome.output_tokens
        seen[case.row] = (case.called, reply.status, reply.text, code, done, tokens)
        words = " word" * WORDS
        expected[case.row] = (["a"], 200, words, "upstream_error", False, estimate_text(words))
    assert differing(seen, expected) == {}


def test_nothing_that_is_between_the_vendor_and_us_reaches_the_client(
    cases: Sequence[Case],
) -> None:
    told = []
    for case in cases:
        reply, said = case.reply, case.example.body
        assert reply is not None
        assert b"canary" not in reply.body, case.row
        if case.verdict.action is Action.PASS and case.place in BEFORE:
            continue
        if len(said) > 20 and said in reply.body:
            told.append(case.row)
    assert told == []


def test_the_trail_of_a_call_names_the_key_and_the_reason(cases: Sequence[Case]) -> None:
    seen, expected = {}, {}
    for case in at(cases, *BEFORE):
        outcome = case.outcome
        assert outcome is not None
        first = outcome.attempts[0]
        seen[case.row] = (first.key_id, first.reason, len(outcome.attempts))
        expected[case.row] = (2 * case.number, case.verdict.why, len(case.called))
    assert differing(seen, expected) == {}
