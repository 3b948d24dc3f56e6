"""Names to addresses, asked once for all who wait."""

import asyncio
import socket
from typing import Any

import pytest

from aipool.wire.limits import Limits
from aipool.wire.resolver import SystemResolver, Unresolved
from tests.wire.rig import (
    run,
)


def test_names_are_resolved_once_for_all_who_wait_and_remembered_when_the_server_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0
    broken = False

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        nonlocal asked
        asked += 1
        if broken:
            raise socket.gaierror(-3, "try again")
        return [(2, 1, 6, "", ("192.0.2.7", port))] * 2

    async def scenario() -> None:
        nonlocal broken
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        limits = Limits(resolve_fresh_seconds=0.0)
        resolver = SystemResolver(asyncio.get_running_loop(), limits)
        found = await asyncio.gather(*(resolver.resolve("a.test", 443) for _ in range(9)))
        assert found == [[("192.0.2.7", 443)]] * 9
        assert asked == 1
        broken = True
        assert await resolver.resolve("a.test", 443) == [("192.0.2.7", 443)]
        assert asked == 2
        with pytest.raises(Unresolved):
            await resolver.resolve("b.test", 443)
        resolver.close()

    run(scenario())
