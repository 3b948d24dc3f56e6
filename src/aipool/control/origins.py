"""Was this asked for by a page of ours? A browser sends the session's cookie with whatever any
page makes it ask; where it comes from it says in `Origin` and `Sec-Fetch-Site`, which no page can
change (security S-06).

Ours is what the visitor's own address bar says: the host that the request names, or the public
address that the operator set, for where a proxy in front names another.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

#: What a page of ours says with everything that changes something: no form can say it.
MARK = ("x-aipool", "1")


def is_marked(headers: Headers) -> bool:
    """Does it say what only a program or a page of ours can say?"""
    return headers.get(MARK[0]) == MARK[1]


def is_ours(headers: Headers, base_url: str, *, silence: bool) -> bool:
    """Does it come from a page of ours?

    base_url: the public address, "" = not set.  silence: what one that does not say is taken for:
    programs say nothing.
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = headers.get("origin")
    if origin is None:
        return silence
    return _is_named(origin, headers.get("host", "")) or _is_same(origin, base_url)


def _is_named(origin: str, host: str) -> bool:
    """A browser leaves a port out of both, or out of neither."""
    scheme, separator, named = origin.partition("://")
    return scheme in ("http", "https") and bool(separator) and named.lower() == host.lower() != ""


def _is_same(origin: str, base_url: str) -> bool:
    if not base_url:
        return False
    parts = urlsplit(base_url)
    return origin.lower() == f"{parts.scheme}://{parts.netloc}".lower()
