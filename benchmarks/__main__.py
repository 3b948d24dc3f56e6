"""`scripts/prove`: lists the proofs, or runs one."""

from __future__ import annotations

import importlib
import signal
import sys

from benchmarks import PROOFS


def main(arguments: list[str]) -> int:
    """List without a name; else the exit status of the named proof, 2 when there is none."""
    if not arguments:
        for proof in PROOFS:
            print(f"{proof.name:14} {proof.claim}")
        return 0
    name, *rest = arguments
    for proof in PROOFS:
        if proof.name == name:
            status: int = importlib.import_module(proof.module).main(rest)
            return status
    print(f"there is no proof called {name}; scripts/prove lists them", file=sys.stderr)
    return 2


if __name__ == "__main__":
    # Told to end, a proof still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
