"""What kind of world a seed makes: who is there, how rich they are, how bad things get.

Every seed draws its own, so that some worlds have little money and no faults, others much of
both: a bug that needs two rare things together is met where both are common.
"""

from __future__ import annotations

import datetime
import random
from dataclasses import dataclass, replace

from aipool.api_tokens.types import ApiToken, Reset, TokenId
from aipool.groups.types import CallLimits
from aipool.rating.types import Price
from tests.simulation.witness import Tariff

PRICES = (
    Price(1, 1_000_000, 1_000_000, 2_000_000),
    Price(2, 1_234_567, 345_678, 7_654_321),
    Price(3, 0, 0, 0),
)
MULTIPLIERS_PPM = (1_000_000, 1_000_000, 333_333)

#: Days on or just before which something begins anew: weeks, months, years, a leap day.
_DATES = ("2024-02-27", "2024-02-29", "2024-12-30", "2025-01-05", "2026-03-31", "2026-06-14")


@dataclass
class Profile:
    """One world's making.

    fault, people, time: how often things break, staff and customers do something, and the
    clock moves; 1 is usual.  held_nano: about what a call holds.
    """

    workers: int
    users: int
    lanes: int
    slice_max_nano: int
    chunk_entries: int
    held_nano: int
    fault: float
    people: float
    time: float
    interrupts: float
    start_unix: float


def draw(rng: random.Random) -> Profile:
    """A world's making."""
    date = datetime.datetime.fromisoformat(rng.choice(_DATES)).replace(tzinfo=datetime.UTC)
    return Profile(
        workers=rng.randint(2, 4),
        users=rng.randint(3, 8),
        lanes=rng.choice((1, 1, 2)),
        slice_max_nano=rng.choice((5_000, 100_000, 2_000_000)),
        chunk_entries=rng.choice((1, 3, 2_000)),
        held_nano=rng.choice((300, 3_000)),
        fault=rng.choice((0.0, 0.5, 1.0, 2.0)),
        people=rng.choice((0.3, 1.0, 2.0)),
        time=rng.choice((0.0, 1.0, 3.0)),
        interrupts=rng.choice((0.0, 0.05, 0.3)),
        start_unix=date.timestamp() + rng.choice((0.0, 40_000.0, 86_390.0)),
    )


def tariff(rng: random.Random) -> Tariff:
    """What a call costs; some models are free."""
    price = PRICES[2] if rng.random() < 0.03 else rng.choice(PRICES[:2])
    return Tariff(price, rng.choice(MULTIPLIERS_PPM))


def new_token(rng: random.Random, token_id: int, user_id: int, held_nano: int) -> ApiToken:
    """A token, many of them without any limit."""
    token = ApiToken(
        TokenId(token_id), user_id, 1, f"t{token_id}", None, (), 0, None, True, "0000", 0
    )
    return token if rng.random() < 0.3 else other_terms(rng, token, held_nano)


def other_terms(rng: random.Random, token: ApiToken, held_nano: int) -> ApiToken:
    """The token as somebody might change it."""
    what = rng.randrange(4)
    if what == 0:
        total = None if rng.random() < 0.25 else _amount(rng, held_nano)
        return replace(token, total_nano=total)
    if what == 1:
        limit = None if rng.random() < 0.2 else _amount(rng, held_nano)
        return replace(token, limit_nano=limit)
    if what == 2:
        reset = rng.choice(list(Reset))
        again = token.limit_no + (reset != token.reset)
        limit = _amount(rng, held_nano)
        return replace(token, reset=reset, limit_no=again, limit_nano=limit)
    limits = CallLimits(
        requests_per_day=rng.choice((None, rng.randint(1, 30))),
        concurrency=rng.choice((None, rng.randint(1, 6))),
    )
    return replace(token, limits=limits)


def _amount(rng: random.Random, held_nano: int) -> int:
    return rng.choice((0, held_nano, held_nano * rng.randint(1, 12), held_nano * 60))


def opening_nano(rng: random.Random, held_nano: int) -> int:
    """What a wallet begins with, from nothing to plenty."""
    return rng.choice(
        (0, held_nano, held_nano * rng.randint(1, 9), held_nano * 40, held_nano * 900)
    )
