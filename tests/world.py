"""A real installation on disk, for tests: migrated database, secrets, somebody who acts."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aipool.accounts import service as accounts
from aipool.accounts.types import Role, User
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken, TokenTerms
from aipool.apply.plan import Secrets
from aipool.audit.types import Act
from aipool.catalog import service as catalog
from aipool.catalog.types import Kind, ModelTerms, Route
from aipool.groups import service as groups
from aipool.kit.db import Database, Transaction, open_database
from aipool.kit.digests import load_pepper
from aipool.kit.outbound import Vet
from aipool.kit.sealing import load_keyring
from aipool.ledger.service import open_wallet
from aipool.migrate import migrate
from aipool.pool import service as pool
from aipool.pool.types import KeyTerms, Vendor
from aipool.rating.types import Price
from tests.postgres import place

PHONE = "+8613800138001"
PRICE = Price(0, 2_000_000_000, 500_000_000, 8_000_000_000)
COST = Price(0, 1_000_000_000, 1_000_000_000, 4_000_000_000)
SECRET = "upstream-secret-0123456789abcdef"


@functools.cache
def _migrated_file() -> bytes:
    """The bytes of an empty, migrated database: migrating takes long, copying does not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "aipool.db"
        database = open_database(f"sqlite:///{path}")
        migrate(database)
        database.close()
        return path.read_bytes()


@dataclass
class World:
    """An installation and short words for what tests put into it."""

    data_dir: Path
    database: Database
    secrets: Secrets
    act: Act
    vet: Vet

    def user(self, tx: Transaction, phone: str = PHONE, role: Role = Role.USER) -> User:
        user = accounts.create_user(tx, self.act, phone=phone, password_hash="x", role=role)
        open_wallet(tx, user.id)
        return user

    def vendor(
        self, tx: Transaction, name: str = "mm", *, keys: tuple[str, ...] = ("main",)
    ) -> Vendor:
        vendor, _ = pool.put_vendor(
            tx, self.act, self.vet, name=name, vendor_type="minimax", base_url=""
        )
        for key in keys:
            self.key(tx, vendor, key)
        return vendor

    def key(self, tx: Transaction, vendor: Vendor, name: str, secret: str = SECRET) -> None:
        terms = KeyTerms(name, secret)
        pool.put_key(tx, self.act, self.secrets.keyring, self.vet, vendor, terms)

    def model(self, tx: Transaction, vendor: Vendor, name: str = "m1") -> None:
        catalog.put_model(tx, self.act, self.terms(vendor, name))

    def terms(self, vendor: Vendor, name: str = "m1") -> ModelTerms:
        return ModelTerms(name, Kind.CHAT, 1000, 100, PRICE, (Route(vendor.id, name, COST),))

    def token(
        self, tx: Transaction, user: User, name: str = "t", **terms: object
    ) -> tuple[ApiToken, str]:
        group = groups.default_group(tx, self.act)
        wanted = TokenTerms(name, group.id, **terms)  # type: ignore[arg-type]
        return api_tokens.create_token(tx, self.act, self.secrets.pepper, user, wanted)


@contextmanager
def open_world(data_dir: Path, kind: str = "sqlite") -> Iterator[World]:
    """An installation in this folder, which is made if it is not there.

    kind: of its database: in the folder, or on a server, from where it goes at the end.
    """
    data_dir.mkdir(mode=0o700, exist_ok=True)
    path = data_dir / "aipool.db"
    with place(kind, prepared) as url:
        if not url and not path.exists():
            path.write_bytes(_migrated_file())
        with _opened(data_dir, url or f"sqlite:///{path}") as world:
            yield world


def prepared(database: Database) -> None:
    """What every world begins with."""
    migrate(database)


@contextmanager
def _opened(data_dir: Path, url: str) -> Iterator[World]:
    database = open_database(url)
    try:
        secrets = Secrets(load_keyring(data_dir), load_pepper(data_dir))
        yield World(data_dir, database, secrets, Act("test", 1_700_000_000_000), Vet())
    finally:
        database.close()
