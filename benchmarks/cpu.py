"""Two cores, and who uses how much of which.

What is measured has a core of its own; load, upstream, the other processes of the platform and
the proof itself share the other one. A process inherits its core, so a proof moves itself first
(`Cores.split`) and then moves whom it measures (`Cores.give`).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.platform import cpu_seconds

__all__ = ["BUSY_LEAST", "Cores", "Use", "Watch", "busy_elsewhere", "median"]

#: A baseline that did not keep its core this busy was held up by something else, and says
#: nothing about what a core can do.
BUSY_LEAST: Final = 0.90


class Cores(NamedTuple):
    """measured: for the process under test alone.  others: for everybody else."""

    measured: int
    others: int

    @classmethod
    def split(cls) -> Cores:
        """Two cores; this process, and whom it starts from now on, leaves the first to others."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            raise SystemExit("this proof needs two processor cores, one of them for the baseline")
        cores = cls(usable[0], usable[1])
        os.sched_setaffinity(0, {cores.others})
        return cores

    def give(self, *pids: int) -> None:
        """Move processes, with all their threads, to the measured core."""
        for pid in pids:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {self.measured})


class Use(NamedTuple):
    """What a process used while somebody looked. cpu_seconds: user and system, all threads."""

    cpu_seconds: float
    seconds: float

    @property
    def busy(self) -> float:
        """The share of one core."""
        return self.cpu_seconds / self.seconds


class Watch:
    """Looks at a process from now on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu = cpu_seconds(pid)
        self._at = time.monotonic()

    def use(self) -> Use:
        """What it used until now."""
        return Use(cpu_seconds(self._pid) - self._cpu, time.monotonic() - self._at)


def busy_elsewhere(seconds: float = 1.0) -> float:
    """How many cores the machine keeps busy before a proof has begun anything."""
    before = _machine_ticks()
    time.sleep(seconds)
    return (_machine_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds


def _machine_ticks() -> int:
    """Ticks of all cores that were not idle, time taken by the host included."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _idle, _wait, irq, soft, stolen = map(int, stat.readline().split()[1:9])
    return user + nice + system + irq + soft + stolen
