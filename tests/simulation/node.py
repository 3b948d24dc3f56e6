"""A gateway worker: the real leases, the real link and the real words of its journal.

Left out is what has nothing to do with money: HTTP, vendors, snapshots. What a call does
with money follows gateway.call line by line: chain, hold or wait, journal, call the vendor,
progress, settle, answer the client.

    granted = free + held + spent + returned        for each lease, after every turn (L-04)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aipool.doors import records
from aipool.doors.frames import (
    Acquire,
    Collect,
    Collected,
    Granted,
    KeyStates,
    Publish,
    TokenAnswer,
)
from aipool.doors.outcome import UsageSource
from aipool.doors.records import Hold, Progress, Returned
from aipool.doors.snapshot import TokenView
from aipool.gateway import settle
from aipool.gateway.chains import chain_of
from aipool.gateway.funds import Chain, Denied, Funds, Shortage
from aipool.gateway.link import Link
from aipool.ledger.rules import Unit, unit_of
from aipool.rating.types import NO_USAGE, Usage
from tests.simulation.loop import Loop
from tests.simulation.wire import Cable
from tests.simulation.witness import HeldCall, Tariff

if TYPE_CHECKING:
    from tests.simulation.world import World

Key = tuple[str, int]


class Admitted:
    """What was held for, as settle reads it."""

    __slots__ = ("hold_nano", "offer")

    def __init__(self, offer: Tariff, hold_nano: int) -> None:
        self.offer = offer
        self.hold_nano = hold_nano


class Token:
    """A token ready for use, as gateway.tokens keeps it: the chain of its day."""

    def __init__(self, view: TokenView) -> None:
        self.view = view
        self.day = -1
        self.chain: Chain = ()
        self.money: Chain = ()
        self.budgets: tuple[Key, ...] = ()

    def renew(self, funds: Funds, day: int) -> None:
        """From now on calls are held on the windows of this day."""
        named = chain_of(self.view, None, day)
        self.day = day
        self.chain = funds.chain(named)
        self.budgets = tuple(lease.key for lease in self.chain)
        self.money = tuple(lease for lease in self.chain if not lease.each)


class _Named:
    """What is always the same about a call."""

    name = "chat"
    headers: dict[bytes, bytes] = {}


class Call:
    """One call. least_nano: with less it is refused; between that and the hold it is content
    with a shorter answer, as one that named no cap."""

    relay = None
    body = None
    endpoint = exchange = _Named
    started = 0.0
    address = "192.0.2.1"

    def __init__(self, node: Node, rid: str, token: Token, wish: Admitted, least_nano: int) -> None:
        self.node = node
        self.rid = rid
        self.at_ms = node.world.now_ms()
        self.token = token
        self.admitted = wish
        self.least_nano = least_nano
        self.chain: Chain = ()
        self.money: Chain = ()
        self.budgets: tuple[Key, ...] = ()
        self.held = False
        self.extending = False
        self.ended = False
        self.denied: Denied | None = None
        self.leave: Callable[[], None] | None = None
        self.fact: HeldCall | None = None

    def begin(self) -> None:
        """Hold, or wait for money."""
        token, node = self.token, self.node
        if token.day != node.day:
            token.renew(node.funds, node.day)
        self.chain, self.money, self.budgets = token.chain, token.money, token.budgets
        if node.funds.hold(self.chain, self.admitted.hold_nano):
            self._held()
        else:
            self.leave = node.funds.wait(self.chain, self.admitted.hold_nano, self._answered)

    def _answered(self, denied: Denied | None) -> None:
        self.leave = None
        if denied is None:
            self._held()
        elif denied.why is Shortage.WINDOW and self.token.day != self.node.day:
            self.begin()
        elif self._content_with(denied):
            self.admitted = Admitted(self.admitted.offer, denied.available)
            self.begin()
        else:
            self._refused(denied)

    def _content_with(self, denied: Denied) -> bool:
        return (
            denied.why is Shortage.FUNDS
            and unit_of(denied.budget) is Unit.MONEY
            and self.least_nano <= denied.available < self.admitted.hold_nano
        )

    def _refused(self, denied: Denied) -> None:
        self.denied = denied
        self.ended = True
        self.node.over(self)
        self.node.world.refused(denied)

    def _held(self) -> None:
        node = self.node
        self.held = True
        node.waiting.pop(self.rid, None)
        node.open[self.rid] = self
        for lease in self.chain:
            node.held[lease.key] += lease.each or self.admitted.hold_nano
        end = self._journal_hold()
        self.fact = node.world.held(
            HeldCall(
                self.rid,
                self.token.view.user_id,
                self.token.view.id,
                node.epoch,
                self.budgets,
                self.admitted.offer,
                [(end, self.admitted.hold_nano)],
            )
        )

    def _journal_hold(self) -> int:
        view, offer = self.token.view, self.admitted.offer
        return self.node.journal.append(
            records.encode(
                Hold(
                    self.rid,
                    self.at_ms,
                    view.user_id,
                    view.id,
                    view.group_id,
                    offer.model,
                    "chat",
                    True,
                    self.admitted.hold_nano,
                    self.budgets,
                    offer.price,
                    offer.multiplier_ppm,
                    self.address,
                )
            )
        )

    # --- while it runs --------------------------------------------------------------------

    def relayed(self, usage: Usage) -> None:
        """A stream has come this far."""
        assert self.fact is not None
        payload = Progress(self.rid, usage.input_tokens, usage.output_tokens, 0, 0)
        end = self.node.journal.append(records.encode(payload))
        self.fact.progress.append((end, usage))

    def extend(self, extra_nano: int) -> None:
        """More of a stream is to be held for; a no ends it at what was relayed."""
        funds = self.node.funds
        if funds.hold(self.money, extra_nano):
            self._widened(extra_nano)
            return
        self.extending = True

        def answered(denied: Denied | None) -> None:
            self.leave = None
            self.extending = False
            if denied is None:
                self._widened(extra_nano)
                return
            relayed = self.fact.progress if self.fact is not None else []
            self.settle(relayed[-1][1] if relayed else NO_USAGE)

        self.leave = funds.wait(self.money, extra_nano, answered)

    def _widened(self, extra_nano: int) -> None:
        assert self.fact is not None
        for lease in self.money:
            self.node.held[lease.key] += extra_nano
        self.admitted = Admitted(self.admitted.offer, self.admitted.hold_nano + extra_nano)
        self.fact.hold_ends.append((self._journal_hold(), self.admitted.hold_nano))

    # --- the end --------------------------------------------------------------------------

    def settle(self, usage: Usage) -> None:
        """The call is over at this usage; the client has the last byte after this turn."""
        assert self.held and not self.ended and self.fact is not None
        node, hold = self.node, self.admitted.hold_nano
        if self.leave is not None:
            self.leave()
        self.ended = True
        charge = settle.charge_of(cast(Any, self.admitted.offer), usage)
        source = UsageSource.VENDOR if any(usage) else UsageSource.NONE
        outcome = settle.outcome_of(
            cast(Any, self), cast(Any, self.token), 200, "", usage, source, charge, self.started
        )
        payload = records.encode(outcome)
        end = node.journal.append(payload)
        node.link.shipping.add(end, payload)
        node.funds.settle(self.chain, hold, charge)
        for lease in self.chain:
            node.held[lease.key] -= lease.each or hold
            # A permit in flight is free again; a call is counted; money is what it cost.
            node.spent[lease.key] += (lease.each - lease.back) or min(hold, charge) * (
                not lease.each
            )
        self.fact.settled_end, self.fact.usage, self.fact.charge_nano = end, usage, charge
        node.over(self)

    def give_up(self) -> None:
        """The client leaves before the call was held."""
        if self.leave is not None:
            self.leave()
        self.ended = True
        self.node.over(self)


class Node:
    """One life of one worker."""

    def __init__(self, world: World, index: int, epoch: int) -> None:
        self.world = world
        self.index = index
        self.epoch = epoch
        self.paused = False
        #: It listens once it has heard from the books.
        self.listens = False
        self.wants_connection = True
        self.cable: Cable | None = None
        self.journal = world.disk.claim(epoch)
        self.loop = Loop(self._disconnected)
        self.link = Link(
            cast(Any, self.loop),
            Path("link.sock"),
            epoch=epoch,
            index=index,
            worker=cast(Any, self),
        )
        self.funds = Funds(self._send, self._give_back)
        self.day = world.clock.day
        self.views: dict[int, TokenView] = dict(world.views)
        self.tokens: dict[int, Token] = {}
        self.news: list[TokenView] = []
        self.open: dict[str, Call] = {}
        self.waiting: dict[str, Call] = {}
        # The other side of L-04, kept by hand.
        self.granted_in_all: defaultdict[Key, int] = defaultdict(int)
        self.held: defaultdict[Key, int] = defaultdict(int)
        self.spent: defaultdict[Key, int] = defaultdict(int)
        self.returned: defaultdict[Key, int] = defaultdict(int)
        self._asked: Acquire | None = None
        self._push_soon = False

    def token(self, answer: TokenAnswer | int) -> Any:
        """The token of this id, as this worker knows it."""
        assert isinstance(answer, int)
        token = self.tokens.get(answer)
        if token is None:
            token = self.tokens[answer] = Token(self.views[answer])
        return token

    def hear_news(self, view: TokenView) -> None:
        """A token's terms changed; calls under way keep theirs."""
        self.views[view.id] = view
        self.tokens.pop(view.id, None)

    def over(self, call: Call) -> None:
        """A call has ended."""
        self.waiting.pop(call.rid, None)
        self.open.pop(call.rid, None)

    def end_turn(self) -> None:
        """The tail of a turn of its loop."""
        if self._push_soon:
            self._push_soon = False
            self.link.shipping.push()
        self.loop.end_turn()

    def close(self) -> None:
        """It was told to go, and its calls have ended."""
        self.funds.close()
        self.link.shipping.push()

    # --- what the leases ask of the worker ------------------------------------------------

    def _send(self, message: Acquire | Collect) -> None:
        if isinstance(message, Acquire):
            self._asked = message
        self.link.send(message)

    def _give_back(self, returned: Returned) -> int:
        payload = records.encode(returned)
        end = self.journal.append(payload)
        self.link.shipping.add(end, payload)
        self.returned[returned.budget, returned.window] += returned.amount
        self._push_soon = True
        return end

    # --- what the link tells (gateway.worker) ---------------------------------------------

    def link_up(self) -> None:
        self.listens = True
        self.funds.reconnected()
        self.link.shipping.push()

    def link_down(self) -> None: ...

    def granted(self, answer: Granted) -> None:
        asked = self._asked
        if asked is not None and asked.number == answer.number:
            self._asked = None
            for needs, grants in zip(asked.chains, answer.chains, strict=True):
                for need, grant in zip(needs, grants, strict=True):
                    self.granted_in_all[need.budget, need.window] += grant.amount
        self.funds.granted(answer)

    def recall(self, budgets: tuple[Key, ...]) -> int:
        return self.funds.recall(budgets)

    def collected(self, answer: Collected) -> None:
        self.funds.collected(answer.number, complete=answer.complete)

    def today(self, day: int) -> None:
        self.day = day

    def publish(self, news: Publish) -> None: ...

    def key_states(self, news: KeyStates) -> None: ...

    def recorded(self, high_water: int) -> None:
        self.funds.recorded(high_water)

    def fenced(self, reason: str) -> None:
        self.world.broken("L-07", f"worker {self.index} lives and was fenced: {reason}")

    def _disconnected(self) -> None:
        self.wants_connection = True
