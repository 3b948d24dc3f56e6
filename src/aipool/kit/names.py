"""Names that people give to things."""

from __future__ import annotations

from aipool.kit.errors import Invalid

NAME_CHARACTERS_MAX = 100


def checked_name(text: str) -> str:
    """The name, if it can be listed and typed again: raises Invalid for an empty or very
    long one, for control characters, and for blanks around it."""
    if not 1 <= len(text) <= NAME_CHARACTERS_MAX or not text.isprintable() or text != text.strip():
        raise Invalid(
            "invalid_name",
            f"a name has 1 to {NAME_CHARACTERS_MAX} printable characters, no blanks around it",
            field="name",
            params={"least": 1, "most": NAME_CHARACTERS_MAX},
        )
    return text
