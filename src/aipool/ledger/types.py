"""The words of the ledger.

Money moves by transfers alone: one row that names the account it leaves (debit), the
account it enters (credit) and a positive amount. The balance of an account is its credits
less its debits, so the sum over all accounts is zero by construction.

    wallet:<user>        what we owe a user: a stored balance, never below its floor (0)
    revenue:usage        what was served, at the sale price
    expense:writeoff     what was served and could not be charged
    expense:promo, cash:<provider>, clearing:<…>, adjust:<who>, suspense
                         no stored balance: the fold of their transfers, with checkpoints

A *budget* is what a call must fit: the wallet, and beside it limits such as a token's own
(`token:<id>`); ledger.rules says what a name counts (money, or calls) and for how long. A
*lease* is a part of a budget that an epoch (one life of one worker) may spend without
asking; leased money is still on the wallet and can go nowhere else.

Amounts of a budget are in its unit: nano-yuan, or calls.

Invariants:  balance - leased >= floor  ·  leased = sum of the leases  ·  used + leased <=
cap unless frozen  ·  a transfer is never changed and never removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple, NewType, Protocol

from aipool.kit.money import AMOUNT_NANO_MAX

Epoch = NewType("Epoch", int)

REVENUE = "revenue:usage"
WRITEOFF = "expense:writeoff"
PROMO = "expense:promo"
#: What the account of a user's money begins with.
WALLET = "wallet:"

#: Free money of a budget without a cap, as grants report it: no single need is above it.
UNLIMITED_NANO = AMOUNT_NANO_MAX

#: A balance above this is refused, so that sums stay far from the end of 64 bits.
BALANCE_NANO_MAX = 1_000 * AMOUNT_NANO_MAX

_SYSTEM_ACCOUNTS = ("revenue:", "expense:", "cash:", "clearing:", "adjust:", "suspense")


def wallet_account(user_id: int) -> str:
    """The account of a user's money, which is also the id of its budget."""
    return f"{WALLET}{user_id}"


def token_budget(token_id: int) -> str:
    """The budget of a token's own limit."""
    return f"token:{token_id}"


def is_wallet(name: str) -> bool:
    """Whether an account or a budget is a wallet."""
    return name.startswith(WALLET)


def is_system_account(name: str) -> bool:
    """Whether a name is an account without a stored balance."""
    return name.startswith(_SYSTEM_ACCOUNTS)


class TransferKind(StrEnum):
    """Why money moved."""

    USAGE = "usage"
    WRITEOFF = "writeoff"
    OPENING = "opening"
    CREDIT = "credit"
    ADJUST = "adjust"


class EpochState(StrEnum):
    """Where an epoch stands. Only an open one borrows and ships.

    frozen: its journal is corrupt; its leases stay out of reach until a person decides.
    """

    OPEN = "open"
    FROZEN = "frozen"
    CLOSED = "closed"


class Transfer(NamedTuple):
    """One movement of money, in the order of its columns.

    idem_key: the fact it stands for, once: `usage:<rid>`, `opening:<user>`.
    wallet_balance_after: of the one wallet it touches, None when it touches none.
    """

    at_ms: int
    debit: str
    credit: str
    amount_nano: int
    kind: str
    ref: str
    idem_key: str
    wallet_balance_after: int | None
    actor: str


class BookedTransfer(NamedTuple):
    """A transfer as it stands in the books."""

    seq: int
    transfer: Transfer


class WalletRow(NamedTuple):
    """A wallet as loaded."""

    account: str
    balance_nano: int
    leased_nano: int
    floor_nano: int


class BudgetRow(NamedTuple):
    """A limit beside the wallet as loaded. cap None = counted, not limited.

    window: the number of the period it counts; 0 for a limit of a lifetime.
    """

    budget: str
    window: int
    cap: int | None
    used: int
    leased: int


class LeaseRow(NamedTuple):
    """What an epoch may still spend of a budget."""

    epoch: int
    budget: str
    window: int
    remaining: int


@dataclass(frozen=True, slots=True)
class StreamRow:
    """An epoch as the books know it.

    high_water: the position of its journal up to which everything is recorded.
    last_request, last_reply: the newest Acquire and its answer, for a repeat.
    """

    epoch: int
    worker: int
    pid: int
    high_water: int
    last_request: int
    last_reply: bytes
    state: EpochState


# --- what the core is asked ---------------------------------------------------------------


class Need(Protocol):
    """What one budget must give: at least `least`, at best `want`."""

    @property
    def budget(self) -> str:
        """Its id."""
        ...

    @property
    def window(self) -> int:
        """Its period, 0 = a lifetime."""
        ...

    @property
    def least(self) -> int:
        """Less than this is a refusal."""
        ...

    @property
    def want(self) -> int:
        """What is asked for."""
        ...

    @property
    def cap(self) -> int:
        """Of a budget of calls: its limit today. Money has its own, and this is ignored."""
        ...


class CallEnd(Protocol):
    """How a call ended, as far as money is concerned."""

    @property
    def rid(self) -> str:
        """The request id."""
        ...

    @property
    def at_ms(self) -> int:
        """Unix milliseconds of its arrival."""
        ...

    @property
    def user_id(self) -> int:
        """Whose wallet pays."""
        ...

    @property
    def token_id(self) -> int:
        """Whose use is counted, 0 = none."""
        ...

    @property
    def hold_nano(self) -> int:
        """What was held on each budget."""
        ...

    @property
    def charge_nano(self) -> int:
        """What it costs; may exceed the hold."""
        ...

    @property
    def budgets(self) -> tuple[tuple[str, int], ...]:
        """The chain that held it, as (budget, window)."""
        ...


