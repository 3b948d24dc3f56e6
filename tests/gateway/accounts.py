"""The toy ledger's own account of its money, for tests that ask whether any is missing."""

from __future__ import annotations

from aipool.doors.frames import Ship
from aipool.doors.records import Returned, decode_entry
from tests.gateway.rig import ToyLedger

#: Enough for any test, however much a worker asks for.
PLENTY_NANO = 10**15


def missing_nano(ledger: ToyLedger, began_nano: int) -> int:
    """What was granted and has neither been charged nor come back; ask when the worker has gone."""
    batches = {ship.end: ship.entries for ship in ledger.heard if isinstance(ship, Ship)}
    entries = [decode_entry(entry) for batch in batches.values() for entry in batch]
    returned = sum(entry.amount for entry in entries if isinstance(entry, Returned))
    charged = sum(outcome.charge_nano for outcome in ledger.outcomes)
    return began_nano - ledger.free_nano - returned - charged
