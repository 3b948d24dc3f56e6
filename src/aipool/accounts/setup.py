"""The first administrator: a one-time link, printed on the operator's own terminal.

While there is no root account, each start makes a new link and forgets the one before.
Only the digest of its secret is stored. Using it creates the root account and ends it,
in one transaction; so two people with the same link cannot both become root.
"""

from __future__ import annotations

import hmac

from sqlalchemy.engine import Connection

from aipool.accounts import service, sessions
from aipool.accounts.store import people as store
from aipool.accounts.types import Role, User
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.kit import digests
from aipool.kit.db import Transaction
from aipool.kit.errors import Forbidden


def is_set_up(connection: Connection) -> bool:
    """Is there a root account?"""
    return store.root_exists(connection)


def issue_link(tx: Transaction, act: Act, pepper: bytes) -> str | None:
    """A new one-time secret for the set-up page, or None when there is a root account."""
    if store.root_exists(tx.connection):
        return None
    secret = digests.generate(digests.SETUP_PREFIX)
    store.replace_setup_link(
        tx.connection, digest=digests.digest(pepper, secret.encode()), at_ms=act.at_ms
    )
    record(tx, act, "setup.issue_link", "setup")
    return secret


def link_is_valid(connection: Connection, pepper: bytes, secret: str) -> bool:
    """Would this secret open the set-up page's door now?"""
    stored = store.setup_link_digest(connection)
    given = digests.digest(pepper, secret.encode())
    return (
        stored is not None
        and hmac.compare_digest(stored, given)
        and not store.root_exists(connection)
    )


def create_root(
    tx: Transaction, act: Act, pepper: bytes, *, secret: str, phone: str, password_hash: str
) -> tuple[User, str]:
    """The root account and its access token, which is shown this once.

    Raises Forbidden("setup_link_invalid") for a secret that was used, replaced or made up.
    """
    if not link_is_valid(tx.connection, pepper, secret):
        raise Forbidden(
            "setup_link_invalid",
            "this set-up link was used or replaced; the newest one is printed where "
            "AI-POOL was started",
            field="token",
        )
    store.delete_setup_link(tx.connection)
    root = service.create_user(tx, act, phone=phone, password_hash=password_hash, role=Role.ROOT)
    _, access_token = sessions.create_access_token(
        tx, act, pepper, root, name="root", is_sensitive=True, prefix=digests.ROOT_PREFIX
    )
    return root, access_token
