"""Limits of calls: what no vendor heard of counts for nothing, and a limit is the newest said."""

from __future__ import annotations

import asyncio
import errno

import msgspec

from aipool.doors.frames import Acquire
from aipool.doors.records import Returned
from aipool.doors.snapshot import CallLimits, TokenView
from aipool.gateway.funds import Funds
from aipool.gateway.limits import Rates
from aipool.ledger.core import decide
from aipool.ledger.rules import concurrency_budget, requests_budget
from aipool.ledger.types import BudgetRow, Rows, Settle, WalletRow
from tests.adversary.fleet import DAY, End
from tests.gateway.offers import catalogue, token
from tests.gateway.rig import Rig, rig
from tests.platform import wish


def limit(it: Rig, limits: CallLimits) -> None:
    """The rig's one token is limited so."""
    tokens = it.ledger.tokens
    for digest, view in tokens.items():
        assert isinstance(view, TokenView)
        tokens[digest] = msgspec.structs.replace(view, limits=limits)


def requests_counted(it: Rig) -> int:
    """What the books will count of the calls that were shipped: see ledger.core."""
    return sum(
        any(budget.startswith("requests:") for budget, _ in outcome.budgets)
        for outcome in it.ledger.outcomes
    )


def test_a_call_that_could_not_be_journaled_uses_up_no_request_of_the_day() -> None:
    async def scenario() -> None:
        async with rig() as it:
            limit(it, CallLimits(requests_per_day=1_000))
            journal = it.worker._context.journal
            write = journal._disk.write

            def full(fd: int, data: bytes) -> int:
                raise OSError(errno.EIO, "no")

            journal._disk.write = full  # type: ignore[method-assign]
            reply = await it.ask(wish("refused", {}, max_tokens=1))
            journal._disk.write = write  # type: ignore[method-assign]
            await it.until(lambda: it.ledger.outcomes)

            assert reply.status == 503
            assert not it.vendor.books.requests_of("refused") if hasattr(
                it.vendor.books, "requests_of"
            ) else True
            assert requests_counted(it) == 0, "a rejected call used up a request of the day"

    asyncio.run(scenario())


def test_a_slow_call_under_an_old_view_of_its_token_does_not_bring_an_old_limit_back() -> None:
    """Its body was still coming when the token's limit was lowered; everybody shares a lease."""
    sent: list[object] = []
    funds = Funds(sent.append, lambda returned: 0)
    rates = Rates(lambda message: True, lambda seconds: None)
    shop = catalogue()
    slow = token(limits=CallLimits(concurrency=50))
    newest = token(limits=CallLimits(concurrency=2))
    newest.renew(funds, rates, shop, DAY)

    slow.renew(funds, rates, shop, DAY)  # its body is whole now
    funds.wait(newest.chain, 10, lambda denied: None)

    acquire = sent[-1]
    assert isinstance(acquire, Acquire)
    caps = {need.budget: need.cap for need in acquire.chains[0]}
    assert caps[concurrency_budget("token-7")] == 2
