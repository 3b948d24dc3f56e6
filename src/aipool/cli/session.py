"""An installation, opened for one command.

The same whether a server runs on it or not: the database takes care of several writers.
After a change the running server is told, and the command says whether every worker has
acted on it.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from aipool import config, migrate
from aipool.apply.lowering import Lowered
from aipool.apply.plan import Secrets
from aipool.audit.types import Act
from aipool.cli.output import say
from aipool.config import Settings
from aipool.doors.announce import announce, collect
from aipool.doors.frames import Changed
from aipool.installation import InstallationError, owner_of
from aipool.kit.clock import now_ms
from aipool.kit.db import Changes, Database, Transaction, open_database
from aipool.kit.digests import load_pepper
from aipool.kit.errors import Invalid
from aipool.kit.outbound import Vet
from aipool.kit.sealing import load_keyring


@dataclass(frozen=True, slots=True)
class Session:
    """Everything a command works with."""

    settings: Settings
    database: Database
    secrets: Secrets
    vet: Vet
    act: Act

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One moment of the database."""
        with self.database.read() as connection:
            yield connection

    @contextmanager
    def change(self) -> Iterator[Transaction]:
        """A transaction; after its commit the workers are told."""
        with self.database.write() as tx:
            yield tx
        self.tell_workers(tx.changes, tx.revision)

    def tell_workers(self, changes: Changes, revision: int) -> None:
        """Tells a running server what changed, and the operator who acts on it by now."""
        if not changes:
            return
        owner = owner_of(self.settings.data_dir)
        if owner is None:
            return
        digests = tuple(changes.digests)
        changed = Changed(revision, changes.catalogue, digests, changes.everything)
        acknowledged = announce(owner.run_directory.link_socket, changed)
        if acknowledged is None:
            say("saved; the running server could not be told and takes it up when it can")
        elif acknowledged.missing:
            names = ", ".join(acknowledged.missing)
            say(f"saved; not yet in force on {names}, which take it up as soon as they answer")
        else:
            say("saved; every worker acts on it")

    def collect_lowered(self, lowered: Lowered) -> None:
        """The same for what a change lowers, as it is lent just now."""
        with self.read() as connection:
            budgets = lowered.keys(connection)
        self.collect(budgets)

    def collect(self, budgets: Sequence[tuple[str, int]]) -> bool | None:
        """Has a running server's workers give back what is free of these budgets, as
        (budget, window); see doors.announce. None also when no server runs."""
        owner = owner_of(self.settings.data_dir) if budgets else None
        return collect(owner.run_directory.link_socket, budgets) if owner else None


@contextmanager
def open_session(data_dir: Path | None, *, make: bool = False) -> Iterator[Session]:
    """Opens the installation, bringing its database up to date.

    make: set up an installation that is not there yet; otherwise a missing one is refused,
    because a wrong folder is more likely than the wish for an empty list.
    """
    settings = config.load({"data_dir": data_dir})
    with open_installation(settings, make=make) as session:
        yield session


@contextmanager
def open_installation(settings: Settings, *, make: bool) -> Iterator[Session]:
    """Like open_session, of settings that are known already."""
    data_dir = settings.data_dir
    if not data_dir.is_dir() and not make:
        raise Invalid(
            "no_installation",
            f"there is no installation in {data_dir}: start one with `aipool serve`, or name "
            "another folder with --data-dir or AIPOOL_DATA_DIR",
        )
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise InstallationError(f"the data folder cannot be used: {problem}") from None
    database = open_database(settings.database_url_effective)
    try:
        bring_up_to_date(settings, database)
        yield Session(
            settings,
            database,
            Secrets(load_keyring(data_dir), load_pepper(data_dir)),
            Vet(settings.private_upstreams),
            Act(f"cli:{_login_name()}", now_ms()),
        )
    finally:
        database.close()


def bring_up_to_date(settings: Settings, database: Database) -> migrate.Migrated:
    """Migrates, unless a server runs whose program does not know the new form."""
    owner = owner_of(settings.data_dir) if migrate.pending(database) else None
    if owner is not None:
        raise migrate.MigrationRefused(
            f"the server that runs (process {owner.pid}) is older than this program: "
            "restart it first"
        )
    return migrate.migrate(database)


def secret_from(*, from_stdin: bool, prompt: str) -> str:
    """A secret, never from the command line, where every user of the machine could read it.

    Raises Invalid when there is neither a terminal to ask on nor from_stdin.
    """
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Invalid(
            "no_terminal", f"{prompt}: there is no terminal to ask on; use the --…-stdin option"
        )
    return getpass.getpass(f"{prompt}: ")


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
