"""Restores over an installation again and again, dying at a later step each time.

A step is whatever changes a folder. Prints what each run left: "old" or "new" when a server
would find that installation whole, "half" otherwise. Forks, so it is a program of its own:
nothing else runs in it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aipool.backup import keys
from aipool.books.verify import verify
from aipool.kit.db import open_database
from aipool.kit.sealing import load_keyring
from aipool.ledger import service as ledger
from aipool.ledger.types import EpochState
from aipool.pool.service import open_secrets
from tests.backup.rig import CREDIT_NANO, PASSPHRASE, restored

STEPS = ("link", "rename", "replace", "unlink", "rmdir", "mkdir")
STEPS_MAX = 200


def dying_at(step: int) -> None:
    """From now on this process dies in the middle of its `step`-th change: before it is made."""
    count = [0]

    def counted(name: str) -> Callable[..., Any]:
        really = getattr(os, name)

        def step_by_step(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] == step:
                os._exit(9)
            return really(*args, **kwargs)

        return step_by_step

    for name in STEPS:
        setattr(os, name, counted(name))


def crashed(data_dir: Path, file: Path, step: int) -> bool:
    """Whether the run died; otherwise it had fewer steps than that."""
    child = os.fork()
    if not child:
        status = 1
        try:
            dying_at(step)
            restored(data_dir, file, passphrase=PASSPHRASE, replace=True)
            status = 0
        finally:
            # Nothing of the parent's is tidied up here.
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if (code := os.waitstatus_to_exitcode(status)) not in (0, 9):
        raise SystemExit(f"step {step} ended with {code}")
    return code == 9


def found(data_dir: Path) -> str:
    """What a server would find."""
    database = open_database(f"sqlite:///{data_dir / 'aipool.db'}")
    report = verify(database)
    with database.read() as connection:
        wallet = ledger.wallet_balance(connection, 1)
        epochs = len(ledger.epochs_in(connection, EpochState.OPEN))
        # Raises when the key that stayed does not open them.
        open_secrets(connection, load_keyring(data_dir))
    database.close()
    pepper = (data_dir / "secrets/pepper").exists()
    journals = (data_dir / "epochs/0000000000000005/0.journal").exists()
    if report.count or wallet is None:
        return "half"
    if (wallet.balance_nano, wallet.leased_nano, epochs) == (CREDIT_NANO, 0, 0):
        return "new" if pepper else "half"
    if (wallet.balance_nano, wallet.leased_nano) == (2 * CREDIT_NANO, 800_000):
        return "old" if epochs == 1 and journals else "half"
    return "half"


def kept(data_dir: Path) -> bool:
    """Whether the replaced database is still somewhere, after the next restore has tidied."""
    return any(
        (folder / "aipool.db").exists()
        for folder in data_dir.iterdir()
        if folder.name.startswith("replaced-")
    )


def main(original: Path, file: Path) -> None:
    """Until a run ends by itself."""
    keys._ARGON2_KIB = 1024  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        for step in range(1, STEPS_MAX):
            data_dir = Path(folder) / f"{step}"
            shutil.copytree(original, data_dir)
            # A key to be written is one of the steps.
            (data_dir / "secrets/pepper").unlink()
            died = crashed(data_dir, file, step)
            print(found(data_dir))
            if step % 4 == 0 or not died:
                restored(data_dir, file, replace=True)
                if found(data_dir) != "new" or not kept(data_dir):
                    raise SystemExit(f"step {step}: not restored by the next run")
            if not died:
                return
        raise SystemExit("the restore has no end")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
