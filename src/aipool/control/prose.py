"""An operator's own text as HTML: a small part of Markdown, and nothing that a page could run.

    # Title       ## and ### too     headings, one level below the page's own
    - item                           a list; 1. item is one with numbers
    **strong**                       inside a line
    [words](https://…)               a link: https, http, mailto or a path of this site

Everything is escaped first, and then these are put in; so tags that somebody writes are shown as
they are written, and there is no other way in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import groupby

_HEADING = re.compile(r"(#{1,3})\s+(.+)")
_BULLET = re.compile(r"[-*]\s+(.+)")
_NUMBERED = re.compile(r"\d{1,3}[.)]\s+(.+)")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")
#: Of text that is escaped already: a quotation mark cannot be in it.
_LINK = re.compile(r"\[([^\]\[]{1,500})\]\(((?:https?://|mailto:|/(?!/))[^\s()<>]{1,1000})\)")


def html(text: str) -> str:
    """The text as blocks of HTML."""
    return "".join(_blocks(text.splitlines()))


def _blocks(lines: list[str]) -> Iterator[str]:
    for kind, group in groupby((line.strip() for line in lines), _kind):
        texts = list(group)
        if kind == "heading":
            yield from map(_heading, texts)
        elif kind in ("ul", "ol"):
            pattern = _BULLET if kind == "ul" else _NUMBERED
            items = (match[1] for text in texts if (match := pattern.fullmatch(text)))
            yield f"<{kind}>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</{kind}>"
        elif kind == "text":
            yield f"<p>{'<br>'.join(map(_inline, texts))}</p>"


def _kind(line: str) -> str:
    if not line:
        return "blank"
    for kind, pattern in (("heading", _HEADING), ("ul", _BULLET), ("ol", _NUMBERED)):
        if pattern.fullmatch(line):
            return kind
    return "text"


def _heading(line: str) -> str:
    marks, _, text = line.partition(" ")
    level = len(marks) + 1
    return f"<h{level}>{_inline(text.strip())}</h{level}>"


def _inline(text: str) -> str:
    safe = _STRONG.sub(r"<strong>\1</strong>", escape(text, quote=True))
    return _LINK.sub(r'<a href="\2" rel="noopener noreferrer nofollow">\1</a>', safe)
