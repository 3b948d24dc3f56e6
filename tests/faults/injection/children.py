"""Forked processes that are killed, and those that look at what is left.

The process that forks has one thread and no database open: whatever needs either is a child.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

#: No child has reason to live this long; one that does is stuck, and that is a finding.
CHILD_SECONDS_MAX = 20

KILLED = -signal.SIGKILL


def fork(work: Callable[[], None], log: Path) -> int:
    """Do it in a child, whose process id is given; what it says goes to the log."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.alarm(CHILD_SECONDS_MAX)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.settrace(None)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(pid: int) -> int:
    """Wait for it; its exit status, negative for a signal."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def any_ended() -> tuple[int, int]:
    """Wait for any child; its process id and exit status."""
    pid, status = os.wait()
    return pid, os.waitstatus_to_exitcode(status)


def asked(question: Callable[[], list[str]], log: Path, answers: Path) -> list[str]:
    """What a child finds; a child that breaks is a finding too."""

    def work() -> None:
        answers.write_text(json.dumps(question()))

    status = ended(fork(work, log))
    if status:
        return [f"looking at the books ended with {status}:\n{log.read_text()[-2000:]}"]
    found: list[str] = json.loads(answers.read_text())
    return found
