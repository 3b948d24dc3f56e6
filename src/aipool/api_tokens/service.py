"""Use cases of API tokens.

Refusals (kit.errors):
    malformed_secret, invalid_ip, too_many_ips, invalid_expiry    422
    token_unknown                                                 404
    token_exists, secret_taken                                    409
"""

from __future__ import annotations

from dataclasses import asdict, replace

from sqlalchemy.engine import Connection

from aipool.accounts.types import User
from aipool.api_tokens import rules, store
from aipool.api_tokens.types import ApiToken, Reset, Standing, TokenTerms, TokenWithOwner
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.groups.service import limit_differences
from aipool.kit import digests
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, NotFound
from aipool.kit.money import format_cny
from aipool.ledger.rules import (
    DAY_SECONDS,
    day_of,
    next_window_day,
    period_of,
    window_of,
)
from aipool.ledger.service import budget_state, set_budget_cap, set_window_limit, today
from aipool.ledger.types import token_budget

_LAST_CHARACTERS = 4


def create_token(
    tx: Transaction,
    act: Act,
    pepper: bytes,
    user: User,
    terms: TokenTerms,
    *,
    secret: str | None = None,
) -> tuple[ApiToken, str]:
    """A new token of the user and its secret, which nobody can read again.

    secret: one to keep from elsewhere; None = a new one.
    """
    if store.token_by_name(tx.connection, user.id, terms.name) is not None:
        raise Conflict(
            "token_exists", f"{user.phone} has a token {terms.name!r} already", field="name"
        )
    shown = secret or digests.generate()
    digest = _new_digest(tx, pepper, shown)
    token = store.insert_token(
        tx.connection,
        user_id=user.id,
        terms=terms,
        digest=digest,
        last4=shown[-_LAST_CHARACTERS:],
        at_ms=act.at_ms,
    )
    _set_limits(tx, token)
    # A worker may remember that nobody has this digest.
    tx.changes.note_tokens([digest])
    record(tx, act, "token.create", _target(token), after=_fields(token))
    return token, shown


def change_token(
    tx: Transaction,
    act: Act,
    pepper: bytes,
    token: ApiToken,
    terms: TokenTerms,
    *,
    secret: str | None = None,
) -> tuple[str, ...]:
    """Other terms, and another secret if one is given; what changed, in words."""
    changed = list(_differences(token, terms))
    old_digest = store.digest_of(tx.connection, token.id)
    if changed:
        store.update_terms(tx.connection, token.id, terms)
    if token.reset != terms.reset:
        store.begin_limit_anew(tx.connection, token.id)
    if _spending(token) != _spending(terms):
        _set_limits(tx, get_token(tx.connection, token.id))
    if secret is not None and digests.digest(pepper, secret.encode()) != old_digest:
        new_digest = _new_digest(tx, pepper, secret)
        last4 = secret[-_LAST_CHARACTERS:]
        store.update_secret(tx.connection, token.id, digest=new_digest, last4=last4)
        tx.changes.note_tokens([new_digest])
        changed.append("secret")
    if changed:
        tx.changes.note_tokens([old_digest])
        fields = {"before": _fields(token), "after": _fields(_under(token, terms))}
        record(tx, act, "token.change", _target(token), **fields)
    return tuple(changed)


def set_enabled(tx: Transaction, act: Act, token: ApiToken, *, enabled: bool) -> bool:
    """Accepts a token or not, from now on. True = changed."""
    if token.enabled == enabled:
        return False
    store.update_enabled(tx.connection, token.id, enabled=enabled)
    tx.changes.note_tokens([store.digest_of(tx.connection, token.id)])
    action = f"token.{'enable' if enabled else 'disable'}"
    change = {"before": {"enabled": token.enabled}, "after": {"enabled": enabled}}
    record(tx, act, action, _target(token), **change)
    return True


def delete_token(tx: Transaction, act: Act, token: ApiToken) -> None:
    """The token is gone for good; the records of its calls stay."""
    tx.changes.note_tokens([store.digest_of(tx.connection, token.id)])
    store.mark_deleted(tx.connection, token.id, at_ms=act.at_ms)
    record(tx, act, "token.delete", _target(token), before=_fields(token))


def find_token(connection: Connection, user: User, name: str) -> ApiToken | None:
    """The user's token of this name."""
    return store.token_by_name(connection, user.id, name)


def get_token(connection: Connection, token_id: int) -> ApiToken:
    """The token with this id; raises NotFound when there is none."""
    token = store.token_by_id(connection, token_id)
    if token is None:
        raise NotFound("token_unknown", f"there is no token {token_id}", field="token")
    return token


def list_tokens(
    connection: Connection, *, user: User | None = None, after_id: int = 0, limit: int = 1000
) -> list[ApiToken]:
    """Tokens in the order they were made."""
    user_id = user.id if user else None
    return store.list_tokens(connection, user_id=user_id, after_id=after_id, limit=limit)


def look_up(connection: Connection, digest: bytes) -> TokenWithOwner | None:
    """Who has this digest; None when nobody has."""
    return store.token_by_digest(connection, digest)


def is_secret_of(connection: Connection, pepper: bytes, token: ApiToken, secret: str) -> bool:
    """Is this the token's secret?"""
    return store.digest_of(connection, token.id) == digests.digest(pepper, secret.encode())


