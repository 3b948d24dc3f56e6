"""Invitations over HTTP, for administrators."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from aipool.accounts import invitations, rules
from aipool.accounts.schemas import Shown, moment_sent, moment_shown
from aipool.accounts.types import Invitation
from aipool.audit.desk import Acting, AskedId, Desk, Id, Limit, Sent
from aipool.kit.clock import iso_ms


class InvitationSent(Sent):
    """uses: people who may register with it.  expires_at: never (or null), 30d, a date or a
    moment."""

    uses: int = Field(default=1, ge=1, le=invitations.USES_MAX)
    note: str = Field(default="", max_length=rules.NOTE_CHARACTERS_MAX)
    expires_at: str | None = Field(default=None, max_length=100)


class InvitationShown(Shown):
    """An invitation; its secret is not in it. used: people who came with it."""

    id: int
    masked: str
    note: str
    uses_left: int
    used: int
    created_at: str
    expires_at: str | None


class InvitationMade(InvitationShown):
    """secret: shown this once."""

    secret: str


class InvitationsShown(Shown):
    """A page, the newest first. next_cursor: for the next one, null = this was the last."""

    items: list[InvitationShown]
    next_cursor: str | None


def routes(desk: Desk, pepper: bytes) -> APIRouter:
    """Everything under /api/admin/invitations."""
    router = APIRouter(prefix="/api/admin/invitations")

    @router.get("")
    def list_invitations(limit: Limit = 50, cursor: AskedId = None) -> InvitationsShown:
        """Invitations, used up or not."""
        with desk.database.read() as connection:
            found = invitations.page(connection, before_id=cursor, limit=limit + 1)
        items = [_shown(each) for each in found[:limit]]
        more = str(items[-1].id) if len(found) > limit else None
        return InvitationsShown(items=items, next_cursor=more)

    @router.post("", status_code=201)
    def create_invitation(sent: InvitationSent, act: Acting) -> InvitationMade:
        """An invitation; its secret is shown this once."""
        with desk.database.write() as tx:
            made, secret = invitations.create(
                tx,
                act,
                pepper,
                uses=sent.uses,
                note=sent.note,
                expires_at_ms=moment_sent(sent.expires_at, act.at_ms),
            )
        return InvitationMade(secret=secret, **_shown(made).model_dump())

    @router.delete("/{invitation_id}", status_code=204)
    def delete_invitation(invitation_id: Id, act: Acting) -> Response:
        """Nobody registers with it any more."""
        with desk.database.write() as tx:
            invitations.delete(tx, act, invitation_id)
        return desk.done(tx)

    return router


def _shown(invitation: Invitation) -> InvitationShown:
    return InvitationShown(
        id=invitation.id,
        masked=f"aipool-invite-…{invitation.last4}",
        note=invitation.note,
        uses_left=invitation.uses_left,
        used=invitation.used,
        created_at=iso_ms(invitation.created_at_ms),
        expires_at=moment_shown(invitation.expires_at_ms),
    )
