"""Money: integers in nano-yuan, and the only two places where they meet text.

One nano is 1e-9 CNY. Every amount inside the program is an `int` of nano and its
name ends in `_nano`; prices are nano per 1,000,000 tokens; a multiplier is an
integer in parts per million. Text is decimal, never a float: a JSON number loses
digits above 2**53, which is only ¥9.0 million in nano.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NewType

Nano = NewType("Nano", int)

NANO_PER_CNY = 1_000_000_000
NANO_PER_FEN = 10_000_000

#: The most one operation may move: ¥1,000,000. Signed 64 bits hold ¥9.22 billion,
#: so nine thousand operations of the largest size fit one balance.
AMOUNT_NANO_MAX = 1_000_000 * NANO_PER_CNY

#: The dearest price that can be stored: ¥1,000,000 per million tokens.
PRICE_NANO_MAX = 1_000_000 * NANO_PER_CNY

PPM = 1_000_000
#: A multiplier of 100 is a typing mistake in every price list seen; refuse above it.
MULTIPLIER_PPM_MAX = 100 * PPM

# Digits before the point that still fit AMOUNT_NANO_MAX, with room to report a
# number that is too large as too large rather than as malformed.
_TEXT_LENGTH_MAX = 40


class MoneyError(ValueError):
    """A text that is not an amount; the message says what is wrong with it. params: the rule that
    it breaks, as in kit.errors."""

    def __init__(self, message: str, params: Mapping[str, object]) -> None:
        super().__init__(message)
        self.params = params


def parse_cny(text: str | int) -> Nano:
    """The amount a person wrote, as nano-yuan, exactly.

    text: decimal CNY such as "12", "0.15" or "-3.000000001"; an int counts yuan.
    Raises MoneyError for anything that is not a plain decimal with at most nine
    digits after the point: exponents, signs of infinity, full-width digits, blanks.
    """
    return Nano(_scaled(text, NANO_PER_CNY, "CNY"))


def parse_multiplier(text: str | int) -> int:
    """A price multiplier as parts per million: "0.8" is 800_000.

    Raises MoneyError when it has more than six decimals or lies outside 0 … 100.
    """
    ppm = _scaled(text, PPM, "multiplier")
    if not 0 <= ppm <= MULTIPLIER_PPM_MAX:
        raise MoneyError(
            f"a multiplier lies between 0 and 100, not {text}",
            {"least": 0, "most": 100, "given": text},
        )
    return ppm


def format_cny(amount: int) -> str:
    """Nano-yuan as decimal CNY, exact, trailing zeros trimmed: 1_500_000_000 is "1.5"."""
    if 0 < amount < NANO_PER_CNY:  # nearly every charge
        return f"0.{amount:09d}".rstrip("0")
    sign = "-" if amount < 0 else ""
    whole, rest = divmod(abs(amount), NANO_PER_CNY)
    if not rest:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{rest:09d}".rstrip("0")


def format_multiplier(ppm: int) -> str:
    """Parts per million as a decimal: 800_000 is "0.8"."""
    whole, rest = divmod(ppm, PPM)
    return f"{whole}.{rest:06d}".rstrip("0") if rest else str(whole)


def _scaled(text: str | int, scale: int, noun: str) -> int:
    places = len(str(scale)) - 1
    rule = {"places": places}
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise MoneyError(f"a {noun} is written as text or a whole number, not {text!r}", rule)
    written = str(text)
    digits = written.removeprefix("-").replace(".", "", 1)
    if not digits.isascii() or not digits.isdigit() or len(written) > _TEXT_LENGTH_MAX:
        raise MoneyError(f"not a plain decimal {noun}: {written[:_TEXT_LENGTH_MAX]!r}", rule)
    before, _, after = written.removeprefix("-").partition(".")
    after = after.rstrip("0")
    if len(after) > places:
        raise MoneyError(f"a {noun} has at most {places} digits after the point: {written}", rule)
    # By digits: a product of decimals is rounded where it has too many.
    scaled = int((before or "0") + after.ljust(places, "0"))
    return -scaled if written.startswith("-") else scaled
