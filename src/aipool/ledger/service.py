"""Use cases of the ledger. Each writes through the transaction it is given and commits
nothing: what belongs together is committed together by whoever opened it.

    people      open_wallet · credit_wallet · adjust_wallet · set_budget_cap · set_window_limit
    the books   open_epoch · apply · close_epoch · freeze_epoch · set_day
    reading     wallet_balance · budget_state · system_balance

An expected no is a value (`Refused`), not an exception.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy.engine import Connection

from aipool.kit.db import Transaction
from aipool.ledger import core, store
from aipool.ledger.rules import LIFETIME, Unit, counts_requests, is_past, unit_of
from aipool.ledger.store import scan
from aipool.ledger.types import (
    Answer,
    BookedTransfer,
    Budget,
    BudgetRow,
    Command,
    EpochState,
    Fold,
    GiveBack,
    Lend,
    Move,
    Moved,
    RefusalReason,
    Refused,
    Release,
    Rows,
    SetCap,
    Settle,
    StreamRow,
    TransferKind,
    Wallet,
    is_wallet,
    token_budget,
    wallet_account,
)

# --- people ---------------------------------------------------------------------------------


#: Transfers of one look at an account.
_AT_ONCE = 200


def open_wallet(tx: Transaction, user_id: int) -> None:
    """Gives a user an empty wallet; nothing happens when there is one."""
    store.open_wallet(tx.connection, wallet_account(user_id))


def credit_wallet(
    tx: Transaction,
    *,
    user_id: int,
    amount_nano: int,
    source: str,
    kind: TransferKind,
    idem_key: str,
    ref: str,
    actor: str,
    at_ms: int,
) -> Moved | Refused:
    """Money comes in from `source` (a system account); once per idem_key.

    A repeat with the same key and content answers as the first did and books nothing;
    with other content it is refused.
    """
    open_wallet(tx, user_id)
    account = wallet_account(user_id)
    return _move(tx, Move(at_ms, source, account, amount_nano, kind, ref, idem_key, actor))


def adjust_wallet(
    tx: Transaction,
    *,
    user_id: int,
    amount_nano: int,
    idem_key: str,
    ref: str,
    actor: str,
    at_ms: int,
) -> Moved | Refused:
    """Staff corrects a balance, up (positive) or down; down touches unleased money only.

    The other side is `adjust:<actor>`, so what each person moved can be summed.
    """
    open_wallet(tx, user_id)
    account, other = wallet_account(user_id), f"adjust:{actor}"
    debit, credit = (other, account) if amount_nano > 0 else (account, other)
    amount, kind = abs(amount_nano), TransferKind.ADJUST
    return _move(tx, Move(at_ms, debit, credit, amount, kind, ref, idem_key, actor))


def adjusted_by(connection: Connection, actor: str, *, since_ms: int) -> int:
    """How much somebody moved by adjustments since then, up and down together."""
    total, before_seq = 0, None
    while page := store.wallet_transfers(
        connection, f"adjust:{actor}", before_seq=before_seq, limit=_AT_ONCE, alone=True
    ):
        lately = [booked for booked in page if booked.transfer.at_ms >= since_ms]
        total += sum(booked.transfer.amount_nano for booked in lately)
        if len(lately) < len(page):
            break
        before_seq = page[-1].seq
    return total


def find_transfer(connection: Connection, idem_key: str) -> BookedTransfer | None:
    """The transfer that was booked under this key; None = there is none."""
    return store.transfer_by_key(connection, idem_key)


def _move(tx: Transaction, move: Move) -> Moved | Refused:
    booked = store.transfer_by_key(tx.connection, move.idem_key)
    if booked is not None:
        was = booked.transfer
        same = (was.debit, was.credit, was.amount_nano, was.kind) == (
            move.debit,
            move.credit,
            move.amount_nano,
            move.kind.value,
        )
        if not same or was.wallet_balance_after is None:
            return Refused(RefusalReason.KEY_USED_OTHERWISE, 0)
        return Moved(was.wallet_balance_after)
    (answer,) = apply(tx, [move])
    assert isinstance(answer, Moved | Refused)
    return answer


def set_budget_cap(tx: Transaction, budget: str, cap: int | None, *, window: int = 0) -> Budget:
    """Sets, changes or (None) lifts a limit beside the wallet; a new budget is made.

    Below what is used and leased the budget is frozen: nothing more is lent of it, and
    what is lent may still be spent.
    """
    if is_wallet(budget):
        raise ValueError("a wallet is limited by its balance")
    if cap is not None and cap < 0:
        raise ValueError("a limit is zero or more")
    apply(tx, [SetCap(budget, window, cap)])
    state = store.budget(tx.connection, budget, window)
    assert state is not None
    return state


def set_window_limit(tx: Transaction, budget: str, cap: int) -> None:
    """Sets or changes the limit of a budget that begins anew each period (ledger.rules).

    The window it is now keeps what it has used; every later one begins with this limit.
    """
    if cap < 0:
        raise ValueError("a limit is zero or more")
    newest = store.newest_window(tx.connection, budget)
    if newest is not None:
        # Before the limit, which the books look at after the windows that are there.
        store.load_budgets(tx.connection, {(budget, newest)})
    store.put_window_limit(tx.connection, budget, cap)
    newest = store.newest_window(tx.connection, budget)
    if newest is not None:
        apply(tx, [SetCap(budget, newest, cap)])


def wallet_balance(connection: Connection, user_id: int) -> Wallet | None:
    """A user's wallet; None = never had one."""
    return store.wallet(connection, wallet_account(user_id))


