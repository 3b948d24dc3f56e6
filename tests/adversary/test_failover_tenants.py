"""What one tenant sends must not cost the others their keys, their fields, or us our money."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from aipool.doors.frames import Applied, AskSlots, KeyReports, KeyStates, Publish, Slots
from aipool.doors.snapshot import (
    CallLimits,
    GroupView,
    KeyView,
    ModelView,
    RouteView,
    Snapshot,
    TokenView,
    VendorView,
)
from aipool.gateway.attempts import signal_of
from aipool.gateway.unwanted import FIELDS_MAX, STREAM_OPTIONS, Unwanted
from aipool.kit.digests import digest, load_pepper
from aipool.pool.health import Health, Lane, Signal
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.failures import classify
from aipool.vendors.types import Action, KeySettings, Verdict
from tests.chats import PRICE, messages
from tests.gateway.rig import UNKNOWN, Rig, rig

OTHER = UNKNOWN


def play(scene: Callable[[Rig], Awaitable[None]], **environment: str) -> None:
    async def whole() -> None:
        async with rig(environment) as it:
            await scene(it)

    uvloop.run(whole())


async def publish(it: Rig, *keys: KeyView, **group: Any) -> None:
    """These keys instead of the rig's."""
    news = Snapshot(
        1,
        (GroupView(1, "default", 1_000_000, None, **group),),
        (VendorView(1, "v", "openai_compatible", it.vendor.base_url, keys),),
        (ModelView(1, "m", "chat", 0, 100_000, 1_000, PRICE, (RouteView(1, "m", PRICE, ()),)),),
    )
    it.ledger.say(Publish(1, news, (), everything=True))
    # After the rig's own.
    await it.until(lambda: sum(isinstance(one, Applied) for one in it.ledger.heard) == 2)


