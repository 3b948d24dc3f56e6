"""The shapes of people on the wire, as administrators send and see them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from aipool.accounts import rules
from aipool.accounts.types import Role, Status, User
from aipool.adjustments.types import State
from aipool.audit.desk import Sent, SentId, Shown
from aipool.control.adjusting import Adjusted
from aipool.groups.types import Group
from aipool.kit.clock import iso_ms
from aipool.kit.money import format_cny
from aipool.kit.names import NAME_CHARACTERS_MAX
from aipool.ledger.types import BookedTransfer, wallet_account

GROUPS_MAX = 200
REASON_CHARACTERS_MAX = 500

_SHORT_MAX = 100
_AMOUNT_CHARACTERS_MAX = 40
_PASSWORD_MAX = 4 * rules.PASSWORD_CHARACTERS_MAX
_NOTE_MAX = 2 * rules.NOTE_CHARACTERS_MAX

_GroupIds = Annotated[list[SentId], Field(max_length=GROUPS_MAX)]


class UserSent(Sent):
    """A new account, made by an administrator.

    password: null = none is known, and the answer has a link with which the person chooses one.
    role: other than user only by the root account.
    """

    phone: str = Field(max_length=_SHORT_MAX, description="such as 13800138000")
    password: Annotated[SecretStr, Field(max_length=_PASSWORD_MAX)] | None = None
    name: str = Field(default="", max_length=NAME_CHARACTERS_MAX)
    email: str = Field(default="", max_length=rules.EMAIL_CHARACTERS_MAX)
    note: str = Field(default="", max_length=_NOTE_MAX)
    role: Literal["user", "admin", "root"] = "user"
    group_ids: _GroupIds = Field(default=[], description="Granted beside the default group.")


class UserChange(Sent):
    """What becomes other of a user; what is left out stays. role: only by the root account.
    phone, email: not proved until the user does; email "" = none.
    group_ids: all that are granted beside the default group, which everybody has."""

    phone: str = Field(default="", max_length=_SHORT_MAX, description="such as 13800138000")
    email: str = Field(default="", max_length=rules.EMAIL_CHARACTERS_MAX)
    name: str = Field(default="", max_length=NAME_CHARACTERS_MAX)
    note: str = Field(default="", max_length=_NOTE_MAX)
    status: Literal["active", "disabled"] = "active"
    role: Literal["user", "admin", "root"] = "user"
    group_ids: _GroupIds = []


class AdjustmentSent(Sent):
    """What is added to a balance, or (negative) taken away from it. reason: stands in the user's
    balance flow."""

    amount: str = Field(max_length=_AMOUNT_CHARACTERS_MAX, description="In CNY, such as -12.5.")
    reason: str = Field(min_length=1, max_length=REASON_CHARACTERS_MAX)


# --- what is shown ----------------------------------------------------------------------------


class GroupOfUser(Shown):
    """A group that a user may choose. by_name: granted to this user; else to everybody."""

    id: int
    name: str
    by_name: bool


class UserForAdmins(Shown):
    """A user. phone, email: null = none.  totp: has a second factor.  balance: in CNY.
    tokens_count: API tokens that are not deleted."""

    id: int
    phone: str | None
    phone_verified_at: str | None
    email: str | None
    email_verified_at: str | None
    name: str
    note: str
    role: Role
    status: Status
    created_at: str
    last_login_at: str | None
    totp: bool
    balance: str
    tokens_count: int
    groups: list[GroupOfUser]


class LinkShown(Shown):
    """A link that works once and is shown once."""

    link: str
    secret: str
    expires_at: str


class UserMade(UserForAdmins):
    """A new user. reset_link: where the person chooses a password, once; null = one was sent."""

    reset_link: LinkShown | None


class UsersShown(Shown):
    """A page of users. total: of all that were asked for."""

    items: list[UserForAdmins]
    next_cursor: str | None
    total: int


class TransferShown(Shown):
    """What was booked. amount: added to the wallet; negative = taken away."""

    id: int
    at: str
    kind: str
    amount: str
    balance_after: str
    reason: str


class AdjustmentShown(Shown):
    """The balance right after the transfer, in CNY."""

    balance: str
    transfer: TransferShown


class PersonShown(Shown):
    """label: number or address; null = you are not told."""

    id: int
    label: str | None


class AskedShown(Shown):
    """An adjustment that waits, or waited, for a second administrator. amount: in CNY, negative =
    is taken away.  is_mine: you asked for it.  decided_by: null = nobody has."""

    id: int
    state: State
    user: PersonShown
    amount: str
    reason: str
    asked_by: PersonShown
    is_mine: bool
    asked_at: str
    expires_at: str
    decided_by: PersonShown | None
    decided_at: str | None


class AllAskedShown(Shown):
    """A page, the newest first. next_cursor: for the next one, null = this was the last."""

    items: list[AskedShown]
    next_cursor: str | None


class SessionsEnded(Shown):
    """How many sessions were ended, and how many access tokens."""

    ended: int
    access_tokens_ended: int


def user_shown(
    user: User,
    *,
    balance_nano: int,
    tokens_count: int,
    named: frozenset[int],
    groups: list[Group],
) -> UserForAdmins:
    """A user with what is theirs. named: ids of the groups they have by name.  groups: all."""
    return UserForAdmins(
        id=user.id,
        phone=user.phone or None,
        phone_verified_at=_moment(user.phone_verified_at_ms),
        email=user.email or None,
        email_verified_at=_moment(user.email_verified_at_ms),
        name=user.name,
        note=user.note,
        role=user.role,
        status=user.status,
        created_at=iso_ms(user.created_at_ms),
        last_login_at=_moment(user.last_login_at_ms),
        totp=user.has_totp,
        balance=format_cny(balance_nano),
        tokens_count=tokens_count,
        groups=[
            GroupOfUser(id=group.id, name=group.name, by_name=group.id in named)
            for group in groups
            if group.is_default or group.id in named
        ],
    )


def transfer_shown(booked: BookedTransfer, wallet: str) -> TransferShown:
    """A transfer as the owner of this wallet sees it."""
    transfer = booked.transfer
    sign = 1 if transfer.credit == wallet else -1
    return TransferShown(
        id=booked.seq,
        at=iso_ms(transfer.at_ms),
        kind=transfer.kind,
        amount=format_cny(sign * transfer.amount_nano),
        balance_after=format_cny(transfer.wallet_balance_after or 0),
        reason=transfer.ref,
    )


def adjustment_shown(adjusted: Adjusted, user: User) -> AdjustmentShown:
    """What an adjustment came to."""
    return AdjustmentShown(
        balance=format_cny(adjusted.balance_nano),
        transfer=transfer_shown(adjusted.transfer, wallet_account(user.id)),
    )


def _moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso_ms(at_ms)
