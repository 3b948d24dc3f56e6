"""Who tries too often to get in waits, and works.

Tries are counted for the account that is meant, whether it exists or not; for the network they
come from; and for all together. They are counted before a password is hashed and taken back when
it was right, so a thousand at once are a thousand. After a few the next one must show work
(`proof`) and wait, twice as long each time (security S-08).

A browser that the account's owner logged in with before has a lane of its own: whoever hammers at
an account from elsewhere does not lock its owner out.

All of it is in the memory of one process, bounded, and forgotten when that process ends.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from dataclasses import dataclass

from aipool.accounts.proof import BITS_LEAST, BITS_MAX
from aipool.kit.errors import TooMany

#: Tries without any work and without waiting.
FREE_TRIES = 5
#: A network may be a whole company's.
FREE_TRIES_OF_NETWORK = 20
#: Tries of all in ten minutes, after which everybody must show work.
FREE_TRIES_OF_ALL = 50
_WINDOW_SECONDS = 600.0

WAIT_SECONDS_MAX = 900
#: Without another try for so long, those before are forgotten.
FORGET_SECONDS = 12 * 3600.0
FORGET_NETWORK_SECONDS = 3600.0
#: Accounts, networks, browsers that are remembered, of each kind.
KEYS_MAX = 10_000
#: So many more tries make the work twice as much.
_TRIES_PER_BIT = 4


@dataclass(slots=True)
class _Tries:
    count: int
    last: float


class Lane:
    """Tries by key, and how long the next one of a key must wait."""

    def __init__(
        self, free: int, forget_seconds: float, *, free_of_wait: int | None = None
    ) -> None:
        self._free = free
        self._free_of_wait = free if free_of_wait is None else free_of_wait
        self._forget_seconds = forget_seconds
        self._tries: dict[str, _Tries] = {}

    def wait_seconds(self, key: str, now: float) -> float:
        """Until the next try of this key may be made; 0 = now."""
        tries = self._known(key, now)
        beyond = tries.count - self._free_of_wait
        if beyond < 0:
            return 0.0
        return max(0.0, tries.last + min(2.0**beyond, WAIT_SECONDS_MAX) - now)

    def bits(self, key: str, now: float) -> int:
        """How much work the next try must show; 0 = none."""
        beyond = self._known(key, now).count - self._free
        return 0 if beyond < 0 else min(BITS_MAX, BITS_LEAST + beyond // _TRIES_PER_BIT)

    def add(self, key: str, now: float) -> None:
        """One try more."""
        tries = self._known(key, now)
        if key not in self._tries and len(self._tries) >= KEYS_MAX:
            self._forget(now)
        self._tries[key] = _Tries(tries.count + 1, now)

    def take_back(self, key: str) -> None:
        """The last try was a good one."""
        tries = self._tries.get(key)
        if tries is not None:
            tries.count -= 1
            if tries.count <= 0:
                del self._tries[key]

    def clear(self, key: str) -> None:
        """Whoever the key stands for got in."""
        self._tries.pop(key, None)

    def _known(self, key: str, now: float) -> _Tries:
        tries = self._tries.get(key)
        if tries is None or now - tries.last >= self._forget_seconds:
            return _Tries(0, now)
        return tries

    def _forget(self, now: float) -> None:
        """What is over goes; then those with the fewest tries, for whom the least is lost."""
        kept = [
            (key, tries)
            for key, tries in self._tries.items()
            if now - tries.last < self._forget_seconds
        ]
        kept.sort(key=lambda item: (item[1].count, item[1].last), reverse=True)
        self._tries = dict(kept[: KEYS_MAX * 3 // 4])


@dataclass(frozen=True, slots=True)
class Try:
    """One try to get in. account: what was written to name it.  device: of a browser that the
    account's owner logged in with before, "" = not known to be one."""

    account: str
    network: str
    device: str = ""


class Throttle:
    """Counts tries to log in. Monotonic seconds come from outside; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts = Lane(FREE_TRIES, FORGET_SECONDS)
        self._networks = Lane(FREE_TRIES_OF_NETWORK, FORGET_NETWORK_SECONDS)
        self._devices = Lane(FREE_TRIES, FORGET_SECONDS)
        self._window = (0.0, 0)

    def bits(self, tried: Try, now: float) -> int:
        """How much work this try must show; 0 = none."""
        if tried.device:
            return 0
        with self._lock:
            return max(
                self._accounts.bits(tried.account, now),
                self._networks.bits(tried.network, now),
                self._bits_of_all(now),
            )

    def enter(self, tried: Try, now: float) -> None:
        """Counts a try that is about to be made. Raises TooMany for one that is too early."""
        with self._lock:
            lanes = self._lanes(tried)
            wait = max(lane.wait_seconds(key, now) for lane, key in lanes)
            if wait > 0:
                raise too_many_tries(wait)
            for lane, key in lanes:
                lane.add(key, now)
            if not tried.device:
                self._window = (self._began(now), self._of_all(now) + 1)

    def succeeded(self, tried: Try) -> None:
        """That try was a good one."""
        with self._lock:
            self._accounts.clear(tried.account)
            self._devices.clear(tried.device)
            if not tried.device:
                self._networks.take_back(tried.network)
                began, count = self._window
                self._window = (began, max(0, count - 1))

    def not_made(self, tried: Try) -> None:
        """That try was counted, and then there was no time to make it."""
        with self._lock:
            for lane, key in self._lanes(tried):
                lane.take_back(key)

    def _lanes(self, tried: Try) -> list[tuple[Lane, str]]:
        if tried.device:
            return [(self._devices, tried.device)]
        return [(self._accounts, tried.account), (self._networks, tried.network)]

    def _bits_of_all(self, now: float) -> int:
        count = self._of_all(now)
        if count < FREE_TRIES_OF_ALL:
            return 0
        # Twice the tries, twice the work.
        return min(BITS_MAX, BITS_LEAST + (count // FREE_TRIES_OF_ALL).bit_length() - 1)

    def _began(self, now: float) -> float:
        began = self._window[0]
        return began if now - began < _WINDOW_SECONDS else now

    def _of_all(self, now: float) -> int:
        began, count = self._window
        return count if now - began < _WINDOW_SECONDS else 0


class Visits:
    """How often something was asked for from a network. Safe between threads."""

    def __init__(self, *, free: int, free_of_wait: int) -> None:
        self._lock = threading.Lock()
        self._lane = Lane(free, FORGET_NETWORK_SECONDS, free_of_wait=free_of_wait)

    def bits(self, network: str, now: float) -> int:
        """How much work one more must show; 0 = none."""
        with self._lock:
            return self._lane.bits(network, now)

    def enter(self, network: str, now: float) -> None:
        """One more. Raises TooMany for one that is too early."""
        with self._lock:
            wait = self._lane.wait_seconds(network, now)
            if wait > 0:
                raise too_many_tries(wait)
            self._lane.add(network, now)


def too_many_tries(wait_seconds: float) -> TooMany:
    """The refusal of a try that came too early."""
    return TooMany(
        "too_many_tries",
        "there were too many tries: wait a while",
        wait_seconds=math.ceil(wait_seconds),
    )


def network_of(address: str) -> str:
    """Whom an address stands for: a house with IPv6 has 2^64 of them. "" = not known.

    address: as X-Forwarded-For says it, which the worker in front wrote.
    """
    try:
        parsed = ipaddress.ip_address(address.strip())
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
