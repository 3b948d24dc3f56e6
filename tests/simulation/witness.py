"""What really happened, kept outside of everything that can die.

The vendor knows what it served, the client whether it got its whole answer, the customer what
was paid in. At the end the books must say the same, to the nano-yuan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from aipool.rating.rate import rate
from aipool.rating.types import Price, Usage


class Tariff(NamedTuple):
    """What a call is sold at. As gateway.catalogue.Offer, as far as settling looks at it."""

    price: Price
    multiplier_ppm: int
    model: str = "toy"


@dataclass
class HeldCall:
    """A call for which money was held, whatever became of it.

    hold_ends: (where its H record ends, what was held), again for each extension.
    progress: (where the P record ends, usage so far).  settled_end: where its S record ends.
    usage: what it was settled at, charge_nano: what that costs.  acknowledged: the client has
    its last byte.
    """

    rid: str
    user_id: int
    token_id: int
    epoch: int
    budgets: tuple[tuple[str, int], ...]
    tariff: Tariff
    hold_ends: list[tuple[int, int]]
    progress: list[tuple[int, Usage]] = field(default_factory=list)
    settled_end: int | None = None
    usage: Usage | None = None
    charge_nano: int = 0

    @property
    def hold_nano(self) -> int:
        return self.hold_ends[-1][1]


class Expected(NamedTuple):
    """What the books should say of a call."""

    rated_nano: int
    recovered: bool


@dataclass
class Life:
    """How far an epoch's journal can be believed.

    kept: what is left of its journal after a power cut.  recorded: how much of it was in the
    books at that moment.
    """

    kept: int = 1 << 62
    recorded: int = 0
    over: bool = False


@dataclass
class Witness:
    """paid_nano: what each user was told is booked, less what staff took; keys: each once."""

    calls: dict[str, HeldCall] = field(default_factory=dict)
    lives: dict[int, Life] = field(default_factory=dict)
    paid_nano: dict[int, int] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    unavailable: int = 0
    uncharged_nano: int = 0

    def expected(self, call: HeldCall) -> Expected | None:
        """By the rules of what a death costs; None = nothing of it was left anywhere."""
        life = self.lives[call.epoch]
        if call.settled_end is not None and call.settled_end <= max(life.kept, life.recorded):
            return Expected(call.charge_nano, recovered=False)
        if not life.over:
            raise AssertionError(f"{call.rid} of a living worker is still open")
        holds = [hold for end, hold in call.hold_ends if end <= life.kept]
        if not holds:
            return None
        usages = [usage for end, usage in call.progress if end <= life.kept]
        if not usages:
            return Expected(0, recovered=True)
        rated = rate(usages[-1], call.tariff.price, call.tariff.multiplier_ppm)
        return Expected(min(rated, holds[-1]), recovered=True)
