"""Simulated days: the real pieces that know of windows, and clocks that a script sets.

    the ledger process   books.calendar, books.record, the ledger's use cases, on a database
    two workers          gateway.funds, gateway.tokens, gateway.chains
    a person             the use cases of API tokens

What lies between them (sockets, processes) is one loop here, so that a second can be any second.
Beside them a witness keeps its own count, with its own calendar, that of the standard library:
how much each token has used in each window, and so whether the next call must be let through.

What is done to clocks and limits, benchmarks.upsets says.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import random
from collections import Counter, deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, cast

import msgspec

from aipool.accounts import service as accounts
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken, Reset, TokenTerms
from aipool.audit.types import Act
from aipool.books.calendar import Calendar, Day
from aipool.books.publish import token_view
from aipool.books.record import record
from aipool.books.requests import Answer, Append, Borrow, Open, Request
from aipool.books.verify import verify
from aipool.doors.frames import Acquire, Collect, Granted, Recorded, Welcome
from aipool.doors.outcome import Outcome
from aipool.doors.records import Entry, Hold, Returned
from aipool.gateway.funds import Chain, Denied, Funds, Shortage
from aipool.gateway.limits import Rates
from aipool.gateway.tokens import Token
from aipool.groups import service as groups
from aipool.kit.digests import digest
from aipool.ledger import service as ledger
from tests.books.rig import CNY, Installation, outcome
from tests.books.rig import hold as hold_of

DAY_SECONDS: Final = 86_400
CAP_NANO: Final = 10_000
PEPPER: Final = b"p" * 32
RESETS: Final = (Reset.DAILY, Reset.WEEKLY, Reset.MONTHLY)
_MIDNIGHT: Final = datetime.datetime.min.time()


class Clock:
    """A wall clock that can be set, and one that nobody sets."""

    def __init__(self, wall: float) -> None:
        self.wall = wall
        self.passed = 5_000.0

    def go(self, seconds: float) -> None:
        """Time passes."""
        self.wall += seconds
        self.passed += seconds

    def until(self, wall: float) -> None:
        """Time passes until the wall clock says this; not at all when it is past it."""
        self.go(max(0.0, wall - self.wall))


class Witness:
    """What was used in which window, told by dates alone. day: the day it is for the limits."""

    def __init__(self, day: datetime.date) -> None:
        self.day = day
        self.used: Counter[tuple[str, str, int]] = Counter()
        self.held: Counter[tuple[str, str, int]] = Counter()
        self.caps: dict[str, int] = {}
        self.resets: dict[str, Reset] = {}
        #: How often the reset type of a token was changed.
        self.turns: Counter[str] = Counter()

    def window(self, name: str) -> tuple[str, str, int]:
        """The token, the window it is now, and the turn of its limit."""
        year, week, _ = self.day.isocalendar()
        text = {
            Reset.NONE: "",
            Reset.DAILY: self.day.isoformat(),
            Reset.WEEKLY: f"{year}-W{week}",
            Reset.MONTHLY: f"{self.day:%Y-%m}",
        }[self.resets[name]]
        return name, text, self.turns[name]

    def room(self, name: str) -> int:
        """What a call of the token may hold now."""
        key = self.window(name)
        return self.caps[name] - self.used[key] - self.held[key]


class Running(NamedTuple):
    """A call that holds money."""

    name: str
    worker: Worker
    chain: Chain
    hold: Hold
    window: tuple[str, str, int]


class Worker:
    """Leases, and what goes back and forth with the books."""

    def __init__(self, days: Days, epoch: int) -> None:
        self.days = days
        self.epoch = epoch
        self.day = 0
        self.position = 0
        self.shipped = 0
        self.outbox: list[Entry] = []
        self.inbox: deque[Acquire | Collect] = deque()
        self.funds = Funds(self.inbox.append, self.give_back)
        self.rates = Rates(lambda _: False, lambda _: None)
        self.tokens: dict[str, Token] = {}
        assert isinstance(days.ask(Open(epoch, epoch, epoch)), Welcome)

    def give_back(self, returned: Returned) -> int:
        """To the books, in the next turn."""
        self.outbox.append(returned)
        self.position += 1
        return self.position

    def ship(self) -> None:
        """Everything that waits is in the books afterwards."""
        if self.outbox:
            entries, self.outbox = tuple(self.outbox), []
            answer = self.days.ask(Append(self.epoch, self.shipped, self.position, entries))
            assert answer == Recorded(self.position), answer
            self.shipped = self.position
            self.funds.recorded(self.position)


class Days:
    """The platform and its witness, second by second."""

    def __init__(self, folder: Path, first: datetime.date, seed: int) -> None:
        self.problems: list[str] = []
        self.checks = 0
        self.boundaries: Counter[str] = Counter()
        self.history = hashlib.sha256()
        self._chance = random.Random(seed)
        noon = datetime.datetime.combine(first, _MIDNIGHT, datetime.UTC).timestamp() + 43_200
        self.clock = Clock(noon)
        self.witness = Witness(first)
        self._books = Installation(folder)
        self._act = Act("test", 0)
        self._epochs = itertools.count(1)
        self._digests: dict[str, bytes] = {}
        self._commands = itertools.count(1)
        self._user, self._tokens = self._people()
        self.calendar = self._new_calendar()
        self.workers = [Worker(self, next(self._epochs)) for _ in range(2)]
        self.look()
        for name in self._tokens:
            self._publish(name)

    def close(self) -> None:
        """End it; the books have to agree, and no window may be above its limit."""
        self._everything_shipped()
        self.problems += [str(one) for one in verify(self._books.database).differences]
        self._books.close()

    # --- the ledger process -----------------------------------------------------------------

    def ask(self, request: Request) -> Answer:
        """One transaction, as books.batches makes it."""
        with self._books.database.write() as tx:
            batch = record(
                tx,
                [request],
                at_ms=int(self.clock.wall * 1000),
                slice_max_nano=2 * CNY,
                day=self.calendar.day.number,
            )
        return batch.answers[0]

    def look(self) -> None:
        """The ledger process looks at the clock, keeps the day, and tells the workers."""
        wall, passed = self.clock.wall, self.clock.passed
        if self.calendar.day.frozen:
            with self._books.database.read() as connection:
                kept = ledger.today(connection)
            if kept is not None and not kept[1]:
                self.calendar.confirm(Day(*kept), wall, passed)
        day = self.calendar.look(wall, passed)
        if day != self.calendar.day:
            with self._books.database.write() as tx:
                ledger.set_day(tx, day.number, frozen=day.frozen)
            self.calendar.keep(day)
        for worker in self.workers:
            worker.day = self.calendar.day.number

    def restart(self) -> None:
        """Another ledger process, which knows what was kept, and nothing else."""
        self.clock.passed = self._chance.uniform(1.0, 1e6)
        self.calendar = self._new_calendar()
        self.look()

    def confirm_clock(self) -> None:
        """`aipool ledger confirm-clock`."""
        with self._books.database.write() as tx:
            ledger.set_day(tx, int(self.clock.wall // DAY_SECONDS), frozen=False)
        self.look()

    def _new_calendar(self) -> Calendar:
        with self._books.database.read() as connection:
            kept = ledger.today(connection)
        wall = self.clock.wall
        if kept is None:
            kept = (int(wall // DAY_SECONDS), False)
            with self._books.database.write() as tx:
                ledger.set_day(tx, kept[0], frozen=False)
        return Calendar(Day(*kept), wall, self.clock.passed)

    # --- people -----------------------------------------------------------------------------

    def _people(self) -> tuple[int, dict[str, ApiToken]]:
        tokens: dict[str, ApiToken] = {}
        with self._books.database.write() as tx:
            user = accounts.create_user(tx, self._act, phone="+8613800138001", password_hash="x")
            group = groups.default_group(tx, self._act)
            for reset in RESETS:
                terms = TokenTerms(reset.value, group.id, limit_nano=CAP_NANO, reset=reset)
                token, secret = api_tokens.create_token(tx, self._act, PEPPER, user, terms)
                tokens[reset.value] = token
                self._digests[reset.value] = digest(PEPPER, secret.encode())
                self.witness.caps[reset.value] = CAP_NANO
                self.witness.resets[reset.value] = reset
        self._books.credit(user.id, 1_000 * CNY)
        return user.id, tokens

    def _publish(self, name: str) -> None:
        with self._books.database.read() as connection:
            view = token_view(connection, self._digests[name])
        assert view is not None
        for worker in self.workers:
            worker.tokens[name] = Token(view)

    def change(self, name: str, *, cap: int | None = None, reset: Reset | None = None) -> None:
        """Another amount, or another reset type, in force at once."""
        token = self._tokens[name]
        terms = token.terms
        terms = TokenTerms(
            terms.name,
            terms.group_id,
            limit_nano=terms.limit_nano if cap is None else cap,
            reset=terms.reset if reset is None else reset,
        )
        self._everything_shipped()
        lowered = api_tokens.lowered_budgets(token, terms, self.calendar.day.number)
        for worker in self.workers:
            worker.funds.recall(lowered)
            worker.ship()
        with self._books.database.write() as tx:
            api_tokens.change_token(tx, self._act, PEPPER, token, terms)
            self._tokens[name] = api_tokens.get_token(tx.connection, token.id)
        self._publish(name)
        if cap is not None:
            self.witness.caps[name] = cap
        if reset is not None and reset is not self.witness.resets[name]:
            self.witness.resets[name] = reset
            self.witness.turns[name] += 1

    # --- calls ------------------------------------------------------------------------------

    def begin(self, name: str, amount: int, worker: Worker | None = None) -> Running | None:
        """A call that holds this much; None = it was refused. The witness must agree."""
        worker = worker or self._chance.choice(self.workers)
        due = self.witness.room(name) >= amount
        token = worker.tokens[name]
        denied = self._hold(worker, token, amount)
        if denied is not None and denied.why is Shortage.WINDOW and token.day != worker.day:
            denied = self._hold(worker, token, amount)
        self.checks += 1
        if (denied is None) != due:
            window, why = self.witness.window(name), "let through" if denied is None else denied
            self._say(f"{name} for {amount} of {self.witness.room(name)} in {window}: {why}")
        self.history.update(f"{name} {amount} {denied is None}".encode())
        if denied is not None:
            return None
        window = self.witness.window(name)
        self.witness.held[window] += amount
        base = hold_of(self._user, amount, token_id=self._tokens[name].id)
        call = msgspec.structs.replace(
            base,
            rid=f"req_{next(self._commands):032x}",
            at_ms=int(self.clock.wall * 1000),
            budgets=token.budgets,
        )
        return Running(name, worker, token.chain, call, window)

    def end(self, running: Running, charge: int) -> None:
        """Its vendor bills this much, which belongs to the window of its hold."""
        _, worker, chain, call, window = running
        result: Outcome = outcome(call, charge, 0)
        worker.outbox.append(result)
        worker.position += 1
        worker.funds.settle(chain, call.hold_nano, charge)
        self._pump()
        self.witness.held[window] -= call.hold_nano
        self.witness.used[window] += charge

    def use_up(self, name: str) -> None:
        """Spend all of the limit that is left, and see that nothing more can be had."""
        room = self.witness.room(name)
        parts = [room // 3, room - room // 3] if room > 2 else [room] if room > 0 else []
        for part in parts:
            running = self.begin(name, part)
            if running is not None:
                self.end(running, part)
        for worker in self.workers:
            self.must_be_refused(name, worker)

    def must_be_refused(self, name: str, worker: Worker | None = None) -> None:
        """Not the least can be had of it."""
        running = self.begin(name, max(1, self.witness.room(name) + 1), worker)
        if running is not None:
            self.end(running, 0)

    def _hold(self, worker: Worker, token: Token, amount: int) -> Denied | None:
        if token.day != worker.day or not token.chain:
            catalogue = cast(Any, SimpleNamespace(groups={}))
            token.renew(worker.funds, worker.rates, catalogue, worker.day)
        chain = token.chain
        if worker.funds.hold(chain, amount):
            return None
        answers: list[Denied | None] = []
        worker.funds.wait(chain, amount, answers.append)
        self._pump()
        if not answers:
            raise AssertionError("a call was not answered")
        return answers[0]

    def _pump(self) -> None:
        """Everything that was said is heard and answered."""
        busy = True
        while busy:
            busy = False
            for worker in self.workers:
                if worker.outbox:
                    worker.ship()
                    busy = True
                while worker.inbox:
                    self._hear(worker, worker.inbox.popleft())
                    busy = True

    def _hear(self, worker: Worker, message: Acquire | Collect) -> None:
        if isinstance(message, Acquire):
            answer = self.ask(Borrow(worker.epoch, message))
            assert isinstance(answer, Granted), answer
            worker.funds.granted(answer)
            return
        for other in self.workers:
            if other is not worker:
                other.funds.recall(message.budgets)
                other.ship()
        worker.ship()
        worker.funds.collected(message.number, complete=True)

    def _everything_shipped(self) -> None:
        self._pump()
        for worker in self.workers:
            worker.ship()

    # --- a day ------------------------------------------------------------------------------

    def midnight(self) -> float:
        """The next one by the wall clock."""
        return (self.clock.wall // DAY_SECONDS + 1) * DAY_SECONDS

    def an_ordinary_day(self) -> None:
        """From noon to noon: calls, and the boundary at midnight second by second."""
        chance = self._chance
        for name in self._tokens:
            for _ in range(chance.randint(0, 2)):
                running = self.begin(name, chance.randint(1, CAP_NANO // 2))
                if running is not None:
                    self.end(running, chance.randint(0, running.hold.hold_nano))
            self.clock.go(chance.uniform(0, 3600))
        midnight = self.midnight()
        self.clock.until(midnight - 2)
        self.look()
        # Held before midnight and ended after it.
        late = {name: self._begin_late(name) for name in self._tokens}
        self.clock.until(midnight - 1)
        self.look()
        for name in self._tokens:
            self.use_up(name)
        before = {name: self.witness.window(name) for name in self._tokens}
        self.clock.until(midnight)
        self.begin_day()
        for name in self._tokens:
            self.first_second(name, begins=self.witness.window(name) != before[name])
        for running in late.values():
            if running is not None:
                self.end(running, chance.randint(0, running.hold.hold_nano))
        self.clock.until(midnight + 1)
        self.look()
        for name in self._tokens:
            if chance.random() < 0.5:
                self.use_up(name)
        self.check_windows()
        self.clock.until(midnight + 43_200)
        for worker in self.workers:
            for _ in range(11):
                worker.funds.tick()
        self._everything_shipped()

    def _begin_late(self, name: str) -> Running | None:
        room = self.witness.room(name)
        return self.begin(name, self._chance.randint(1, room)) if room > 0 else None

    def begin_day(self) -> None:
        """The day that the wall clock says has begun, and everybody knows."""
        self.look()
        self.witness.day = datetime.datetime.fromtimestamp(self.clock.wall, datetime.UTC).date()

    def first_second(self, name: str, *, begins: bool) -> None:
        """A window that begins is there whole; one that goes on is as used up as it was."""
        if not begins:
            self.must_be_refused(name)
            return
        self.boundaries[self.witness.resets[name].value] += 1
        running = self.begin(name, self.witness.caps[name])
        if running is not None:
            self.end(running, self._chance.randint(0, self.witness.caps[name] // 2))

    def check_windows(self) -> None:
        """It is the right day; no window is above its limit, and each has used what the witness
        says."""
        self._everything_shipped()
        day = self.calendar.day.number
        if day != (self.witness.day - datetime.date(1970, 1, 1)).days:
            self._say(f"for the limits it is day {day}, not {self.witness.day}")
        with self._books.database.read() as connection:
            for name, token in self._tokens.items():
                standing = api_tokens.standing(connection, token, day)
                due = self.witness.used[self.witness.window(name)]
                if standing.used_nano != due:
                    self._say(f"{name} has used {standing.used_nano}, not {due}")
            for budget, window, cap, used, leased in connection.exec_driver_sql(
                "SELECT budget, window_no, cap, used, leased FROM budgets WHERE NOT frozen"
            ):
                if cap is not None and used + leased > cap:
                    self._say(f"{budget} of {window}: {used} + {leased} above {cap}")

    def _say(self, text: str) -> None:
        moment = datetime.datetime.fromtimestamp(self.clock.wall, datetime.UTC)
        self.problems.append(f"{moment:%Y-%m-%d %H:%M:%S}: {text}")
