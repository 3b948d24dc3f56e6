"""Vendors whose names do not resolve: the next key answers, and nobody else waits."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import msgspec
import pytest
import uvloop

from aipool.doors.frames import Applied, Publish
from aipool.doors.snapshot import KeyView
from aipool.vendors.types import KeySettings
from benchmarks import names
from tests.gateway.rig import Rig, rig
from tests.platform import wish

PRIVATE = "10.77.0.1"


class Names:
    """Stands in for the system's resolver. answers: addresses by name; None = it says nothing."""

    def __init__(self) -> None:
        self.answers: dict[str, str | None] = {}
        self.over = threading.Event()

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[Any]:
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        address = self.answers[host]
        if address is None:
            self.over.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


async def put_first_key_on(it: Rig, name: str) -> None:
    """The first key is called by this name, the second stays where it was."""
    shown = it.ledger.snapshot
    [vendor] = shown.vendors
    first = KeyView(
        1,
        "a",
        "canary-a",
        settings=KeySettings(base_url=f"http://{name}:{it.vendor.port}/v1"),
    )
    vendor = msgspec.structs.replace(vendor, keys=(first, vendor.keys[1]))
    it.ledger.say(
        Publish(1, msgspec.structs.replace(shown, vendors=(vendor,)), (), everything=True)
    )
    await it.until(lambda: sum(isinstance(m, Applied) for m in it.ledger.heard) == 2)


RULES = {
    "AIPOOL_KEY_FAILURES": "1000",
    "AIPOOL_LIMIT_RESOLVE_SECONDS": "0.2",
    "AIPOOL_LIMIT_RESOLVE_FRESH_SECONDS": "0.01",
    "AIPOOL_LIMIT_RESOLVE_KEEP_SECONDS": "0.01",
}


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Names:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    return made


@pytest.mark.parametrize("answer", ["unknown", "silent"])
def test_a_name_without_an_answer_goes_to_the_next_key(resolver: Names, answer: str) -> None:
    if answer == "silent":
        resolver.answers["first.vendor.test"] = None

    async def scene() -> None:
        async with rig(RULES) as it:
            await put_first_key_on(it, "first.vendor.test")
            for stream in (False, True):
                replies = await asyncio.gather(
                    *(it.ask(wish(f"m-{n}", {}, stream=stream)) for n in range(5))
                )
                assert {reply.status for reply in replies} == {200}
            assert {entry.key for entry in it.vendor.books} == {"canary-b"}
            await it.until(lambda: len(it.ledger.outcomes) == 10)
            reasons = {outcome.attempts[0].reason for outcome in it.ledger.outcomes}
            assert reasons == {"connect"}
            resolver.over.set()

    uvloop.run(scene())


def test_a_name_that_turns_to_a_private_address_is_not_connected_to(resolver: Names) -> None:
    resolver.answers["first.vendor.test"] = "127.0.0.1"

    async def scene() -> None:
        async with rig(RULES) as it:
            await put_first_key_on(it, "first.vendor.test")
            # No connection is used twice.
            well = {"keep_alive": False}
            assert (await it.ask(wish("before", well))).status == 200
            assert [entry.key for entry in it.vendor.books] == ["canary-a"]

            resolver.answers["first.vendor.test"] = PRIVATE
            await asyncio.sleep(0.02)
            for number in range(5):
                assert (await it.ask(wish(f"after-{number}", well))).status == 200
            assert [entry.key for entry in it.vendor.books][1:] == ["canary-b"] * 5
            await it.until(lambda: len(it.ledger.outcomes) == 6)
            reasons = [outcome.attempts[0].reason for outcome in it.ledger.outcomes][1:]
            assert reasons == ["blocked_address"] * 5

    uvloop.run(scene())


@pytest.mark.slow
def test_with_a_name_server_that_fails_others_do_not_wait_and_nothing_private_is_reached() -> None:
    found = names.apart()
    if isinstance(found, str):
        pytest.skip(found)

    assert found.failures == 0
    assert found.overs > 100
    assert found.flipped_calls > 20
    assert found.connects == 0
    # All who wait for the same name wait for one lookup; nobody else waits for it at all.
    assert found.p99_broken < 1_000
