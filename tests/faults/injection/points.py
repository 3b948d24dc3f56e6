"""Where a process can die: every line that a piece of work executes, found by executing it.

Nobody lists the points. A dry run of the work notes each line of the watched files that it
passes, and how often; then the work is done again for each line, and the process kills itself
there. So a line written tomorrow is a point tomorrow.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple

SOURCES = Path(__file__).resolve().parents[3] / "src" / "aipool"


class Point(NamedTuple):
    """A line, by the file below `src/aipool`."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def files_of(modules: Iterable[ModuleType]) -> frozenset[str]:
    """The files that these modules are written in."""
    return frozenset(str(module.__file__) for module in modules)


class Survey:
    """Notes the lines of some files that this process executes from now on, in any thread."""

    def __init__(self, files: frozenset[str]) -> None:
        self._files = files
        self._counts: Counter[tuple[str, int]] = Counter()

    def begin(self) -> None:
        """From now on, for functions that are called from now on."""
        threading.settrace(self._called)
        sys.settrace(self._called)

    def save(self, path: Path) -> None:
        """Write down what was passed, and how often."""
        sys.settrace(None)
        found = [
            (str(Path(file).relative_to(SOURCES)), line, count)
            for (file, line), count in self._counts.items()
        ]
        path.write_text(json.dumps(sorted(found)))

    def _called(self, frame: FrameType, _event: str, _value: Any) -> Any:
        return self._passed if frame.f_code.co_filename in self._files else None

    def _passed(self, frame: FrameType, event: str, _value: Any) -> Any:
        if event == "line":
            self._counts[frame.f_code.co_filename, frame.f_lineno] += 1
        return self._passed


def load_survey(path: Path) -> Counter[Point]:
    """What a dry run wrote down."""
    return Counter({Point(file, line): n for file, line, n in json.loads(path.read_text())})


class Trap:
    """Kills this process when it comes to a line, before the line is executed."""

    def __init__(self, point: Point, turn: int) -> None:
        """turn: the how-manieth time."""
        self._file = str(SOURCES / point.file)
        self._line = point.line
        self._left = turn
        self._contains: dict[CodeType, bool] = {}

    def begin(self) -> None:
        """From now on, for functions that are called from now on."""
        threading.settrace(self._called)
        sys.settrace(self._called)

    def _called(self, frame: FrameType, _event: str, _value: Any) -> Any:
        code = frame.f_code
        contains = self._contains.get(code)
        if contains is None:
            contains = code.co_filename == self._file and any(
                line == self._line for _, _, line in code.co_lines()
            )
            self._contains[code] = contains
        return self._passed if contains else None

    def _passed(self, frame: FrameType, event: str, _value: Any) -> Any:
        if event == "line" and frame.f_lineno == self._line:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._passed
