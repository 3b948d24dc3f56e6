"""What happens next: a seed's schedule, step by step, until something breaks or all is done.

A step is one thing: some bytes arrive, a batch is written, a call comes or goes on or ends, a
process dies. In the end everybody comes to rest, the books are compared with what happened,
all workers leave, and new ones ask once more.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable
from itertools import accumulate
from typing import Any, TextIO

from tests.simulation.faults import Faults
from tests.simulation.invariants import Commits, look_at_concurrency, look_at_leases
from tests.simulation.node import Node
from tests.simulation.people import People
from tests.simulation.rest import Rest
from tests.simulation.world import Broken, World

Action = Callable[[], object]


class Simulation:
    """One seed."""

    def __init__(self, seed: int, books: Any, trace: TextIO | None = None) -> None:
        self.world = world = World(seed, books, trace)
        self.people = People(world)
        self.faults = Faults(world, self.people)
        self.rest = Rest(world, self.people)
        books.watch = Commits(world).look
        self._actions, weights = zip(*self._all_actions(), strict=True)
        self._bounds = list(accumulate(weights))
        self._total = self._bounds[-1]

    def run(self, steps: int) -> None:
        """Raises Broken where an invariant does not hold."""
        world = self.world
        world.say(world.profile)
        self.people.move_in()
        world.start_authority()
        for index in range(world.profile.workers):
            world.connect(world.start_node(index))
        for step in range(1, steps + 1):
            world.step = step
            self._actions[bisect(self._bounds, world.random() * self._total)]()
            for node in world.nodes:
                look_at_leases(world, node)
        self._end()

    def _end(self) -> None:
        """Rest, look, ask; everybody leaves; look and ask again."""
        world, rest = self.world, self.rest
        rest.come()
        rest.look()
        rest.ask()
        rest.look()
        for node in list(world.nodes):
            node.close()
            node.end_turn()
        rest.come()
        for node in list(world.nodes):
            self.faults.worker_killed(node)
        rest.come()
        world.books.refresh()
        if any(world.books.leases[epoch] for epoch in world.books.leases):
            world.broken("L-08", f"all workers left, and leases are out: {world.books.leases}")
        rest.ask()
        rest.look()

    # --- what can happen, and how often ---------------------------------------------------

    def _all_actions(self) -> list[tuple[Action, float]]:
        profile = self.world.profile
        fault, people, time = profile.fault, profile.people, profile.time
        world, faults = self.world, self.faults
        return [
            (self._deliver, 36),
            (world.commit, 12),
            (self._call_arrives, 15),
            (self._call_settles, 11),
            (self._call_goes_on, 4),
            (self._call_leaves, 0.4),
            (self._ship, 4),
            (self._tick, 3),
            (self._sync, 2),
            (self._connect, 6),
            (self._news, 1),
            (world.timer_fires, 0.5),
            (world.recover, 0.8),
            (faults.link_breaks, 0.8 * fault),
            (faults.old_news, 0.8 * fault),
            (lambda: self._any_node(faults.worker_killed), 0.3 * fault),
            (lambda: self._any_node(faults.worker_pauses, paused=True), 0.7 * fault),
            (faults.authority_killed, 0.4 * fault),
            (faults.authority_starts, 3),
            (faults.power_fails, 0.12 * fault),
            (faults.database_fails, 0.4 * fault),
            (faults.someone_writes_between, 10 * profile.interrupts),
            (self._pay_in, 0.4 * people),
            (self.people.tell_again, 0.2 * people),
            (self._take, 0.3 * people),
            (self._change_terms, 0.5 * people),
            (self._lift_cap, 0.3 * people),
            (self._time_passes, 0.4 * time),
            (self._clock_is_set, 0.06 * time),
            (self._look_at_clock, 0.8 * time),
            (self._rest_a_while, 0.12),
        ]

    def _any_node(self, work: Callable[[Node], object], *, paused: bool = False) -> bool:
        nodes = [node for node in self.world.nodes if paused or not node.paused]
        if nodes:
            work(self.world.pick(nodes))
        return bool(nodes)

    def _deliver(self) -> None:
        world = self.world
        if world.cables:
            cable = world.pick(world.cables)
            cut, first = world.random() < 0.05, world.random() < 0.5
            if not world.deliver(cable, to_books=first, cut=cut):
                world.deliver(cable, to_books=not first, cut=cut)

    def _call_arrives(self) -> None:
        nodes = [node for node in self.world.nodes if node.listens and not node.paused]
        if nodes:
            self.world.call_arrives(self.world.pick(nodes))
            look_at_concurrency(self.world, self.people)

    def _open_call(self, work: Callable[[Any], object]) -> None:
        world = self.world
        nodes = [node for node in world.nodes if node.open and not node.paused]
        if nodes:
            work(world.pick(list(world.pick(nodes).open.values())))

    def _call_settles(self) -> None:
        self._open_call(self.world.call_settles)

    def _call_goes_on(self) -> None:
        self._open_call(self.world.call_goes_on)

    def _call_leaves(self) -> None:
        def leave(node: Node) -> None:
            for call in list(node.waiting.values())[:1]:
                call.give_up()
                node.end_turn()

        self._any_node(leave)

    def _ship(self) -> None:
        self._any_node(lambda node: node.link.shipping.push())

    def _tick(self) -> None:
        def tick(node: Node) -> None:
            node.funds.tick()
            node.end_turn()

        self._any_node(tick)

    def _sync(self) -> None:
        self._any_node(lambda node: node.journal.sync())

    def _connect(self) -> None:
        world = self.world
        for node in world.nodes:
            if world.connect(node):
                break

    def _news(self) -> None:
        for node in self.world.nodes:
            if node.news and not node.paused:
                node.hear_news(node.news.pop(0))

    def _user(self) -> int:
        return 1 + int(self.world.random() * self.world.profile.users)

    def _pay_in(self) -> None:
        self.people.pay_in(self._user(), 1 + int(self.world.random() * 20_000))

    def _take(self) -> None:
        self.people.take(self._user(), 1 + int(self.world.random() * 3_000))

    def _change_terms(self) -> None:
        self.people.change_terms(self.world.pick(list(self.people.tokens)))

    def _lift_cap(self) -> None:
        self.people.lift_cap(self.world.pick(list(self.people.tokens)))

    def _time_passes(self) -> None:
        world = self.world
        world.clock.go_on(world.pick((3_600.0, 20_000.0, 86_400.0, 7 * 86_400.0)))
        world.say(f"time passes: day {world.clock.day}")

    def _clock_is_set(self) -> None:
        """Back, a little ahead, or so far ahead that nobody may believe it."""
        world = self.world
        self._look_at_clock()
        before = world.authority.today() if world.authority is not None else 0
        by = world.pick((-86_400.0, -4_000.0, 4_000.0, 40 * 86_400.0))
        world.clock.unix += by
        if by > 86_400:
            self._look_at_clock()
            if world.authority is not None and world.authority.today() != before:
                world.broken("L-10", f"the clock leapt, and from {before} it is another day")
            world.clock.unix -= by
        world.say(f"the clock was set by {by}")

    def _look_at_clock(self) -> None:
        if self.world.authority is not None:
            self.world.authority.look_at_the_clock()

    def _rest_a_while(self) -> None:
        chance = self.world.random()
        self.rest.come()
        if chance < 0.35:
            self.rest.ask()
        elif chance < 0.6:
            self.rest.take_all()
        elif chance < 0.85:
            self.rest.ask_beside_a_stopped_worker()
        self.rest.look()


__all__ = ["Broken", "Simulation"]