class LendRule(NamedTuple):
    """What is the same for all that is lent at one moment.

    active_workers: epochs that share the budgets.  slice_max_nano: the most of a budget of
    money one of them gets at once, see the settings.  day: the UTC day it is, by the
    ledger process's calendar.
    """

    active_workers: int
    slice_max_nano: int
    day: int


class Lend(NamedTuple):
    """Grant leases: each chain on all its budgets or on none."""

    epoch: int
    chains: Sequence[Sequence[Need]]
    rule: LendRule


class Settle(NamedTuple):
    """A call ended: post its charge, void the rest of its hold."""

    epoch: int
    call: CallEnd


class GiveBack(NamedTuple):
    """An epoch returns what it did not spend."""

    epoch: int
    budget: str
    window: int
    amount: int


class Release(NamedTuple):
    """An epoch is over: all its leases return."""

    epoch: int


class Move(NamedTuple):
    """People move money: exactly one side is a wallet. Only unleased money leaves one."""

    at_ms: int
    debit: str
    credit: str
    amount_nano: int
    kind: TransferKind
    ref: str
    idem_key: str
    actor: str


class SetCap(NamedTuple):
    """A limit is set, changed or (None) lifted."""

    budget: str
    window: int
    cap: int | None


Command = Lend | Settle | GiveBack | Release | Move | SetCap


# --- what the core answers ----------------------------------------------------------------


class Note(IntEnum):
    """What is to be said of one budget of a chain. A chain with another note than FINE is
    refused on all its budgets."""

    FINE = 0
    #: Too little is unleased, and nobody else holds a lease on it.
    SHORT = 1
    #: Too little is unleased, but other epochs hold leases that they could give back.
    ELSEWHERE = 2
    #: The window asked for is not the one it is now.
    OTHER_WINDOW = 3


class Grant(NamedTuple):
    """The answer for one budget.

    amount: 0 when the chain is refused, or nothing was wanted.  free: what the budget had
    unleased before this answer.  low: low-balance mode, what the call does not use goes
    back when it settles.
    """

    amount: int
    free: int
    low: bool
    note: Note


class Lent(NamedTuple):
    """One tuple a chain, one grant a need, in the order asked."""

    chains: tuple[tuple[Grant, ...], ...]


class Settled(NamedTuple):
    """What a call cost whom: the user pays `charged_nano`, we lose `written_off_nano`."""

    charged_nano: int
    written_off_nano: int


class Moved(NamedTuple):
    """Money moved; the wallet has this much now."""

    wallet_balance_nano: int


class RefusalReason(StrEnum):
    """Why money did not move."""

    AMOUNT_OUT_OF_BOUNDS = "amount_out_of_bounds"
    BAD_ACCOUNTS = "bad_accounts"
    NOT_ENOUGH_FREE = "not_enough_free"
    BALANCE_TOO_LARGE = "balance_too_large"
    KEY_USED_OTHERWISE = "key_used_otherwise"


class Refused(NamedTuple):
    """The expected no. free_nano: what could have been moved."""

    reason: RefusalReason
    free_nano: int


class Done(NamedTuple):
    """Nothing to say but that it is done."""


Answer = Lent | Settled | Moved | Refused | Done


# --- what is to be written ----------------------------------------------------------------


class WalletChange(NamedTuple):
    """Added to a wallet's columns, in the order of the statement's parameters."""

    balance_nano: int
    leased_nano: int
    account: str


class BudgetChange(NamedTuple):
    """A budget's columns as they shall be."""

    budget: str
    window: int
    cap: int | None
    used: int
    leased: int
    frozen: bool


@dataclass(frozen=True, slots=True)
class Effects:
    """Everything a decision changes, as data.

    answers: one a command, in order.  leases: the remaining amounts as they shall be.
    """

    answers: tuple[Answer, ...]
    transfers: tuple[Transfer, ...]
    wallets: tuple[WalletChange, ...]
    budgets: tuple[BudgetChange, ...]
    leases: tuple[LeaseRow, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """What a decision may look at: the rows its commands name, by name.

    A wallet or budget that is missing here does not exist. Release needs every lease of
    its epoch; the other commands need only those they name.
    """

    wallets: dict[str, WalletRow]
    budgets: dict[tuple[str, int], BudgetRow]
    leases: dict[tuple[int, str, int], int]


class Budget(NamedTuple):
    """A limit as people read it. free None = without a limit."""

    budget: str
    cap: int | None
    used: int
    leased: int
    frozen: bool

    @property
    def free(self) -> int | None:
        """What may still be leased of it."""
        if self.cap is None:
            return None
        return max(0, self.cap - self.used - self.leased)


class Wallet(NamedTuple):
    """A wallet as people read it."""

    balance_nano: int
    leased_nano: int

    @property
    def free_nano(self) -> int:
        """What is not lent to a worker."""
        return self.balance_nano - self.leased_nano


class Fold(NamedTuple):
    """The system accounts after every transfer up to seq.

    imbalance_nano: the sum of all accounts, wallets included; it is 0, or the books are
    broken.
    """

    seq: int
    balances: dict[str, int]
    imbalance_nano: int
