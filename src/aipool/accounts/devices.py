"""Browsers that somebody logged in with before. A signed cookie says so and nothing else: it opens
nothing, but who tries an account's password from such a browser is not hindered by those who try
it from elsewhere (`throttle`)."""

from __future__ import annotations

import hmac
import secrets

from aipool.kit import digests

COOKIE = "aipool-device"
SECURE_COOKIE = "__Host-aipool-device"
LIFE_SECONDS = 365 * 24 * 3600

_CHARACTERS_MAX = 200


def cookie_name(*, secure: bool) -> str:
    """What the cookie is called. secure: the browser speaks to us over TLS."""
    return SECURE_COOKIE if secure else COOKIE


def new_cookie(pepper: bytes, user_id: int) -> str:
    """For a browser that this person has just logged in with."""
    head = f"{user_id}.{secrets.token_urlsafe(12)}"
    return f"{head}.{_mac(pepper, head)}"


def device_of(pepper: bytes, cookie: str, user_id: int) -> str:
    """The name of the browser, if it is one of this person; "" = it is not known to be."""
    head, _, mac = cookie.rpartition(".")
    if len(cookie) > _CHARACTERS_MAX or not head.startswith(f"{user_id}."):
        return ""
    return head if hmac.compare_digest(mac.encode(), _mac(pepper, head).encode()) else ""


def _mac(pepper: bytes, head: str) -> str:
    return digests.digest(pepper, f"device|{head}".encode()).hex()
