"""The pure core beside a model that moves money one nano at a time."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from aipool.ledger.types import (
    Answer,
    Command,
    GiveBack,
    Lend,
    Lent,
    Release,
    SetCap,
    Settle,
    Settled,
    is_wallet,
    wallet_account,
)
from tests.ledger.model import (
    RULE,
    AskFor,
    Ended,
    Ledger,
    books,
    call,
    credit,
    debit,
)


def _settle_nano_by_nano(ledger: Ledger, epoch: int, ended: Ended) -> Settled:
    """What `Settle` must answer, found by paying one nano after another."""
    account = wallet_account(ended.user_id)
    chain = list(dict.fromkeys([*ended.budgets, (account, 0)]))
    wallet = ledger.wallets.get(account)
    if wallet is None:
        return Settled(0, max(ended.charge_nano, 0))
    left: list[list[int]] = []
    for name, window in chain:
        lease = min(ledger.leases.get((epoch, name, window), 0), max(ended.hold_nano, 0))
        if name == account:
            free = wallet.balance_nano - wallet.leased_nano - wallet.floor_nano
        elif (name, window) in ledger.budgets:
            limit = ledger.budgets[name, window]
            cap = limit.cap if limit.cap is not None else 10**9
            free = max(0, cap - limit.used - limit.leased)
        else:
            continue
        left.append([lease, free])
    paid = 0
    while paid < ended.charge_nano and all(lease + free > 0 for lease, free in left):
        for purse in left:
            purse[0 if purse[0] > 0 else 1] -= 1
        paid += 1
    return Settled(paid, max(ended.charge_nano, 0) - paid)


def _leased_to(ledger: Ledger, epoch: int, ended: Ended) -> int:
    return ledger.leases.get((epoch, wallet_account(ended.user_id), 0), 0)


_users = st.integers(1, 2)
_tokens = st.integers(0, 2)
_epochs = st.integers(1, 2)
_amounts = st.integers(-1, 60)


@st.composite
def _commands(draw: st.DrawFn) -> Command:
    user, token, epoch = draw(_users), draw(_tokens), draw(_epochs)
    wallet, limit = f"wallet:{user}", f"token:{token}"
    match draw(st.integers(0, 9)):
        case 0:
            return credit(user, draw(st.integers(1, 500)))
        case 1:
            return debit(user, draw(st.integers(1, 100)))
        case 2:
            return SetCap(limit, 0, draw(st.none() | st.integers(0, 200))) if token else Release(0)
        case 3:
            return GiveBack(epoch, draw(st.sampled_from([wallet, limit])), 0, draw(_amounts))
        case 4:
            return Release(epoch)
        case 5 | 6:
            least, want = draw(_amounts), draw(_amounts)
            names = [wallet, limit] if token and draw(st.booleans()) else [wallet]
            needs = tuple(AskFor(name, 0, least, want) for name in names)
            return Lend(epoch, (needs,), RULE)
        case _:
            limited = bool(token) and draw(st.booleans())
            return Settle(
                epoch,
                call(draw(_amounts), hold=draw(_amounts), user=user, token=token, limited=limited),
            )


_CONTENT_WITH_NOTHING = (AskFor("wallet:2", 0, 0, 1), AskFor("token:1", 0, 0, 1))


@settings(max_examples=150)
@given(st.lists(_commands(), max_size=40))
@example([SetCap("token:1", 0, None), debit(2, 40), Lend(1, (_CONTENT_WITH_NOTHING,), RULE)])
def test_whatever_happens_the_books_agree_with_the_nano_by_nano_model(
    commands: list[Command],
) -> None:
    ledger = books(u1=300, u2=40)
    for command in commands:
        free = {
            name: wallet.balance_nano - wallet.leased_nano
            for name, wallet in ledger.wallets.items()
        }
        if isinstance(command, Settle):
            assert isinstance(command.call, Ended)
            wanted = _settle_nano_by_nano(ledger, command.epoch, command.call)
            within = min(max(command.call.hold_nano, 0), wanted.charged_nano)
            leased = _leased_to(ledger, command.epoch, command.call)

        (answer,) = ledger.do(command)

        if isinstance(command, Settle):
            assert isinstance(command.call, Ended)
            assert answer == wanted
            left = _leased_to(ledger, command.epoch, command.call)
            assert leased - left == min(leased, within)
        if isinstance(command, Lend) and isinstance(answer, Lent):
            _check_grant(command, answer, free)


def _check_grant(command: Lend, answer: Lent, free: dict[str, int]) -> None:
    needs, grants = command.chains[0], answer.chains[0]
    granted = [grant.amount > 0 for grant in grants]
    # Who is content with nothing gets nothing of what is empty, and the others get theirs.
    content = [
        need.want == 0 or need.least == grant.free == 0
        for need, grant in zip(needs, grants, strict=True)
    ]
    assert all(granted) or not any(granted) or any(content)
    assert any(grant.note for grant in grants) <= (not any(granted))
    for need, grant in zip(needs, grants, strict=True):
        if is_wallet(need.budget):
            assert grant.free == free[need.budget]
        assert grant.amount <= grant.free
        if grant.amount and grant.low:
            assert need.least <= grant.amount <= need.want
        elif grant.amount:
            assert grant.free >= 8 * need.want
            assert need.want <= grant.amount
            assert grant.amount <= max(need.want, RULE.slice_max_nano)


@settings(max_examples=100)
@given(st.lists(_commands(), max_size=25), st.integers(1, 25))
def test_a_batch_does_what_its_commands_do_one_by_one(commands: list[Command], cut: int) -> None:
    one_by_one, together = books(u1=300, u2=40), books(u1=300, u2=40)

    answers: list[Answer] = []
    for command in commands:
        answers += one_by_one.do(command)
    batched: list[Answer] = []
    for part in _cut(commands, cut):
        batched += together.do(*part)

    assert batched == answers
    assert together.wallets == one_by_one.wallets
    assert together.folds == one_by_one.folds
    assert {k: v for k, v in together.leases.items() if v} == {
        k: v for k, v in one_by_one.leases.items() if v
    }
    assert together.budgets == one_by_one.budgets


def _cut(commands: list[Command], size: int) -> Iterable[list[Command]]:
    return (commands[start : start + size] for start in range(0, len(commands), size))
