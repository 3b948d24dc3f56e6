"""Use cases of API tokens: made, changed, rotated, stood in for, ended.

A token is known by the digest of its secret. Beside it, for a while, may be known

    the secret before the last rotation     in the grace that its owner gave it
    playground keys                         15 minutes each, of one session of the owner's

Both are the token itself to everybody who counts: the same limits, group, models and log. Every
change of a token is told to the workers by all digests that it is known by.

Refusals (kit.errors):
    malformed_secret, invalid_ip, too_many_ips, invalid_expiry, expiry_in_the_past,
    invalid_amount, limit_out_of_range, invalid_reset, invalid_description, models_unknown,
    too_many_models, grace_out_of_range, group_unknown             422
    playground_forbidden, session_needed                           403
    token_unknown                                                  404
    token_exists, secret_taken, secret_ended, too_many_tokens      409
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace

from sqlalchemy.engine import Connection

from aipool.accounts.types import User
from aipool.api_tokens import listing, rules, store
from aipool.api_tokens.types import (
    ApiToken,
    Asked,
    Place,
    Reset,
    StandIn,
    Standing,
    Status,
    TokenId,
    TokenListed,
    TokenTerms,
    TokenWithOwner,
)
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.groups import service as groups
from aipool.groups.service import limit_differences
from aipool.groups.types import Group
from aipool.kit import digests
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Forbidden, Invalid, NotFound
from aipool.kit.expiry import NEVER
from aipool.kit.money import format_cny
from aipool.ledger.rules import DAY_SECONDS, day_of, period_of, window_of
from aipool.ledger.service import budget_state, set_budget_cap, set_window_limit, today
from aipool.ledger.types import token_budget

_LAST_CHARACTERS = 4

#: How long a playground key is good; product.md says so.
PLAYGROUND_SECONDS = 15 * 60
#: A page asks for a new key before the last one ends; what it asks for beyond that ends the oldest.
PLAYGROUND_KEYS_MAX = 10
#: Stands for a token that is only thought of.
_UNMADE = ApiToken(TokenId(0), 0, 0, "", None, (), NEVER, None, True, "", 0)
#: What has ended is told apart from what never was for so long.
_REMEMBERED_SECONDS = DAY_SECONDS


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
    _refuse_taken_name(tx.connection, user.id, terms.name)
    if store.live_count(tx.connection, user.id) >= rules.TOKENS_MAX:
        raise Conflict(
            "too_many_tokens",
            f"a user has at most {rules.TOKENS_MAX} tokens",
            params={"most": rules.TOKENS_MAX},
        )
    shown = secret or digests.generate()
    digest = _new_digest(tx, act, pepper, shown)
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
    known_by = store.digests_of(tx.connection, token.id)
    if token.name != terms.name:
        _refuse_taken_name(tx.connection, token.user_id, terms.name)
    if changed:
        store.update_terms(tx.connection, token.id, terms)
    if token.reset != terms.reset:
        store.begin_limit_anew(tx.connection, token.id)
    if _spending(token) != _spending(terms):
        _set_limits(tx, get_token(tx.connection, token.id))
    if token.playground_allowed and not terms.playground_allowed:
        store.drop_playground_keys(tx.connection, token.id)
    if secret is not None and not is_secret_of(tx.connection, pepper, token, secret):
        _replace_secret(tx, act, pepper, token, secret, grace_seconds=0)
        changed.append("secret")
    if changed:
        tx.changes.note_tokens(known_by)
        fields = {"before": _fields(token), "after": _fields(_under(token, terms))}
        record(tx, act, "token.change", _target(token), **fields)
    return tuple(changed)


def rotate_token(
    tx: Transaction, act: Act, pepper: bytes, token: ApiToken, *, grace_seconds: int = 0
) -> tuple[ApiToken, str]:
    """A new secret, which nobody can read again; everything else of the token stays.

    grace_seconds: how long the secret before is good beside it, 0 = it ends at once. One that
    was in its grace already ends now: whoever rotates twice has a reason to.
    """
    rules.check_grace(grace_seconds)
    tx.changes.note_tokens(store.digests_of(tx.connection, token.id))
    _end_secrets(tx, act, token, grace_seconds=grace_seconds)
    secret = digests.generate()
    _replace_secret(tx, act, pepper, token, secret, grace_seconds=grace_seconds)
    record(tx, act, "token.rotate", _target(token), after={"grace_seconds": grace_seconds})
    return get_token(tx.connection, token.id), secret


def make_playground_key(
    tx: Transaction, act: Act, pepper: bytes, token: ApiToken, session_id: int
) -> tuple[str, int]:
    """A secret that stands in for the token in a session's playground, and when it ends, in
    unix seconds. Raises Forbidden when the owner does not want that, or there is no session."""
    if not session_id:
        raise Forbidden("session_needed", "a playground key is made in a browser's session")
    if not token.playground_allowed:
        raise Forbidden("playground_forbidden", "this token is not for the playground")
    now_seconds = act.at_ms // 1000
    store.drop_ended(tx.connection, now_seconds - _REMEMBERED_SECONDS)
    tx.changes.note_tokens(
        store.drop_oldest_playground_keys(
            tx.connection, token.id, session_id, keep=PLAYGROUND_KEYS_MAX - 1
        )
    )
    secret = digests.generate()
    digest = _new_digest(tx, act, pepper, secret)
    until = now_seconds + PLAYGROUND_SECONDS
    if token.expires_at:
        until = min(until, token.expires_at)
    stand_in = StandIn(digest, token.id, session_id, until)
    store.insert_stand_in(tx.connection, stand_in, at_ms=act.at_ms)
    tx.changes.note_tokens([digest])
    record(tx, act, "token.make_playground_key", _target(token), after={"until": until})
    return secret, until


def drop_playground_keys(tx: Transaction, session_id: int) -> None:
    """The session is over, and so are its playground keys."""
    tx.changes.note_tokens(store.drop_playground_keys_of_session(tx.connection, session_id))


def set_enabled(tx: Transaction, act: Act, token: ApiToken, *, enabled: bool) -> bool:
    """Accepts a token or not, from now on. True = changed."""
    if token.enabled == enabled:
        return False
    store.update_enabled(tx.connection, token.id, enabled=enabled)
    tx.changes.note_tokens(store.digests_of(tx.connection, token.id))
    action = f"token.{'enable' if enabled else 'disable'}"
    change = {"before": {"enabled": token.enabled}, "after": {"enabled": enabled}}
    record(tx, act, action, _target(token), **change)
    return True


def delete_token(tx: Transaction, act: Act, token: ApiToken) -> None:
    """The token is gone for good; the records of its calls stay."""
    tx.changes.note_tokens(store.digests_of(tx.connection, token.id))
    _end_secrets(tx, act, token, grace_seconds=0)
    store.drop_old_secrets(tx.connection, token.id)
    store.drop_playground_keys(tx.connection, token.id)
    store.mark_deleted(tx.connection, token.id, at_ms=act.at_ms)
    record(tx, act, "token.delete", _target(token), before=_fields(token))


def move_group(tx: Transaction, act: Act, group: Group, heir: Group) -> int:
    """Every token of a group is one of another, which a person chose in its place, but for those
    whose owners the group was taken from: these are refused, and must not work again at another
    price. How many were moved; nothing else moves a token to another price.

    To be called while the group is there and granted; whoever has it has the other one next
    (groups.service.delete_group).
    """
    moved = store.move_group(tx.connection, group.id, heir.id)
    if moved:
        tx.changes.note_everything()
        after = {"heir": heir.name, "tokens": moved}
        record(tx, act, "group.move_tokens", groups.target(group), after=after)
    return moved


def counts_by_group(connection: Connection) -> dict[int, int]:
    """How many tokens there are in each group that has any."""
    return store.counts_by_group(connection)


def find_token(connection: Connection, user: User, name: str) -> ApiToken | None:
    """The user's token of this name."""
    return store.token_by_name(connection, user.id, name)


