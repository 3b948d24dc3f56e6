"""Models as they are listed: filtered, in the order of their names, a page at a time.

There are at most a few thousand of them, and a publication reads them all anyway; so they are
filtered here and not by the database.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from aipool.catalog import rules
from aipool.catalog.types import NOTHING_SAID, About, Kind, Model
from aipool.kit.errors import Invalid


@dataclass(frozen=True, slots=True)
class Filter:
    """What is looked for; "" or None = anything. q: in the name, the maker and the description,
    whatever its case.  ability: one that it has."""

    kind: Kind | None = None
    maker: str = ""
    ability: str = ""
    q: str = ""
    enabled: bool | None = None


class Page(NamedTuple):
    """models: of this page, with what is said of each.  cursor: of the next one, None = this is
    the last.  total: of all pages."""

    models: list[tuple[Model, About]]
    cursor: str | None
    total: int


def page_of(
    models: Iterable[Model],
    abouts: Mapping[int, About],
    wanted: Filter,
    *,
    limit: int,
    cursor: str | None,
) -> Page:
    """The models that are looked for, from the cursor on. Raises Invalid for a cursor that is
    none."""
    after = "" if cursor is None else _name_of(cursor)
    found = [
        (model, about)
        for model in sorted(models, key=lambda model: model.name)
        if _is_wanted(model, about := abouts.get(model.id, NOTHING_SAID), wanted)
    ]
    rest = [one for one in found if one[0].name > after]
    page = rest[:limit]
    following = _cursor_of(page[-1][0].name) if len(rest) > limit else None
    return Page(page, following, len(found))


def _is_wanted(model: Model, about: About, wanted: Filter) -> bool:
    if wanted.kind not in (None, model.kind) or wanted.enabled not in (None, model.enabled):
        return False
    if wanted.maker and wanted.maker.casefold() != about.maker.casefold():
        return False
    if wanted.ability and wanted.ability not in about.abilities:
        return False
    text = f"{model.name}\n{about.maker}\n{about.description}".casefold()
    return wanted.q.casefold() in text


def _cursor_of(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _name_of(cursor: str) -> str:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        name = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        return rules.model_name(name)
    except (Invalid, UnicodeError, binascii.Error):
        raise Invalid("invalid_cursor", "this cursor was not given here", field="cursor") from None
