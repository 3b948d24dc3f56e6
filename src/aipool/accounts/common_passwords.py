"""Passwords that are tried first, as a set to look one up in.

They lie in `common_passwords.txt`, composed by rule and not taken from anybody's list: runs of
digits and letters, walks over the keyboard, repeated parts, dates, and common words, names and
phrases of Chinese and English speakers with what people put after them.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def _common() -> frozenset[str]:
    text = (files("aipool.accounts") / "common_passwords.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("# "))


def is_common(password: str) -> bool:
    """Is it, in lower or upper case, one that everybody tries?"""
    return password.lower() in _common()
