"""Refusals in the language of who asks: what they prefer is said in `Accept-Language`.

The source speaks English, with the names and numbers of the case. In another language a refusal is
looked up by its code, and the same names and numbers are put into it, which the refusal carries
beside its words (`params`, see kit.errors); the field that is wrong is named beside it. What is not
in the catalogue is said as in the source (tests/control/test_languages.py sees to it that nothing
is missing, neither text nor value).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aipool.control import chinese
from aipool.kit.problems import Translation, Words, Wrong
from aipool.notices.codes import Locale

#: Values that are words of the source, and that a language has phrases for.
PHRASED: Final = ("why", "what")

#: Of a header that anybody may write.
_CHARACTERS_MAX = 500


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A language. Values stand in the texts as names in braces.

    titles: by status.  details: by code; of several texts the first is said whose values are all
    there.  phrases: by the words that a refusal gives as `why` and `what`.  rules: by the rule of
    the form that is broken.
    """

    titles: Mapping[int, str]
    details: Mapping[str, str | tuple[str, ...]]
    phrases: Mapping[str, str]
    rules: Mapping[str, str]

    def translation(
        self,
        status: int,
        code: str,
        source: Words,
        errors: Sequence[Wrong],
        params: Mapping[str, object],
    ) -> Words:
        """What is said in place of the source's words (kit.problems.Translation)."""
        said = [self._of_field(wrong) for wrong in errors]
        detail = self._detail(code, params) or source.detail
        if errors:
            detail = f"{errors[0].field}: {said[0]}" if errors[0].field else said[0]
        return Words(self.titles.get(status, source.title), detail, said)

    def _detail(self, code: str, params: Mapping[str, object]) -> str:
        texts = self.details.get(code, ())
        values = dict(params)
        for name in PHRASED:
            phrase = self.phrases.get(str(params.get(name)))
            if phrase is not None:
                values[name] = phrase.format_map(params)
        for text in (texts,) if isinstance(texts, str) else texts:
            with suppress(KeyError):
                return text.format_map(values)
        return ""

    def _of_field(self, wrong: Wrong) -> str:
        text = self.rules.get(wrong.rule)
        if text is None:
            return wrong.detail
        try:
            return text.format_map(wrong.values or {})
        except KeyError:
            return wrong.detail


_CATALOGUES: Final = {
    Locale.CHINESE: Catalogue(chinese.TITLES, chinese.DETAILS, chinese.PHRASES, chinese.RULES),
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
