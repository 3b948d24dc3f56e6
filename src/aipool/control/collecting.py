"""What a limit loses comes back from the workers first, as the command line does it.

Workers hold parts of every limit that is in use. What lies unused at one of them could still be
spent above a limit that was lowered, so it is asked for before the change, and once more after it
for what was lent in between (apply.lowering).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aipool.api_tokens.types import ApiToken, TokenTerms
from aipool.apply import lowering
from aipool.apply.lowering import Lowered
from aipool.doors.announce import collect
from aipool.installation import owner_of
from aipool.kit.db import Database


def collector(database: Database, data_dir: Path) -> Callable[[Lowered], None]:
    """Has the workers of this very installation, if a server runs on it, give back what is free
    of what a change lowers."""

    def give_back(lowered: Lowered) -> None:
        if lowered == Lowered():
            return
        with database.read() as connection:
            budgets = lowered.keys(connection)
        owner = owner_of(data_dir) if budgets else None
        if owner is not None:
            collect(owner.run_directory.link_socket, budgets)

    return give_back


def token_lowering(
    database: Database, data_dir: Path
) -> Callable[[ApiToken, TokenTerms, int], Callable[[], None]]:
    """The same for a token's new terms: what is to be called before and after they are in
    force."""
    give_back = collector(database, data_dir)

    def of(token: ApiToken, terms: TokenTerms, now_ms: int) -> Callable[[], None]:
        with database.read() as connection:
            lowered = lowering.by_token(connection, token, terms, now_ms)
        return lambda: give_back(lowered)

    return of