def ask_for(marker: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", **messages(marker=marker), **more}


def refuse(status: int, message: str) -> dict[str, Any]:
    return {"status": status, "error": {"message": message, "type": "invalid_request_error"}}


def signals(it: Rig) -> list[Signal]:
    heard = [one for one in it.ledger.heard if isinstance(one, KeyReports)]
    return [report.signal for message in heard for report in message.reports]


def sent(it: Rig, marker: str) -> list[str]:
    """The keys of this call's tries."""
    return [entry.key for entry in it.vendor.books.marked(marker)]


# --- fields that were not taken ---------------------------------------------------------------


def _bodies(it: Rig) -> list[dict[str, Any]]:
    """Every body from here on."""
    seen: list[dict[str, Any]] = []
    by_field = {"odd": "Unrecognized request argument supplied: odd"}

    def script(_key: str, _number: int, body: dict[str, Any]) -> dict[str, Any]:
        seen.append(body)
        for field, message in by_field.items():
            if field in body:
                return refuse(400, message)
        options = body.get("stream_options")
        if options is not None and not body.get("stream"):
            return refuse(400, "'stream_options' is only allowed when 'stream' is enabled.")
        if options is not None and set(options) - {"include_usage"}:
            return refuse(400, "Unknown parameter: 'stream_options.odd'.")
        return {}

    it.vendor.script.function = script
    return seen


def test_a_field_that_one_user_may_not_send_is_left_out_of_his_calls_only() -> None:
    async def scene(it: Rig) -> None:
        view = TokenView(2, 2, 1, "t", 0, None, (), ("wallet:1",), "")
        it.ledger.tokens[digest(load_pepper(it.run.path.parent / "data"), OTHER.encode())] = view
        seen = _bodies(it)
        for _ in range(2):
            assert (await it.ask(ask_for("mine", odd=1))).status == 200
        assert ["odd" in body for body in seen] == [True, False, False], "learned for him"
        seen.clear()

        assert (await it.ask(ask_for("theirs", odd=1), OTHER)).status == 200
        assert ["odd" in body for body in seen] == [True, False]

    play(scene)


def test_who_brings_stream_options_without_a_stream_keeps_nobodys_usage_from_us() -> None:
    async def scene(it: Rig) -> None:
        seen = _bodies(it)
        assert (
            await it.ask(ask_for("whole", stream_options={"include_usage": True}))
        ).status == 200
        seen.clear()

        assert (await it.ask(ask_for("stream", stream=True))).status == 200

        assert [body.get("stream_options") for body in seen] == [{"include_usage": True}]

    play(scene)


def test_who_writes_nonsense_into_stream_options_is_charged_by_the_vendors_report() -> None:
    async def scene(it: Rig) -> None:
        seen = _bodies(it)
        for _ in range(2):
            reply = await it.ask(
                ask_for("odd", stream=True, stream_options={"include_usage": True, "odd": 1})
            )
            assert reply.status == 200
        plain = {"include_usage": True}
        assert [body.get("stream_options") for body in seen] == [plain | {"odd": 1}, plain, plain]

    play(scene)


def test_a_field_that_a_message_only_mentions_is_not_learned() -> None:
    async def scene(it: Rig) -> None:
        it.vendor.script.function = lambda _key, _number, body: (
            refuse(400, "Unknown role: 'stream_options'.") if body["user"] == "poison" else {}
        )
        assert (await it.ask(ask_for("poison", stream=True))).status == 400

        assert (await it.ask(ask_for("good", stream=True))).status == 200

        assert it.vendor.books.marked("good")[0].usage_sent is not None

    play(scene)


def test_the_same_body_is_not_sent_twice_for_a_field_that_it_does_not_have() -> None:
    async def scene(it: Rig) -> None:
        it.vendor.script.function = lambda _key, _number, _body: refuse(
            400, "Unrecognized request argument supplied: absent"
        )
        assert (await it.ask(ask_for("one"))).status == 400

        assert sent(it, "one") == ["canary-a"]

    play(scene)


def test_what_is_remembered_of_fields_is_bounded() -> None:
    unwanted = Unwanted()
    for number in range(1000):
        unwanted.keep(1, "m", 7, f"field{number}")
    unwanted.keep(1, "m", 7, STREAM_OPTIONS)

    assert len(unwanted.of(1, "m", 7)) == FIELDS_MAX + 1
    assert unwanted.of(1, "m", 8) == {STREAM_OPTIONS}


# --- keys that are taken from all -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor_type", "status", "error"),
    [
        (
            "gemini",
            403,
            {
                "code": 403,
                "message": "CachedContent not found (or permission denied)",
                "status": "PERMISSION_DENIED",
            },
        ),
        (
            "gemini",
            403,
            {
                "code": 403,
                "message": "You do not have permission to access the File abc or it may not exist.",
                "status": "PERMISSION_DENIED",
            },
        ),
        (
            "openai_compatible",
            400,
            {"message": "Failed to fetch https://evil.test/model/a.png: 404 Not Found"},
        ),
        (
            "openai_compatible",
            400,
            {"message": "Bad link https://evil.test/the-model/x: does not exist"},
        ),
    ],
)
def test_what_a_client_names_convicts_no_key(
    vendor_type: str, status: int, error: dict[str, Any]
) -> None:
    body = json.dumps({"error": error}).encode()

    verdict = classify(VENDORS_BY_TYPE[vendor_type], status, {}, body, unix_now=1_800_000_000.0)

    assert verdict is not None and verdict.action is Action.PASS


@pytest.mark.parametrize("why", ["request_refused", "event_too_large", "too_large"])
def test_a_request_that_is_too_much_for_a_key_does_not_trip_its_breaker(why: str) -> None:
    assert signal_of(Verdict(Action.NEXT, why)) is None


# --- probes and rooms -----------------------------------------------------------------------------


def answering_slots(it: Rig, *, amount: int) -> None:
    """The toy ledger process has room under every cap, a little later, or none."""
    plain, loop = it.ledger.hear, asyncio.get_running_loop()

    def hear(message: Any) -> None:
        if isinstance(message, AskSlots):
            answer = Slots(message.number, message.cap_name, min(amount, message.want))
            loop.call_later(0.02, it.ledger.say, answer)
        else:
            plain(message)

    it.ledger.hear = hear  # type: ignore[method-assign]


CAPPED = KeySettings(concurrency=50)


