"""The shapes of API tokens on the wire: what people send, and what is shown.

A secret is answered once, when it is made. Money is decimal text in CNY, moments are ISO 8601.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aipool.api_tokens import rules
from aipool.api_tokens.permission import Permission
from aipool.api_tokens.types import ApiToken, Reset, Status, TokenListed, TokenTerms
from aipool.audit.desk import Sent, SentId
from aipool.groups.rules import CALL_LIMIT_MAX
from aipool.groups.types import CallLimits, Group
from aipool.kit.clock import iso_ms
from aipool.kit.expiry import NEVER
from aipool.kit.money import format_cny, format_multiplier
from aipool.kit.names import NAME_CHARACTERS_MAX, checked_name

#: The tokens of one bulk action: all are changed in one transaction, which others wait for.
BULK_MAX = 100

_AMOUNT_CHARACTERS_MAX = 40
_MOMENT_CHARACTERS_MAX = 60
_MODEL_CHARACTERS_MAX = 300
_IP_CHARACTERS_MAX = 60

_Amount = Annotated[str, Field(max_length=_AMOUNT_CHARACTERS_MAX)] | None
_Count = Annotated[int, Field(ge=1, le=CALL_LIMIT_MAX)] | None
_Model = Annotated[str, Field(min_length=1, max_length=_MODEL_CHARACTERS_MAX)]
_Ip = Annotated[str, Field(min_length=1, max_length=_IP_CHARACTERS_MAX)]


class TermsSent(Sent):
    """What a token may do. What is left out, or null, does not limit."""

    name: str = Field(default="", max_length=NAME_CHARACTERS_MAX)
    description: str = Field(default="", max_length=2 * rules.DESCRIPTION_CHARACTERS_MAX)
    group_id: SentId | None = Field(
        default=None, description="One of GET /api/groups; null = the default group."
    )
    limit: _Amount = Field(default=None, description="What it may spend until reset, in CNY.")
    reset: Literal["none", "daily", "weekly", "monthly"] = Field(
        default="none", description="When the limit begins anew: 00:00 UTC; weeks on Monday."
    )
    total_limit: _Amount = Field(default=None, description="What it may spend in its life, in CNY.")
    expires_at: str | None = Field(
        default=None,
        max_length=_MOMENT_CHARACTERS_MAX,
        description="never, 7d, 30d, a date (its end, UTC) or a moment; null = never.",
    )
    models: list[_Model] | None = Field(
        default=None,
        max_length=rules.MODELS_MAX,
        description="Names of models of the group; null or empty = all of it.",
    )
    ips: list[_Ip] = Field(
        default=[],
        max_length=rules.IPS_MAX,
        description="Addresses and networks, IPv4 or IPv6, it may be used from; empty = any.",
    )
    rpm: _Count = Field(default=None, description="Calls in any 60 seconds.")
    tpm: _Count = Field(default=None, description="Tokens in any 60 seconds.")
    requests_per_day: _Count = Field(default=None, description="Calls in a UTC day.")
    concurrency: _Count = Field(default=None, description="Calls in flight.")
    playground_allowed: bool = Field(
        default=True,
        description="May the playground stand in for it, from wherever its owner is logged in?",
    )
    content_days: int = Field(
        default=0,
        ge=0,
        le=30,
        description="For how many days its owner can read what its calls said; 0 = it is not kept.",
    )


class TokenSent(TermsSent):
    """A new token."""

    name: str = Field(min_length=1, max_length=NAME_CHARACTERS_MAX)


class TokenChange(TermsSent):
    """What becomes other of a token; what is left out stays, and its key always does."""


class RotateSent(Sent):
    """A new key. grace_seconds: how long the old one is good beside it, 0 = it ends at once."""

    grace_seconds: int = Field(default=0, ge=0, le=rules.GRACE_SECONDS_MAX)


class BulkSent(Sent):
    """One action for many tokens."""

    action: Literal["enable", "disable", "delete"]
    ids: list[SentId] = Field(min_length=1, max_length=BULK_MAX)


def terms_with(given: Mapping[str, Any], base: TokenTerms, now_seconds: int) -> TokenTerms:
    """The terms with what was sent of them in place of what was there; the group is the caller's
    business. Raises Invalid, which names the field."""
    changed: dict[str, Any] = {}
    for field, value in given.items():
        if field in _READ:
            name, read = _READ[field]
            changed[name] = read(value)
    if "expires_at" in given:
        changed["expires_at"] = _expiry(given["expires_at"], base.expires_at, now_seconds)
    counts = {name: given[name] for name in CallLimits.__dataclass_fields__ if name in given}
    if counts:
        changed["limits"] = replace(base.limits, **counts)
    return replace(base, **changed)


#: By field: what it is called in TokenTerms, and how it is read.
_READ: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "name": ("name", checked_name),
    "description": ("description", rules.description),
    "limit": ("limit_nano", lambda text: rules.sent_limit_nano(text, "limit")),
    "reset": ("reset", Reset),
    "total_limit": ("total_nano", lambda text: rules.sent_limit_nano(text, "total_limit")),
    "models": ("models", rules.chosen_models),
    "ips": ("ips", rules.canonical_ips),
    "playground_allowed": ("playground_allowed", bool),
    "content_days": ("content_days", int),
}


def _expiry(text: str | None, before: int, now_seconds: int) -> int:
    """A form sends back what it was shown, and the moment of a token may be over."""
    if before != NEVER and text == _moment(before):
        return before
    return rules.expiry(text, now_seconds)


# --- what is shown ---------------------------------------------------------------------------


class Shown(BaseModel):
    """Something that is answered."""

    model_config = ConfigDict(frozen=True)


class GroupOfToken(Shown):
    """The pricing group of a token. multiplier: of the list price, null of one that was deleted.
    granted: may its owner's tokens be in it? If not, its calls are refused.  deleted: there is no
    such group any more, and its owner has to choose another; `name` is what it was called."""

    id: int
    name: str
    multiplier: str | None
    granted: bool
    deleted: bool


class TokenShown(Shown):
    """An API token; of its key only the end.

    status: why it can be called with or not, the first that is true.  limit, used, remaining: in
    CNY, of the window that ends at resets_at; without a limit, used is that of its life.
    remaining: what both the limit and the total leave.  last_used_at: of its newest recorded call.
    models_count: how many models it is for.
    """

    id: int
    name: str
    description: str
    masked: str
    enabled: bool
    status: Status
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    limit: str | None
    reset: Reset
    total_limit: str | None
    used: str
    remaining: str | None
    used_total: str
    resets_at: str | None
    group: GroupOfToken
    models: list[str] | None
    models_count: int
    ips: list[str]
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    requests_per_day: int | None
    playground_allowed: bool
    content_days: int


class TokenMade(TokenShown):
    """A token with its key, which is not shown again."""

    secret: str


class TokensListed(Shown):
    """A page of tokens. next_cursor: for the next one, null = this was the last.  total: of all
    that were asked for."""

    items: list[TokenShown]
    next_cursor: str | None
    total: int


class PlaygroundKey(Shown):
    """Stands in for a token in this session's playground."""

    secret: str
    expires_at: str


