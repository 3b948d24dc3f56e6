"""Decisions about groups: what a limit of calls may be, and what is said of a group."""

from __future__ import annotations

import re

from aipool.kit.errors import Invalid

#: More calls or tokens than any machine serves in a day: a typing mistake.
CALL_LIMIT_MAX = 1_000_000_000

DESCRIPTION_CHARACTERS_MAX = 500

#: How a person writes that there is no limit.
NO_LIMIT = "none"

_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]*", re.ASCII)


def call_limit(text: str) -> int | None:
    """A limit of calls or tokens, as a person writes it, None for NO_LIMIT; raises Invalid.

    Zero is refused: it could mean that nothing is limited or that nothing is allowed.
    """
    if text == NO_LIMIT:
        return None
    if text == "0":
        raise Invalid(
            "limit_of_zero",
            f"0 is no limit: write {NO_LIMIT} for no limit, and to stop the calls disable the "
            "token or the user",
            params={"no_limit": NO_LIMIT},
        )
    within = len(text) <= len(str(CALL_LIMIT_MAX))
    if not _WHOLE_NUMBER.fullmatch(text) or not within or int(text) > CALL_LIMIT_MAX:
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise Invalid(
            "invalid_limit",
            f"{shown!r}: a whole number from 1 to {CALL_LIMIT_MAX}, or {NO_LIMIT}",
            params={"given": shown, "least": 1, "most": CALL_LIMIT_MAX, "no_limit": NO_LIMIT},
        )
    return int(text)


def checked_description(text: str) -> str:
    """For whom a group is meant, as it is kept; raises Invalid."""
    kept = text.strip()
    printable = all(mark.isprintable() or mark == "\n" for mark in kept)
    if len(kept) > DESCRIPTION_CHARACTERS_MAX or not printable:
        raise Invalid(
            "malformed_description",
            f"a description has at most {DESCRIPTION_CHARACTERS_MAX} printable characters",
            field="description",
            params={"most": DESCRIPTION_CHARACTERS_MAX},
        )
    return kept