def current_day(connection: Connection, now_ms: int) -> int:
    """The UTC day for the windows of limits, in days since 1970-01-01: the clock's, unless
    the ledger process keeps another one (books.calendar)."""
    kept, clock = today(connection), day_of(now_ms)
    if kept is None:
        return clock
    day, frozen = kept
    return day if frozen else max(day, clock)


def standing(connection: Connection, token: ApiToken, day: int) -> Standing:
    """How far the token's limits are used.

    day: the UTC day for the windows, in days since 1970-01-01.
    """
    own, period = token_budget(token.id), token.reset.period
    used_total = _used(connection, own, day)
    used, rooms = None, []
    if token.limit_nano is not None:
        used = _used(connection, token.limit_budget, day)
        rooms.append(token.limit_nano - used)
    if token.total_nano is not None:
        rooms.append(token.total_nano - used_total)
    return Standing(
        used_nano=used,
        remaining_nano=max(0, min(rooms)) if rooms else None,
        resets_at=None if period is None else next_window_day(period, day) * DAY_SECONDS,
        used_total_nano=used_total,
    )


def lowered_budgets(token: ApiToken, terms: TokenTerms, day: int) -> list[tuple[str, int]]:
    """The budgets that these terms would lower, as (budget, window): what workers hold of
    them unused should come back, or it may still be used above the new limit."""
    after = _caps(_under(token, terms))
    return [
        (budget, window_of(period_of(budget), day))
        for budget, cap in _caps(token).items()
        if budget in after and after[budget] < cap
    ]


def _used(connection: Connection, budget: str, day: int) -> int:
    state = budget_state(connection, budget, window=window_of(period_of(budget), day))
    return state.used if state else 0


def _under(token: ApiToken, terms: TokenTerms) -> ApiToken:
    """The token as it is under other terms."""
    return replace(
        token,
        name=terms.name,
        group_id=terms.group_id,
        models=terms.models,
        ips=terms.ips,
        expires_at=terms.expires_at,
        limit_nano=terms.limit_nano,
        reset=terms.reset,
        total_nano=terms.total_nano,
        limits=terms.limits,
        limit_no=token.limit_no + (token.reset != terms.reset),
    )


def _caps(token: ApiToken) -> dict[str, int]:
    """The most that may be used of each of its budgets that limits."""
    own, limit = token_budget(token.id), token.limit_budget
    caps = {} if token.total_nano is None else {own: token.total_nano}
    if token.limit_nano is not None:
        caps[limit] = min(token.limit_nano, caps.get(limit, token.limit_nano))
    return caps


def _set_limits(tx: Transaction, token: ApiToken) -> None:
    """The budgets of its money as the token says. One that counts but does not limit stays,
    without a cap; a window keeps what it has used when only the amount changes."""
    caps = _caps(token)
    own, limit = token_budget(token.id), token.limit_budget
    if own in caps or budget_state(tx.connection, own) is not None:
        set_budget_cap(tx, own, caps.get(own))
    if limit == own or limit not in caps:
        return
    if token.reset.period is None:
        set_budget_cap(tx, limit, caps[limit])
    else:
        set_window_limit(tx, limit, caps[limit])


def _spending(terms: ApiToken | TokenTerms) -> tuple[int | None, Reset, int | None]:
    return terms.limit_nano, terms.reset, terms.total_nano


def _new_digest(tx: Transaction, pepper: bytes, secret: str) -> bytes:
    rules.check_secret(secret)
    digest = digests.digest(pepper, secret.encode())
    if store.digest_is_taken(tx.connection, digest):
        raise Conflict("secret_taken", "another token has this secret already", field="secret")
    return digest


def _differences(token: ApiToken, terms: TokenTerms) -> tuple[str, ...]:
    pairs = (
        ("group", token.group_id, terms.group_id),
        ("models", _listed(token.models), _listed(terms.models)),
        ("ips", _listed(token.ips or None), _listed(terms.ips or None)),
        ("expires", token.expires_at, terms.expires_at),
        ("limit", _limit(token.limit_nano), _limit(terms.limit_nano)),
        ("reset", token.reset.value, terms.reset.value),
        ("total", _limit(token.total_nano), _limit(terms.total_nano)),
    )
    changed = [f"{name} {old} -> {new}" for name, old, new in pairs if old != new]
    if token.reset != terms.reset and terms.limit_nano is not None:
        changed.append("a new window begins: nothing of it is used")
    return (*changed, *limit_differences(token.limits, terms.limits))


def _listed(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else ",".join(names)


def _limit(limit_nano: int | None) -> str:
    return "none" if limit_nano is None else format_cny(limit_nano)


def _target(token: ApiToken) -> str:
    return f"token:{token.id}"


def _fields(token: ApiToken) -> dict[str, object]:
    return {
        "user_id": token.user_id,
        "group_id": token.group_id,
        "name": token.name,
        "models": None if token.models is None else list(token.models),
        "ips": list(token.ips),
        "expires_at": token.expires_at,
        "limit": _limit(token.limit_nano),
        "reset": token.reset.value,
        "total": _limit(token.total_nano),
        "limits": asdict(token.limits),
        "enabled": token.enabled,
    }
