"""The interface against its own description, with requests made at random.

For every operation of the OpenAPI document requests are made that fit it, and such that do not;
every answer must be one that the document promises, in the form it promises, and none of 500. See
tests/control/fuzzing.py for what is checked and how nothing outside is asked.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aipool.control.described import document
from aipool.control.openapi import operations
from benchmarks.bars import Bars
from tests.control.fuzzing import fuzz, summary, told

CASES: Final = 20_000
CASES_QUICK: Final = 2_000


def main(arguments: Sequence[str]) -> int:
    """Asks, and prints what was found."""
    parser = argparse.ArgumentParser(prog="scripts/prove api-fuzz")
    parser.add_argument("--quick", action="store_true", help="fewer cases")
    parser.add_argument("--seed", type=int, default=0, help="of the cases")
    parser.add_argument("--only", default="", help='operations with this in "METHOD /path"')
    options = parser.parse_args(arguments)
    cases = CASES_QUICK if options.quick else CASES
    count = sum(options.only in f"{method} {path}" for method, path, _ in operations(document()))
    # Rounded up, and one more than is needed: some cases are no valid HTTP and are not sent.
    each = -(-cases // max(1, count)) + 2
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), each, seed=options.seed, only=options.only)
    if found.failures:
        print(told(found))
    bars = Bars("api-fuzz")
    bars.at_most("contract failures", len(found.failures), 0)
    bars.at_least("cases", found.cases, cases * 0.9)
    return bars.finish(summary(found))
