"""Coming to rest, and what is asked of a world at rest (L-15).

At rest nothing is on its way, no call is open and nobody is dead unrecovered. Then the exact
answer is known: a call is refused if and only if its hold does not fit one of its budgets,
wherever the leases lie.
"""

from __future__ import annotations

from aipool.gateway.funds import Shortage
from aipool.ledger.rules import period_of, window_of
from aipool.rating.types import NO_USAGE
from tests.simulation.invariants import look_at_leases, look_at_rest
from tests.simulation.node import Call, Node
from tests.simulation.people import Asker, People, view_of
from tests.simulation.profile import PRICES
from tests.simulation.witness import Tariff
from tests.simulation.world import World

ROUNDS_MAX = 3_000
Key = tuple[str, int]


class Rest:
    """Lets a world come to rest, and asks it."""

    def __init__(self, world: World, people: People) -> None:
        self.world = world
        self.people = people

    def come(self, *, but: Node | None = None) -> None:
        """Everything that can happen by itself happens. but: a worker that stays stopped."""
        world = self.world
        world.say("coming to rest")
        for node in world.nodes:
            node.paused = node is but
        for _ in range(ROUNDS_MAX):
            if world.authority is None:
                world.start_authority()
            if not self._round(but):
                break
        else:
            world.broken("rest", "it does not come to rest")
        for node in world.nodes:
            if node is not but and (node.open or node.link.shipping.waiting):
                world.broken("rest", f"worker {node.index} has {node.link.shipping.waiting} left")
        for node in world.nodes:
            if but is None and node.waiting:
                rids = [call.rid[-8:] for call in node.waiting.values()]
                world.broken(
                    "rest", f"worker {node.index}: {rids} wait for an answer that never comes"
                )

    def _round(self, but: Node | None) -> bool:
        """True = something moved."""
        world = self.world
        moved = self._hand_over(but)
        for node in world.nodes:
            if node is but:
                continue
            while node.news:
                node.hear_news(node.news.pop(0))
            for call in list(node.open.values()):
                if not call.extending:
                    world.call_settles(call)
                    moved = True
            node.link.shipping.push()
            node.end_turn()
        if moved or any(cable.near_side.sent for cable in world.cables):
            return True
        if world.recover():
            return True
        # A question to a worker that was not connected just then ends with its time.
        return world.timer_fires()

    def _hand_over(self, but: Node | None) -> bool:
        """Messages arrive and batches are written until none is left."""
        world = self.world
        moved = False
        for node in world.nodes:
            if node is not but and world.connect(node):
                moved = True
        for cable in list(world.cables):
            whose = world.node_of(cable)
            while world.deliver(cable, to_books=True):
                moved = True
            if whose is None or whose is not but:
                while world.deliver(cable, to_books=False):
                    moved = True
        authority = world.authority
        if authority is not None:
            for lane in range(len(authority.lanes)):
                while authority.commit(lane):
                    moved = True
            authority.loop.end_turn()
        return moved

    def look(self) -> None:
        """Everything that must hold of a world at rest."""
        world = self.world
        world.books.refresh()
        for node in world.nodes:
            look_at_leases(world, node)
        look_at_rest(world, self.people)

    # --- L-15 -----------------------------------------------------------------------------

    def ask(self) -> None:
        """One call of each user, at any worker, for an amount near what there is."""
        world = self.world
        self.people_know_the_day()
        self._recall_what_was_lowered()
        for token_id in world.rng.sample(sorted(world.views), min(4, len(world.views))):
            node = world.pick(world.nodes)
            room = self._room(token_id)
            hold = self._amount(room)
            self._probe(node, token_id, hold, fits=hold <= room)

    def people_know_the_day(self) -> None:
        """The clock is looked at, and every worker has heard."""
        assert self.world.authority is not None
        self.world.authority.look_at_the_clock()
        self.come()

    def _probe(self, node: Node, token_id: int, hold: int, *, fits: bool) -> None:
        world = self.world
        call = self._call(node, token_id, hold)
        self._until_answered(call)
        world.say(f"at rest, token {token_id} asks worker {node.index} for {hold}: "
                  f"{'held' if call.held else call.denied}")  # fmt: skip
        if call.held and not fits:
            world.broken("L-15", f"token {token_id} got {hold}, there is less")
        if not call.held and fits:
            world.broken("L-15", f"token {token_id} was refused {hold}: {call.denied}")
        if call.denied is not None and call.denied.why is not Shortage.FUNDS:
            world.broken(
                "L-15", f"everybody could answer, and token {token_id} heard {call.denied}"
            )
        if call.held:
            call.settle(NO_USAGE)
            node.end_turn()
        self.come()

    def ask_beside_a_stopped_worker(self) -> None:
        """A holder that is stopped cannot give back: then nobody may say there is nothing."""
        world = self.world
        self.people_know_the_day()
        stopped = world.pick(world.nodes)
        stopped.paused = True
        node = world.pick([node for node in world.nodes if node is not stopped])
        token_id = world.pick(sorted(world.views))
        room = self._room(token_id)
        if room > 0:
            hold = 1 + int(world.random() * room)
            call = self._call(node, token_id, hold)
            self._until_answered(call, but=stopped)
            world.say(f"beside a stopped worker, token {token_id} asks for {hold}: {call.denied}")
            if call.denied is not None and call.denied.why is Shortage.FUNDS:
                world.broken("L-15", f"token {token_id} was refused {hold} of {room}, for good")
            if not call.held and call.denied is None:
                world.broken("L-15", f"token {token_id} is not answered")
        self.come()

    def take_all(self) -> None:
        """Staff asks for what is lent and takes money away: all that is there can be taken."""
        world = self.world
        self.people_know_the_day()
        world.books.refresh()
        account = world.pick(sorted(world.books.wallets))
        balance = world.books.wallets[account].balance_nano
        self._recall(((account, 0),))
        amount = max(1, balance if world.random() < 0.5 else balance // 2)
        user_id = int(account.partition(":")[2])
        if self.people.take(user_id, amount) != (amount <= balance):
            world.broken("L-15", f"of {balance} on {account}, {amount} taken or not")
        self.come()

    def _recall_what_was_lowered(self) -> None:
        """A limit that was lowered below what is lent: who lowers one asks for that first."""
        self.world.books.refresh()
        budgets = self.world.books.budgets
        frozen = [key for key, row in budgets.items() if row.frozen and row.leased]
        if frozen:
            self._recall(tuple(sorted(frozen)))
            self.come()

    def _recall(self, budgets: tuple[Key, ...]) -> None:
        """A writer has everybody give back what is free of these."""
        asker = Asker()
        cable = asker.ask(self.world, budgets)
        for _ in range(ROUNDS_MAX):
            if asker.complete is not None or not self._hand_over(None):
                break
        cable.break_()
        if not asker.complete:
            self.world.broken(
                "L-15", f"all are there, and a recall of {budgets} ends {asker.complete}"
            )

    def _call(self, node: Node, token_id: int, hold: int) -> Call:
        call = self.world.new_call(node, token_id, Tariff(PRICES[0], 1_000_000), hold)
        call.least_nano = hold
        return call

    def _until_answered(self, call: Call, *, but: Node | None = None) -> None:
        for _ in range(ROUNDS_MAX):
            if call.held or call.ended:
                return
            if not self._hand_over(but):
                for node in self.world.nodes:
                    node.end_turn()
                if not self.world.timer_fires():
                    return

    def _room(self, token_id: int) -> int:
        """The largest hold that fits; -1 = none, not even a free one."""
        self.world.books.refresh()
        world, books = self.world, self.world.books
        view = view_of(self.people.tokens[token_id])
        assert world.authority is not None
        day = world.authority.today()
        room = 1 << 60
        for name in view.budgets:
            window = window_of(period_of(name), day)
            if name in books.wallets:
                left = books.wallets[name].balance_nano
            else:
                row = books.budgets.get((name, window))
                if row is None:
                    left = books.limits.get(name, 0)
                else:
                    left = 1 << 60 if row.cap is None else row.cap - row.used
            room = min(room, max(0, left))
        limits = view.limits
        for (name, window), row in books.budgets.items():
            if (
                name == f"requests:token-{token_id}/day"
                and window == day
                and limits.requests_per_day
            ):
                room = room if row.used < limits.requests_per_day else -1
        return room

    def _amount(self, room: int) -> int:
        world = self.world
        if room >= 1 << 59:
            return 1000
        near = (room, room + 1, room // 2, max(1, room - 1), room + 500)
        return max(1, world.pick(near))
