"""How things break."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.books.requests import Append
from aipool.doors import frames
from aipool.doors.records import decode_entry
from aipool.kit.db import DatabaseBusy
from tests.simulation.authority import Killed
from tests.simulation.node import Node
from tests.simulation.people import People
from tests.simulation.world import World


class Faults:
    """Each method is one misfortune; False = there was nobody to suffer it."""

    def __init__(self, world: World, people: People) -> None:
        self.world = world
        self.people = people
        world.in_recovery = self._in_recovery

    def link_breaks(self) -> bool:
        """A connection ends; what was on its way to the worker is lost, and perhaps the rest."""
        world = self.world
        whole = [cable for cable in world.cables if cable.near_side.open]
        if not whole:
            return False
        cable = world.pick(whole)
        node = world.node_of(cable)
        if node is not None and node.paused:
            return False
        cable.break_()
        if world.random() < 0.5:
            cable.lose_late_bytes()
        world.say("a link breaks", "" if node is None else f"of worker {node.index}")
        return True

    def old_news(self) -> bool:
        """A batch that was shipped long ago arrives once more: late, or out of order."""
        world = self.world
        if world.authority is None or not world.sent:
            return False
        epoch, data = world.pick(world.sent)
        lane = world.authority.lanes[epoch % len(world.authority.lanes)]
        for payload in frames.Splitter().feed(data):
            message = frames.from_worker.decode(payload)
            if isinstance(message, frames.Ship) and epoch:
                entries = tuple(map(decode_entry, message.entries))
                request = Append(epoch, message.start, message.end, entries)
                lane.batches.submit(request, lambda _: None)
        return True

    def worker_killed(self, node: Node) -> None:
        """kill -9: its memory is gone, its journal stays, the kernel frees its lock."""
        world = self.world
        world.say(f"worker {node.index} (epoch {node.epoch}) killed")
        if node.cable is not None:
            node.cable.kill_near()
            if world.random() < 0.5:
                node.cable.lose_late_bytes()
        self._gone(node)
        world.start_node(node.index)

    def worker_pauses(self, node: Node) -> None:
        """SIGSTOP, or SIGCONT: it does nothing, and holds its lock."""
        node.paused = not node.paused
        self.world.say(f"worker {node.index}", "stops" if node.paused else "goes on")

    def authority_killed(self) -> bool:
        """kill -9 of the ledger process."""
        alive = self.world.authority is not None
        if alive:
            self.world.kill_authority()
        return alive

    def authority_starts(self) -> None:
        """The supervisor starts another one."""
        if self.world.authority is None:
            self.world.start_authority()

    def power_fails(self) -> None:
        """Every process is gone. The books have what they committed; a journal has what it
        had synced, and chance decides about the rest."""
        world = self.world
        world.say("power fails")
        if world.authority is not None:
            world.kill_authority()
        for node in list(world.nodes):
            if node.cable is not None:
                node.cable.kill_near()
                node.cable.lose_late_bytes()
            node.journal.cut_power(world.rng)
            life = world.witness.lives[node.epoch]
            life.kept = node.journal.kept
            stream = world.books.streams.get(node.epoch)
            life.recorded = stream.high_water if stream is not None else 0
            world.say(f"epoch {node.epoch}: recorded to {life.recorded}, journal to {life.kept}")
            self._gone(node)
            world.start_node(node.index)
        world.cables.clear()
        world.sent.clear()

    def database_fails(self) -> bool:
        """A commit does not get through: the lock is not to be had, or the disk is full."""
        if not hasattr(self.world.books, "failing"):
            return False
        full = sa.exc.OperationalError("disk full", None, Exception("disk full"))
        self.world.books.failing = full if self.world.random() < 0.5 else DatabaseBusy("locked")
        self.world.commit()
        self.world.books.failing = None
        return True

    def someone_writes_between(self) -> bool:
        """Another authority writes between the ledger process's load and its commit."""
        world = self.world
        if not hasattr(world.books, "interrupt") or world.authority is None:
            return False
        lane = int(world.random() * world.profile.lanes)
        other = world.authority.lanes[lane - 1]
        if other is not world.authority.lanes[lane] and world.random() < 0.5:
            world.books.interrupt = other.commit
        else:
            world.books.interrupt = self._people_write
        world.authority.commit(lane)
        world.books.interrupt = None
        world.authority.loop.end_turn()
        return True

    def _people_write(self) -> None:
        world, people = self.world, self.people
        chance = world.random()
        if chance < 0.5:
            people.change_terms(world.pick(list(people.tokens)))
        elif chance < 0.8:
            people.pay_in(1 + int(world.random() * world.profile.users), 100)
        else:
            people.take(1 + int(world.random() * world.profile.users), 100)

    def _in_recovery(self) -> None:
        """Before each transaction of a recovery: the ledger process goes on meanwhile, or it
        is killed."""
        world = self.world
        if world.authority is None:
            return
        if world.random() < world.profile.interrupts:
            for lane in world.authority.lanes:
                lane.commit()
        if world.random() < 0.1 * world.profile.fault:
            raise Killed

    def _gone(self, node: Node) -> None:
        world = self.world
        world.disk.held.discard(node.epoch)
        world.nodes.remove(node)
        world.witness.lives[node.epoch].over = True
        world.cables[:] = [cable for cable in world.cables if not cable.over]
