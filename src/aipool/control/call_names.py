"""What the numbers in the log of calls are called: one statement a kind, for the rows of a page.

An API token that was deleted keeps its name here; an upstream key that was deleted has none.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.accounts import service as accounts
from aipool.accounts.types import User
from aipool.api_tokens.tables import api_tokens
from aipool.calls.schemas import Names
from aipool.calls.types import CallRow
from aipool.groups import service as groups
from aipool.pool.tables import upstream_keys, vendors


def names_of_calls(
    connection: Connection, calls: Sequence[CallRow], operator: User | None
) -> Names:
    """The names on a page of calls. operator: who reads it, and is told as well what only
    operators see, but of those whom they may not administer; None = whose calls they are."""
    user_ids = {call.user_id for call in calls}
    masked = accounts.masked_among(connection, operator, user_ids) if operator else frozenset()
    told = {call.token_id for call in calls if call.user_id not in masked}
    tokens = token_names(connection, told)
    of_groups = groups.group_names(connection)
    if operator is None:
        return Names(tokens, of_groups)
    users = accounts.users_by_ids(connection, user_ids - masked)
    # Every key and vendor that was tried: an installation has some hundreds of them at most.
    return Names(
        tokens,
        of_groups,
        {user_id: user.label for user_id, user in users.items()},
        vendor_names(connection),
        key_names(connection),
        masked,
    )


def token_names(connection: Connection, token_ids: Collection[int]) -> dict[int, str]:
    """The names of API tokens, also of deleted ones."""
    table = api_tokens.c
    found = sa.select(table.id, table.name).where(table.id.in_(sorted(token_ids)))
    return {row[0]: row[1] for row in connection.execute(found)}


def vendor_names(connection: Connection) -> dict[int, str]:
    """The names of all vendors."""
    found = connection.execute(sa.select(vendors.c.id, vendors.c.name))
    return {row[0]: row[1] for row in found}


def key_names(connection: Connection) -> dict[int, str]:
    """The names of all upstream keys."""
    found = connection.execute(sa.select(upstream_keys.c.id, upstream_keys.c.name))
    return {row[0]: row[1] for row in found}
