"""A large installation: a million API tokens of a thousand users, keys and models to match.

People, keys and models are made by the product's own use cases; the tokens, a million of them, go
straight into their table, as those use cases would write them. Each one's secret follows from its
number, so that any of them can call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from aipool.accounts import service as accounts
from aipool.api_tokens.tables import api_tokens
from aipool.apply.credit import book_opening_credit
from aipool.catalog import service as catalog
from aipool.catalog.types import Kind, ModelTerms, Route
from aipool.cli.session import Session
from aipool.groups import service as groups
from aipool.kit import digests
from aipool.kit.db import SqliteDatabase, Transaction
from aipool.kit.money import NANO_PER_CNY
from aipool.pool import service as pool
from aipool.pool.types import KeyTerms
from aipool.rating.types import Price

CREDIT_NANO: Final = 100 * NANO_PER_CNY
PRICE: Final = Price(0, 2_100_000_000, 210_000_000, 8_400_000_000)

#: Rows in one transaction: a log of moderate size.
_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Population:
    """How many of each. Tokens and keys are spread evenly over users and vendors."""

    tokens: int = 1_000_000
    users: int = 1_000
    vendors: int = 20
    keys: int = 1_000
    models: int = 2_000


def token_of(number: int) -> str:
    """The secret of a token."""
    return f"sk-{number:043}"


def model_of(number: int) -> str:
    """The name of a model."""
    return f"model-{number:04}"


def terms_of(number: int, vendor_id: int, price: Price = PRICE) -> ModelTerms:
    """A model as an operator describes it, on one vendor."""
    route = Route(vendor_id, model_of(number), Price(0, 0, 0, 0))
    return ModelTerms(model_of(number), Kind.CHAT, 128_000, 4_096, price, (route,))


def settle_in(session: Session, people: Population, base_url: str) -> None:
    """Everybody, into an installation that does not run."""
    with session.database.write() as tx:
        vendors = _make_vendors(tx, session, people, base_url)
        for number in range(people.models):
            catalog.put_model(tx, session.act, terms_of(number, vendors[number % len(vendors)]))
    with session.database.write() as tx:
        group_id = groups.default_group(tx, session.act).id
        users = _make_users(tx, session, people)
    rows = _tokens(session.secrets.pepper, people, users, group_id, session.act.at_ms)
    for start in range(0, people.tokens, _ROWS):
        count = min(_ROWS, people.tokens - start)
        with session.database.write() as tx:
            tx.connection.execute(sa.insert(api_tokens), [next(rows) for _ in range(count)])
            tx.changes.note_everything()
        if isinstance(session.database, SqliteDatabase):
            session.database.checkpoint()


def _make_vendors(
    tx: Transaction, session: Session, people: Population, base_url: str
) -> list[int]:
    made = []
    for number in range(people.vendors):
        vendor, _ = pool.put_vendor(
            tx,
            session.act,
            session.vet,
            name=f"vendor-{number:02}",
            vendor_type="openai_compatible",
            base_url=base_url,
        )
        for key in range(people.keys // people.vendors):
            terms = KeyTerms(f"key-{key:03}", f"sk-upstream-{number:04}-{key:040}")
            pool.put_key(tx, session.act, session.secrets.keyring, session.vet, vendor, terms)
        made.append(int(vendor.id))
    return made


def _make_users(tx: Transaction, session: Session, people: Population) -> list[int]:
    made = []
    for number in range(people.users):
        phone = f"+86139{number:08}"
        user = accounts.create_user(tx, session.act, phone=phone, password_hash="none")
        book_opening_credit(tx, session.act, user, CREDIT_NANO)
        made.append(int(user.id))
    return made


def _tokens(
    pepper: bytes, people: Population, users: list[int], group_id: int, at_ms: int
) -> Iterator[dict[str, Any]]:
    for number in range(people.tokens):
        secret = token_of(number)
        yield {
            "user_id": users[number % len(users)],
            "group_id": group_id,
            "name": f"token-{number}",
            "digest": digests.digest(pepper, secret.encode()),
            "last4": secret[-4:],
            "models": None,
            "ips": [],
            "expires_at": 0,
            "limit_nano": None,
            "enabled": True,
            "created_at_ms": at_ms,
            "deleted_at_ms": None,
        }