def get_token(connection: Connection, token_id: int) -> ApiToken:
    """The token with this id; raises NotFound when there is none."""
    token = store.token_by_id(connection, token_id)
    if token is None:
        raise NotFound(
            "token_unknown", f"there is no token {token_id}", field="token", params={"id": token_id}
        )
    return token


def own_token(connection: Connection, user_id: int, token_id: int) -> ApiToken:
    """The user's token with this id; raises NotFound for a missing one and for another's."""
    token = store.token_by_id(connection, token_id)
    if token is None or token.user_id != user_id:
        raise NotFound(
            "token_unknown", f"there is no token {token_id}", field="token", params={"id": token_id}
        )
    return token


def own_tokens(
    connection: Connection,
    user_id: int,
    asked: Asked,
    *,
    now_ms: int,
    after: Place | None = None,
    limit: int = 50,
) -> tuple[list[TokenListed], Place | None]:
    """A page of a user's tokens, and where it ends when others follow."""
    return listing.page(
        connection,
        user_id,
        asked,
        day=current_day(connection, now_ms),
        now_seconds=now_ms // 1000,
        after=after,
        limit=limit,
    )


def count_own(connection: Connection, user_id: int, asked: Asked, *, now_ms: int) -> int:
    """How many of a user's tokens are asked for."""
    day = current_day(connection, now_ms)
    return listing.count(connection, user_id, asked, day=day, now_seconds=now_ms // 1000)


def own_by_ids(
    connection: Connection, user_id: int, token_ids: Collection[int], *, now_ms: int
) -> dict[int, TokenListed]:
    """Those of these tokens that are the user's, with how far their limits are used."""
    return listing.by_ids(connection, user_id, token_ids, day=current_day(connection, now_ms))


def names_on_sale(connection: Connection) -> frozenset[str]:
    """The names of the models that are on sale, to whomever."""
    return store.names_on_sale(connection)


def find_group(connection: Connection, user_id: int, group_id: int | None) -> Group | None:
    """The group that a user names for a token, or, named None, the default one if there is one.

    Raises Invalid for one that is not granted, which is answered for like one that is not there.
    """
    if group_id is None:
        return next((one for one in groups.list_groups(connection) if one.is_default), None)
    if groups.is_granted(connection, user_id, group_id):
        return groups.group_by_id(connection, group_id)
    raise Invalid(
        "group_unknown",
        f"you have no group {group_id}",
        field="group_id",
        params={"group": group_id},
    )


def chosen_group(tx: Transaction, act: Act, user_id: int, group_id: int | None) -> Group:
    """Like find_group; a default group that is missing is made."""
    return find_group(tx.connection, user_id, group_id) or groups.default_group(tx, act)


def rechosen_group(
    tx: Transaction, act: Act, token: ApiToken, group_id: int | None
) -> Group | None:
    """Like chosen_group, for a token that there is. The one that it is in may stay, though it was
    taken from the owner since; None = and deleted."""
    if group_id != token.group_id:
        return chosen_group(tx, act, token.user_id, group_id)
    return next((one for one in groups.list_groups(tx.connection) if one.id == group_id), None)


def check_models(
    connection: Connection, terms: TokenTerms, group: Group | None, before: ApiToken | None = None
) -> None:
    """Raises Invalid when a user chooses models that the group does not have. A choice that was
    made before stays, whatever became of the group. group: None = it was deleted."""
    if before is not None and (before.models, before.group_id) == (terms.models, terms.group_id):
        return
    if group is None:
        raise Invalid(
            "group_unknown",
            "the token's group was deleted: choose another",
            field="group_id",
            params={"group": terms.group_id},
        )
    kept = () if before is None else before.models or ()
    rules.check_models(terms.models, group, store.names_on_sale(connection), kept)


def list_tokens(
    connection: Connection, *, user: User | None = None, after_id: int = 0, limit: int = 1000
) -> list[ApiToken]:
    """Tokens in the order they were made."""
    user_id = user.id if user else None
    return store.list_tokens(connection, user_id=user_id, after_id=after_id, limit=limit)


def owners(connection: Connection, token_ids: Collection[int]) -> dict[int, int]:
    """Whose tokens these are, also of deleted ones."""
    return store.owners(connection, token_ids) if token_ids else {}


def keeping_content(connection: Connection, token_ids: Collection[int]) -> set[int]:
    """Those of the tokens whose owners want what their calls say to be kept."""
    return store.keeping_content(connection, token_ids)


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
    used = None if token.limit_nano is None else _used(connection, token.limit_budget, day)
    used_total = _used(connection, token_budget(token.id), day)
    return rules.standing(token, used=used, used_total=used_total, day=day)


def standing_of_new(
    connection: Connection, terms: TokenTerms, *, now_ms: int
) -> tuple[Standing, Status]:
    """How a token of these terms would stand when it is made."""
    made = _under(_UNMADE, terms)
    day = current_day(connection, now_ms)
    used = None if terms.limit_nano is None else 0
    stands = rules.standing(made, used=used, used_total=0, day=day)
    return stands, rules.status(made, stands, group_granted=True, now_seconds=now_ms // 1000)


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
        description=terms.description,
        playground_allowed=terms.playground_allowed,
        content_days=terms.content_days,
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


def _replace_secret(
    tx: Transaction, act: Act, pepper: bytes, token: ApiToken, secret: str, *, grace_seconds: int
) -> None:
    """Another secret from now on, and the one before for its grace beside it."""
    now_seconds = act.at_ms // 1000
    old_digest = store.digest_of(tx.connection, token.id)
    store.drop_ended(tx.connection, now_seconds - _REMEMBERED_SECONDS)
    # Before the new one is looked for: it may be the one before the last rotation.
    store.drop_old_secrets(tx.connection, token.id)
    new_digest = _new_digest(tx, act, pepper, secret)
    last4 = secret[-_LAST_CHARACTERS:]
    store.update_secret(tx.connection, token.id, digest=new_digest, last4=last4)
    if grace_seconds:
        stand_in = StandIn(old_digest, token.id, 0, now_seconds + grace_seconds)
        store.insert_stand_in(tx.connection, stand_in, at_ms=act.at_ms)
    # A worker may remember that nobody has this digest.
    tx.changes.note_tokens([new_digest])


def _end_secrets(tx: Transaction, act: Act, token: ApiToken, *, grace_seconds: int) -> None:
    """What the token is known by does not come back, by a file from which tokens are made say; its
    own secret not after its grace."""
    own = store.digest_of(tx.connection, token.id)
    for digest in store.secrets_of(tx.connection, token.id):
        grace_ms = grace_seconds * 1000 if digest == own else 0
        store.end_secret(tx.connection, digest, at_ms=act.at_ms + grace_ms)


def _refuse_taken_name(connection: Connection, user_id: int, name: str) -> None:
    if store.token_by_name(connection, user_id, name) is not None:
        raise Conflict(
            "token_exists",
            f"there is a token {name!r} already",
            field="name",
            params={"name": name},
        )


def _new_digest(tx: Transaction, act: Act, pepper: bytes, secret: str) -> bytes:
    rules.check_secret(secret)
    digest = digests.digest(pepper, secret.encode())
    if store.digest_is_taken(tx.connection, digest):
        raise Conflict("secret_taken", "another token has this secret already", field="secret")
    if store.is_ended(tx.connection, digest, at_ms=act.at_ms):
        raise Conflict(
            "secret_ended",
            "the owner of this secret deleted or rotated its token: it never works again",
            field="secret",
        )
    return digest


def _differences(token: ApiToken, terms: TokenTerms) -> tuple[str, ...]:
    pairs = (
        ("name", token.name, terms.name),
        ("group", token.group_id, terms.group_id),
        ("models", _listed(token.models), _listed(terms.models)),
        ("ips", _listed(token.ips or None), _listed(terms.ips or None)),
        ("expires", token.expires_at, terms.expires_at),
        ("limit", _limit(token.limit_nano), _limit(terms.limit_nano)),
        ("reset", token.reset.value, terms.reset.value),
        ("total", _limit(token.total_nano), _limit(terms.total_nano)),
    )
    changed = [f"{name} {old} -> {new}" for name, old, new in pairs if old != new]
    if token.description != terms.description:
        changed.append("description")
    if token.content_days != terms.content_days:
        changed.append(f"content is kept {token.content_days} -> {terms.content_days} days")
    if token.playground_allowed != terms.playground_allowed:
        changed.append(f"playground {'allowed' if terms.playground_allowed else 'forbidden'}")
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
        "description": token.description,
        "playground_allowed": token.playground_allowed,
        "content_days": token.content_days,
        "models": None if token.models is None else list(token.models),
        "ips": list(token.ips),
        "expires_at": token.expires_at,
        "limit": _limit(token.limit_nano),
        "reset": token.reset.value,
        "total": _limit(token.total_nano),
        "limits": asdict(token.limits),
        "enabled": token.enabled,
    }
