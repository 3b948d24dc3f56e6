"""How often somebody with a wrong secret may knock, counted by the address that they come from."""

from __future__ import annotations

from collections.abc import Callable

#: Refused secrets of one address in a minute, before they are asked to wait.
TRIES_MAX = 20
_WINDOW_SECONDS = 60.0
#: Addresses that are remembered; beyond that the unknown ones share one count.
_ADDRESSES_MAX = 10_000

#: Monotonic seconds.
Clock = Callable[[], float]


class Tries:
    """Refused requests by address, in windows of a minute that begin with the first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, tuple[float, int]] = {}

    def one_more(self, address: str) -> int:
        """Whole seconds to wait, 0 = this one is not too many."""
        now = self._clock()
        counts = self._counts
        if address not in counts and len(counts) >= _ADDRESSES_MAX:
            for known, (began, _) in tuple(counts.items()):
                if now - began >= _WINDOW_SECONDS:
                    del counts[known]
            if len(counts) >= _ADDRESSES_MAX:
                address = ""
        began, count = counts.get(address, (now, 0))
        if now - began >= _WINDOW_SECONDS:
            began, count = now, 0
        counts[address] = (began, count + 1)
        return 0 if count < TRIES_MAX else int(began + _WINDOW_SECONDS - now) + 1
