"""Copies of a database on a PostgreSQL server.

**Out** and back with PostgreSQL's own `pg_dump` and `pg_restore`, which know every kind of
object and every version; they must be on PATH, not older than the server. A dump is one moment
of the database and holds up no writer.

**In** through a database beside the old one, which gets the old one's name, as the old one gets
a dated name, in one transaction of the server. Both need the right to create databases. The
server refuses to rename a database that anybody is connected to, so nobody ever writes to the
old one in the belief that it is the new.

The password is handed to the programs in their environment, never on their command line.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from aipool.backup.copies import Facts, damaged
from aipool.kit.db import DatabaseUnreachable, DatabaseUnusable
from aipool.kit.errors import Conflict, Invalid

_NAME_BYTES_MAX: Final = 63
_STAGING: Final = "_restoring"
#: Databases that a server has, to connect to while another is renamed.
_ALWAYS_THERE: Final = ("postgres", "template1")
_CONNECT_SECONDS: Final = 5
#: How long a dump waits for somebody who changes tables.
_LOCK_WAIT_MS: Final = 10_000


class PostgresCopies:
    """See copies.Copies. url: of the installation's database."""

    kind = "postgresql"

    def __init__(self, url: str, data_dir: Path) -> None:
        words = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        self._name = words.pop("dbname")
        self._password = words.pop("password", None)
        self._words = words
        self._staging = _fitting(self._name, _STAGING)
        self._staged = False
        self.work_folder = data_dir / "database.restoring"

    def copy_out(self, target: Path) -> Facts:
        """See Copies."""
        before = self._facts()
        self._run(
            "pg_dump",
            "--format=custom",
            "--no-owner",
            "--no-privileges",
            f"--lock-wait-timeout={_LOCK_WAIT_MS}",
            f"--file={target}",
            f"--dbname={self._conninfo(self._name)}",
        )
        # A dump does not say what was in it, so it must not have changed meanwhile.
        if self._facts() != before:
            raise Conflict("database_changed", "the database was migrated meanwhile: back up again")
        return before

    def is_in_place(self) -> bool:
        """See Copies. A database without a table is none."""
        with self._always_there() as connection:
            if not _exists(connection, self._name):
                return False
        with self._connect(self._name) as connection:
            query = "SELECT 1 FROM pg_stat_user_tables LIMIT 1"
            return connection.execute(query).fetchone() is not None

    def stage(self, copy: Path) -> str:
        """See Copies. It is a database of its own, with the name of the real one and more."""
        with self._always_there() as connection:
            self._drop(connection, self._staging)
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(
                    sql.Identifier(self._staging)
                )
            )
        self._staged = True
        self._run(
            "pg_restore",
            "--exit-on-error",
            "--no-owner",
            "--no-privileges",
            f"--dbname={self._conninfo(self._staging)}",
            str(copy),
        )
        words = {**self._words, "dbname": self._staging}
        if self._password is not None:
            words["password"] = self._password
        return f"postgresql:///?{urlencode(words, quote_via=quote)}"

    def seal(self, copy: Path) -> None:
        """See Copies. The server has synced each commit."""

    def put_in_place(self, copy: Path, aside: Path, name: str) -> str | None:
        """See Copies; a database without a table is not worth keeping."""
        del copy, aside
        empty = not self.is_in_place()
        old = self._name
        with self._always_there() as connection:
            kept = _free_name(connection, self._name, "_" + name.replace("-", "_").lower())
            there = _exists(connection, old)
            with connection.transaction():
                if there:
                    _rename(connection, old, kept)
                _rename(connection, self._staging, old)
            self._staged = False
            if there and empty:
                self._drop(connection, kept)
        return kept if there and not empty else None

    def was_put_in_place(self, aside: Path) -> bool:
        """See Copies. Nothing lies there before the server has renamed the databases."""
        return aside.exists()

    def discard(self) -> None:
        """See Copies."""
        if self._staged:
            with (
                contextlib.suppress(Conflict, DatabaseUnusable),
                self._always_there() as connection,
            ):
                self._drop(connection, self._staging)

    # --- inside -----------------------------------------------------------------------------

    def _facts(self) -> Facts:
        with self._connect(self._name) as connection:
            if not _has_table(connection, "alembic_version"):
                raise Invalid(
                    "no_installation", f"there is nothing of AI-POOL in the database {self._name}"
                )
            step = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            number = None
            if _has_table(connection, "installation"):
                number = connection.execute("SELECT number FROM installation").fetchone()
        return Facts(str(step[0]) if step else "", int(number[0]) if number else 0)

    def _drop(self, connection: psycopg.Connection[Any], name: str) -> None:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))

    def _conninfo(self, name: str) -> str:
        return make_conninfo(**self._words, dbname=name)

    @contextmanager
    def _always_there(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection to a database other than the installation's."""
        first, second = _ALWAYS_THERE
        try:
            opened = self._open(first)
        except DatabaseUnusable:
            opened = self._open(second)
        with opened as connection, _translating():
            yield connection

    @contextmanager
    def _connect(self, name: str) -> Iterator[psycopg.Connection[Any]]:
        with self._open(name) as connection, _translating():
            yield connection

    def _open(self, name: str) -> psycopg.Connection[Any]:
        try:
            return psycopg.connect(
                self._conninfo(name),
                password=self._password,
                autocommit=True,
                connect_timeout=_CONNECT_SECONDS,
            )
        except psycopg.Error as error:
            why = " ".join(str(error).split())
            raise DatabaseUnreachable(f"cannot connect to the database {name}: {why}") from None

    def _run(self, program: str, *arguments: str) -> None:
        found = shutil.which(program)
        if found is None:
            raise Invalid(
                "program_missing",
                f"{program} is not on PATH: install PostgreSQL's client programs, of the server's "
                "version or newer (Debian, Ubuntu: apt-get install postgresql-client)",
            )
        environment = dict(os.environ)
        if self._password is not None:
            environment["PGPASSWORD"] = self._password
        done = subprocess.run(
            [found, "--no-password", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            said = " ".join(done.stderr.decode("utf-8", "replace").split())[-500:]
            if program == "pg_restore":
                raise damaged(said)
            raise Invalid("dump_failed", f"{program} failed: {said}")


@contextmanager
def _translating() -> Iterator[None]:
    """What a server refuses, as an operator can put it right."""
    try:
        yield
    except psycopg.errors.ObjectInUse as error:
        raise Conflict(
            "database_in_use",
            f"another program is connected: let it finish, and try again ({_said(error)})",
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise Invalid(
            "right_missing",
            f"the database's user may not do this ({_said(error)}): a restore needs an owner with "
            "the right CREATEDB",
        ) from None
    except psycopg.Error as error:
        raise DatabaseUnusable(f"PostgreSQL refused: {_said(error)}") from None


def _said(error: psycopg.Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())


def _exists(connection: psycopg.Connection[Any], name: str) -> bool:
    query = "SELECT 1 FROM pg_database WHERE datname = %s"
    return connection.execute(query, (name,)).fetchone() is not None


def _has_table(connection: psycopg.Connection[Any], name: str) -> bool:
    found = connection.execute("SELECT to_regclass(%s)", (name,)).fetchone()
    return found is not None and found[0] is not None


def _rename(connection: psycopg.Connection[Any], before: str, after: str) -> None:
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
            sql.Identifier(before), sql.Identifier(after)
        )
    )


def _fitting(name: str, ending: str) -> str:
    """The name with an ending, cut where PostgreSQL would cut the ending."""
    room = _NAME_BYTES_MAX - len(ending.encode())
    return name.encode()[:room].decode("utf-8", "ignore") + ending


def _free_name(connection: psycopg.Connection[Any], name: str, ending: str) -> str:
    endings = (ending, *(f"{ending}_{number}" for number in range(2, 1000)))
    names = (_fitting(name, one) for one in endings)
    return next(one for one in names if not _exists(connection, one))
