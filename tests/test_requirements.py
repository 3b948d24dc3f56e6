"""Each numbered requirement has a test of its name, so that whoever looks for one finds it.

The numbers are those of the products that AI-POOL unites: S0 accounts, wallet, tokens, records;
S1 the pool of upstream keys; S2 groups; S3 resets, the market, the playground. A test is named
after the number at its beginning, `test_s0_14_a_token_needs_a_name`, and may stand for several:
`test_s2_13_and_s2_14_…`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

ROWS = (
    *(f"s0_{number}" for number in (*range(1, 7), *range(13, 43))),
    *(f"s2_{number}" for number in range(1, 19)),
    *(f"s3_{number}" for number in (*range(1, 10), 17)),
)

_NUMBERS = re.compile(r"test_((?:s\d_\d+_(?:and_)?)+)")
_FUNCTION = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


def named(name: str) -> list[str]:
    """The rows that a test of this name stands for."""
    found = _NUMBERS.match(name)
    return re.findall(r"s\d_\d+", found[1]) if found else []


def test_each_requirement_has_a_test_of_its_name() -> None:
    texts = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    there = {row for text in texts for name in _FUNCTION.findall(text) for row in named(name)}
    assert [row for row in ROWS if row not in there] == []


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("test_s0_1_a_visitor_registers", ["s0_1"]),
        ("test_s2_13_and_s2_14_workers_know", ["s2_13", "s2_14"]),
        ("test_s0_23_to_s0_28_the_list", ["s0_23"]),
        ("test_about_s0_22_", []),
    ],
)
def test_a_name_begins_with_its_numbers(name: str, rows: list[str]) -> None:
    assert named(name) == rows
