"""The words in which tables are described, the same for SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

#: One place for the names of constraints, so that a migration can name what it drops.
metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: A signed 64-bit integer. SQLite numbers a row by itself only for the type INTEGER,
#: which is 64 bits wide there.
Int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: Text in the order of its characters' numbers, as Python sorts it and SQLite does, whatever
#: the language of a PostgreSQL database: rows are locked, and books compared, in that order.
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

#: One row: how often what the workers know was changed. It is bumped inside the
#: transaction of the change, so a revision and its content are visible together.
revision_table = sa.Table(
    "revision",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("number", Int64, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)


def current_revision(connection: Connection) -> int:
    """The newest committed revision; 0 before the first change."""
    number = connection.execute(sa.select(revision_table.c.number)).scalar()
    return int(number) if number is not None else 0


def bump_revision(connection: Connection) -> int:
    """Counts one change more; the number it has."""
    table = revision_table
    bump = sa.update(table).values(number=table.c.number + 1).returning(table.c.number)
    number = connection.execute(bump).scalar()
    if number is None:
        connection.execute(sa.insert(table).values(id=1, number=1))
        return 1
    return int(number)


def whole_sum(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """The sum of 64-bit integers as one: PostgreSQL's own is a decimal number."""
    return sa.cast(sa.func.sum(column), Int64)


# --- rows that stay as they are ---------------------------------------------------------------

# Integrity, because that is what it is about; so it is told from a database in trouble.
_REFUSE = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$
""".strip()

#: By table: whatever else PostgreSQL can do to rows is done by a statement of its own.
_EACH = {"UPDATE": "ROW", "DELETE": "ROW", "TRUNCATE": "STATEMENT"}


def append_only_statements(table: str, dialect: str) -> list[str]:
    """What makes a database refuse to change or delete a row of this table."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for act in ("UPDATE", "DELETE")
        ]
    return [
        _REFUSE,
        *(
            f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
            f"FOR EACH {each} EXECUTE FUNCTION refuse_change()"
            for act, each in _EACH.items()
        ),
    ]


def append_only(table: sa.Table) -> sa.Table:
    """The table, whose rows are never changed nor deleted once it is created."""

    def guard(_table: sa.Table, connection: Connection, **_: Any) -> None:
        for statement in append_only_statements(table.name, connection.dialect.name):
            connection.execute(sa.text(statement))

    sa.event.listen(table, "after_create", guard)
    return table


def missing_guards(connection: Connection, table: str) -> list[str]:
    """What an append-only table lacks of its guards, as a person can put it back."""
    wanted = append_only_statements(table, connection.dialect.name)
    if connection.dialect.name == "sqlite":
        rows = connection.execute(
            sa.text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :name"),
            {"name": table},
        )
        there = {str(row[0]) for row in rows}
        return [statement for statement in wanted if statement not in there]
    function, *triggers = wanted
    rows = connection.execute(
        # D = switched off, R = only while rows are copied from another server.
        sa.text(
            "SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger"
            " WHERE tgrelid = CAST(:name AS regclass) AND NOT tgisinternal"
        ),
        {"name": table},
    )
    there = {str(row[0]).replace("public.", "") for row in rows if row[1] not in ("D", "R")}
    body = connection.execute(
        sa.text("SELECT prosrc FROM pg_proc WHERE oid = to_regproc('refuse_change')")
    ).scalar()
    missing = [statement for statement in triggers if statement not in there]
    if body is None or str(body).strip() not in function:
        missing.insert(0, function)
    return missing