def wallet_history(
    connection: Connection,
    user_id: int,
    *,
    before_seq: int | None = None,
    limit: int,
    alone: bool = False,
) -> list[BookedTransfer]:
    """What happened to a user's wallet, newest first, below `before_seq`. alone: without what
    calls took."""
    account = wallet_account(user_id)
    return store.wallet_transfers(
        connection, account, before_seq=before_seq, limit=limit, alone=alone
    )


def balances_after_calls(connection: Connection, rids: Collection[str]) -> dict[str, int]:
    """What was on the wallet after each of these calls, of those that took something."""
    prefix = f"{TransferKind.USAGE.value}:"
    after = store.balances_after(connection, [f"{prefix}{rid}" for rid in rids])
    return {key.removeprefix(prefix): left for key, left in after.items() if left is not None}


def past_windows(
    connection: Connection, day: int, after: tuple[str, int], limit: int
) -> tuple[list[tuple[str, int]], tuple[str, int] | None]:
    """Looks at some limits behind this one: which of them counted a period that was over before
    this day, and where to go on; None = that were all."""
    looked = store.some_windows(connection, after, limit)
    past = [(name, number) for name, number in looked if is_past(name, number, day)]
    return past, looked[-1] if len(looked) == limit else None


def drop_windows(tx: Transaction, keys: Sequence[tuple[str, int]]) -> None:
    """Forgets past windows of limits; nobody spends of them any more. One of which something is
    lent stays."""
    store.delete_windows(tx.connection, keys)


def budget_state(connection: Connection, budget: str, *, window: int = 0) -> Budget | None:
    """A limit and how much of it is used; None = no such budget."""
    return store.budget(connection, budget, window)


def system_balance(connection: Connection, account: str) -> int:
    """Credits less debits of a system account, in nano: the fold since its checkpoint."""
    return system_balances(connection).get(account, 0)


def system_balances(connection: Connection) -> dict[str, int]:
    """Every system account's balance now."""
    return fold(connection).balances


def fold(connection: Connection, to_seq: int | None = None) -> Fold:
    """The system accounts up to a transfer, the newest one unless told, from their
    checkpoints on; the imbalance is always that of everything."""
    kept = store.checkpoints(connection)
    # All checkpoints are written together, so they share one seq.
    start = min((seq for seq, _ in kept.values()), default=0)
    newest = store.last_seq(connection)
    end = newest if to_seq is None else to_seq
    balances = {account: balance for account, (_, balance) in kept.items()}
    for account, amount in store.system_movement(connection, start, end).items():
        balances[account] = balances.get(account, 0) + amount
    later = store.system_movement(connection, end, newest) if newest > end else {}
    system = sum(balances.values()) + sum(later.values())
    return Fold(end, balances, system + store.wallets_total(connection))


