"""The statements about the other ways in: recovery codes, reset links, invitations, and codes
that are sent."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.accounts.store.people import USER_COLUMNS, user_of
from aipool.accounts.tables import (
    invitations,
    recovery_codes,
    reset_links,
    users,
    verification_codes,
)
from aipool.accounts.types import Invitation, InvitationId, User

# --- recovery codes ---------------------------------------------------------------------------


def replace_recovery_codes(connection: Connection, user_id: int, digests: list[bytes]) -> None:
    """These are all that work for the person; [] = none."""
    connection.execute(sa.delete(recovery_codes).where(recovery_codes.c.user_id == user_id))
    if digests:
        rows = [{"user_id": user_id, "digest": digest} for digest in digests]
        connection.execute(sa.insert(recovery_codes), rows)


def use_recovery_code(connection: Connection, user_id: int, digest: bytes) -> bool:
    """Uses one up. False: it is none of theirs."""
    gone = connection.execute(
        sa.delete(recovery_codes).where(
            recovery_codes.c.user_id == user_id, recovery_codes.c.digest == digest
        )
    )
    return gone.rowcount == 1


def recovery_codes_left(connection: Connection, user_id: int) -> int:
    """How many the person has."""
    query = sa.select(sa.func.count()).where(recovery_codes.c.user_id == user_id)
    return int(connection.execute(query).scalar_one())


# --- reset links ------------------------------------------------------------------------------


def replace_reset_link(
    connection: Connection, user_id: int, *, digest: bytes, expires_at_ms: int
) -> None:
    """The person's one valid link is this one."""
    delete_reset_link(connection, user_id)
    connection.execute(
        sa.insert(reset_links).values(user_id=user_id, digest=digest, expires_at_ms=expires_at_ms)
    )


def delete_reset_link(connection: Connection, user_id: int) -> None:
    """The person has no valid link."""
    connection.execute(sa.delete(reset_links).where(reset_links.c.user_id == user_id))


def user_of_reset_link(connection: Connection, digest: bytes, now_ms: int) -> User | None:
    """Whose valid link this is."""
    query = (
        sa.select(*USER_COLUMNS)
        .join_from(users, reset_links)
        .where(reset_links.c.digest == digest, reset_links.c.expires_at_ms > now_ms)
    )
    row = connection.execute(query).one_or_none()
    return user_of(row) if row else None


# --- invitations ------------------------------------------------------------------------------

_INVITATION_COLUMNS = (
    invitations.c.id,
    invitations.c.note,
    invitations.c.last4,
    invitations.c.uses_left,
    invitations.c.used,
    invitations.c.created_at_ms,
    invitations.c.expires_at_ms,
)


def insert_invitation(connection: Connection, *, digest: bytes, **columns: Any) -> Invitation:
    """A new invitation, by its digest."""
    insert = sa.insert(invitations).values(digest=digest, used=0, **columns)
    return _invitation(connection.execute(insert.returning(*_INVITATION_COLUMNS)).one())


def list_invitations(
    connection: Connection, *, before_id: int | None, limit: int
) -> list[Invitation]:
    """Invitations, the newest first."""
    query = sa.select(*_INVITATION_COLUMNS)
    if before_id is not None:
        query = query.where(invitations.c.id < before_id)
    query = query.order_by(invitations.c.id.desc()).limit(limit)
    return [_invitation(row) for row in connection.execute(query)]


def invitation_by_id(connection: Connection, invitation_id: int) -> Invitation | None:
    """The invitation with this id."""
    query = sa.select(*_INVITATION_COLUMNS).where(invitations.c.id == invitation_id)
    row = connection.execute(query).one_or_none()
    return _invitation(row) if row else None


def invitation_is_good(connection: Connection, digest: bytes, now_ms: int) -> bool:
    """Could it be used now?"""
    query = sa.select(sa.exists().where(*_usable(digest, now_ms)))
    return bool(connection.execute(query).scalar())


