"""Deliberate bugs: the real code with one rule taken out. The simulation must catch each.

A mutation is a piece of a function's text and what stands there instead, so it says exactly
which rule is broken, and says so loudly when that text is no longer there.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from aipool.api_tokens import service as api_tokens
from aipool.books import batches, calendar, record, recovery
from aipool.gateway import funds, link, settle
from aipool.ledger import core, service
from tests.simulation import memory, memory_store


class Mutation(NamedTuple):
    """One bug. of: the function or class's function.  seed: one that catches it in `STEPS`."""

    name: str
    owner: Any
    function: str
    old: str
    new: str
    seed: int


#: Steps of the seeds below.
STEPS = 1_000

MUTATIONS = (
    Mutation(
        "recovery leaves open calls as they are",
        recovery._Reading, "entries",
        "for rid, hold in holds.items():", "for rid, hold in ():", 2,
    ),
    Mutation(
        "recovery forgets what was not shipped",
        recovery._Reading, "entries",
        "if end > self._high_water:", "if False:", 1,
    ),
    Mutation(
        "recovery does not ask which calls are in the books already",
        recovery.Recovery, "_write",
        "careful=True", "careful=False", 5,
    ),
    Mutation(
        "a recovered call is not capped by its hold",
        recovery, "_settled",
        "min(rate(usage, hold.price, hold.multiplier_ppm), hold.hold_nano)",
        "rate(usage, hold.price, hold.multiplier_ppm)", 36,
    ),
    Mutation(
        "leases stay when an epoch is closed",
        service, "close_epoch",
        "apply(tx, [Release(epoch)])", "pass", 0,
    ),
    Mutation(
        "a batch is applied wherever it begins",
        record._Plan, "_append",
        "if request.end <= high_water:\n        return Recorded(high_water)\n    "
        "if request.start != high_water:", "if False:", 0,
    ),
    Mutation(
        "what comes from an epoch that is over is applied",
        record._Plan, "add",
        "if stream.state is not EpochState.OPEN:", "if False:", 116,
    ),
    Mutation(
        "entries are acknowledged that were not written",
        batches.Batches, "_write",
        "except DatabaseBusy:",
        "except DatabaseBusy:\n"
        "            if all(isinstance(one, Append) for one in requests):\n"
        "                from aipool.doors.frames import Recorded\n"
        "                return tuple(Recorded(one.end) for one in requests)", 0,
    ),
    Mutation(
        "the answer to a question is not kept",
        record._Plan, "_borrow",
        "self.lends[epoch] = index", "pass", 0,
    ),
    Mutation(
        "what goes back goes back twice",
        record._Plan, "_entry",
        "self.commands.append(GiveBack(epoch, entry.budget, entry.window, entry.amount))",
        "self.commands += [GiveBack(epoch, entry.budget, entry.window, entry.amount)] * 2", 4,
    ),
    Mutation(
        "more is lent than is free",
        core, "slice_of",
        "or free < least", "", 0,
    ),
    Mutation(
        "a chain is granted in part",
        core._Desk, "_lend_chain",
        "fund.leased -= amount", "pass", 0,
    ),
    Mutation(
        "any window is lent of",
        core._Desk, "_lend_chain",
        "if not _is_open(need, rule.day):", "if False:", 13,
    ),
    Mutation(
        "a refusal hides that others hold leases",
        core._Desk, "_lend_chain",
        "grant = grant._replace(note=Note.ELSEWHERE)", "pass", 4,
    ),
    Mutation(
        "the limit of calls is not looked at",
        core._Desk, "_lender",
        "fund.cap = max(0, need.cap)", "fund.cap = None", 15,
    ),
    Mutation(
        "an overrun is taken from the lease",
        core._Desk, "_settle",
        "within = max(0, min(charge, call.hold_nano))", "within = charge", 0,
    ),
    Mutation(
        "an overrun is taken from what is lent to others",
        core._Desk, "_settle",
        "payable = min(payable, reach + fund.free())", "pass", 1,
    ),
    Mutation(
        "a call is charged to the wallet alone",
        core._Desk, "_find_payers",
        "chain = dict.fromkeys((*call.budgets, (account, 0)))",
        "chain = {(account, 0): None}", 0,
    ),
    Mutation(
        "staff takes what is lent",
        core._Desk, "_move",
        "if move.amount_nano > fund.free():",
        "if move.amount_nano > fund.free() + fund.leased:", 1,
    ),
    Mutation(
        "the balance after a transfer is the one before it",
        core._Desk, "_move",
        "after = self._balance(account)", "after = self._balance(account) - move.amount_nano", 0,
    ),
    Mutation(
        "a payment that is told twice is booked twice",
        service, "_move",
        "booked = store.transfer_by_key(tx.connection, move.idem_key)",
        "booked = None\n    if store.transfer_by_key(tx.connection, move.idem_key):\n"
        "        move = move._replace(idem_key=f'{move.idem_key} again')", 0,
    ),
    Mutation(
        "a lowered limit does not reach the window it is now",
        api_tokens, "set_window_limit",
        "apply(tx, [SetCap(budget, newest, cap)])", "pass", 11,
    ),
    Mutation(
        "a holder does not give back",
        funds.Funds, "recall",
        "self._return(lease)", "pass", 0,
    ),
    Mutation(
        "permits in flight are used up",
        funds.Funds, "settle",
        "back = lease.back if lease.each else rest",
        "back = 0 if lease.each else rest", 2,
    ),
    Mutation(
        "after a break a question gets another number",
        funds.Funds, "reconnected",
        "self._send(self._outstanding)",
        "self._asked.clear(); self._outstanding = None; self._ask()", 5,
    ),
    Mutation(
        "nobody asks the others before a refusal",
        funds.Funds, "_serve",
        "if elsewhere and (collected is None or not elsewhere <= collected.keys):", "if False:", 4,
    ),
    Mutation(
        "silence is taken for a no",
        funds.Funds, "_serve",
        "Shortage.SILENCE if silent else Shortage.FUNDS", "Shortage.FUNDS", 222,
    ),
    Mutation(
        "a batch under way is forgotten with its connection",
        link.Shipping, "recorded",
        "self._in_flight = False", "pass", 0,
    ),
    Mutation(
        "a call is recorded on the windows of the day it ends",
        settle, "outcome_of",
        "call.budgets", "call.token.budgets", 13,
    ),
    Mutation(
        "the day follows the clock back",
        calendar.Calendar, "look",
        "max(self.day.number, int(unix_seconds // DAY_SECONDS))",
        "int(unix_seconds // DAY_SECONDS)", 1,
    ),
    Mutation(
        "a clock that leaps is believed",
        calendar.Calendar, "look",
        "offset - self._offset > LEAP_SECONDS", "False", 10,
    ),
    Mutation(
        "rows are not locked between load and commit",
        memory.MemoryBooks, "_commit",
        "self._refuse_conflict(tx)", "pass", 0,
    ),
    Mutation(
        "a limit that two begin at once is begun twice",
        memory_store, "add_budgets",
        "raise DatabaseBusy(\"another process began the same limit at the same moment\")",
        "pass", 255,
    ),
)  # fmt: skip


def by_name(name: str) -> Mutation:
    """The mutation of this name."""
    return next(mutation for mutation in MUTATIONS if mutation.name == name)


@contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    """The real code with this bug in it."""
    with patch.object(mutation.owner, mutation.function, _mutated(mutation)):
        yield


def _mutated(mutation: Mutation) -> Any:
    function = getattr(mutation.owner, mutation.function)
    text = textwrap.dedent(inspect.getsource(function))
    if text.count(mutation.old) != 1:
        raise LookupError(f"{mutation.function} has not once: {mutation.old}")
    there: dict[str, Any] = {}
    code = text.replace(mutation.old, mutation.new)
    exec(compile(code, f"<{mutation.name}>", "exec"), vars(sys.modules[function.__module__]), there)
    return there[mutation.function]
