"""`aipool doctor`: is this installation sound? Reads, and changes nothing.

Each check answers one line: fine, a doubt, or something that must be put right. What a
check needs and cannot have is its finding, never an exception.
"""

from __future__ import annotations

import resource
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from pysqlite3 import dbapi2

from aipool import migrate
from aipool.audit.service import newest_at_ms
from aipool.config import Settings
from aipool.doors.announce import announce
from aipool.doors.frames import Changed
from aipool.installation import owner_of
from aipool.kit.clock import iso_ms, now_ms
from aipool.kit.db import (
    Database,
    DatabaseUnusable,
    current_revision,
    open_database,
    refuse_old_sqlite,
)
from aipool.kit.outbound import BadUrl, BaseUrl, Vet, parse_base_url
from aipool.kit.secret_files import FOLDER_NAME, PEPPER_NAME, SEALING_NAME, BadSecret, read
from aipool.pool import service as pool
from aipool.pool.types import Vendor
from aipool.vendors import VENDORS_BY_TYPE

_GIB = 1 << 30
_DISK_LEAST_BYTES = 256 << 20
_OPEN_FILES_LEAST = 4096
#: A clock that went back by more than this is worth a word.
_CLOCK_BACK_MS_MAX = 5_000


class State(StrEnum):
    """How a check ended."""

    GOOD = "good"
    DOUBT = "doubt"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    check: str
    state: State
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Every check, in the order in which they are worth reading."""
    findings = [_sqlite(), _data_folder(settings), *_secrets(settings), _disk(settings)]
    findings.append(_open_files())
    path_exists = settings.data_dir.is_dir()
    try:
        database = open_database(settings.database_url_effective) if path_exists else None
    except DatabaseUnusable as problem:
        findings.append(Finding("database", State.BAD, str(problem)))
        return findings
    if database is None:
        return findings
    try:
        findings += _inside(settings, database)
    except DatabaseUnusable as problem:
        findings.append(Finding("database", State.BAD, str(problem)))
    finally:
        database.close()
    return findings


def _inside(settings: Settings, database: Database) -> Iterator[Finding]:
    """The checks that need the database's content."""
    try:
        missing = migrate.pending(database)
    except migrate.MigrationRefused as problem:
        yield Finding("migrations", State.BAD, str(problem))
        return
    if missing:
        detail = f"{', '.join(missing)} missing: run `aipool migrate`"
        yield Finding("migrations", State.DOUBT, detail)
        return
    yield Finding("migrations", State.GOOD, f"at step {migrate.steps()[-1]}")
    yield _clock(database)
    yield _workers(settings, database)
    vet = Vet(settings.private_upstreams)
    with database.read() as connection:
        vendors = pool.list_vendors(connection)
    for vendor in vendors:
        yield _vendor(vendor, vet)


def _sqlite() -> Finding:
    try:
        refuse_old_sqlite(dbapi2.sqlite_version)
    except DatabaseUnusable as problem:
        return Finding("sqlite", State.BAD, str(problem))
    return Finding("sqlite", State.GOOD, dbapi2.sqlite_version)


def _data_folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    if not folder.is_dir():
        detail = f"{folder} is not there: `aipool serve` makes it"
        return Finding("data folder", State.DOUBT, detail)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        detail = f"{folder} is open to others (mode {mode:04o}): chmod 700 it"
        return Finding("data folder", State.BAD, detail)
    return Finding("data folder", State.GOOD, str(folder))


def _secrets(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir / FOLDER_NAME
    for name in (PEPPER_NAME, SEALING_NAME):
        check = f"secret {name}"
        if not folder.is_dir():
            yield Finding(check, State.DOUBT, "made at the first start")
            continue
        try:
            read(folder / name)
        except BadSecret as problem:
            yield Finding(check, State.BAD, str(problem))
        else:
            yield Finding(check, State.GOOD, "random, and readable by its owner only")


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / _GIB:.1f} GiB free"
    if free < _DISK_LEAST_BYTES:
        return Finding("disk", State.BAD, f"{detail}: calls stop when a journal cannot grow")
    return Finding("disk", State.GOOD if free >= _GIB else State.DOUBT, detail)


def _open_files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    enough = hard == resource.RLIM_INFINITY or hard >= _OPEN_FILES_LEAST
    detail = shown if enough else f"{shown}: a worker needs two for each open call"
    return Finding("open files", State.GOOD if enough else State.DOUBT, detail)


def _clock(database: Database) -> Finding:
    with database.read() as connection:
        newest = newest_at_ms(connection)
    now = now_ms()
    if newest is not None and newest - now > _CLOCK_BACK_MS_MAX:
        detail = f"it is {iso_ms(now)}, yet something was done at {iso_ms(newest)}"
        return Finding("clock", State.BAD, detail)
    return Finding("clock", State.GOOD, iso_ms(now))


def _workers(settings: Settings, database: Database) -> Finding:
    """Asks the ledger process whether every live worker has the newest revision."""
    owner = owner_of(settings.data_dir)
    if owner is None:
        return Finding("server", State.DOUBT, "not running")
    with database.read() as connection:
        revision = current_revision(connection)
    nothing = Changed(revision, catalogue=False, digests=(), everything=False)
    answer = announce(owner.run_directory.link_socket, nothing)
    if answer is None:
        detail = f"process {owner.pid} runs, its ledger process does not answer"
        return Finding("server", State.BAD, detail)
    if answer.missing:
        detail = f"no answer from {', '.join(answer.missing)}"
        return Finding("server", State.BAD, detail)
    return Finding("server", State.GOOD, f"process {owner.pid}; every worker is up to date")


def _vendor(vendor: Vendor, vet: Vet) -> Finding:
    check = f"vendor {vendor.name}"
    known = VENDORS_BY_TYPE.get(vendor.type)
    if known is not None and known.socket is not None:
        return Finding(check, State.GOOD, "answers inside the product")
    try:
        base_url = parse_base_url(vendor.base_url, vet)
    except BadUrl as problem:
        return Finding(check, State.BAD, f"{vendor.base_url}: {problem}")
    return _addresses(check, base_url, vet.encrypted if base_url.tls else vet.plain)


def _addresses(check: str, base_url: BaseUrl, allowed: Callable[[str], bool]) -> Finding:
    try:
        found = socket.getaddrinfo(base_url.host, base_url.port, type=socket.SOCK_STREAM)
    except OSError as problem:
        return Finding(check, State.DOUBT, f"{base_url.host} is not found: {problem.strerror}")
    refused = sorted({str(entry[4][0]) for entry in found if not allowed(str(entry[4][0]))})
    if refused:
        detail = (
            f"{base_url.host} leads to {', '.join(refused)}, which is not called: list its "
            "network in AIPOOL_PRIVATE_UPSTREAMS if that is meant"
        )
        return Finding(check, State.BAD, detail)
    return Finding(check, State.GOOD, base_url.text)