def use_invitation(connection: Connection, digest: bytes, now_ms: int) -> InvitationId | None:
    """Uses it once. None: there is no such one that is good now."""
    used = connection.execute(
        sa.update(invitations)
        .where(*_usable(digest, now_ms))
        .values(uses_left=invitations.c.uses_left - 1, used=invitations.c.used + 1)
        .returning(invitations.c.id)
    ).scalar()
    return InvitationId(used) if used is not None else None


def _usable(digest: bytes, now_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        invitations.c.digest == digest,
        invitations.c.uses_left > 0,
        sa.or_(invitations.c.expires_at_ms.is_(None), invitations.c.expires_at_ms > now_ms),
    )


def delete_invitation(connection: Connection, invitation_id: int) -> None:
    """It is good for nothing any more."""
    connection.execute(sa.delete(invitations).where(invitations.c.id == invitation_id))


def _invitation(row: Any) -> Invitation:
    return Invitation(InvitationId(row.id), *row[1:])


# --- codes that are sent ----------------------------------------------------------------------


def insert_code(connection: Connection, **columns: Any) -> None:
    """A code that was asked for."""
    connection.execute(sa.insert(verification_codes).values(**columns))


def code_is_asked(
    connection: Connection, handle_digest: bytes, *, now_ms: int, life_ms: int
) -> bool:
    """Was a code asked for under this handle, and not too long ago?"""
    query = sa.select(sa.exists().where(*_asked(handle_digest, now_ms, life_ms)))
    return bool(connection.execute(query).scalar())


def take_try(
    connection: Connection, handle_digest: bytes, *, now_ms: int, life_ms: int
) -> bytes | None:
    """Takes a try at the code that was asked for under this handle; the code's digest. None: there
    is none, it is too old, or no try is left."""
    taken = connection.execute(
        sa.update(verification_codes)
        .where(*_asked(handle_digest, now_ms, life_ms), verification_codes.c.tries_left > 0)
        .values(tries_left=verification_codes.c.tries_left - 1)
        .returning(verification_codes.c.digest)
    ).scalar()
    return bytes(taken) if taken is not None else None


def end_codes(connection: Connection, purpose: str, address: str) -> None:
    """None that was asked for until now is good any more, whoever asked."""
    connection.execute(
        sa.update(verification_codes)
        .where(
            verification_codes.c.address == address,
            verification_codes.c.purpose == purpose,
        )
        .values(tries_left=0)
    )


def _asked(handle_digest: bytes, now_ms: int, life_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        verification_codes.c.handle_digest == handle_digest,
        verification_codes.c.at_ms > now_ms - life_ms,
        verification_codes.c.at_ms <= now_ms,
    )


def asked_times(connection: Connection, *, address: str, since_ms: int) -> list[int]:
    """When codes were asked for this number or address, the newest first."""
    return _times(connection, verification_codes.c.address == address, since_ms)


def asked_times_of_network(connection: Connection, *, network: str, since_ms: int) -> list[int]:
    """When codes were asked for from this network, the newest first."""
    return _times(connection, verification_codes.c.network == network, since_ms)


def sent_by_phone(connection: Connection, *, since_ms: int) -> int:
    """How many text messages were sent, to anybody."""
    query = sa.select(sa.func.count()).where(
        verification_codes.c.at_ms > since_ms,
        verification_codes.c.sent,
        verification_codes.c.address.like("+%"),
    )
    return int(connection.execute(query).scalar_one())


def forget_codes(connection: Connection, before_ms: int) -> None:
    """Those that count against no limit any more."""
    connection.execute(sa.delete(verification_codes).where(verification_codes.c.at_ms < before_ms))


def _times(connection: Connection, condition: sa.ColumnElement[bool], since_ms: int) -> list[int]:
    query = (
        sa.select(verification_codes.c.at_ms)
        .where(condition, verification_codes.c.at_ms > since_ms)
        .order_by(verification_codes.c.at_ms.desc())
    )
    return list(connection.execute(query).scalars())
