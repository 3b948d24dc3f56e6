"""Limits of calls: what no vendor heard of counts for nothing."""

from __future__ import annotations

import asyncio
import errno

import msgspec

from aipool.doors.snapshot import CallLimits, TokenView
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
            assert not it.vendor.books.marked("refused")
            assert requests_counted(it) == 0, "a rejected call used up a request of the day"

    asyncio.run(scenario())