class BulkResult(Shown):
    """What became of one token. code, detail: why nothing did."""

    id: int
    ok: bool
    code: str | None = None
    detail: str | None = None


class BulkShown(Shown):
    """A result a token, in the order they were sent."""

    results: list[BulkResult]


class NotInForce(Shown):
    """The change is saved; these do not act on it yet, and will as soon as they answer. What was
    changed stands beside it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    not_in_force_on: list[str]


class ReasonShown(Shown):
    """Why no call is possible now. code: a stable word."""

    code: str
    detail: str


class ModelOfToken(Shown):
    """A model that may be called. kind: what it does."""

    name: str
    kind: str


class ChoiceInVain(Shown):
    """A chosen model that cannot be called. why: not_in_group, off_sale or no_route."""

    name: str
    why: str


class CallLimitsShown(Shown):
    """Limits of calls, null = none. shared_by: whose calls count together: those of this token,
    those of the user's tokens in the group, or those of the whole group."""

    shared_by: Literal["token", "user_in_group", "group"]
    rpm: int | None
    tpm: int | None
    requests_per_day: int | None
    concurrency: int | None


class PermissionShown(Shown):
    """What a token can do now. callable: is there a model it could call this moment?  reasons: why
    not.  balance: of the wallet, in CNY; a call must fit it and what remains of the token."""

    callable: bool
    reasons: list[ReasonShown]
    group: GroupOfToken | None
    models: list[ModelOfToken]
    models_in_vain: list[ChoiceInVain]
    balance: str
    limit: str | None
    reset: Reset
    total_limit: str | None
    remaining: str | None
    resets_at: str | None
    expires_at: str | None
    ips: list[str]
    call_limits: list[CallLimitsShown]


