"""Staff and customers: money comes in and goes out, limits change. Each is a transaction of
its own, beside whatever the ledger process writes, with the real services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken
from aipool.doors import frames
from aipool.doors.snapshot import CallLimits, TokenView
from aipool.kit.db import REFUSED_ERRORS, DatabaseBusy, Transaction
from aipool.ledger import service as ledger
from aipool.ledger.types import Moved, RefusalReason, Refused, TransferKind, token_budget
from tests.simulation import profile as making
from tests.simulation.wire import Cable
from tests.simulation.world import World

T = TypeVar("T")


class People:
    """Everybody who is no process. tokens: their terms, as people see them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tokens: dict[int, ApiToken] = {}
        #: The most calls that were ever allowed a bucket: (day, at once); None = any number.
        self.allowed: dict[int, tuple[int | None, int | None]] = {}
        #: The highest cap that each budget ever had; None = it had none.
        self.caps: dict[str, int | None] = {}
        self._keys = 0

    def move_in(self) -> None:
        """Users with wallets and tokens."""
        rng, profile = self.world.rng, self.world.profile
        for user_id in range(1, profile.users + 1):
            self.pay_in(user_id, making.opening_nano(rng, profile.held_nano))
            for _ in range(rng.choice((1, 1, 2))):
                token_id = len(self.tokens) + 1
                token = making.new_token(rng, token_id, user_id, profile.held_nano)
                self._set_terms(token)

    # --- money ----------------------------------------------------------------------------

    def pay_in(self, user_id: int, amount_nano: int) -> None:
        """A credit; the customer is told once it is booked, and never hears of another."""
        self._keys += 1
        key = f"credit:{self._keys}"
        if amount_nano and self._book_credit(user_id, amount_nano, key):
            self.world.witness.keys[key] = amount_nano
            self._paid(user_id, amount_nano)
        elif not amount_nano:
            self._write(lambda tx: ledger.open_wallet(tx, user_id))

    def tell_again(self) -> None:
        """The payment provider tells us of a payment once more."""
        world = self.world
        if world.witness.keys:
            key = world.pick(list(world.witness.keys))
            booked = next(t for t in world.books.transfers if t.idem_key == key)
            user_id = int(booked.credit.partition(":")[2])
            self._book_credit(user_id, booked.amount_nano, key)

    def take(self, user_id: int, amount_nano: int) -> bool:
        """Staff takes money away, of what is not lent."""
        self._keys += 1
        key = f"adjust:{self._keys}"
        answer = self._write(
            lambda tx: ledger.adjust_wallet(
                tx, user_id=user_id, amount_nano=-amount_nano, idem_key=key, ref="",
                actor="staff", at_ms=self.world.now_ms(),
            )
        )  # fmt: skip
        if isinstance(answer, Moved):
            self._paid(user_id, -amount_nano)
            return True
        if answer is not None and answer.reason is not RefusalReason.NOT_ENOUGH_FREE:
            self.world.broken("L-11", f"a debit was refused: {answer}")
        return False

    def _book_credit(self, user_id: int, amount_nano: int, key: str) -> bool:
        answer = self._write(
            lambda tx: ledger.credit_wallet(
                tx, user_id=user_id, amount_nano=amount_nano, source="cash:test",
                kind=TransferKind.CREDIT, idem_key=key, ref="", actor="", at_ms=0,
            )
        )  # fmt: skip
        if isinstance(answer, Refused):
            self.world.broken("L-11", f"{key} was refused: {answer}")
        return answer is not None

    def _paid(self, user_id: int, amount_nano: int) -> None:
        paid = self.world.witness.paid_nano
        paid[user_id] = paid.get(user_id, 0) + amount_nano
        self.world.say(f"user {user_id}: {amount_nano:+} by hand")

    # --- limits ---------------------------------------------------------------------------

    def change_terms(self, token_id: int) -> None:
        """A token gets other limits; workers hear of it in their own time."""
        token = self.tokens[token_id]
        self._set_terms(making.other_terms(self.world.rng, token, self.world.profile.held_nano))

    def lift_cap(self, token_id: int) -> None:
        """A token's total is raised by what makes room again."""
        token = self.tokens[token_id]
        if token.total_nano is not None:
            more = 1 + int(self.world.random() * self.world.profile.held_nano * 4)
            self._set_terms(replace(token, total_nano=token.total_nano + more))

    def _set_terms(self, token: ApiToken) -> None:
        world = self.world

        def write(tx: Transaction) -> bool:
            api_tokens._set_limits(tx, token)
            return True

        if not self._write(write):
            return
        self.tokens[token.id] = token
        view = world.views[token.id] = view_of(token)
        caps = api_tokens._caps(token)
        for budget, cap in caps.items():
            self.caps[budget] = _larger(cap, self.caps.get(budget, 0))
        if token_budget(token.id) not in caps:
            self.caps[token_budget(token.id)] = None
        limits = token.limits
        before = self.allowed.get(token.id, (0, 0))
        now = limits.requests_per_day, limits.concurrency
        self.allowed[token.id] = tuple(_larger(a, b) for a, b in zip(before, now, strict=True))  # type: ignore[assignment]
        for node in world.nodes:
            node.news.append(view)
        world.say(f"token {token.id}: total {token.total_nano}, {token.limit_nano} {token.reset},",
                  f"{limits.requests_per_day} a day, {limits.concurrency} at once")  # fmt: skip

    def _write(self, work: Callable[[Any], T]) -> T | None:
        """A transaction, tried as often as it takes; None = the database failed."""
        while True:
            try:
                with self.world.database.write() as tx:
                    return work(tx)
            except DatabaseBusy:
                continue
            except REFUSED_ERRORS as error:
                self.world.broken("L-02", f"the tables refuse what people do: {error}")


def view_of(token: ApiToken) -> TokenView:
    """As books.publish gives it to workers."""
    own = token_budget(token.id)
    budgets = [f"wallet:{token.user_id}"]
    if token.total_nano is not None:
        budgets.append(own)
    if token.limit_nano is not None and token.limit_budget not in budgets:
        budgets.append(token.limit_budget)
    limits = CallLimits(
        requests_per_day=token.limits.requests_per_day or 0,
        concurrency=token.limits.concurrency or 0,
    )
    return TokenView(
        token.id, token.user_id, 1, token.name, 0, None, (), tuple(budgets), "", limits
    )


def _larger(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else max(a, b)


class Asker:
    """A writer on the link: it asks for what is lent before it takes money away."""

    def __init__(self) -> None:
        self.splitter = frames.Splitter()
        self.complete: bool | None = None
        self.gone = False
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True

    def data_received(self, data: bytes) -> None:
        for payload in self.splitter.feed(data):
            message = frames.from_ledger.decode(payload)
            if isinstance(message, frames.Collected):
                self.complete = message.complete

    def ask(self, world: World, budgets: tuple[tuple[str, int], ...]) -> Cable:
        """Have everybody give back what is free of these."""
        assert world.authority is not None
        cable = Cable(self, world.authority.far_end(0), world.authority.loop.call_soon)
        cable.connect()
        world.cables.append(cable)
        self._transport.write(frames.pack(frames.Collect(1, budgets)))
        return cable
