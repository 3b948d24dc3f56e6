"""What must hold: after each commit as far as the commit touched it, after each turn of a
worker for its leases, and of everything when nothing moves any more.

    L-01 L-02 L-03 L-07 L-09 L-10    at every commit (Commits)
    L-04                             at every turn, and against the books at rest
    L-05 L-08 L-12 L-13 L-14 L-16    at rest, against the witness
    L-06                             a repeated batch must leave no trace, so: all of them
    L-11                             against what customers were told
    L-15                             in `rest`, by asking
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from aipool.ledger.rules import Unit, period_of, unit_of, window_of
from aipool.ledger.types import EpochState, TransferKind, is_wallet, token_budget
from tests.simulation.memory import MemoryConnection
from tests.simulation.node import Node
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.people import People

Key = tuple[str, int]


class Commits:
    """Looks at each commit of books in memory."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lent: defaultdict[Key, int] = defaultdict(int)
        self.leases: dict[tuple[int, str, int], int] = {}
        self.folds: defaultdict[str, int] = defaultdict(int)
        self.used: dict[Key, tuple[int, int]] = {}
        self.marks: dict[int, int] = {}
        self.day = 0

    def look(self, tx: MemoryConnection) -> None:
        """What this commit wrote, against what was there before."""
        books, broken = tx.books, self.world.broken
        for transfer in tx.transfers:
            self.folds[transfer.debit] -= transfer.amount_nano
            self.folds[transfer.credit] += transfer.amount_nano
            for side in (transfer.debit, transfer.credit):
                if is_wallet(side) and transfer.wallet_balance_after != self.folds[side]:
                    broken("L-09", f"{transfer} leaves {self.folds[side]}")
        touched: set[Key] = {(name, 0) for name in tx.deltas}
        for (table, key), row in tx.rows.items():
            if table == "leases":
                touched.add((key[1], key[2]))
                self._lease(key, row)
            elif table == "budgets":
                touched.add(key)
                self._budget(key, row)
            elif table == "streams":
                if row.high_water < self.marks.get(key, 0):
                    broken("L-06", f"the mark of epoch {key} falls to {row.high_water}")
                self.marks[key] = row.high_water
                if row.state is EpochState.CLOSED and books.leases.get(key):
                    broken("L-08", f"epoch {key} is closed with {books.leases[key]}")
            elif table == "calendar":
                if row[0] < self.day:
                    broken("L-10", f"the day goes back from {self.day} to {row[0]}")
                self.day = row[0]
        for name in tx.deltas:
            wallet = books.wallets[name]
            if wallet.balance_nano != self.folds[name]:
                broken("L-01", f"{wallet} and the fold {self.folds[name]}")
            if wallet.balance_nano - wallet.leased_nano < wallet.floor_nano:
                broken("L-02", f"{wallet}")
        for key in touched:
            purse, budget = books.wallets.get(key[0]), books.budgets.get(key)
            leased = purse.leased_nano if purse else budget.leased if budget else 0
            if leased != self.lent[key]:
                broken("L-03", f"{key} has {leased} leased, its leases are {self.lent[key]}")

    def _lease(self, key: tuple[int, str, int], left: int) -> None:
        epoch, budget, window = key
        before = self.leases.get(key, 0)
        self.leases[key] = left
        self.lent[budget, window] += left - before
        if left <= before:
            return
        books = self.world.books
        if books.streams[epoch].state is not EpochState.OPEN:
            self.world.broken("L-07", f"{budget} is lent to epoch {epoch}, which is over")
        now = window_of(period_of(budget), self.day)
        # The window before is lent of for answers that were begun in it and still grow.
        if window != now and window != now - 1:
            self.world.broken("L-10", f"{budget} is lent of window {window} on day {self.day}")

    def _budget(self, key: Key, row: Any) -> None:
        before, committed = self.used.get(key, (0, 0))
        self.used[key] = row.used, row.used + row.leased
        over = row.cap is not None and row.used + row.leased > row.cap
        if row.used < before:
            self.world.broken("L-10", f"{key} was used {before}, now {row.used}")
        if row.frozen != over:
            self.world.broken("L-10", f"{row} is frozen or not")
        # A token's use is counted also while no limit held its calls: that may pass any cap.
        own = key[0].startswith("token:") and "/" not in key[0]
        if over and not own and row.used + row.leased > committed:
            self.world.broken(
                "L-10", f"{row}: more than its cap, and more than the {committed} before"
            )


