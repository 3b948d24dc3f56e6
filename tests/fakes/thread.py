"""The fake vendor in a thread of its own, for tests that are not coroutines."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import uvloop

from tests.fakes.behaviour import Script
from tests.fakes.books import Books, Entry
from tests.fakes.vendor import FakeVendor
from tests.waiting import PATIENCE_SECONDS, eventually


class VendorThread:
    """A FakeVendor that lives in a loop of its own, so that plain tests can look at it."""

    def __init__(self, script: Any = None, **options: Any) -> None:
        self._loop = uvloop.new_event_loop()
        self.vendor = FakeVendor(script, **options)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self.vendor.start())

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_SECONDS)

    @property
    def base_url(self) -> str:
        return self.vendor.base_url

    @property
    def books(self) -> Books:
        return self.vendor.books

    def says(self, wanted: Any) -> None:
        """From now on the vendor does this."""
        self.vendor.script = Script.of(wanted)

    def one(self, marker: str) -> Entry:
        """The one request that carries this marker, once it has ended."""
        return self.all(marker, 1)[0]

    def all(self, marker: str, count: int) -> list[Entry]:
        """All the requests with this marker, once `count` of them have ended."""

        def ended() -> list[Entry]:
            found = self.books.marked(marker)
            over = [entry for entry in found if entry.ended_time is not None]
            return over if len(over) >= count else []

        found = eventually(ended, f"{count} requests marked {marker} at the vendor")
        assert len(found) == count, [(entry.key, entry.status) for entry in found]
        return found

    def stop(self) -> None:
        self._run(self.vendor.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
