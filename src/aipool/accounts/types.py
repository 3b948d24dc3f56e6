"""The words of accounts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

UserId = NewType("UserId", int)
SessionId = NewType("SessionId", int)
AccessTokenId = NewType("AccessTokenId", int)
InvitationId = NewType("InvitationId", int)


class Role(StrEnum):
    """What a person may do, least first."""

    USER = "user"
    ADMIN = "admin"
    ROOT = "root"


class Status(StrEnum):
    """Whether an account may be used. A disabled one keeps its money and its records; a pending
    one waits for an administrator's word."""

    ACTIVE = "active"
    DISABLED = "disabled"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class User:
    """An account.

    phone: E.164, unique, and how people and files name it; "" = a later owner of the number
    proved that it is theirs, and this account has not chosen another.
    email: lower case, unique; "" = none.
    …_verified_at_ms: when its owner proved to have it; None = never.
    terms_version, privacy_version: what was agreed to, at terms_at_ms.
    has_totp: a login needs a code as well.
    low_balance_nano: the owner is told when the balance falls below; 0 = never, None = as the site
    does.
    note: of the operators, about the person.
    """

    id: UserId
    phone: str
    role: Role
    status: Status
    created_at_ms: int
    name: str = ""
    email: str = ""
    locale: str = ""
    phone_verified_at_ms: int | None = None
    email_verified_at_ms: int | None = None
    terms_version: str = ""
    terms_at_ms: int | None = None
    has_totp: bool = False
    last_login_at_ms: int | None = None
    low_balance_nano: int | None = None
    note: str = ""
    privacy_version: str = ""

    @property
    def label(self) -> str:
        """What people call the account in a sentence or a list."""
        return self.phone or self.email or f"#{self.id}"


@dataclass(frozen=True, slots=True)
class Session:
    """A person at a browser, from login to logout.

    expires_at_ms: the end of it, however busy it is.  idle_ms: the end of it when nothing
    happens for so long.  stepped_up_until_ms: sensitive things may be done until then.
    password_is_short: it was opened with a password that is too short for what its owner may do.
    """

    id: SessionId
    user_id: UserId
    created_at_ms: int
    seen_at_ms: int
    expires_at_ms: int
    idle_ms: int
    stepped_up_until_ms: int
    ip: str
    user_agent: str
    password_is_short: bool = False


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a program of a person identifies itself with.

    is_sensitive: it may do what a person must step up for.  expires_at_ms: None = never.
    """

    id: AccessTokenId
    user_id: UserId
    name: str
    last4: str
    read_only: bool
    is_sensitive: bool
    created_at_ms: int
    expires_at_ms: int | None
    last_used_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Invitation:
    """Lets so many people register. expires_at_ms: None = never."""

    id: InvitationId
    note: str
    last4: str
    uses_left: int
    used: int
    created_at_ms: int
    expires_at_ms: int | None


class Channel(StrEnum):
    """How a verification code reaches a person."""

    PHONE = "phone"
    EMAIL = "email"
