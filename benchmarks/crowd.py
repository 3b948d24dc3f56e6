"""Clients that call again and again, each call from an address of its own, and recorded.

Most of them ask the fake vendor for whatever a proof has set; a few make nothing but short calls,
so that at any moment something has just begun and something has just ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any, Final

from benchmarks.caller import Line, address_of, ask_once, chat
from benchmarks.platform import Platform
from benchmarks.witness import Made, now

CALLERS: Final = 24
#: Besides them, clients whose calls are always short ones, so that something ends at any moment.
QUICK_CALLERS: Final = 8
QUICK_PAUSE_SECONDS: Final = 0.02
CALL_SECONDS_MAX: Final = 20.0

#: Behaviours of the fake vendor, each with whether it is asked for as a stream.
Wish = tuple[dict[str, Any], bool]
QUICK: Final[list[Wish]] = [({"events": 5}, False), ({"events": 12}, True)]


class Crowd:
    """The clients. calls: everything they did. wishes: what their next calls ask for."""

    def __init__(self, platform: Platform, chance: random.Random) -> None:
        self.calls: list[Made] = []
        self.wishes: list[Wish] = QUICK
        self._platform = platform
        self._chance = chance
        self._running = True
        self._callers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to call."""
        again = [self._call_again() for _ in range(CALLERS)]
        again += [self._call_quickly() for _ in range(QUICK_CALLERS)]
        self._callers = [asyncio.create_task(caller) for caller in again]

    async def stop(self) -> None:
        """Let the calls that are under way end."""
        self._running = False
        await asyncio.gather(*self._callers)

    async def call(
        self,
        token: str,
        wish: Wish | None = None,
        *,
        max_tokens: int = 1000,
        line: tuple[Line, str] | None = None,
    ) -> Made:
        """One call, recorded; raises nothing.

        line: the connection to make it on, and the address that it comes from; None = a new one.
        """
        number = len(self.calls)
        wishes, stream = wish or self._chance.choice(self.wishes)
        pace = 1 / wishes["interval"] if "interval" in wishes else 1000.0
        marker = f"call-{number:06}"
        address = address_of(number) if line is None else line[1]
        made = Made(marker, address, stream, now(), pace)
        self.calls.append(made)
        body = chat(self._platform.model, wishes, marker, max_tokens, stream=stream)
        # An answer that never ends stays what it is, not whole, and is found when it is judged.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALL_SECONDS_MAX):
                if line is None:
                    port = self._platform.port
                    await ask_once(port, token, body, address=address, answer=made.answer)
                else:
                    await line[0].ask(token, body, answer=made.answer)
        made.ended = now()
        return made

    async def _call_again(self) -> None:
        while self._running:
            made = await self.call(self._platform.token)
            if not made.answer.whole:
                await asyncio.sleep(0.02)

    async def _call_quickly(self) -> None:
        while self._running:
            await self.call(self._platform.token, self._chance.choice(QUICK))
            await asyncio.sleep(QUICK_PAUSE_SECONDS)
