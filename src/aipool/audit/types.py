"""The words of the trail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody does something at a moment: handed to every use case that changes data.

    actor: who, as "user:<id>", "cli:<login name>", "setup" or "demo".
    at_ms: when, in unix milliseconds.
    """

    actor: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the trail. before, after: fields of what it was done to, without secrets;
    None = there was nothing before, or is nothing after."""

    id: int
    at_ms: int
    actor: str
    action: str
    target: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
