"""Logins that failed, counted for the owner of the account, who is to be told when they are many.

`throttle` slows down whoever tries; this is for whom it concerns. Counted is what was compared and
was wrong, a password or a code of the second factor; a try that was refused before that is none.
Where there is no account, it is nobody's and is counted all the same: an answer takes as long.

That the owner got in meanwhile changes nothing: somebody else may still be trying.

All of it is in the memory of one process, hour by hour, bounded, and forgotten when that ends.
"""

from __future__ import annotations

import ipaddress
import threading
from dataclasses import dataclass, field

#: Of an account in a day. PCI DSS 4.0 (8.3.4) locks an account after ten, which would let anybody
#: lock anybody out; OWASP ASVS 5.0 (6.3.5) has its owner told.
MANY = 10
HOURS = 24
_HOUR_MS = 3_600_000
DAY_MS = HOURS * _HOUR_MS

#: Accounts that are remembered.
ACCOUNTS_MAX = 10_000

_NOBODY = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """Many logins to one account that failed. tries: in the last 24 hours.  network: where the
    last came from, masked; "" = not known."""

    user_id: int
    tries: int
    network: str


@dataclass(slots=True)
class _Count:
    by_hour: dict[int, int] = field(default_factory=dict)
    network: str = ""
    quiet_until_ms: int = 0

    def tries(self, at_ms: int) -> int:
        first = at_ms // _HOUR_MS - HOURS + 1
        return sum(count for hour, count in self.by_hour.items() if hour >= first)


class FailedLogins:
    """Counts them. Unix milliseconds come from outside; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[int, _Count] = {}

    def note(self, user_id: int | None, address: str, at_ms: int) -> None:
        """One more. user_id: None = there is no such account.  address: whom it came from."""
        key = _NOBODY if user_id is None else user_id
        network, hour = masked(address), at_ms // _HOUR_MS
        with self._lock:
            count = self._counts.get(key)
            if count is None:
                if len(self._counts) >= ACCOUNTS_MAX:
                    self._forget(at_ms)
                count = self._counts[key] = _Count()
            if hour not in count.by_hour:
                # What is over makes room for it.
                kept = (item for item in count.by_hour.items() if item[0] > hour - HOURS)
                count.by_hour = dict(kept) | {hour: 0}
            count.by_hour[hour] += 1
            count.network = network

    def many(self, at_ms: int) -> list[Failed]:
        """Whose owners are to be told, most tries first."""
        with self._lock:
            found = [
                Failed(user_id, tries, count.network)
                for user_id, count in self._counts.items()
                if user_id != _NOBODY
                and count.quiet_until_ms <= at_ms
                and (tries := count.tries(at_ms)) >= MANY
            ]
        return sorted(found, key=lambda failed: failed.tries, reverse=True)

    def be_quiet(self, user_id: int, until_ms: int) -> None:
        """The owner knows, or is not to know: not to be told before then."""
        with self._lock:
            count = self._counts.get(user_id)
            if count is not None:
                count.quiet_until_ms = until_ms

    def _forget(self, at_ms: int) -> None:
        """Those with the fewest tries, for whom the least is lost."""
        counts = sorted(self._counts.items(), key=lambda item: item[1].tries(at_ms), reverse=True)
        self._counts = dict(counts[: ACCOUNTS_MAX * 3 // 4])


def masked(address: str) -> str:
    """The network of an address as it may stand in a letter: 203.0.113.*, or the /48 of an IPv6
    one; "" = it is no address."""
    try:
        parsed = ipaddress.ip_address(address.strip())
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(parsed) >> 80 << 80, 48)))
        parsed = parsed.ipv4_mapped
    return f"{str(parsed).rpartition('.')[0]}.*"
