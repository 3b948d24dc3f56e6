"""Runs the real supervisor over toy processes: `toy_platform.py DATA_DIR PORT WORKERS`."""

import sys
from pathlib import Path

from aipool.config import load
from aipool.process import Role
from aipool.supervisor import serve
from aipool.supervisor.child import Timing

TIMING = Timing(
    silent=2.5,
    starting=2.5,
    recovering=4.0,
    stopping=2.0,
    drain_margin=0.5,
    crowded_deaths=3,
    crowded_window=10.0,
    pauses=(0.6, 1.2),
)


def command(role: Role, index: int) -> tuple[str, ...]:
    return (sys.executable, "-P", str(Path(__file__).with_name("toy_child.py")))


def main() -> int:
    data_dir, port, workers = sys.argv[1:4]
    settings = load({"data_dir": data_dir, "port": port, "workers": workers})
    return serve(
        settings,
        on_ready=lambda address: print(address, flush=True),
        command=command,
        timing=TIMING,
    )


sys.exit(main())
