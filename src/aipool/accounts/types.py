"""The words of accounts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

UserId = NewType("UserId", int)


class Role(StrEnum):
    """What a person may do, least first."""

    USER = "user"
    ADMIN = "admin"
    ROOT = "root"


class Status(StrEnum):
    """Whether an account may be used. A disabled one keeps its money and its records."""

    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class User:
    """An account. phone: E.164, unique, and how people and files name it."""

    id: UserId
    phone: str
    role: Role
    status: Status
    created_at_ms: int
