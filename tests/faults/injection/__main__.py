"""The process that forks: `python -m tests.faults.injection JSON`, one JSON line a result.

JSON is an object: scenario, part, step (every so many-th of the points), seed.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from tests.faults.injection.money_in import MoneyIn
from tests.faults.injection.points import Point, Survey, Trap, files_of, load_survey
from tests.faults.injection.recovering import Recovering
from tests.faults.injection.shipping import Shipping

#: A line that only bad luck in timing leads past is tried again this often.
TRIES = 5
SURVEYS = 2


class Scenario(Protocol):
    """Work that is killed, and what must be true afterwards."""

    def modules_of(self, part: str) -> tuple[ModuleType, ...]:
        """Whose lines are the points of this part."""

    def prepare(self) -> list[str]:
        """Once; what is wrong already."""

    def run(self, part: str, device: Survey | Trap, survey: Path) -> tuple[bool, list[str]]:
        """Once with the device in this part; was it killed, and what is wrong?"""


SCENARIOS: dict[str, Callable[[Path], Scenario]] = {
    "ship": Shipping,
    "credit": MoneyIn,
    "recover": Recovering,
}


def survey(scenario: Scenario, part: str, folder: Path) -> tuple[Counter[Point], list[str]]:
    """The lines that every undisturbed run passes, and how often at least."""
    counts: list[Counter[Point]] = []
    for number in range(SURVEYS):
        path = folder / f"survey-{number}"
        modules = scenario.modules_of(part)
        _, problems = scenario.run(part, Survey(files_of(modules)), path)
        if problems:
            return Counter(), problems
        counts.append(load_survey(path))
    common = counts[0]
    for other in counts[1:]:
        common &= other
    return common, []


def results(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A result for each point: was it hit, and what was wrong."""
    chance = random.Random(given["seed"])
    with tempfile.TemporaryDirectory(prefix="aip-", dir="/tmp") as name:
        folder = Path(name)
        scenario = SCENARIOS[given["scenario"]](folder)
        problems = scenario.prepare()
        counts: Counter[Point] = Counter()
        if not problems:
            counts, problems = survey(scenario, given["part"], folder)
        if problems or not counts:
            yield {"point": "undisturbed", "hit": False, "problems": problems or ["nothing ran"]}
            return
        points = sorted(counts)
        yield {"points": len(points), "files": len({point.file for point in points})}
        for point in points[given["seed"] % given["step"] :: given["step"]]:
            hit, problems = False, []
            for tried in range(TRIES):
                # Mostly any time, but the first is always there.
                turn = chance.randint(1, counts[point]) if tried < TRIES - 2 else 1
                hit, problems = scenario.run(given["part"], Trap(point, turn), folder / "nothing")
                if hit or problems:
                    break
            yield {"point": str(point), "hit": hit, "problems": problems}


if __name__ == "__main__":
    # What is here at the start lives for ever: the children need not look at it.
    gc.freeze()
    for result in results(json.loads(sys.argv[1])):
        print(json.dumps(result), flush=True)
