"""How often something may be done in a minute, counted by who does it: with a wrong secret, by the
address that they come from; what users change, by the user."""

from __future__ import annotations

from collections.abc import Callable

#: Refused secrets of one address in a minute, before they are asked to wait.
TRIES_MAX = 20
_WINDOW_SECONDS = 60.0
#: So many who do it are remembered; beyond that the unknown ones share one count.
_NAMES_MAX = 10_000

#: Monotonic seconds.
Clock = Callable[[], float]


class Tries:
    """Requests by who makes them, in windows of a minute that begin with the first."""

    def __init__(self, clock: Clock, most: int = TRIES_MAX) -> None:
        """most: in a minute, before they are asked to wait."""
        self._clock = clock
        self._most = most
        self._counts: dict[str, tuple[float, int]] = {}

    def one_more(self, name: str) -> int:
        """Whole seconds to wait, 0 = this one is not too many."""
        now = self._clock()
        counts = self._counts
        if name not in counts and len(counts) >= _NAMES_MAX:
            for known, (began, _) in tuple(counts.items()):
                if now - began >= _WINDOW_SECONDS:
                    del counts[known]
            if len(counts) >= _NAMES_MAX:
                name = ""
        began, count = counts.get(name, (now, 0))
        if now - began >= _WINDOW_SECONDS:
            began, count = now, 0
        counts[name] = (began, count + 1)
        return 0 if count < self._most else int(began + _WINDOW_SECONDS - now) + 1
