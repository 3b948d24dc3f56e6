"""Refusals in the language of who asks: what they prefer is said in `Accept-Language`.

The source speaks English, with the names and numbers of the case. In another language a refusal is
looked up by its code, and said in general; the field that is wrong is named beside it, and of a
value that breaks a rule of the form the numbers are said too. What is not in the catalogue is said
as in the source (tests/control/test_languages.py sees to it that nothing is missing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aipool.control import chinese
from aipool.kit.problems import Translation, Words, Wrong
from aipool.notices.codes import Locale

#: Of a header that anybody may write.
_CHARACTERS_MAX = 500


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A language. titles: by status.  details: by code.  rules: by the rule of the form that is
    broken, with its numbers in braces."""

    titles: Mapping[int, str]
    details: Mapping[str, str]
    rules: Mapping[str, str]

    def translation(self, status: int, code: str, source: Words, errors: Sequence[Wrong]) -> Words:
        """What is said in place of the source's words (kit.problems.Translation)."""
        said = [self._of_field(wrong) for wrong in errors]
        detail = self.details.get(code, source.detail)
        if errors:
            detail = f"{errors[0].field}: {said[0]}" if errors[0].field else said[0]
        return Words(self.titles.get(status, source.title), detail, said)

    def _of_field(self, wrong: Wrong) -> str:
        text = self.rules.get(wrong.rule)
        if text is None:
            return wrong.detail
        try:
            return text.format_map(wrong.values or {})
        except KeyError:
            return wrong.detail


_CATALOGUES: Final = {
    Locale.CHINESE: Catalogue(chinese.TITLES, chinese.DETAILS, chinese.RULES),
}


def translation_for(accept_language: str) -> Translation | None:
    """How refusals are said to who sends this; None = as in the source."""
    catalogue = _CATALOGUES.get(preferred(accept_language))
    return catalogue.translation if catalogue is not None else None


def preferred(accept_language: str) -> Locale:
    """Of the languages there are, the one that is liked best; English when none is."""
    best, liking = Locale.ENGLISH, 0.0
    for part in accept_language[:_CHARACTERS_MAX].split(","):
        name, _, parameter = part.strip().partition(";")
        locale = _LOCALES.get(name.strip().lower().partition("-")[0])
        quality = _quality(parameter)
        if locale is not None and quality > liking:
            best, liking = locale, quality
    return best


_LOCALES = {"zh": Locale.CHINESE, "en": Locale.ENGLISH}


def _quality(parameter: str) -> float:
    """How much something is liked, from 0 to 1; what cannot be read counts for nothing."""
    name, _, text = parameter.strip().partition("=")
    if not name:
        return 1.0
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if name.strip().lower() == "q" and 0.0 <= quality <= 1.0 else 0.0
