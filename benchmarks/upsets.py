"""What is done to clocks and limits on simulated days, and the days themselves.

`python -m benchmarks.upsets JSON` lives them; JSON is an object: first, days, seed.
"""

from __future__ import annotations

import datetime
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.days import CAP_NANO, DAY_SECONDS, RESETS, Days

#: Later than this a day has no room for the calls of an ordinary one.
LATE_SECONDS: Final = 20 * 3600

Event = Callable[[Days], None]


def set_back(days: Days) -> None:
    """The clock is set back a day, and right again later: no day comes twice."""
    days.clock.wall -= DAY_SECONDS
    days.look()
    days.check_windows()
    for name in days.witness.resets:
        days.use_up(name)
    days.clock.go(3 * 3600)
    days.look()
    for name in days.witness.resets:
        days.must_be_refused(name)
    days.clock.wall += DAY_SECONDS
    days.look()
    days.check_windows()


def leap(days: Days, *, hours: int, confirmed: bool) -> None:
    """The clock leaps ahead. Up to 36 hours it is believed; above, the day stands still and it is
    an alarm until the clock is right again, or a person says that it is right."""
    clock, frozen = days.clock, hours > 36
    clock.wall += hours * 3600
    days.look()
    if days.calendar.day.frozen != frozen:
        days.problems.append(f"after a leap of {hours} h the day is {days.calendar.day}")
    if frozen:
        for name in days.witness.resets:
            days.use_up(name)
        days.restart()
        for name in days.witness.resets:
            days.must_be_refused(name)
        if confirmed or not days.calendar.day.frozen:
            days.confirm_clock()
        else:
            clock.wall -= hours * 3600
            days.confirm_clock()
    if not frozen or confirmed:
        days.begin_day()
    if days.calendar.day.frozen:
        days.problems.append("the day is frozen for ever")
    for name in days.witness.resets:
        days.use_up(name)
    days.check_windows()


def leap_back_by_itself(days: Days, *, hours: int) -> None:
    """Frozen, and the clock comes back before anybody looks: it goes on by itself."""
    days.clock.wall += hours * 3600
    days.look()
    if not days.calendar.day.frozen:
        days.problems.append(f"a leap of {hours} h went by unnoticed")
    days.clock.go(600)
    days.clock.wall -= hours * 3600
    days.look()
    if days.calendar.day.frozen:
        days.problems.append("the clock is right again, and the day frozen")


def leap_second(days: Days) -> None:
    """The last second of a day comes twice, as some clocks do it."""
    days.clock.until(days.midnight() - 1)
    days.look()
    for name in days.witness.resets:
        days.use_up(name)
    before = {name: days.witness.window(name) for name in days.witness.resets}
    days.clock.go(1)
    days.begin_day()
    for name, window in before.items():
        days.first_second(name, begins=days.witness.window(name) != window)
    days.clock.wall -= 1
    days.look()
    for name in before:
        days.use_up(name)
    days.clock.go(1)
    days.look()
    days.check_windows()
    days.clock.go(DAY_SECONDS / 2)


def new_amounts(days: Days) -> None:
    """Other amounts: what is used stays used."""
    for name in days.witness.resets:
        days.change(name, cap=2 * CAP_NANO)
        days.use_up(name)
        days.change(name, cap=CAP_NANO // 2)
        days.must_be_refused(name)
        days.change(name, cap=CAP_NANO)


def new_resets(days: Days) -> None:
    """Another reset type begins a new window; so does the old one when it comes back."""
    for name in list(days.witness.resets):
        was = days.witness.resets[name]
        days.use_up(name)
        days.change(name, reset=RESETS[(RESETS.index(was) + 1) % len(RESETS)])
        days.use_up(name)
        days.change(name, reset=was)


#: What happens on which day of a month, besides calls: the ends of months are left as they are.
_EVENTS: Final[dict[int, Event]] = {
    4: new_amounts,
    6: new_resets,
    8: Days.restart,
    10: set_back,
    11: partial(leap, hours=1, confirmed=False),
    13: partial(leap, hours=35, confirmed=False),
    16: partial(leap, hours=37, confirmed=True),
    20: partial(leap, hours=37, confirmed=False),
    22: partial(leap_back_by_itself, hours=37),
}


def events(day: datetime.date) -> Iterator[Event]:
    """What happens on this day, besides calls."""
    if (day.month, day.day) in ((12, 31), (6, 30)):
        yield leap_second
    if day.day in _EVENTS:
        yield _EVENTS[day.day]


def live(first: datetime.date, count: int, seed: int) -> dict[str, Any]:
    """So many days from that one on; what came of them."""
    # As a C library reads it, which is how local time would be read.
    time.tzset()
    with tempfile.TemporaryDirectory(prefix="aipool-days-") as folder:
        days = Days(Path(folder), first, seed)
        end = first + datetime.timedelta(count)
        while days.witness.day < end:
            for event in events(days.witness.day):
                event(days)
            if days.clock.wall % DAY_SECONDS > LATE_SECONDS:
                days.clock.go(DAY_SECONDS - LATE_SECONDS)
                days.begin_day()
            days.an_ordinary_day()
        days.close()
    return {
        "zone": time.strftime("%Z"),
        "days": (days.witness.day - first).days,
        "checks": days.checks,
        "boundaries": dict(days.boundaries),
        "history": days.history.hexdigest(),
        "problems": days.problems,
    }


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    first_day = datetime.date.fromisoformat(given["first"])
    print(json.dumps(live(first_day, given["days"], given["seed"])))
