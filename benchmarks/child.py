"""Processes that a proof starts: none outlives it, however it ends."""

from __future__ import annotations

import ctypes
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Final

STOP_SECONDS: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
# Looked up before any fork: a child may not take the loader's lock.
_prctl: Final = ctypes.CDLL(None).prctl


def start(
    command: Sequence[str],
    *,
    output: int = subprocess.DEVNULL,
    environ: Mapping[str, str] | None = None,
    **more: Any,
) -> subprocess.Popen[str]:
    """Starts a program that gets SIGTERM when this process dies. output: of both kinds."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output == subprocess.PIPE else output,
        text=True,
        env=environ,
        preexec_fn=_die_with_parent,
        **more,
    )


def stop(process: subprocess.Popen[str]) -> None:
    """Ends a program, by force when it does not want to."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
