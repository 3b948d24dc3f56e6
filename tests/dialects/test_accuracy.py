"""How near an estimate comes to what real vocabularies count, kind by kind.

The corpus is short texts of our own. Beside it stand their exact counts, made with OpenAI's own
tokenizer and its published vocabularies: o200k_base (GPT-4o and later), cl100k_base (before). Where
the extra `exact` is installed, they are counted again.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aipool.dialects import exact
from aipool.dialects.estimate import estimate_text

CORPUS = Path(__file__).parent / "corpus"
COUNTS: dict[str, dict[str, int]] = json.loads((CORPUS / "counts.json").read_text())
TEXTS = {name: (CORPUS / f"{name}.txt").read_text("utf-8") for name in COUNTS}

#: Of each kind: the least and the most that an estimate is of the exact count. They are what was
#: measured, with a little room: an estimate that moves is a change of what customers pay.
BANDS = {
    # kind: (o200k_base, cl100k_base)
    "english": ((0.88, 1.12), (0.88, 1.12)),
    "chinese": ((0.62, 0.95), (0.44, 0.60)),
    "mixed": ((0.78, 0.93), (0.65, 0.77)),
    "python": ((0.80, 0.90), (0.82, 0.92)),
    "typescript": ((0.76, 0.86), (0.80, 0.90)),
    "go": ((0.66, 0.76), (0.66, 0.76)),
    "json": ((0.55, 0.90), (0.55, 0.92)),
    "markdown": ((0.63, 0.73), (0.63, 0.73)),
    "russian": ((0.90, 1.00), (0.50, 0.60)),
    "japanese": ((0.68, 0.78), (0.51, 0.61)),
    "arabic": ((0.73, 0.83), (0.34, 0.42)),
    "emoji": ((0.63, 0.73), (0.46, 0.56)),
    "numbers": ((0.29, 0.35), (0.29, 0.35)),
}


def kind_of(name: str) -> str:
    return name.partition("-")[0]


@pytest.mark.parametrize("name", COUNTS)
def test_an_estimate_lies_within_the_band_of_its_kind(name: str) -> None:
    estimate, text = estimate_text(TEXTS[name]), TEXTS[name]
    bands = dict(zip(exact.VOCABULARIES, BANDS[kind_of(name)], strict=True))

    for vocabulary, (least, most) in bands.items():
        ratio = estimate / COUNTS[name][vocabulary]
        print(
            f"{name:24} {len(text):4} characters, {COUNTS[name][vocabulary]:4} of {vocabulary}, "
            f"estimated {estimate:4}: {ratio:.2f}"
        )
        assert least <= ratio <= most, (vocabulary, ratio)


def test_an_estimate_favours_the_customer() -> None:
    estimated = sum(estimate_text(text) for text in TEXTS.values())
    for vocabulary in exact.VOCABULARIES:
        counted = sum(counts[vocabulary] for counts in COUNTS.values())
        print(f"the whole corpus: {estimated} estimated, {counted} of {vocabulary}")
        assert 0.5 <= estimated / counted <= 1.0
    for name, counts in COUNTS.items():
        assert estimate_text(TEXTS[name]) <= 1.1 * counts["o200k_base"], name


def test_every_kind_of_text_is_in_the_corpus() -> None:
    assert {kind_of(name) for name in COUNTS} == set(BANDS)
    assert {path.stem for path in CORPUS.glob("*.txt")} == set(COUNTS)


@pytest.mark.parametrize("vocabulary", exact.VOCABULARIES)
def test_the_counts_beside_the_corpus_are_what_the_vocabulary_counts(vocabulary: str) -> None:
    pytest.importorskip("rs_bpe", reason="the extra `exact` is not installed")
    new_counter = exact.counters("exact")(vocabulary)

    for name, text in TEXTS.items():
        counter = new_counter()
        counter.add(text)
        assert counter.total == COUNTS[name][vocabulary], name
