"""One world: workers, a ledger process, people, a clock, a disk; and what happens to them.

Everything that happens is one of the methods here or in `people`, `faults` and `rest`; the
schedule calls them one at a time. One random.Random decides everything, so a seed is a world.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TextIO, TypeVar

from aipool.doors.snapshot import TokenView
from aipool.gateway.funds import Denied, Shortage
from aipool.ledger.rules import DAY_SECONDS
from aipool.rating.rate import rate
from aipool.rating.types import NO_USAGE, Usage
from tests.simulation import profile as making
from tests.simulation.authority import Authority, Killed
from tests.simulation.disk import Disk
from tests.simulation.node import Admitted, Call, Node
from tests.simulation.wire import Cable
from tests.simulation.witness import HeldCall, Life, Tariff, Witness

T = TypeVar("T")


class Broken(BaseException):
    """An invariant does not hold. Nothing that catches exceptions may hide it."""

    def __init__(self, invariant: str, why: str) -> None:
        super().__init__(f"{invariant}: {why}")
        self.invariant = invariant


class Clock:
    """The wall clock, which people set, and the time that has really passed."""

    def __init__(self, unix: float) -> None:
        self.unix = unix
        self.passed = 0.0

    @property
    def day(self) -> int:
        return int(self.unix // DAY_SECONDS)

    def go_on(self, seconds: float) -> None:
        """Time passes."""
        self.unix += seconds
        self.passed += seconds


class World:
    """books: rows as they are, and a database to write them (memory or SQL)."""

    def __init__(self, seed: int, books: Any, trace: TextIO | None = None) -> None:
        self.rng = random.Random(seed)
        self.random = self.rng.random
        self.profile = making.draw(self.rng)
        self.database = self.books = books
        self.trace = trace
        self.step = 0
        self.clock = Clock(self.profile.start_unix)
        self.disk = Disk()
        self.witness = Witness()
        self.authority: Authority | None = None
        self.nodes: list[Node] = []
        self.cables: list[Cable] = []
        self.views: dict[int, TokenView] = {}
        self.sent: list[tuple[int, bytes]] = []
        self.calls_recorded = 0
        self.in_recovery: Callable[[], None] = lambda: None
        self._epochs = 0
        self._rids = 0

    def say(self, *words: object) -> None:
        """One line of the trace."""
        if self.trace is not None:
            print(f"{self.step:5}", *words, file=self.trace)

    def broken(self, invariant: str, why: str) -> None:
        """An invariant does not hold: the end of this world."""
        raise Broken(invariant, why)

    def pick(self, among: Sequence[T]) -> T:
        """Any of them."""
        return among[int(self.random() * len(among))]

    def now_ms(self) -> int:
        """As kit.clock.now_ms."""
        return int(self.clock.unix * 1000)

    # --- processes begin ------------------------------------------------------------------

    def start_authority(self) -> None:
        """A new ledger process."""
        self.authority = Authority(self)
        self.authority.look_at_the_clock()

    def start_node(self, index: int) -> Node:
        """A new worker in this place."""
        self._epochs += 1
        node = Node(self, index, self._epochs)
        self.nodes.append(node)
        self.witness.lives[node.epoch] = Life()
        return node

    def connect(self, node: Node) -> bool:
        """A worker that wants to connects, if there is anybody."""
        if self.authority is None or not node.wants_connection or node.paused:
            return False
        node.wants_connection = False
        authority = self.authority
        node.cable = Cable(node.link, authority.far_end(node.epoch), authority.loop.call_soon)
        node.cable.connect()
        self.cables.append(node.cable)
        return True

    # --- bytes arrive ---------------------------------------------------------------------

    def deliver(self, cable: Cable, *, to_books: bool, cut: bool = False) -> bool:
        """The next bytes of a cable arrive, perhaps not all of them."""
        sent = cable.near_side.sent if to_books else cable.far_side.sent
        at = int(self.random() * len(sent[0])) if cut and sent else None
        if to_books:
            if self.authority is None:
                return False
            if sent and _is_whole(sent[0]) and self.random() < 0.1:
                self.sent.append((self.epoch_of(cable), sent[0]))
            moved = cable.to_books(at)
            self.authority.loop.end_turn()
        else:
            node = self.node_of(cable)
            if node is not None and node.paused:
                return False
            moved = cable.to_worker(at)
            if node is not None:
                node.end_turn()
        if cable.over and cable in self.cables:
            self.cables.remove(cable)
        return moved

    def node_of(self, cable: Cable) -> Node | None:
        """Who speaks over it now."""
        return next((node for node in self.nodes if node.cable is cable), None)

    def epoch_of(self, cable: Cable) -> int:
        """Whose it is; 0 = of nobody who is still there."""
        node = self.node_of(cable)
        return node.epoch if node is not None else 0

    # --- calls ----------------------------------------------------------------------------

    def new_call(self, node: Node, token_id: int, tariff: Tariff, hold_nano: int) -> Call:
        """A call comes in; afterwards it is held, waits, or is over."""
        self._rids += 1
        least = hold_nano if self.random() < 0.7 else max(1, hold_nano // 8)
        rid = f"req_{self.now_ms():012x}{self._rids:08x}"
        wish = Admitted(tariff, hold_nano)
        call = Call(node, rid, node.token(token_id), wish, least)
        call.begin()
        if not call.held and not call.ended:
            node.waiting[rid] = call
        node.end_turn()
        return call

    def call_arrives(self, node: Node) -> None:
        """A customer calls."""
        token_id = self.pick(list(node.views))
        tariff = making.tariff(self.rng)
        hold = rate(self._most(), tariff.price, tariff.multiplier_ppm)
        call = self.new_call(node, token_id, tariff, hold)
        self.say(
            f"worker {node.index}: {call.rid[-8:]} of token {token_id} wants {hold}:",
            "held" if call.held else "refused" if call.ended else "waits",
        )

    def _most(self) -> Usage:
        most = self.profile.held_nano
        return Usage(int(self.random() * most), 0, 1 + int(self.random() * most // 2), 0)

    def call_settles(self, call: Call) -> None:
        """It ends at some usage: nothing, less than was held for, exactly that, or more."""
        usage = self.usage_of(call)
        call.settle(usage)
        call.node.end_turn()
        assert call.fact is not None
        self.say(
            f"worker {call.node.index}: {call.rid[-8:]} settles at {call.fact.charge_nano}",
            f"of {call.fact.hold_nano}",
        )

    def usage_of(self, call: Call) -> Usage:
        """What the vendor reports in the end."""
        chance = self.random()
        if chance < 0.12:
            return NO_USAGE
        assert call.fact is not None
        relayed = call.fact.progress[-1][1] if call.fact.progress else NO_USAGE
        price = call.admitted.offer.price
        per_token = max(1, price.output_nano * call.admitted.offer.multiplier_ppm // 10**12)
        fitting = call.admitted.hold_nano // per_token
        share = self.random() if chance < 0.7 else 1.0 if chance < 0.9 else 1 + 2 * self.random()
        output = max(relayed.output_tokens, int(fitting * share * 0.8))
        tokens_in = max(relayed.input_tokens, int(fitting * share * 0.2))
        return Usage(tokens_in, int(tokens_in * self.random()), output, 0)

    def call_goes_on(self, call: Call) -> None:
        """A stream relays more, or holds for more."""
        if call.extending:
            return
        if self.random() < 0.3:
            call.extend(1 + int(self.random() * self.profile.held_nano))
        else:
            assert call.fact is not None
            before = call.fact.progress[-1][1] if call.fact.progress else NO_USAGE
            more = int(self.random() * self.profile.held_nano / 2)
            call.relayed(Usage(before.input_tokens or more, 0, before.output_tokens + more, 0))
        call.node.end_turn()

    def held(self, fact: HeldCall) -> HeldCall:
        """A call may run from now on."""
        self.witness.calls[fact.rid] = fact
        return fact

    def refused(self, denied: Denied) -> None:
        """A call may not run."""
        if denied.why is Shortage.FUNDS:
            self.witness.refused += 1
        else:
            self.witness.unavailable += 1

    # --- what the authority does ----------------------------------------------------------

    def commit(self) -> bool:
        """A batch is written."""
        if self.authority is None:
            return False
        moved = self.authority.commit(int(self.random() * self.profile.lanes))
        self.authority.loop.end_turn()
        return moved

    def timer_fires(self) -> bool:
        """Something takes too long for somebody."""
        if self.authority is None or not self.authority.loop.timers:
            return False
        self.pick(self.authority.loop.timers).fire()
        self.authority.loop.end_turn()
        return True

    def recover(self) -> bool:
        """The ledger process looks who is dead."""
        if self.authority is None:
            return False
        try:
            ended = self.authority.sweep()
        except Killed:
            self.kill_authority("in the middle of recovery")
            return True
        self.authority.loop.end_turn()
        for one in ended:
            self.say(f"epoch {one.epoch} recovered, {one.calls} calls were open")
        return bool(ended)

    def kill_authority(self, when: str = "") -> None:
        """kill -9 of the ledger process."""
        assert self.authority is not None
        self.say("ledger process killed", when)
        self.authority.die()
        self.authority = None
        for cable in list(self.cables):
            if cable.near_side.open and self.random() < 0.5:
                cable.far_side.sent.clear()
            cable.kill_far()
            if cable.over:
                self.cables.remove(cable)


def _is_whole(data: bytes) -> bool:
    """One message, and nothing cut off."""
    return int.from_bytes(data[:4], "little") == len(data) - 4