def token_shown(
    listed: TokenListed,
    *,
    group: Group | None,
    former_group: str,
    models_count: int,
    last_used_ms: int | None,
    now_seconds: int,
) -> TokenShown:
    """A token as its owner sees it. group: None = it was deleted, and was called former_group."""
    token, stands = listed.token, listed.standing
    granted = listed.group_granted
    return TokenShown(
        id=token.id,
        name=token.name,
        description=token.description,
        masked=masked(token),
        enabled=token.enabled,
        status=rules.status(token, stands, group_granted=granted, now_seconds=now_seconds),
        created_at=iso_ms(token.created_at_ms),
        expires_at=_moment(token.expires_at),
        last_used_at=None if last_used_ms is None else iso_ms(last_used_ms),
        limit=_cny(token.limit_nano),
        reset=token.reset,
        total_limit=_cny(token.total_nano),
        used=format_cny(stands.used_total_nano if stands.used_nano is None else stands.used_nano),
        remaining=_cny(stands.remaining_nano),
        used_total=format_cny(stands.used_total_nano),
        resets_at=_resets_at(token.limit_nano, stands.resets_at),
        group=_deleted_group(token.group_id, former_group)
        if group is None
        else _group_shown(group, granted=granted),
        models=None if token.models is None else list(token.models),
        models_count=models_count,
        ips=list(token.ips),
        rpm=token.limits.rpm,
        tpm=token.limits.tpm,
        concurrency=token.limits.concurrency,
        requests_per_day=token.limits.requests_per_day,
        playground_allowed=token.playground_allowed,
        content_days=token.content_days,
    )


def permission_shown(permission: Permission) -> PermissionShown:
    """The preview of what a token can do."""
    terms, stands, group = permission.terms, permission.standing, permission.group
    granted = permission.group_granted
    return PermissionShown(
        callable=not permission.reasons,
        reasons=[ReasonShown(code=one.code, detail=one.detail) for one in permission.reasons],
        group=None if group is None else _group_shown(group, granted=granted),
        models=[ModelOfToken(name=name, kind=kind) for name, kind in permission.models],
        models_in_vain=[ChoiceInVain(name=name, why=why) for name, why in permission.in_vain],
        balance=format_cny(permission.balance_nano),
        limit=_cny(terms.limit_nano),
        reset=terms.reset,
        total_limit=_cny(terms.total_nano),
        remaining=_cny(stands.remaining_nano),
        resets_at=_resets_at(terms.limit_nano, stands.resets_at),
        expires_at=_moment(terms.expires_at),
        ips=list(terms.ips),
        call_limits=[
            CallLimitsShown(
                shared_by=shared_by,
                rpm=limits.rpm,
                tpm=limits.tpm,
                requests_per_day=limits.requests_per_day,
                concurrency=limits.concurrency,
            )
            for shared_by, limits in permission.call_limits
        ],
    )


def playground_key_shown(secret: str, until: int) -> PlaygroundKey:
    """A key that was just made."""
    return PlaygroundKey(secret=secret, expires_at=iso_ms(until * 1000))


def masked(token: ApiToken) -> str:
    """What of a token's key is shown after it was made."""
    return f"sk-…{token.last4}"


def _group_shown(group: Group, *, granted: bool) -> GroupOfToken:
    multiplier = format_multiplier(group.multiplier_ppm)
    return GroupOfToken(
        id=group.id, name=group.name, multiplier=multiplier, granted=granted, deleted=False
    )


def _deleted_group(group_id: int, name: str) -> GroupOfToken:
    return GroupOfToken(id=group_id, name=name, multiplier=None, granted=False, deleted=True)


def _resets_at(limit_nano: int | None, resets_at: int | None) -> str | None:
    """Without a limit nothing begins anew."""
    return None if limit_nano is None or resets_at is None else iso_ms(resets_at * 1000)


def _moment(seconds: int) -> str | None:
    return None if seconds == NEVER else iso_ms(seconds * 1000)


def _cny(amount_nano: int | None) -> str | None:
    return None if amount_nano is None else format_cny(amount_nano)
