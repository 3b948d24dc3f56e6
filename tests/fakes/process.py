"""The fake vendor as a process of its own, for tests that kill everything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.books import Books

ROOT = Path(__file__).resolve().parents[2]


class FakeVendorProcess:
    """`with FakeVendorProcess(tmp_path) as vendor:`; its books are read from the file."""

    def __init__(
        self,
        folder: Path,
        *,
        script: Any = None,
        tls: tuple[Path, Path] | None = None,
        port: int = 0,
    ) -> None:
        self._books_path = folder / "fake-vendor-books.jsonl"
        self._scheme = "https" if tls else "http"
        self._command = [sys.executable, "-m", "tests.fakes.vendor", "--port", str(port)]
        self._command += ["--books", str(self._books_path)]
        if script is not None:
            path = folder / "fake-vendor-script.json"
            path.write_text(json.dumps(script))
            self._command += ["--script", str(path)]
        if tls is not None:
            self._command += ["--tls", *map(str, tls)]
        self._process: subprocess.Popen[str] | None = None
        self.port = port

    @property
    def base_url(self) -> str:
        """What to configure as the vendor's base address."""
        return f"{self._scheme}://127.0.0.1:{self.port}/v1"

    def books(self) -> Books:
        """The books as they are now."""
        return Books.load(self._books_path)

    def until(self, reached: Callable[[Books], object], seconds: float = 10.0) -> Books:
        """The books as soon as they say so; raises TimeoutError when they do not in that time."""
        deadline = time.monotonic() + seconds
        while not reached(books := self.books()):
            if time.monotonic() > deadline:
                raise TimeoutError([(e.number, e.phase, e.events_sent) for e in books])
            time.sleep(0.005)
        return books

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def __enter__(self) -> FakeVendorProcess:
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()
