"""What differs between databases when one is copied out, and put back."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple, Protocol

from aipool.kit.errors import Invalid

#: How a database that a restore replaced is called: with the time, in UTC, behind it.
REPLACED: Final = "replaced-"


class Facts(NamedTuple):
    """What a copy says of itself.  step: of the migrations.  installation: its number, 0 when
    the copy is older than that."""

    step: str
    installation: int


class Copies(Protocol):
    """The database of one installation, for a backup and for a restore.

    kind: the word for it in a manifest.  work_folder: where a restore may make files until it
    is done: on the file system of the database, where that matters.
    """

    kind: str
    work_folder: Path

    def copy_out(self, target: Path) -> Facts:
        """Writes one moment of the database to this new, empty file and checks the copy.
        Whoever writes to the database meanwhile goes on. Raises Invalid or OSError."""
        ...

    def is_in_place(self) -> bool:
        """Whether there is a database now, sound or not."""
        ...

    def stage(self, copy: Path) -> str:
        """Makes a database of a copy that only the restore knows; its URL. Raises Invalid
        for a copy that is damaged."""
        ...

    def seal(self, copy: Path) -> None:
        """All that was written to the staged database is in it and on the disk."""
        ...

    def put_in_place(self, copy: Path, aside: Path, name: str) -> str | None:
        """The staged database becomes that of the installation, in one step that is done or
        not. What was there is kept: in the folder `aside`, or on the server under a name that
        ends with `name`, which is returned. Raises Conflict while somebody else uses it."""
        ...

    def was_put_in_place(self, aside: Path) -> bool:
        """Whether what lies in `aside` was replaced, as a restore leaves it that ended in the
        middle. When it was not, all of it is where it was."""
        ...

    def discard(self) -> None:
        """Removes what `stage` made, unless it was put in place."""
        ...


def damaged(why: str) -> Invalid:
    """The refusal of a database that is not sound."""
    return Invalid("backup_damaged", f"the database is damaged: {why}")
