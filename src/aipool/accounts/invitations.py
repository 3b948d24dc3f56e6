"""Invitations: with one, so many people may register where not everybody may.

An invitation is a secret like any other: shown once, stored as its digest.

Refusals (kit.errors):
    malformed_note, expiry_in_the_past       422
    invitation_unknown                       404
"""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy.engine import Connection

from aipool.accounts import rules
from aipool.accounts.store import ways as store
from aipool.accounts.types import Invitation
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.kit import digests
from aipool.kit.db import Transaction
from aipool.kit.errors import Invalid, NotFound

#: People who register with one invitation, at most.
USES_MAX = 10_000


def create(
    tx: Transaction,
    act: Act,
    pepper: bytes,
    *,
    uses: int = 1,
    note: str = "",
    expires_at_ms: int | None = None,
) -> tuple[Invitation, str]:
    """An invitation and its secret, which is shown this once. uses: 1 to USES_MAX."""
    if expires_at_ms is not None and expires_at_ms <= act.at_ms:
        raise Invalid("expiry_in_the_past", "it would be over already", field="expires_at")
    secret = digests.generate(digests.INVITATION_PREFIX)
    made = store.insert_invitation(
        tx.connection,
        digest=digests.digest(pepper, secret.encode()),
        last4=secret[-4:],
        note=rules.checked_note(note),
        uses_left=uses,
        created_at_ms=act.at_ms,
        expires_at_ms=expires_at_ms,
    )
    record(tx, act, "invitation.create", _target(made), after=asdict(made))
    return made, secret


def page(connection: Connection, *, before_id: int | None = None, limit: int) -> list[Invitation]:
    """Invitations, the newest first. before_id: only older ones."""
    return store.list_invitations(connection, before_id=before_id, limit=limit)


def delete(tx: Transaction, act: Act, invitation_id: int) -> None:
    """It is good for nothing any more. Who came with it stays."""
    found = store.invitation_by_id(tx.connection, invitation_id)
    if found is None:
        raise NotFound(
            "invitation_unknown",
            f"there is no invitation {invitation_id}",
            params={"id": invitation_id},
        )
    store.delete_invitation(tx.connection, invitation_id)
    record(tx, act, "invitation.delete", _target(found), before=asdict(found))


def _target(invitation: Invitation) -> str:
    return f"invitation:{invitation.id}"