def settled_seq(tx: Transaction) -> int:
    """The newest transfer below which none can appear any more: for a checkpoint.

    On PostgreSQL numbers are given before the commit; so it waits for whoever is writing
    transfers, and keeps others from it until the transaction ends, which should be now.
    """
    store.lock_transfers(tx.connection)
    return store.last_seq(tx.connection)


def keep_checkpoints(tx: Transaction, folded: Fold) -> None:
    """The next fold begins where this one ended."""
    store.put_checkpoints(tx.connection, folded.seq, folded.balances)


def charges_by_call(
    connection: Connection, kind: TransferKind
) -> Iterator[tuple[str, str, int, int]]:
    """What calls moved, by rid: (rid, account debited, nano, at_ms). For the verifier."""
    return scan.stream_charges(connection, kind)


def used_by_tokens(connection: Connection) -> Iterator[tuple[str, int]]:
    """Every token's counted use by the name of its budget. For the verifier."""
    return scan.used_by_tokens(connection)


def charged_by_day(connection: Connection) -> Iterator[tuple[tuple[int, int], int]]:
    """What each user's calls moved each UTC day, by (day, user). For the verifier."""
    return scan.charged_by_day(connection)


# --- the books ------------------------------------------------------------------------------


def open_epoch(tx: Transaction, epoch: int, *, worker: int, pid: int, at_ms: int) -> StreamRow:
    """Registers an epoch, or finds it as it is (a worker that connects again)."""
    found = store.load_streams(tx.connection, [epoch]).get(epoch)
    if found is None:
        store.insert_stream(tx.connection, epoch, worker=worker, pid=pid, at_ms=at_ms)
        found = StreamRow(epoch, worker, pid, 0, 0, b"", EpochState.OPEN)
    return found


def close_epoch(tx: Transaction, epoch: int, at_ms: int) -> None:
    """All leases of the epoch return and nothing of it is accepted any more."""
    apply(tx, [Release(epoch)])
    store.end_stream(tx.connection, epoch, EpochState.CLOSED, at_ms)


def freeze_epoch(tx: Transaction, epoch: int, at_ms: int) -> None:
    """The epoch's journal cannot be believed: nothing of it is accepted any more, and its
    leases stay lent, out of everybody's reach, until a person decides."""
    store.end_stream(tx.connection, epoch, EpochState.FROZEN, at_ms)


def today(connection: Connection) -> tuple[int, bool] | None:
    """The UTC day it is for the windows, and whether it is frozen; None before the first."""
    return store.load_calendar(connection)


def set_day(tx: Transaction, day: int, *, frozen: bool) -> None:
    """Moves the windows on, or (frozen) keeps them where they are. They never go back:
    an earlier day leaves the day as it is."""
    store.put_calendar(tx.connection, day, frozen=frozen)


def holders(connection: Connection, keys: Collection[tuple[str, int]]) -> list[int]:
    """The open epochs, and the frozen ones, that hold leases on any of these budgets."""
    names = {name for name, _ in keys}
    wanted = set(keys)
    return [
        stream.epoch
        for state in (EpochState.OPEN, EpochState.FROZEN)
        for stream in store.streams_in(connection, state)
        if any(key[1:] in wanted for key in store.load_leases(connection, stream.epoch, names))
    ]


def load_epochs(tx: Transaction, epochs: Collection[int]) -> dict[int, StreamRow]:
    """The epochs that exist among these, which nobody else changes before the commit."""
    return store.load_streams(tx.connection, epochs)


def find_epochs(connection: Connection, epochs: Collection[int]) -> dict[int, StreamRow]:
    """The epochs that exist among these."""
    return store.find_streams(connection, epochs)


def epochs_in(connection: Connection, state: EpochState) -> list[StreamRow]:
    """All epochs in a state, oldest first."""
    return store.streams_in(connection, state)


def leases_of(connection: Connection, epoch: int) -> dict[tuple[str, int], int]:
    """What an epoch has of each budget, by (budget, window)."""
    leases = store.leases_of(connection, epoch)
    return {key[1:]: remaining for key, remaining in leases.items()}


