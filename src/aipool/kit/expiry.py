"""When something ends, as a person writes it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from aipool.kit.errors import Invalid

#: Unix seconds of what does not end.
NEVER = 0
#: The last second that has a date: what ends later cannot be shown.
MOMENT_MAX = int(datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp())

_DAY_SECONDS = 86_400
_DAYS = re.compile(r"\+?(\d{1,5}) ?(d|day|days)", re.ASCII)


def moment(text: str) -> int:
    """Unix seconds of a moment a person wrote, NEVER for `never`.

    A date means the end of that day; a moment without a zone is UTC. Raises Invalid.
    """
    written = text.strip()
    if written.lower() in ("", "never"):
        return NEVER
    try:
        if len(written) == len("2026-01-31"):
            day = date.fromisoformat(written)
            meant = datetime.combine(day + timedelta(days=1), time(), UTC)
        else:
            meant = datetime.fromisoformat(written)
            meant = meant if meant.tzinfo else meant.replace(tzinfo=UTC)
        seconds = int(meant.timestamp())
    except (ValueError, OverflowError):
        seconds = 0
    if not 0 < seconds <= MOMENT_MAX:
        raise Invalid(
            "invalid_expiry",
            f"{text!r} is no moment: write never, 2027-01-31 or 2027-01-31T18:00:00+08:00",
            field="expires",
            params={"given": text},
        )
    return seconds


def moment_or_days(text: str, now_seconds: int) -> int:
    """Like `moment`; `+7d` or `30 days` is so long from now."""
    days = _DAYS.fullmatch(text.strip().lower())
    if days is None:
        return moment(text)
    return now_seconds + int(days[1]) * _DAY_SECONDS
