"""What was said in a call, for the owner of its token and nobody else, operators neither."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from aipool.accounts.callers import Asking
from aipool.audit.desk import Acting, Desk
from aipool.audit.service import record
from aipool.calls import contents
from aipool.kit.clock import now_ms
from aipool.kit.errors import NotFound
from aipool.kit.sealing import Keyring

_RequestId = Annotated[str, Path(min_length=1, max_length=100)]


class SaidShown(BaseModel):
    """What was said in a call. *_cut: only the beginning was kept."""

    model_config = ConfigDict(frozen=True)

    request_id: str
    request: str = Field(description="The body that was sent.")
    request_cut: bool
    answer: str = Field(description="The body of the answer, or its events.")
    answer_cut: bool
    expires_at: datetime


def routes(desk: Desk, keyring: Keyring) -> APIRouter:
    """Reading it, and having it forgotten."""
    router = APIRouter(prefix="/api/calls", tags=["calls"])

    @router.get("/{request_id}/content")
    def read_content(request_id: _RequestId, caller: Asking) -> SaidShown:
        """What was said in one of your calls, if its token keeps it."""
        with desk.database.read() as connection:
            said = contents.get(
                connection, keyring, request_id, user_id=caller.user.id, now_ms=now_ms()
            )
        if said is None:
            raise _not_kept()
        return SaidShown(
            request_id=said.rid,
            request=said.request,
            request_cut=said.request_cut,
            answer=said.answer,
            answer_cut=said.answer_cut,
            expires_at=datetime.fromtimestamp(said.expires_at_ms / 1000, UTC),
        )

    @router.delete("/{request_id}/content", status_code=204, response_class=Response)
    def forget_content(request_id: _RequestId, caller: Asking, act: Acting) -> Response:
        """Forget it now."""
        with desk.database.write() as tx:
            if not contents.forget(tx, request_id, user_id=caller.user.id):
                raise _not_kept()
            record(tx, act, "call.forget_content", f"call:{request_id}")
        return desk.done(tx)

    return router


def _not_kept() -> NotFound:
    return NotFound(
        "content_unknown", "nothing is kept of what was said in this call", field="request_id"
    )
