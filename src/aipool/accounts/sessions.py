"""Sessions of people at browsers, and the access tokens of their programs.

A session's secret is 256 random bits in a cookie; the database holds its HMAC only. It is a new
one at each login and each step-up, so a secret that somebody planted or saw before opens nothing
after. A session ends by itself when nothing happens for a while and at the latest after a fixed
time, both shorter for those who may change prices and keys (security S-06); it is ended by its
owner, and by every change of password, role and status.

An access token outlives what is done every day, and nothing that somebody does who fears that
another is in: a password that was reset, a second factor that was taken off for its owner, and
logging out everywhere end them all; a password that its owner changed, the sensitive ones.

What hangs on a session is told when it ends (`SessionsEnd`), in the same transaction.

Refusals (kit.errors):
    session_unknown, access_token_unknown                    404
    too_many_access_tokens, access_token_exists              409
    expiry_in_the_past                                       422
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.engine import Connection

from aipool.accounts.callers import Caller
from aipool.accounts.store import sessions as store
from aipool.accounts.types import AccessToken, Role, Session, SessionId, Status, User
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.kit import digests
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid, NotFound
from aipool.kit.names import checked_name

#: `__Host-` makes browsers refuse a cookie that another host or plain HTTP set; they drop it
#: where the site itself is reached over plain HTTP.
COOKIE = "aipool"
SECURE_COOKIE = "__Host-aipool"

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS

#: After so long without a request (security S-06).
IDLE_MS = 12 * _HOUR_MS
OPERATOR_IDLE_MS = 30 * _MINUTE_MS
#: After so long whatever happens.
LIFE_MS = 7 * _DAY_MS
OPERATOR_LIFE_MS = 12 * _HOUR_MS
#: For so long after a password or a code sensitive things may be done.
STEP_UP_MS = 15 * _MINUTE_MS
#: A session's last use is noted at most so often.
SEEN_EVERY_MS = _MINUTE_MS

#: A person has at most so many at a time; a login ends the one that was idle longest.
SESSIONS_MAX = 50
ACCESS_TOKENS_MAX = 50

_SWEPT_MAX = 100

#: Told of sessions that end, in the transaction in which they do and before they are gone.
SessionsEnd = Callable[[Transaction, Sequence[SessionId]], None]


def untold(_tx: Transaction, _ended: Sequence[SessionId]) -> None:
    """Nobody needs to know that sessions ended."""


def cookie_name(*, secure: bool) -> str:
    """What the session's cookie is called. secure: the browser speaks to us over TLS."""
    return SECURE_COOKIE if secure else COOKIE


# --- who asks ---------------------------------------------------------------------------------


def caller_of_cookie(
    connection: Connection, pepper: bytes, cookie: str, now_ms: int, *, totp_required: bool = False
) -> Caller | None:
    """Whose session this cookie opens now; None = nobody's.

    totp_required: operators must have a second factor.
    """
    if len(cookie) != digests.RANDOM_CHARACTERS or not cookie.isascii():
        return None
    digest = digests.digest(pepper, cookie.encode())
    found = store.session_by_digest(connection, digest)
    if found is None:
        return None
    session, user = found
    if user.status is not Status.ACTIVE or not is_live(session, now_ms):
        return None
    return Caller(
        user,
        session.id,
        stepped_up=session.stepped_up_until_ms > now_ms,
        must=must_of(
            user, totp_required=totp_required, password_is_short=session.password_is_short
        ),
        seen_at_ms=session.seen_at_ms,
        digest=digest,
    )


def caller_of_access_token(
    connection: Connection, pepper: bytes, secret: str, now_ms: int, *, totp_required: bool = False
) -> Caller | None:
    """Whose access token this is; None = nobody's, or its time is up. What its owner must do first
    comes first for it too, or it would be the way around.

    totp_required: operators must have a second factor.
    """
    if not (
        secret.startswith(digests.ACCESS_PREFIX)
        and len(secret) <= digests.TOKEN_CHARACTERS_MAX
        and secret.isascii()
    ):
        return None
    digest = digests.digest(pepper, secret.encode())
    found = store.access_token_by_digest(connection, digest)
    if found is None:
        return None
    token, user = found
    if user.status is not Status.ACTIVE or _is_over(token, now_ms):
        return None
    return Caller(
        user,
        may_write=not token.read_only,
        stepped_up=token.is_sensitive,
        must=must_of(user, totp_required=totp_required),
        access_token_id=token.id,
        seen_at_ms=token.last_used_at_ms or 0,
        digest=digest,
    )


def stands(connection: Connection, caller: Caller, now_ms: int) -> bool:
    """Could whoever was let in come in again by the same secret, and as the same?"""
    user = None
    if caller.session_id:
        session = store.session_by_digest(connection, caller.digest)
        if session is not None and is_live(session[0], now_ms):
            user = session[1]
    else:
        token = store.access_token_by_digest(connection, caller.digest)
        if token is not None and not _is_over(token[0], now_ms):
            user = token[1]
    return user is not None and user.status is Status.ACTIVE and user.role is caller.user.role


