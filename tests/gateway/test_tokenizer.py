"""With AIPOOL_TOKENIZER=exact, what no vendor counted is counted by a vocabulary that is known."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import uvloop

from aipool.dialects.estimate import estimate_request, estimate_text
from aipool.doors.frames import Publish
from aipool.doors.outcome import Outcome
from aipool.doors.snapshot import Snapshot
from tests.chats import charge, wish
from tests.dialects.test_exact import install
from tests.gateway.rig import rig

EXACT = {"AIPOOL_TOKENIZER": "exact"}


def of_type(snapshot: Snapshot, kind: str) -> Snapshot:
    """The same with its vendor of this type."""
    (vendor,) = snapshot.vendors
    return msgspec.structs.replace(
        snapshot, revision=2, vendors=(msgspec.structs.replace(vendor, type=kind),)
    )


async def _asked(kind: str, body: dict[str, Any], environment: dict[str, str]) -> Outcome:
    async with rig(environment) as on:
        on.ledger.say(Publish(1, of_type(on.ledger.snapshot, kind), (), everything=True))
        context = on.worker._context
        await on.until(lambda: context.catalogue is not None and context.catalogue.revision == 2)
        reply = await on.ask(body)
        assert reply.status == 200, reply
        await on.until(lambda: on.ledger.outcomes)
        return on.ledger.outcomes[0]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "environment", "by_vocabulary"),
    [
        ("openai", EXACT, True),
        ("openai_compatible", EXACT, False),
        ("openai", {}, False),
    ],
)
def test_a_missing_report_is_counted_by_the_vocabulary_of_the_vendor(
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    environment: dict[str, str],
    by_vocabulary: bool,
    stream: bool,
) -> None:
    # A vocabulary of single characters.
    install(monkeypatch, len)
    text = "counted by 字符, one by one"
    body = wish("m", {"usage": "none", "content": text}, stream=stream)

    outcome = uvloop.run(_asked(kind, body, environment))

    if by_vocabulary:
        wanted = (6 + len(body["messages"][0]["content"]), len(text))
    else:
        wanted = (estimate_request(body), estimate_text(text))
    assert (outcome.input_tokens, outcome.output_tokens) == wanted
    assert outcome.charge_nano == charge(wanted)


@pytest.mark.parametrize("stream", [False, True])
def test_a_report_is_believed_whatever_counts(
    monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    install(monkeypatch, len)
    usage = {"prompt_tokens": 5, "completion_tokens": 7}

    outcome = uvloop.run(_asked("openai", wish("m", {"usage": usage}, stream=stream), EXACT))

    assert (outcome.input_tokens, outcome.output_tokens) == (5, 7)


def test_an_input_never_counts_more_than_was_held_for(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, lambda text: 100 * len(text))
    body = wish("m", {"usage": "none", "content": "x"})

    outcome = uvloop.run(_asked("openai", body, EXACT))

    assert outcome.input_tokens <= len(json.dumps(body))