def look_at_leases(world: World, node: Node) -> None:
    """L-04, in the worker's memory."""
    known = node.funds._known
    for key, granted in node.granted_in_all.items():
        free = granted - node.held[key] - node.spent[key] - node.returned[key]
        lease = known.get(key)
        have = lease.free if lease is not None else 0
        if have != free:
            world.broken("L-04", f"worker {node.index} has {have} free of {key}, not {free}")


def look_at_rest(world: World, people: People) -> None:
    """Everything, when nothing is on its way and no call is open."""
    _books_agree_with_workers(world)
    _calls_are_what_happened(world)
    _money_is_where_it_should_be(world)
    _limits_counted_right(world, people)


def _books_agree_with_workers(world: World) -> None:
    """L-04 across the link, and L-03, L-07, L-08 of the books."""
    books = world.books
    living = {node.epoch: node for node in world.nodes}
    lent: defaultdict[Key, int] = defaultdict(int)
    for epoch, leases in books.leases.items():
        for key, left in leases.items():
            lent[key] += left
        node = living.get(epoch)
        if node is None and leases:
            world.broken("L-08", f"epoch {epoch} is gone and holds {leases}")
        if node is not None:
            for key in leases.keys() | node.granted_in_all.keys():
                lease = node.funds._known.get(key)
                have = lease.free if lease is not None else 0
                if leases.get(key, 0) != have:
                    world.broken(
                        "L-04",
                        f"worker {node.index} has {have} of {key}, the books say {leases.get(key)}",
                    )
    for name, wallet in books.wallets.items():
        if wallet.leased_nano != lent[name, 0]:
            world.broken("L-03", f"{wallet}, its leases are {lent[name, 0]}")
    for key, budget in books.budgets.items():
        if budget.leased != lent[key]:
            world.broken("L-03", f"{budget}, its leases are {lent[key]}")


def _calls_are_what_happened(world: World) -> None:
    """L-05, L-08, L-12, L-14: every call that was held, once, at what it cost."""
    rows, witness = world.books.calls, world.witness
    for rid, call in witness.calls.items():
        expected, row = witness.expected(call), rows.get(rid)
        if row is None:
            if expected is not None:
                world.broken("L-08", f"{rid} of epoch {call.epoch} is not in the books")
            continue
        if expected is None:
            world.broken("L-05", f"{rid} is in the books, and in nothing that was left")
            continue
        rated = row.charged_nano + row.written_off_nano
        if (rated, bool(row.recovered)) != expected:
            world.broken("L-12", f"{rid}: {rated}, recovered {row.recovered}; not {expected}")
    for rid in rows.keys() - witness.calls.keys():
        world.broken("L-05", f"{rid} is in the books and never happened")


