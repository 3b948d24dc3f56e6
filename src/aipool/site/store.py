"""The statements of the site's settings."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.site.tables import site_settings
from aipool.site.types import Stored


def all_settings(connection: Connection) -> list[Stored]:
    """Every setting that an operator set."""
    return [Stored(*row) for row in connection.execute(sa.select(site_settings)).all()]


def put(connection: Connection, row: Stored) -> None:
    """Sets one, in the place of what it was."""
    delete(connection, [row.name])
    connection.execute(
        sa.insert(site_settings).values(
            name=row.name, value=row.value, sealed=row.sealed, at_ms=row.at_ms, actor=row.actor
        )
    )


def delete(connection: Connection, names: Iterable[str]) -> None:
    """Back to the default."""
    connection.execute(sa.delete(site_settings).where(site_settings.c.name.in_(tuple(names))))
