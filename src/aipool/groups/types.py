"""The words of groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

GroupId = NewType("GroupId", int)

#: The group of whoever was given no other.
DEFAULT_NAME = "default"


@dataclass(frozen=True, slots=True)
class Group:
    """A pricing group. multiplier_ppm: of the list price, 1_000_000 is the list price.
    models: names it may call, None = every model."""

    id: GroupId
    name: str
    multiplier_ppm: int
    models: tuple[str, ...] | None