def test_of_many_that_wait_for_room_one_probes_the_key() -> None:
    async def scene(it: Rig) -> None:
        answering_slots(it, amount=50)
        await publish(it, KeyView(1, "a", "canary-a", settings=CAPPED), KeyView(2, "b", "canary-b"))
        it.ledger.say(KeyStates((Lane(1, "", 1, 3, Health.COOLING, 0.001, "x"),)))
        it.vendor.script.function = lambda key, _number, _body: (
            {"status": 503} if key == "canary-a" else {}
        )

        replies = await asyncio.gather(*(it.ask(ask_for(f"c{n}")) for n in range(20)))

        assert {reply.status for reply in replies} == {200}
        tried = [key for number in range(20) for key in sent(it, f"c{number}")]
        assert tried.count("canary-a") == 1

    play(scene)


def test_who_waited_for_room_does_not_call_a_key_that_was_convicted_meanwhile() -> None:
    async def scene(it: Rig) -> None:
        answering_slots(it, amount=50)
        await publish(it, KeyView(1, "a", "canary-a", settings=CAPPED), KeyView(2, "b", "canary-b"))
        call = asyncio.create_task(it.ask(ask_for("one")))
        await it.until(lambda: any(isinstance(one, AskSlots) for one in it.ledger.heard))
        it.ledger.say(KeyStates((Lane(1, "", 1, 1, Health.INVALID, 0.0, "credential_refused"),)))

        assert (await call).status == 200
        assert sent(it, "one") == ["canary-b"]

    play(scene)


def test_a_call_for_which_no_key_had_room_is_no_request_of_the_day() -> None:
    async def scene(it: Rig) -> None:
        answering_slots(it, amount=0)
        await publish(
            it,
            KeyView(1, "a", "canary-a", settings=CAPPED),
            each_user=CallLimits(requests_per_day=5),
        )

        reply = await it.ask(ask_for("busy"))

        assert (reply.status, sent(it, "busy")) == (503, [])
        await it.until(lambda: it.ledger.outcomes)
        (outcome,) = it.ledger.outcomes
        assert outcome.charge_nano == 0
        assert [name for name, _ in outcome.budgets] == ["wallet:1"]

    play(scene)


def test_a_probe_that_our_own_deadline_ended_does_not_make_a_silent_key_well() -> None:
    async def scene(it: Rig) -> None:
        it.ledger.say(KeyStates((Lane(1, "", 1, 3, Health.COOLING, 0.001, "x"),)))
        it.vendor.script.function = lambda _key, _number, _body: {"never": True}

        assert (await it.ask(ask_for("silent"))).status == 504

        await it.until(lambda: len(signals(it)) == 2)
        assert signals(it) == [Signal.PROBING, Signal.UNTRIED]

    play(scene, AIPOOL_LIMIT_TOTAL_SECONDS="1")


def test_a_call_does_not_wait_for_room_at_one_busy_key_after_the_other() -> None:
    async def scene(it: Rig) -> None:
        answering_slots(it, amount=0)
        busy = [KeyView(n, f"k{n}", f"canary-{n}", settings=CAPPED) for n in range(1, 61)]
        await publish(it, *busy, KeyView(99, "free", "canary-free"))

        assert (await it.ask(ask_for("one"))).status == 200

        assert sent(it, "one") == ["canary-free"]
        asked = sum(isinstance(one, AskSlots) for one in it.ledger.heard)
        assert asked <= 15, "a fifth of a second, and each takes a fiftieth"

    play(scene)


def test_a_request_that_vendors_stumble_over_does_not_take_every_key_from_everybody() -> None:
    async def scene(it: Rig) -> None:
        it.vendor.script.function = lambda _key, _number, body: (
            {"status": 500} if body.get("user") == "poison" else {}
        )
        for _ in range(5):
            assert (await it.ask(ask_for("poison"))).status == 503
        good = await it.ask(ask_for("good"))
        assert good.status == 200, "the second key was not to blame"

    play(scene, AIPOOL_KEY_FAILURES="5")


def test_a_firewall_that_dislikes_one_tenants_words_does_not_rest_the_keys() -> None:
    async def scene(it: Rig) -> None:
        it.vendor.script.function = lambda _key, _number, body: (
            {"status": 403, "body": "<html>blocked</html>"} if body.get("user") == "poison" else {}
        )
        assert (await it.ask(ask_for("poison"))).status == 503
        good = await it.ask(ask_for("good"))
        assert good.status == 200
        assert good.headers["x-aipool-attempts"] == "1"

    play(scene)
