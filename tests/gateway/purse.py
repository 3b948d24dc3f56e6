"""Funds with both of their ends in the hands of a test."""

from __future__ import annotations

from aipool.doors.frames import Acquire, Collect, Grant, Granted
from aipool.doors.records import Returned
from aipool.gateway.funds import Chain, Denied, Funds
from aipool.ledger.types import Note

WALLET = ("wallet:1", 0, 0)
TOKEN, SIBLING = ("token:1", 0, 0), ("token:2", 0, 0)


class Rig:
    """Funds, with both of its ends in the hands of the test."""

    def __init__(self) -> None:
        self.sent: list[Acquire | Collect] = []
        self.returned: list[Returned] = []
        self.said: dict[str, Denied | None] = {}
        self.funds = Funds(self.sent.append, self._give_back)
        self.chain = self.funds.chain((WALLET, TOKEN))

    def _give_back(self, returned: Returned) -> int:
        self.returned.append(returned)
        return len(self.returned)

    def call(self, name: str, amount: int, chain: Chain | None = None) -> None:
        """A call that needs this much: held at once, or waiting."""
        chain = chain or self.chain
        if self.funds.hold(chain, amount):
            self.said[name] = None
        else:
            self.funds.wait(chain, amount, lambda denied: self.said.update({name: denied}))

    def grant(
        self, *amounts: int, free: int = 0, low: bool = False, note: Note = Note.SHORT
    ) -> None:
        """Answers what was asked last: this much on each budget of each chain; 0 is a no."""
        given = iter(amounts)
        chains = tuple(
            tuple(_grant(next(given), free, low, note) for _ in chain)
            for chain in self.acquires[-1].chains
        )
        self.funds.granted(Granted(self.acquires[-1].number, chains))

    def seconds(self, count: int) -> None:
        for _ in range(count):
            self.funds.tick()

    @property
    def acquires(self) -> list[Acquire]:
        return [one for one in self.sent if isinstance(one, Acquire)]

    @property
    def asked(self) -> list[list[tuple[str, int, int]]]:
        """What was asked for last."""
        return [
            [(need.budget, need.least, need.want) for need in chain]
            for chain in self.acquires[-1].chains
        ]

    @property
    def free(self) -> list[int]:
        return [lease.free for lease in self.chain]


def _grant(amount: int, free: int, low: bool, note: Note) -> Grant:
    return Grant(amount, free, low, Note.FINE if amount else note)


def funded(amount: int = 100, *, low: bool = False) -> Rig:
    """A rig whose leases carry this much."""
    rig = Rig()
    rig.call("first", amount)
    rig.grant(amount, amount, low=low)
    assert rig.said.pop("first") is None
    if not low:
        rig.funds.settle(rig.chain, amount, 0)
        assert rig.free == [amount, amount]
    return rig
