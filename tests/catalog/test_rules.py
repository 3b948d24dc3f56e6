"""What a model may be said to be, and what it may cost."""

from __future__ import annotations

import pytest

from aipool.catalog import rules
from aipool.catalog.types import NOTHING_SAID, About, Kind, Parameter
from aipool.kit.errors import Invalid
from aipool.rating.types import Extras, Price, Tier

YUAN = 1_000_000_000
TEXT = Price(0, 2 * YUAN, YUAN, 8 * YUAN)
NOTHING = Price(0, 0, 0, 0)


def tiered(*tiers: Tier) -> Price:
    return Price(0, 2 * YUAN, YUAN, 8 * YUAN, Extras(tiers=tiers))


@pytest.mark.parametrize(
    ("kind", "price", "missing"),
    [
        (Kind.CHAT, TEXT, ""),
        (Kind.CHAT, NOTHING, "input and output"),
        (Kind.CHAT, Price(0, 1, 1, 0), "output"),
        (Kind.EMBEDDING, Price(0, 1, 1, 0), ""),
        (Kind.EMBEDDING, NOTHING, "input"),
        (Kind.IMAGE, Price(0, 0, 0, 0, Extras(image_nano=1)), ""),
        (Kind.IMAGE, Price(0, 1, 1, 0), "image or image_output or output or call"),
        (Kind.AUDIO, Price(0, 0, 0, 0, Extras(second_nano=1)), ""),
        (Kind.AUDIO, Price(0, 0, 0, 0, Extras(character_nano=1)), ""),
        (Kind.VIDEO, Price(0, 0, 0, 0, Extras(call_nano=1)), ""),
        (Kind.VIDEO, TEXT, "second or call"),
        (Kind.RERANK, Price(0, 0, 0, 0, Extras(call_nano=1)), ""),
        (Kind.MODERATION, NOTHING, "call or input"),
    ],
)
def test_what_a_kind_must_have_a_price_for(kind: Kind, price: Price, missing: str) -> None:
    assert rules.unpriced(kind, price) == missing


def test_tiers_rise_and_are_never_cheaper() -> None:
    rising = tiered(Tier(100, 2 * YUAN, YUAN, 8 * YUAN), Tier(200, 4 * YUAN, YUAN, 9 * YUAN))

    assert rules.checked_price(rising) == rising
    for wrong, field in (
        (tiered(Tier(0, 3 * YUAN, YUAN, 8 * YUAN)), "tiers.0.above_tokens"),
        (tiered(Tier(9, 2 * YUAN, YUAN, 8 * YUAN - 1)), "tiers.0.output"),
        (tiered(Tier(9, 2 * YUAN, YUAN - 1, 8 * YUAN)), "tiers.0.cached_input"),
        (
            tiered(Tier(9, 3 * YUAN, YUAN, 8 * YUAN), Tier(9, 3 * YUAN, YUAN, 8 * YUAN)),
            "tiers.1.above_tokens",
        ),
        (
            tiered(Tier(9, 3 * YUAN, YUAN, 8 * YUAN), Tier(10, 2 * YUAN, YUAN, 8 * YUAN)),
            "tiers.1.input",
        ),
    ):
        with pytest.raises(Invalid) as caught:
            rules.checked_price(wrong)
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("about", "field"),
    [
        (About(maker="x" * 101), "maker"),
        (About(description="bell \x07"), "description"),
        (About(abilities=("Vision",)), "abilities"),
        (About(abilities=("vision", "vision")), "abilities"),
        (About(endpoints=("v1/chat",)), "endpoints"),
        (About(parameters=(Parameter("top p", "number"),)), "parameters.0"),
    ],
)
def test_what_cannot_be_shown_is_refused_by_field(about: About, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        rules.checked_about(about)
    assert caught.value.field == field


def test_what_can_be_shown_is_taken_as_it_is() -> None:
    about = About("元", "two\nlines", ("audio_in",), ("/v1/x",), (Parameter("top_p", "number"),))

    assert rules.checked_about(about) == about
    assert rules.checked_about(NOTHING_SAID) == NOTHING_SAID
