"""The decisions of the ledger: what the books say, what is asked → what is to be written.

Pure: no database, no clock, no chance. `decide` takes the rows that the commands name,
works through the commands in order on copies of its own, and gives back effects as data;
the caller writes them in the transaction in which it loaded the rows. The promises:

- A wallet never falls below its floor, and leased money is never lent or moved twice.
- A call is charged at most once (`idem_key`), and never more than its leases and what is
  unleased of *every* budget of its chain can pay; what is missing is written off.
- A chain of needs is granted on all its budgets or on none.
- A limit that shrinks below what is used is frozen: nothing is lent, nothing is negative.

A worker is believed about what it served, never about what it may spend: whatever it
says about its hold, no more is posted from a lease than the lease has.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from aipool.kit.money import AMOUNT_NANO_MAX
from aipool.ledger.rules import Unit, counts_requests, period_of, unit_of, window_of
from aipool.ledger.types import (
    BALANCE_NANO_MAX,
    REVENUE,
    UNLIMITED_NANO,
    WRITEOFF,
    Answer,
    BudgetChange,
    BudgetRow,
    CallEnd,
    Command,
    Done,
    Effects,
    GiveBack,
    Grant,
    LeaseRow,
    Lend,
    LendRule,
    Lent,
    Move,
    Moved,
    Need,
    Note,
    RefusalReason,
    Refused,
    Release,
    Rows,
    SetCap,
    Settle,
    Settled,
    Transfer,
    TransferKind,
    WalletChange,
    WalletRow,
    is_system_account,
    is_wallet,
    token_budget,
    wallet_account,
)

#: Below this many times the need a budget is low: it is lent hold by hold.
LOW_BALANCE_NEEDS = 8

#: The most calls of a budget of calls that a worker is lent at once.
SLICE_CALLS_MAX = 1_000

#: Of what is free, each worker gets a third of its equal share, so that the others and
#: whoever wants to spend it elsewhere find some.
SHARE_PARTS = 3

_NOTHING = Settled(0, 0)
_DONE = Done()
_NOBODY = ""
# Plain text: the driver takes a slower path for subclasses of str.
_USAGE = TransferKind.USAGE.value
_WRITEOFF = TransferKind.WRITEOFF.value


def decide(rows: Rows, commands: Iterable[Command]) -> Effects:
    """What follows from the commands, in order, on these rows. `rows` is left as it is."""
    return _Desk(rows).work(commands)


def slice_of(free: int, need: Need, rule: LendRule) -> Grant:
    """How much of a budget with `free` unleased one need gets; 0 and SHORT when too little."""
    least, want = need.least, min(need.want, AMOUNT_NANO_MAX)
    if not 0 <= least <= want or free < least:
        return Grant(0, free, low=True, note=Note.SHORT)
    if free < LOW_BALANCE_NEEDS * want:
        return Grant(min(want, free), free, low=True, note=Note.FINE)
    share = free // (SHARE_PARTS * max(1, rule.active_workers))
    most = rule.slice_max_nano if unit_of(need.budget) is Unit.MONEY else SLICE_CALLS_MAX
    return Grant(min(max(share, want), max(most, want)), free, low=False, note=Note.FINE)


class _Fund:
    """A wallet or a limit while a decision works on it; both lend, return and pay alike.

    A wallet is a fund whose cap is its balance above the floor as loaded, raised by what
    comes in, and whose `spent` is what went out since.
    """

    __slots__ = ("cap", "leased", "spent")

    def __init__(self, cap: int | None, spent: int, leased: int) -> None:
        self.cap = cap
        self.spent = spent
        self.leased = leased

    def free(self) -> int:
        """What may be lent; never negative."""
        if self.cap is None:
            return UNLIMITED_NANO
        free = self.cap - self.spent - self.leased
        return free if free > 0 else 0


class _Lease:
    """What an epoch has of a budget while a decision works on it."""

    __slots__ = ("loaded", "remaining")

    def __init__(self, remaining: int | None) -> None:
        self.loaded = remaining
        self.remaining = remaining or 0


class _Payers(NamedTuple):
    """Who pays a call: the funds of its chain with the epoch's lease on each, and the
    fund that only counts (a token without a limit). No funds: nobody pays.
    requests: those of the chain that count the call itself, whatever it costs."""

    account: str
    funds: tuple[tuple[_Fund, _Lease], ...]
    requests: tuple[tuple[_Fund, _Lease], ...]
    counts: _Fund | None


class _Desk:
    """One decision in progress."""

    __slots__ = ("_funds", "_leases", "_payers", "_rows", "_transfers")

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._funds: dict[tuple[str, int], _Fund] = {}
        self._leases: dict[tuple[int, str, int], _Lease] = {}
        self._payers: dict[object, _Payers] = {}
        self._transfers: list[Transfer] = []

    def work(self, commands: Iterable[Command]) -> Effects:
        """Work through all of them and sum up."""
        answers = tuple([self._one(command) for command in commands])
        return Effects(
            answers,
            tuple(self._transfers),
            tuple(self._wallet_changes()),
            tuple(self._budget_changes()),
            tuple(self._lease_changes()),
        )

    def _one(self, command: Command) -> Answer:
        match command:
            case Settle():
                return self._settle(command.epoch, command.call)
            case Lend():
                return Lent(
                    tuple(
                        self._lend_chain(command.epoch, chain, command.rule)
                        for chain in command.chains
                    )
                )
            case GiveBack():
                return self._give_back(command)
            case Move():
                return self._move(command)
            case SetCap():
                return self._set_cap(command)
            case Release():
                return self._release(command.epoch)

    # --- lending ---------------------------------------------------------------------------

    def _lend_chain(self, epoch: int, chain: Sequence[Need], rule: LendRule) -> tuple[Grant, ...]:
        grants: list[Grant] = []
        lent: list[tuple[_Fund, _Lease, int]] = []
        refused = False
        for need in chain:
            fund = self._lender(need)
            lease = self._lease(epoch, need.budget, need.window)
            if not _is_open(need, rule.day):
                grant = Grant(0, 0, low=True, note=Note.OTHER_WINDOW)
            elif fund is None:
                grant = Grant(0, 0, low=True, note=Note.SHORT)
            else:
                grant = slice_of(fund.free(), need, rule)
                if grant.note is Note.SHORT and fund.leased > lease.remaining:
                    grant = grant._replace(note=Note.ELSEWHERE)
                fund.leased += grant.amount
                lent.append((fund, lease, grant.amount))
            refused |= grant.note is not Note.FINE
            grants.append(grant)
        if refused:
            for fund, _, amount in lent:
                fund.leased -= amount
            return tuple(grant._replace(amount=0) for grant in grants)
        for _, lease, amount in lent:
            lease.remaining += amount
        return tuple(grants)

    def _lender(self, need: Need) -> _Fund | None:
        """Where a need is met from. How many calls a bucket may make is the catalogue's to
        say, not the books': the need brings it along, and the books count."""
        fund = self._fund(need.budget, need.window)
        if unit_of(need.budget) is Unit.MONEY:
            return fund
        if fund is None:
            fund = self._funds[need.budget, need.window] = _Fund(None, 0, 0)
        fund.cap = max(0, need.cap)
        return fund

    def _give_back(self, command: GiveBack) -> Done:
        fund = self._fund(command.budget, command.window)
        lease = self._lease(command.epoch, command.budget, command.window)
        amount = min(max(command.amount, 0), lease.remaining)
        lease.remaining -= amount
        if fund is not None:
            fund.leased -= amount
        return _DONE

    def _release(self, epoch: int) -> Done:
        for key in self._rows.leases:
            self._lease(*key)
        for key, lease in self._leases.items():
            if key[0] == epoch:
                self._give_back(GiveBack(*key, lease.remaining))
        return _DONE

    # --- calls -----------------------------------------------------------------------------

    def _settle(self, epoch: int, call: CallEnd) -> Settled:
        charge = call.charge_nano
        if charge <= 0 and not counts_requests(call.budgets):
            return _NOTHING
        key = (epoch, call.budgets, call.user_id, call.token_id)
        payers = self._payers.get(key)
        if payers is None:
            payers = self._find_payers(epoch, call)
            if payers.counts is None or (token_budget(call.token_id), 0) not in call.budgets:
                # Otherwise the limit that the chain names was missing, and now is made.
                self._payers[key] = payers
        account, funds, requests, counts = payers
        for fund, lease in requests:
            _count_request(fund, lease)
        if charge <= 0:
            return _NOTHING
        charge = min(charge, AMOUNT_NANO_MAX)
        within = max(0, min(charge, call.hold_nano))
        payable = charge if funds else 0
        for fund, lease in funds:
            reach = min(within, lease.remaining)
            if reach < payable:
                payable = min(payable, reach + fund.free())
        if payable:
            for fund, lease in funds:
                posted = min(within, lease.remaining, payable)
                lease.remaining -= posted
                fund.leased -= posted
                fund.spent += payable
            if counts is not None:
                counts.spent += payable
            self._book(call, account, payable, _USAGE, self._balance(account))
        if payable < charge:
            self._book(call, WRITEOFF, charge - payable, _WRITEOFF, None)
        return Settled(payable, charge - payable)

    def _find_payers(self, epoch: int, call: CallEnd) -> _Payers:
        account = wallet_account(call.user_id)
        chain = dict.fromkeys((*call.budgets, (account, 0)))
        funds: list[tuple[_Fund, _Lease]] = []
        requests: list[tuple[_Fund, _Lease]] = []
        for budget, window in chain:
            if is_wallet(budget) and budget != account:
                continue  # nobody pays for another user's call
            unit = unit_of(budget)
            fund = self._fund(budget, window)
            if unit is Unit.CONCURRENCY:
                continue  # the call is no longer in flight, and nothing else was counted
            if fund is not None:
                payers = requests if unit is Unit.REQUESTS else funds
                payers.append((fund, self._lease(epoch, budget, window)))
            elif budget == account:
                return _Payers(account, (), tuple(requests), None)
        return _Payers(account, tuple(funds), tuple(requests), self._counting(call, chain))

    def _counting(self, call: CallEnd, chain: Container[tuple[str, int]]) -> _Fund | None:
        """A token counts its use also when no limit held the call, so that a limit set
        later starts from the truth."""
        own = (token_budget(call.token_id), 0)
        fund = self._fund(*own)
        if not call.token_id or (fund is not None and own in chain):
            return None
        if fund is None:
            fund = self._funds[own] = _Fund(None, 0, 0)
        return fund

    # --- people ----------------------------------------------------------------------------

    def _move(self, move: Move) -> Answer:
        into, out = is_wallet(move.credit), is_wallet(move.debit)
        other = move.debit if into else move.credit
        if into == out or not is_system_account(other):
            return Refused(RefusalReason.BAD_ACCOUNTS, 0)
        account = move.credit if into else move.debit
        fund = self._fund(account, 0)
        if fund is None or fund.cap is None:
            return Refused(RefusalReason.BAD_ACCOUNTS, 0)
        if not 1 <= move.amount_nano <= AMOUNT_NANO_MAX:
            return Refused(RefusalReason.AMOUNT_OUT_OF_BOUNDS, fund.free())
        if out:
            if move.amount_nano > fund.free():
                return Refused(RefusalReason.NOT_ENOUGH_FREE, fund.free())
            fund.spent += move.amount_nano
        elif self._balance(account) + move.amount_nano > BALANCE_NANO_MAX:
            return Refused(RefusalReason.BALANCE_TOO_LARGE, fund.free())
        else:
            fund.cap += move.amount_nano
        after = self._balance(account)
        self._transfers.append(
            Transfer(
                move.at_ms,
                move.debit,
                move.credit,
                move.amount_nano,
                move.kind.value,
                move.ref,
                move.idem_key,
                after,
                move.actor,
            )
        )
        return Moved(after)

    def _set_cap(self, command: SetCap) -> Done:
        key = (command.budget, command.window)
        fund = self._fund(*key)
        if fund is None:
            fund = self._funds[key] = _Fund(None, 0, 0)
        fund.cap = command.cap
        return _DONE

    # --- the desk itself --------------------------------------------------------------------

    def _fund(self, budget: str, window: int) -> _Fund | None:
        key = (budget, window)
        fund = self._funds.get(key)
        if fund is not None:
            return fund
        wallet = self._rows.wallets.get(budget) if window == 0 else None
        if wallet is not None:
            fund = _Fund(wallet.balance_nano - wallet.floor_nano, 0, wallet.leased_nano)
        else:
            limit = self._rows.budgets.get(key)
            if limit is None:
                return None
            fund = _Fund(limit.cap, limit.used, limit.leased)
        self._funds[key] = fund
        return fund

    def _lease(self, epoch: int, budget: str, window: int) -> _Lease:
        key = (epoch, budget, window)
        lease = self._leases.get(key)
        if lease is None:
            lease = self._leases[key] = _Lease(self._rows.leases.get(key))
        return lease

    def _balance(self, account: str) -> int:
        fund = self._funds[account, 0]
        assert fund.cap is not None  # a wallet always has a floor under it
        return fund.cap - fund.spent + self._rows.wallets[account].floor_nano

    def _book(self, call: CallEnd, debit: str, amount: int, kind: str, after: int | None) -> None:
        rid = call.rid
        self._transfers.append(
            Transfer(call.at_ms, debit, REVENUE, amount, kind, rid, f"{kind}:{rid}", after, _NOBODY)
        )

    def _wallet_changes(self) -> Iterable[WalletChange]:
        for (name, _), fund in sorted(self._funds.items(), key=itemgetter(0)):
            row = self._rows.wallets.get(name)
            if row is not None:
                change = _wallet_change(row, self._balance(name), fund.leased)
                if change.balance_nano or change.leased_nano:
                    yield change

    def _budget_changes(self) -> Iterable[BudgetChange]:
        for (name, window), fund in sorted(self._funds.items(), key=itemgetter(0)):
            if name in self._rows.wallets:
                continue
            row = self._rows.budgets.get((name, window))
            if row != BudgetRow(name, window, fund.cap, fund.spent, fund.leased):
                frozen = fund.cap is not None and fund.spent + fund.leased > fund.cap
                yield BudgetChange(name, window, fund.cap, fund.spent, fund.leased, frozen)

    def _lease_changes(self) -> Iterable[LeaseRow]:
        for key, lease in sorted(self._leases.items(), key=itemgetter(0)):
            if lease.remaining != (lease.loaded or 0):
                yield LeaseRow(*key, lease.remaining)


def _is_open(need: Need, day: int) -> bool:
    """May be lent today? Of the window of today, or of the one before it: an answer that was
    begun in that one may still be growing, and belongs to it."""
    now = window_of(period_of(need.budget), day)
    return need.window in (now, now - 1) if now else not need.window


def _count_request(fund: _Fund, lease: _Lease) -> None:
    """A call was held on this budget: it counts, from the lease that it was held on, else
    from what is free; never above the limit."""
    if lease.remaining:
        lease.remaining -= 1
        fund.leased -= 1
    elif not fund.free():
        return
    fund.spent += 1


def _wallet_change(row: WalletRow, balance_nano: int, leased_nano: int) -> WalletChange:
    return WalletChange(balance_nano - row.balance_nano, leased_nano - row.leased_nano, row.account)