def active_epochs(connection: Connection) -> int:
    """How many epochs share the budgets now."""
    return store.open_streams_count(connection)


def advance_epochs(tx: Transaction, marks: Mapping[int, int]) -> None:
    """Sets the high-water marks of open epochs."""
    store.advance_streams(tx.connection, [(mark, epoch) for epoch, mark in marks.items()])


def keep_replies(tx: Transaction, replies: Sequence[tuple[int, bytes, int]]) -> None:
    """Keeps the newest answer of open epochs as (number, reply, epoch)."""
    store.keep_replies(tx.connection, replies)


def charged_calls(connection: Connection, rids: Collection[str]) -> set[str]:
    """Those of the calls that moved money already."""
    keys = {f"{kind}:{rid}" for rid in rids for kind in ("usage", "writeoff")}
    return {key.partition(":")[2] for key in store.known_keys(connection, keys)}


def apply(tx: Transaction, commands: Sequence[Command]) -> tuple[Answer, ...]:
    """Loads the rows the commands name, decides, writes the effects; one answer each."""
    connection = tx.connection
    rows, there = _rows_for(connection, commands)
    effects = core.decide(rows, commands)
    store.insert_transfers(connection, effects.transfers)
    store.change_wallets(connection, effects.wallets)
    store.put_budgets(connection, [b for b in effects.budgets if (b.budget, b.window) in there])
    store.add_budgets(connection, [b for b in effects.budgets if (b.budget, b.window) not in there])
    store.put_leases(connection, effects.leases)
    return effects.answers


def _rows_for(
    connection: Connection, commands: Sequence[Command]
) -> tuple[Rows, set[tuple[str, int]]]:
    """The rows that a decision on these commands looks at, locked: wallets, then budgets.

    The leases need no lock of their own: an epoch's are changed by whoever has locked its
    stream. Also gives the keys of the budgets that are there.
    """
    keys: set[tuple[str, int]] = set()
    chains: set[tuple[tuple[str, int], ...]] = set()
    owners: set[tuple[int, int]] = set()
    epochs: set[int] = set()
    leases: dict[tuple[int, str, int], int] = {}
    for command in commands:
        match command:
            case Settle():
                call = command.call
                if call.charge_nano > 0 or counts_requests(call.budgets):
                    epochs.add(command.epoch)
                    chains.add(call.budgets)
                    owners.add((call.user_id, call.token_id))
            case GiveBack():
                epochs.add(command.epoch)
                keys.add((command.budget, command.window))
            case Lend():
                epochs.add(command.epoch)
                keys.update(
                    (need.budget, need.window) for chain in command.chains for need in chain
                )
            case Release():
                leases.update(store.leases_of(connection, command.epoch))
            case Move():
                keys.update(((command.debit, 0), (command.credit, 0)))
            case SetCap():
                keys.add((command.budget, command.window))
    keys.update((name, window) for _, name, window in leases)
    for chain in chains:
        keys.update(chain)
    for user_id, token_id in owners:
        keys.add((wallet_account(user_id), 0))
        keys.add((token_budget(token_id), 0))
    names = {name for name, _ in keys}
    for epoch in epochs:
        leases.update(store.load_leases(connection, epoch, names))
    wallets = store.load_wallets(connection, {name for name in names if is_wallet(name)})
    wanted = {key for key in keys if not is_wallet(key[0])}
    budgets = store.load_budgets(connection, wanted)
    there = set(budgets)
    budgets.update(_beginning(connection, wanted - there))
    return Rows(wallets, budgets, leases), there


def _beginning(
    connection: Connection, keys: set[tuple[str, int]]
) -> dict[tuple[str, int], BudgetRow]:
    """Windows of money as they begin, of these that nobody used yet."""
    fresh = [key for key in keys if key[1] != LIFETIME and unit_of(key[0]) is Unit.MONEY]
    if not fresh:
        return {}
    limits = store.load_window_limits(connection, {name for name, _ in fresh})
    return {
        (name, window): BudgetRow(name, window, limits[name], 0, 0)
        for name, window in fresh
        if name in limits
    }
