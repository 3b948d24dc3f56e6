"""After a commit, the workers of this very installation are told, as the command line does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from aipool.doors.announce import announce
from aipool.doors.frames import Changed
from aipool.installation import owner_of
from aipool.kit.db import Changes

#: Named when it did not answer, and so nobody knows which workers act on the change.
LEDGER_PROCESS = "the ledger process"


def teller(data_dir: Path) -> Callable[[Changes, int], Sequence[str]]:
    """Tells what changed up to a revision, and gives who does not act on it after a second.

    Nobody, when nothing that workers hold changed, or no server runs on the installation.
    """

    def tell(changes: Changes, revision: int) -> Sequence[str]:
        owner = owner_of(data_dir) if changes else None
        if owner is None:
            return ()
        digests = tuple(changes.digests)
        changed = Changed(revision, changes.catalogue, digests, changes.everything)
        acknowledged = announce(owner.run_directory.link_socket, changed)
        return (LEDGER_PROCESS,) if acknowledged is None else acknowledged.missing

    return tell
