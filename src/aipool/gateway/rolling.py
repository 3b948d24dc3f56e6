"""How much of a stream's answer is held for, as it goes. Pure.

A stream may be cut off, so its worst case need not be held from the start: the input and
the first tokens of the answer are, and the hold grows by a slice whenever a third of what is
held for is counted. A third, because the gateway's own count may be as low as a third of
what the vendor will report, for numbers (tests/dialects/test_accuracy.py); so the hold stays
above the vendor's figure.

    held      1,024        3,072                5,120 …             the cap of the answer
    counted     ├── 277 ─────┼────── 960 ─────────┤
              asks for the next slice; no money for it = the stream ends with an error
"""

from __future__ import annotations

#: Of the answer, what a stream holds for at the start (ledger.md, "ordinary streaming").
FIRST_TOKENS = 1_024
#: What is held for in addition each time.
SLICE_TOKENS = 2_048
#: The vendor may report this many times what was counted.
_COUNTED_LOW = 3
#: Asked for so many counted tokens early, that the answer is there in time.
_EARLY_TOKENS = 64


def extend_at(held_tokens: int, output_tokens: int) -> int | None:
    """At how many counted tokens more must be held for; None = all is."""
    if held_tokens >= output_tokens:
        return None
    return held_tokens // _COUNTED_LOW - _EARLY_TOKENS


def stop_at(held_tokens: int) -> int:
    """At how many counted tokens nothing more is relayed before more is held for."""
    return held_tokens // _COUNTED_LOW
