"""`aipool serve --demo`: enough of a platform to make a first call, without any vendor's key.

The sandbox answers for three well-known models, so that well-known examples work; a demo
user has money and a token. What is there is left as it is: a second start changes nothing,
and an operator may have changed a price. There is no password anybody knows: the demo
user's is random and forgotten.

The token is kept in DATA_DIR/demo-token (mode 0600), to be printed again at the next
start. When that file is lost a new token is made and the old one is disabled.
"""

from __future__ import annotations

import os
from pathlib import Path

from aipool.accounts import service as accounts
from aipool.accounts.passwords import hash_password
from aipool.accounts.types import User
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken, TokenTerms
from aipool.apply.credit import book_opening_credit
from aipool.apply.plan import Secrets
from aipool.audit.types import Act
from aipool.catalog import service as catalog
from aipool.catalog.types import Kind, ModelTerms, Route
from aipool.groups import service as groups
from aipool.kit import digests
from aipool.kit.db import Database, Transaction
from aipool.kit.money import NANO_PER_CNY, parse_cny
from aipool.kit.outbound import Vet
from aipool.pool import service as pool
from aipool.pool.types import KeyTerms, Vendor
from aipool.rating.types import Price

FILE_NAME = "demo-token"

VENDOR_NAME = "sandbox"
#: Valid in form and a well-known example; nobody receives anything on it.
PHONE = "+8613800138000"
TOKEN_NAME = "demo"
CREDIT_NANO = 100 * NANO_PER_CNY

#: Name, context and output cap in tokens, and CNY per 1M tokens: input, cached, output.
MODELS = (
    ("gpt-3.5-turbo", 16_385, 4_096, "3.6", "3.6", "10.8"),
    ("gpt-4o-mini", 128_000, 16_384, "1.08", "0.54", "4.32"),
    ("MiniMax-M3", 200_000, 32_768, "2.1", "0.21", "8.4"),
)


def seed(database: Database, act: Act, secrets: Secrets, data_dir: Path) -> str:
    """Makes what the demo needs and is not there; gives the demo token's secret."""
    path = data_dir / FILE_NAME
    kept = _read_kept(path)
    # Hashing takes as long as everything else, so it is not done inside the transaction.
    password_hash = hash_password(digests.generate())
    with database.write() as tx:
        vendor = _vendor(tx, act, secrets)
        _models(tx, act, vendor)
        user = _user(tx, act, password_hash)
        old = _enabled_tokens(tx, user)
        if any(_is_kept(tx, secrets, token, kept) for token in old):
            return kept
        for token in old:
            api_tokens.set_enabled(tx, act, token, enabled=False)
        terms = TokenTerms(_free_name(tx, user), groups.default_group(tx, act).id)
        _, secret = api_tokens.create_token(tx, act, secrets.pepper, user, terms)
    _keep(path, secret)
    return secret


def _vendor(tx: Transaction, act: Act, secrets: Secrets) -> Vendor:
    there = {vendor.name: vendor for vendor in pool.list_vendors(tx.connection)}
    vendor = there.get(VENDOR_NAME)
    if vendor is None:
        vendor = pool.create_vendor(tx, act, Vet(), name=VENDOR_NAME, vendor_type="sandbox")
    if not pool.list_keys(tx.connection, vendor):
        pool.create_key(tx, act, secrets.keyring, Vet(), vendor, KeyTerms("", ""))
    return vendor


def _models(tx: Transaction, act: Act, vendor: Vendor) -> None:
    there = {model.name for model in catalog.list_models(tx.connection)}
    for name, context, output, *prices in MODELS:
        if name in there:
            continue
        input_nano, cached_nano, output_nano = (parse_cny(price) for price in prices)
        price = Price(0, input_nano, cached_nano, output_nano)
        route = Route(vendor.id, name, Price(0, 0, 0, 0))
        catalog.put_model(tx, act, ModelTerms(name, Kind.CHAT, context, output, price, (route,)))


def _user(tx: Transaction, act: Act, password_hash: str) -> User:
    user = accounts.find_user(tx.connection, PHONE)
    if user is None:
        user = accounts.create_user(tx, act, phone=PHONE, password_hash=password_hash)
        book_opening_credit(tx, act, user, CREDIT_NANO)
    return user


def _enabled_tokens(tx: Transaction, user: User) -> list[ApiToken]:
    return [
        token
        for token in api_tokens.list_tokens(tx.connection, user=user)
        if token.enabled and token.name.startswith(TOKEN_NAME)
    ]


def _is_kept(tx: Transaction, secrets: Secrets, token: ApiToken, kept: str) -> bool:
    return bool(kept) and api_tokens.is_secret_of(tx.connection, secrets.pepper, token, kept)


def _free_name(tx: Transaction, user: User) -> str:
    taken = {token.name for token in api_tokens.list_tokens(tx.connection, user=user)}
    numbers = range(2, len(taken) + 3)
    names = [TOKEN_NAME, *(f"{TOKEN_NAME}-{number}" for number in numbers)]
    return next(name for name in names if name not in taken)


def _read_kept(path: Path) -> str:
    """The secret in the file, or "" when it holds none that others could not read."""
    try:
        if path.stat().st_mode & 0o077:
            return ""
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
    return text if digests.is_token(text.encode()) else ""


def _keep(path: Path, secret: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