def is_due(caller: Caller, now_ms: int) -> bool:
    """Is it time to note that the caller's session or access token is in use?"""
    return not caller.seen_at_ms <= now_ms < caller.seen_at_ms + SEEN_EVERY_MS


def note_seen(tx: Transaction, caller: Caller, now_ms: int) -> None:
    """The caller's session or access token is in use. No change of data, so not in the trail."""
    if caller.session_id:
        store.update_session(tx.connection, caller.session_id, seen_at_ms=now_ms)
    else:
        store.note_use(tx.connection, caller.access_token_id, now_ms)


def is_live(session: Session, now_ms: int) -> bool:
    """Has the session not ended by itself?"""
    return now_ms < session.expires_at_ms and now_ms < session.seen_at_ms + session.idle_ms


def _is_over(token: AccessToken, now_ms: int) -> bool:
    return token.expires_at_ms is not None and token.expires_at_ms <= now_ms


def must_of(user: User, *, totp_required: bool, password_is_short: bool = False) -> str:
    """What the person must do before anything else, see Caller. password_is_short: of the session
    that asks."""
    if password_is_short:
        return "password_needed"
    if totp_required and user.role is not Role.USER and not user.has_totp:
        return "totp_set_up_needed"
    return "" if user.phone else "phone_needed"


# --- sessions ---------------------------------------------------------------------------------


def open_session(
    tx: Transaction,
    act: Act,
    pepper: bytes,
    user: User,
    ended: SessionsEnd = untold,
    *,
    password_is_short: bool = False,
) -> tuple[Session, str]:
    """A session of somebody who has just shown that it is them, and the secret of its cookie.
    password_is_short: for what they may do; another one is asked for before anything else."""
    _sweep(tx, act.at_ms, ended)
    mine = sorted(store.sessions_of(tx.connection, user.id), key=lambda each: each.seen_at_ms)
    _end(tx, [each.id for each in mine[: max(0, len(mine) + 1 - SESSIONS_MAX)]], ended)
    secret = digests.generate("")
    is_operator = user.role is not Role.USER
    session = store.insert_session(
        tx.connection,
        digest=digests.digest(pepper, secret.encode()),
        user_id=user.id,
        created_at_ms=act.at_ms,
        seen_at_ms=act.at_ms,
        expires_at_ms=act.at_ms + (OPERATOR_LIFE_MS if is_operator else LIFE_MS),
        idle_ms=OPERATOR_IDLE_MS if is_operator else IDLE_MS,
        stepped_up_until_ms=act.at_ms + STEP_UP_MS,
        ip=act.ip,
        user_agent=act.user_agent,
        password_is_short=password_is_short,
    )
    record(tx, act, "session.create", _target(user.id), after={"session": session.id})
    return session, secret


def step_up(tx: Transaction, act: Act, pepper: bytes, caller: Caller) -> tuple[int, str]:
    """Until when sensitive things may be done, in unix milliseconds, and the new secret of the
    session's cookie. The caller has just shown again that it is them."""
    secret = renew_secret(tx, pepper, caller)
    until_ms = act.at_ms + STEP_UP_MS
    store.update_session(tx.connection, caller.session_id, stepped_up_until_ms=until_ms)
    record(
        tx, act, "session.step_up", _target(caller.user.id), after={"session": caller.session_id}
    )
    return until_ms, secret


def renew_secret(tx: Transaction, pepper: bytes, caller: Caller) -> str:
    """The new secret of the session's cookie; what may be done in it stays. Part of another
    change, in whose row of the trail it is understood."""
    secret = digests.generate("")
    digest = digests.digest(pepper, secret.encode())
    store.update_session(tx.connection, caller.session_id, digest=digest)
    return secret


def session_of(connection: Connection, caller: Caller) -> Session | None:
    """The caller's session; None = it is a program, or the session has just ended."""
    found = store.sessions_of(connection, caller.user.id) if caller.session_id else []
    return next((session for session in found if session.id == caller.session_id), None)


def live_sessions(connection: Connection, user: User, now_ms: int) -> list[Session]:
    """A person's sessions that have not ended, the newest first."""
    found = store.sessions_of(connection, user.id)
    return [session for session in found if is_live(session, now_ms)]


def end_session(
    tx: Transaction, act: Act, user: User, session_id: int, ended: SessionsEnd = untold
) -> None:
    """Ends one of the person's own. Raises NotFound for any other."""
    if session_id not in {session.id for session in store.sessions_of(tx.connection, user.id)}:
        raise NotFound(
            "session_unknown", f"you have no session {session_id}", params={"id": session_id}
        )
    _end(tx, [SessionId(session_id)], ended)
    record(tx, act, "session.end", _target(user.id), before={"session": session_id})