def _money_is_where_it_should_be(world: World) -> None:
    """L-01, L-09, L-11, L-13, L-16: transfers, wallets, calls and what people were told."""
    books, witness = world.books, world.witness
    folds: defaultdict[str, int] = defaultdict(int)
    by_call: dict[tuple[str, str], int] = {}
    credited: dict[str, int] = {}
    for transfer in books.transfers:
        folds[transfer.debit] -= transfer.amount_nano
        folds[transfer.credit] += transfer.amount_nano
        if transfer.kind in (TransferKind.USAGE, TransferKind.WRITEOFF):
            if (transfer.kind, transfer.ref) in by_call:
                world.broken("L-05", f"{transfer.ref} is charged twice")
            by_call[transfer.kind, transfer.ref] = transfer.amount_nano
        if transfer.kind == TransferKind.CREDIT:
            credited[transfer.idem_key] = transfer.amount_nano
    if credited != witness.keys:
        world.broken("L-11", f"{set(credited.items()) ^ set(witness.keys.items())}")
    if sum(folds.values()):
        world.broken("L-01", "all accounts together are not zero")
    charged: defaultdict[int, int] = defaultdict(int)
    for rid, row in books.calls.items():
        moved = (
            by_call.pop((TransferKind.USAGE, rid), 0),
            by_call.pop((TransferKind.WRITEOFF, rid), 0),
        )
        if moved != (row.charged_nano, row.written_off_nano):
            world.broken("L-13", f"{rid}: {moved} moved, the call says {row.charged_nano}")
        charged[row.user_id] += row.charged_nano
    if by_call:
        world.broken("L-13", f"charges without a call: {by_call}")
    for name, wallet in books.wallets.items():
        user_id = int(name.partition(":")[2])
        if wallet.balance_nano != folds[name]:
            world.broken("L-01", f"{wallet}, its transfers come to {folds[name]}")
        if wallet.balance_nano != witness.paid_nano.get(user_id, 0) - charged[user_id]:
            world.broken("L-16", f"{wallet}: {witness.paid_nano.get(user_id, 0)} paid in, "
                                 f"{charged[user_id]} charged")  # fmt: skip


def _limits_counted_right(world: World, people: People) -> None:
    """L-10 from the calls up: each in the window of its hold, none above what was allowed."""
    books = world.books
    used: defaultdict[Key, int] = defaultdict(int)
    limited: defaultdict[Key, int] = defaultdict(int)
    for rid, row in books.calls.items():
        call = world.witness.calls[rid]
        keys = set(call.budgets)
        for key in keys:
            unit = unit_of(key[0])
            if unit is Unit.MONEY and not is_wallet(key[0]):
                used[key] += row.charged_nano
                limited[key] += row.charged_nano
            elif unit is Unit.REQUESTS:
                used[key] += 1
        if (token_budget(call.token_id), 0) not in keys:
            used[token_budget(call.token_id), 0] += row.charged_nano
    newest = {
        name: max((w for n, w in books.budgets if n == name), default=0) for name in books.limits
    }
    for name, window in newest.items():
        row = books.budgets.get((name, window))
        if row is not None and row.cap != books.limits[name]:
            world.broken("L-10", f"{row}, its limit is {books.limits[name]}")
    for key, budget in books.budgets.items():
        unit = unit_of(key[0])
        if unit is Unit.CONCURRENCY:
            continue
        if unit is Unit.MONEY and budget.used != used[key]:
            world.broken("L-10", f"{budget}, its calls come to {used[key]}")
        cap = people.caps.get(key[0], 0)
        if unit is Unit.MONEY and cap is not None and limited[key] > cap:
            world.broken("L-10", f"{limited[key]} of {key}, {cap} was the most ever allowed")
        if unit is Unit.REQUESTS:
            most = people.allowed[int(key[0].partition("token-")[2].partition("/")[0])][0]
            if budget.used > used[key] or (most is not None and used[key] > most):
                world.broken("L-10", f"{budget}, its calls are {used[key]} of {most}")


def look_at_concurrency(world: World, people: People) -> None:
    """L-10 of calls in flight: what the living workers run of a token, together."""
    running: defaultdict[int, int] = defaultdict(int)
    for each in world.nodes:
        for call in each.open.values():
            if any(unit_of(name) is Unit.CONCURRENCY for name, _ in call.budgets):
                running[call.token.view.id] += 1
    for token_id, count in running.items():
        most = people.allowed[token_id][1]
        if most is not None and count > most:
            world.broken("L-10", f"{count} calls of token {token_id} run at once, {most} may")
