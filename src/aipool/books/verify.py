"""`aipool ledger verify`: re-derives the books and says where they disagree.

Reads one moment of the database and writes nothing, so it runs beside a running server.
Everything is streamed; only the differences are kept, and of those not more than fit a
screen or two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from aipool.calls import verify as of_calls
from aipool.kit.db import Database
from aipool.kit.money import format_cny
from aipool.ledger import verify as of_ledger
from aipool.ledger.verify import Difference

DIFFERENCES_MAX = 200


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at and what disagrees.

    differences: the first of them.  count: how many there are.
    """

    wallets: int
    transfers: int
    calls: int
    recovered: int
    wallets_nano: int
    charged_nano: int
    written_off_nano: int
    differences: list[Difference]
    count: int

    @property
    def exit_code(self) -> int:
        """For the shell: 0 = the books agree."""
        return 1 if self.count else 0

    def lines(self) -> Iterator[str]:
        """As people read it."""
        for difference in self.differences:
            yield str(difference)
        if self.count > len(self.differences):
            yield f"… and {self.count - len(self.differences)} more"
        yield (
            f"{self.wallets} wallets with ¥{format_cny(self.wallets_nano)}, "
            f"{self.transfers} transfers, {self.calls} calls ({self.recovered} recovered) "
            f"charged ¥{format_cny(self.charged_nano)}, "
            f"written off ¥{format_cny(self.written_off_nano)}"
        )
        yield "The books agree." if not self.count else f"{self.count} differences."


def verify(database: Database) -> Report:
    """Looks at everything, on one moment of the database."""
    ledger_totals, call_totals = of_ledger.Totals(), of_calls.Totals()
    kept: list[Difference] = []
    count = 0
    with database.read(patient=True) as connection:
        for difference in chain(
            of_ledger.differences(connection, ledger_totals),
            of_calls.differences(connection, call_totals),
        ):
            count += 1
            if len(kept) < DIFFERENCES_MAX:
                kept.append(difference)
    return Report(
        ledger_totals.wallets,
        ledger_totals.transfers,
        call_totals.calls,
        call_totals.recovered,
        ledger_totals.wallets_nano,
        call_totals.charged_nano,
        call_totals.written_off_nano,
        kept,
        count,
    )
