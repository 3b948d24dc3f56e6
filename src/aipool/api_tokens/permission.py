"""What a token can do now, and why it cannot: put together from everything a call must pass.

The same conditions as the gateway's, looked at before anybody calls: the owner's account, the
token itself, its group, the models that both allow and somebody serves, and the money.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sqlalchemy.engine import Connection

from aipool.accounts.types import Status as AccountStatus
from aipool.accounts.types import User
from aipool.api_tokens.types import Standing, Status, TokenTerms
from aipool.catalog import rules
from aipool.catalog import service as catalog
from aipool.catalog.types import Model
from aipool.groups.types import CallLimits, Group
from aipool.ledger import service as ledger

#: Whose calls a limit counts together.
SharedBy = Literal["token", "user_in_group", "group"]


class Reason(NamedTuple):
    """Why no call is possible. code: a stable word.  detail: for a person."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Permission:
    """What terms come to. models: (name, kind) of those that can be called.  in_vain: (name, why)
    of those that were chosen and cannot.  group None: there is none yet."""

    terms: TokenTerms
    standing: Standing
    group: Group | None
    group_granted: bool
    reasons: tuple[Reason, ...]
    models: tuple[tuple[str, str], ...]
    in_vain: tuple[tuple[str, str], ...]
    balance_nano: int
    call_limits: tuple[tuple[SharedBy, CallLimits], ...]


def permission_of(
    connection: Connection,
    owner: User,
    terms: TokenTerms,
    group: Group | None,
    *,
    standing: Standing,
    status: Status,
) -> Permission:
    """What a token of these terms can do now. status: of the token itself; ACTIVE for one that is
    not made yet."""
    wallet = ledger.wallet_balance(connection, owner.id)
    balance_nano = wallet.balance_nano if wallet is not None else 0
    models, in_vain = _models(catalog.list_models(connection), terms.models, group)
    granted = group is not None and status is not Status.GROUP_NOT_GRANTED
    return Permission(
        terms=terms,
        standing=standing,
        group=group,
        group_granted=granted,
        reasons=tuple(_reasons(owner, status, balance_nano, has_models=bool(models))),
        models=models,
        in_vain=in_vain,
        balance_nano=balance_nano,
        call_limits=_call_limits(terms, group),
    )


_OF_STATUS = {
    Status.DISABLED: Reason("token_disabled", "The token is disabled."),
    Status.GROUP_NOT_GRANTED: Reason(
        "group_not_granted", "The account has lost access to the token's group: choose another."
    ),
    Status.EXPIRED: Reason("token_expired", "The token has expired."),
    Status.EXHAUSTED: Reason("limit_exhausted", "The token's limit is used up."),
}


def _reasons(
    owner: User, status: Status, balance_nano: int, *, has_models: bool
) -> Iterable[Reason]:
    if owner.status is not AccountStatus.ACTIVE:
        yield Reason("account_frozen", "The account is frozen.")
    if status in _OF_STATUS:
        yield _OF_STATUS[status]
    if balance_nano <= 0:
        yield Reason("balance_empty", "The wallet is empty: recharge it.")
    if not has_models:
        yield Reason("no_models", "There is no model that the token may call.")


def _models(
    models: list[Model], chosen: tuple[str, ...] | None, group: Group | None
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Those that can be called, as (name, kind), and those that were chosen in vain."""
    if group is None:
        return (), ()
    allowed = None if group.models is None else frozenset(group.models)
    callable_: list[tuple[str, str]] = []
    in_vain = []
    by_name = {model.name: model for model in models}
    for name in by_name if chosen is None else chosen:
        model = by_name.get(name)
        if allowed is not None and name not in allowed:
            why = "not_in_group"
        elif model is None or not model.enabled:
            why = "off_sale"
        elif not rules.is_routed(model, group.id):
            why = "no_route"
        else:
            callable_.append((name, model.kind.value))
            continue
        if chosen is not None:
            in_vain.append((name, why))
    return tuple(callable_), tuple(in_vain)


def _call_limits(terms: TokenTerms, group: Group | None) -> tuple[tuple[SharedBy, CallLimits], ...]:
    of_token: tuple[SharedBy, CallLimits] = ("token", terms.limits)
    if group is None:
        return (of_token,)
    return (of_token, ("user_in_group", group.each_user), ("group", group.whole))
