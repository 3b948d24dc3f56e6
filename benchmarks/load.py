"""Load from wrk: one thread, some connections, the same chat request again and again."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import child, tools

CONNECTIONS: Final = 64

_REQUESTS = re.compile(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h),")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_BROKEN = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout")


class Load(NamedTuple):
    """What a run of wrk came to. answered: whole answers it got; of these `refused` were no 2xx.
    broken: connections that failed."""

    answered: int
    seconds: float
    refused: int
    broken: int

    @property
    def per_second(self) -> float:
        """Whole answers a second."""
        return self.answered / self.seconds


def chat_body(model: str, **more: object) -> str:
    """A short question, about 200 bytes, in the compact JSON that the SDKs send."""
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Tell me something about the history of Berlin, please."},
        ],
        "max_tokens": 100,
        **more,
    }
    return json.dumps(body, separators=(",", ":"))


def script(path: Path, body: str, token: str) -> Path:
    """Writes the script that makes wrk POST this body with this token."""
    path.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = [==[{body}]==]\n"
        'wrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {token}"\n'
    )
    return path


def begin(
    url: str, script: Path, seconds: float, connections: int = CONNECTIONS
) -> subprocess.Popen[str]:
    """Starts a run; `result` waits for its end."""
    command = [tools.wrk(), "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", str(script), url]
    return child.start(command, output=subprocess.PIPE)


def result(running: subprocess.Popen[str]) -> Load:
    """What the run came to, when it has ended."""
    said, _ = running.communicate()
    total = _REQUESTS.search(said)
    if running.returncode or total is None:
        raise RuntimeError(f"wrk failed: {said}")
    refused, broken = _REFUSED.search(said), _BROKEN.search(said)
    return Load(
        int(total[1]),
        float(total[2]) * _UNITS[total[3]],
        int(refused[1]) if refused else 0,
        sum(map(int, broken.groups())) if broken else 0,
    )