def end_others(tx: Transaction, act: Act, caller: Caller, ended: SessionsEnd = untold) -> int:
    """Ends every session of the caller but the one that asks, and every access token; how many
    sessions."""
    count = end_sessions(tx, caller.user.id, but=caller.session_id, ended=ended)
    tokens = end_access_tokens(tx, caller.user.id)
    if count or tokens:
        gone = {"sessions": count, "access_tokens": tokens}
        record(tx, act, "session.end_others", _target(caller.user.id), before=gone)
    return count


def end_all(tx: Transaction, act: Act, user: User, ended: SessionsEnd = untold) -> tuple[int, int]:
    """Ends every session of the person and every access token; how many of each."""
    gone = end_sessions(tx, user.id, ended=ended), end_access_tokens(tx, user.id)
    before = {"sessions": gone[0], "access_tokens": gone[1]}
    record(tx, act, "session.end_all", _target(user.id), before=before)
    return gone


def forget(tx: Transaction, session_id: int, ended: SessionsEnd = untold) -> None:
    """Ends a session whose place another takes."""
    _end(tx, [SessionId(session_id)], ended)


def end_sessions(
    tx: Transaction, user_id: int, *, but: int = 0, ended: SessionsEnd = untold
) -> int:
    """Ends every session of the person, but this one; how many. Part of another change, in whose
    row of the trail it is understood."""
    found = store.sessions_of(tx.connection, user_id)
    gone = [session.id for session in found if session.id != but]
    _end(tx, gone, ended)
    return len(gone)


def _sweep(tx: Transaction, now_ms: int, ended: SessionsEnd) -> None:
    """What is over and nobody asked for again goes when somebody comes."""
    _end(tx, store.expired_sessions(tx.connection, now_ms, _SWEPT_MAX), ended)


def _end(tx: Transaction, session_ids: list[SessionId], ended: SessionsEnd) -> None:
    if session_ids:
        ended(tx, session_ids)
        store.delete_sessions(tx.connection, session_ids)


# --- access tokens ----------------------------------------------------------------------------


def create_access_token(
    tx: Transaction,
    act: Act,
    pepper: bytes,
    user: User,
    *,
    name: str,
    read_only: bool = False,
    is_sensitive: bool = False,
    expires_at_ms: int | None = None,
    prefix: str = digests.ACCESS_PREFIX,
) -> tuple[AccessToken, str]:
    """An access token and its secret, which is shown this once."""
    checked_name(name)
    if expires_at_ms is not None and expires_at_ms <= act.at_ms:
        raise Invalid("expiry_in_the_past", "it would be over already", field="expires_at")
    mine = store.access_tokens_of(tx.connection, user.id)
    if len(mine) >= ACCESS_TOKENS_MAX:
        raise Conflict(
            "too_many_access_tokens",
            f"you have {ACCESS_TOKENS_MAX}: delete one of them first",
            params={"most": ACCESS_TOKENS_MAX},
        )
    if name in {token.name for token in mine}:
        raise Conflict(
            "access_token_exists",
            f"you have an access token {name!r} already",
            field="name",
            params={"name": name},
        )
    secret = digests.generate(prefix)
    token = store.insert_access_token(
        tx.connection,
        digest=digests.digest(pepper, secret.encode()),
        user_id=user.id,
        name=name,
        last4=secret[-4:],
        read_only=read_only,
        is_sensitive=is_sensitive,
        created_at_ms=act.at_ms,
        expires_at_ms=expires_at_ms,
    )
    record(tx, act, "access_token.create", _target(user.id), after=_told(token))
    return token, secret


def access_tokens(connection: Connection, user: User) -> list[AccessToken]:
    """A person's access tokens, in the order they were made."""
    return store.access_tokens_of(connection, user.id)


def delete_access_token(tx: Transaction, act: Act, user: User, access_token_id: int) -> None:
    """Ends one of the person's own. Raises NotFound for any other."""
    for token in store.access_tokens_of(tx.connection, user.id):
        if token.id == access_token_id:
            store.delete_access_token(tx.connection, token.id)
            record(tx, act, "access_token.delete", _target(user.id), before=_told(token))
            return
    raise NotFound(
        "access_token_unknown",
        f"you have no access token {access_token_id}",
        params={"id": access_token_id},
    )


def end_access_tokens(tx: Transaction, user_id: int, *, only_sensitive: bool = False) -> int:
    """Ends every access token of the person, or the sensitive ones; how many. Part of another
    change, whose row of the trail says so."""
    return store.delete_access_tokens_of(tx.connection, user_id, only_sensitive=only_sensitive)


def ended_tokens(count: int) -> dict[str, object] | None:
    """How a row of the trail says that access tokens ended."""
    return {"access_tokens": count} if count else None


def _told(token: AccessToken) -> dict[str, object]:
    return {
        "access_token": token.id,
        "name": token.name,
        "read_only": token.read_only,
        "sensitive": token.is_sensitive,
        "expires_at_ms": token.expires_at_ms,
    }


def _target(user_id: int) -> str:
    return f"user:{user_id}"
