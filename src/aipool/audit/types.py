"""The words of the trail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody does something at a moment: handed to every use case that changes data.

    actor: who, as "user:<id>", "cli:<login name>", "setup" or "demo".
    at_ms: when, in unix milliseconds.
    """

    actor: str
    at_ms: int
