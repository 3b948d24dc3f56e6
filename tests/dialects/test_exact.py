"""The exact counter counts pieces like the whole, keeps only a tail of them, and is never required.

A toy vocabulary stands for the real ones where they are not installed; it splits text as they do.
"""

from __future__ import annotations

import random
import re
import sys
import types
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.dialects import exact
from aipool.dialects.estimate import TokenCounter, estimate_request, estimate_text
from aipool.dialects.exact import CHARACTERS_MAX, TAIL_CHARACTERS, ExactCounter, NotInstalled

_WORDS = re.compile(r"[^\r\n\w]?[^\W\d_]+(?:'s|'t)?|\d{1,3}| ?(?:[^\s\w]|_)+[\r\n]*|\s+")


def toy(text: str) -> int:
    """Words, and one token for every four letters of each."""
    return sum(-(-len(word[0]) // 4) for word in _WORDS.finditer(text))


def counted(pieces: list[str], count: Callable[[str], int] = toy) -> ExactCounter:
    counter = ExactCounter(count)
    for piece in pieces:
        counter.add(piece)
    return counter


def cut_up(text: str, chance: random.Random) -> list[str]:
    pieces = []
    while text:
        size = chance.randint(1, 12)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


WRITING = (
    "It isn't so; 12345 words_of (some) writing,\n\n\tand 你好，世界！ more: x = y[0] -> 'z's.  "
)


@pytest.mark.parametrize("seed", range(5))
def test_pieces_count_like_the_whole(seed: int) -> None:
    chance = random.Random(seed)
    words = WRITING.split(" ")
    text = " ".join(chance.choice(words) for _ in range(4_000))
    assert len(text) > 8 * TAIL_CHARACTERS

    counter = counted(cut_up(text, chance))

    assert counter.total == toy(text)


def test_only_a_tail_is_kept() -> None:
    counter = ExactCounter(toy)
    for _ in range(20_000):
        counter.add("some words, ")
        assert len(counter._tail) <= TAIL_CHARACTERS


def test_what_is_asked_along_the_way_is_near_the_truth() -> None:
    counter, text = ExactCounter(toy), ""
    for word in (WRITING * 60).split(" "):
        counter.add(f" {word}")
        text += f" {word}"
        assert abs(counter.tokens - toy(text)) <= TAIL_CHARACTERS // 4
    assert abs(counter.tokens - toy(text)) < 0.1 * toy(text)


def test_nothing_is_nothing() -> None:
    assert counted([]).total == counted(["", ""]).total == counted([]).tokens == 0


def test_a_text_too_long_to_be_counted_is_estimated_from_there_on() -> None:
    start, rest = "word " * (CHARACTERS_MAX // 5), "more " * 10_000

    assert counted([start, "x" * 100, rest]).total == toy(start) + estimate_text("x" * 100 + rest)
    assert counted([rest * 10]).total == estimate_text(rest * 10)


def test_a_text_of_no_words_is_counted_nearly() -> None:
    counter = counted(["x"] * 10 * TAIL_CHARACTERS)

    assert 0 <= counter.total - toy("x" * 10 * TAIL_CHARACTERS) <= 10


def test_a_request_is_counted_by_the_counter_it_is_given() -> None:
    body = {"messages": [{"role": "user", "content": WRITING * 3}]}

    assert estimate_request(body, ExactCounter(toy)) == 6 + toy(WRITING * 3)


# --- the choice -----------------------------------------------------------------------------------


def install(monkeypatch: pytest.MonkeyPatch, count: Callable[[str], int]) -> None:
    """A package in the place of the extra's."""
    tokenizer = types.SimpleNamespace(count=count)
    openai = types.SimpleNamespace(o200k_base=lambda: tokenizer, cl100k_base=lambda: tokenizer)
    package, inner = types.ModuleType("rs_bpe"), types.ModuleType("rs_bpe.bpe")
    inner.openai = openai  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rs_bpe", package)
    monkeypatch.setitem(sys.modules, "rs_bpe.bpe", inner)


def test_estimating_needs_nothing_and_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rs_bpe", None)

    counters = exact.counters("estimate")

    assert [counters(name) for name in ("o200k_base", "")] == [TokenCounter, TokenCounter]


def test_exactness_without_the_extra_is_refused_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rs_bpe", None)
    monkeypatch.setitem(sys.modules, "rs_bpe.bpe", None)

    for ask in (exact.require, lambda: exact.counters("exact")):
        with pytest.raises(NotInstalled, match=r"pip install aipool\[exact\]"):
            ask()


def test_a_vocabulary_nobody_knows_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, toy)

    counters = exact.counters("exact")

    assert counters("") is TokenCounter
    known = counters("o200k_base")()
    known.add(WRITING)
    assert known.total == toy(WRITING) != estimate_text(WRITING)


def test_half_a_surrogate_pair_is_counted_as_one_odd_character(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, lambda text: len(text.encode()))

    counter = exact.counters("exact")("o200k_base")()
    counter.add("a\ud800b")

    assert counter.total == 3


# --- the real vocabularies ------------------------------------------------------------------------

anything = st.text(
    st.one_of(
        st.sampled_from(
            "  \n\r\t\u00a0\u3000ab'sTre_,.!?/-+=()[]{}0123456789好的，。あー한éñЖجّ😀\u200d\u0301"
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=300,
)


@pytest.mark.parametrize("vocabulary", exact.VOCABULARIES)
def test_with_a_real_vocabulary_pieces_count_like_the_whole(vocabulary: str) -> None:
    pytest.importorskip("rs_bpe", reason="the extra `exact` is not installed")
    new_counter = exact.counters("exact")(vocabulary)
    count = getattr(exact.require(), vocabulary)().count

    @settings(max_examples=300)
    @given(st.lists(anything, max_size=8), st.integers())
    def hold(parts: list[str], seed: int) -> None:
        # Words in between, so that there is always somewhere to cut.
        text = " word, ".join(parts * 5) + " word" * 400
        counter = new_counter()
        for piece in cut_up(text, random.Random(seed)):
            counter.add(piece)
        assert counter.total == count(text)

    hold()


@pytest.mark.parametrize("vocabulary", exact.VOCABULARIES)
@pytest.mark.parametrize(
    "alphabet", ["abcdefgh", "的一是不了人我在有他这为之大来以个中上们", "0123456789", " "]
)
def test_with_a_real_vocabulary_text_of_no_words_is_counted_nearly(
    vocabulary: str, alphabet: str
) -> None:
    pytest.importorskip("rs_bpe", reason="the extra `exact` is not installed")
    new_counter = exact.counters("exact")(vocabulary)
    count = getattr(exact.require(), vocabulary)().count
    chance = random.Random(3)
    text = "".join(chance.choice(alphabet) for _ in range(10 * TAIL_CHARACTERS))

    counter = new_counter()
    for piece in cut_up(text, chance):
        counter.add(piece)

    assert abs(counter.total - count(text)) <= 2 * 10
