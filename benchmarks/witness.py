"""Three records of the same calls, held against each other.

    the client's    what was asked and what arrived (caller.Answer)
    the vendor's    what was served and would be billed (the fake vendor's books)
    the platform's  what was charged (the call rows)

They are joined by the address the client called from and by the marker in the request; the first
two know nothing of the third, and nobody killed them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from pysqlite3 import dbapi2

from benchmarks.caller import Answer, worker_of
from tests.fakes.books import Books, Entry

#: A stream's progress is in the journal after 64 more tokens, but at most four times a second; so
#: that much of it can be lost, and what was on its way from the vendor. A worker that shares two
#: cores with the storm may not get to read for a second.
PROGRESS_TOKENS: Final = 64
PROGRESS_SECONDS: Final = 0.25
ON_THE_WAY_SECONDS: Final = 1.0


@dataclass(slots=True)
class Made:
    """One call as its client knows it. Times are time.monotonic(); ended 0 = under way."""

    marker: str
    address: str
    stream: bool
    began: float
    tokens_per_second: float
    ended: float = 0.0
    answer: Answer = field(default_factory=Answer)

    def spans(self, moment: float) -> bool:
        """Was it under way then?"""
        return self.began <= moment and (not self.ended or moment <= self.ended)


class Row(NamedTuple):
    """A call as the platform recorded it."""

    rid: str
    ip: str
    stream: int
    status: int
    input_tokens: int
    output_tokens: int
    hold_nano: int
    charged_nano: int
    written_off_nano: int
    recovered: int


class Kill(NamedTuple):
    """A process that was killed. unrecorded: ids of answers that had arrived whole by then and
    were not in the books."""

    role: str
    aim: str
    moment: float
    unrecorded: tuple[str, ...] = ()


class Price(NamedTuple):
    """Nano-yuan per 1,000,000 tokens."""

    input_nano: int
    output_nano: int

    def of(self, input_tokens: int, output_tokens: int) -> int:
        """The charge, rounded up once; the one rule of rating, written down a second time."""
        total = input_tokens * self.input_nano + output_tokens * self.output_nano
        return -(-total // 1_000_000)


class LookedUp:
    """Reads the platform's database from outside, never holding it longer than a query."""

    def __init__(self, path: Path) -> None:
        self._connection = dbapi2.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def rows(self, *parameters: object, sql: str) -> list[tuple[object, ...]]:
        """The rows of any query."""
        return list(self._connection.execute(sql, parameters).fetchall())

    def calls(self) -> list[Row]:
        """Every call row."""
        months = self.rows(sql="SELECT month FROM call_months")
        names = ", ".join(Row._fields)
        found: list[Row] = []
        for (month,) in months:
            found += map(Row._make, self.rows(sql=f"SELECT {names} FROM calls_{month}"))
        return found

    def open_workers(self) -> set[int]:
        """The process ids of the workers whose epochs are open."""
        rows = self.rows(sql="SELECT pid FROM streams WHERE state = 'open'")
        return {int(str(pid)) for (pid,) in rows}

    def worker(self, index: int) -> tuple[int, int]:
        """The open epoch and the process id of the worker in this place."""
        sql = "SELECT max(epoch), pid FROM streams WHERE worker = ? AND state = 'open'"
        ((epoch, pid),) = self.rows(index, sql=sql)
        return int(str(epoch)), int(str(pid))

    def is_over(self, epoch: int) -> bool:
        """Is the epoch closed, and nothing lent to it any more?"""
        state = self.rows(epoch, sql="SELECT state FROM streams WHERE epoch = ?")
        lent = self.rows(epoch, sql="SELECT 1 FROM leases WHERE epoch = ? AND remaining > 0")
        return state == [("closed",)] and not lent

    def lent_nano(self) -> int:
        """What all workers together hold of all wallets and limits."""
        sql = "SELECT coalesce(sum(remaining), 0) FROM leases"
        return int(str(self.rows(sql=sql)[0][0]))


@dataclass
class Verdict:
    """What the comparison found. problems: empty when every claim held."""

    problems: list[str] = field(default_factory=list)
    whole: int = 0
    refused: int = 0
    cut: int = 0
    recovered: int = 0
    charged_nano: int = 0
    uncharged_nano: int = 0
    landed: dict[str, int] = field(default_factory=dict)
    """Calls that a kill met, by how far they were."""
    unshipped: list[int] = field(default_factory=list)
    """For each kill, answers of the killed worker that were in its journal only."""


def compare(
    calls: Sequence[Made], books: Books, rows: Iterable[Row], kills: Sequence[Kill], price: Price
) -> Verdict:
    """Hold the three records against each other."""
    return _Comparison(calls, books, rows, kills, price).run()


class _Comparison:
    def __init__(
        self,
        calls: Sequence[Made],
        books: Books,
        rows: Iterable[Row],
        kills: Sequence[Kill],
        price: Price,
    ) -> None:
        self._calls = calls
        self._kills = kills
        self._price = price
        self._verdict = Verdict()
        self._served: dict[str, list[Entry]] = {}
        for entry in books:
            self._served.setdefault(entry.user or "", []).append(entry)
        self._recovered: dict[str, list[Made]] = {}
        self._rows: dict[str, list[Row]] = {}
        for row in rows:
            self._rows.setdefault(row.ip, []).append(row)

    def run(self) -> Verdict:
        verdict = self._verdict
        for made in self._calls:
            rows = self._rows.pop(made.address, [])
            served = self._served.pop(made.marker, [])
            if len(rows) > 1:
                self._say(made, f"has {len(rows)} rows")
            row = rows[0] if rows else None
            verdict.charged_nano += 0 if row is None else row.charged_nano
            if not made.answer.whole:
                verdict.cut += 1
                self._cut(made, row, served)
            elif made.answer.status == 200:
                verdict.whole += 1
                self._whole(made, row, served)
            else:
                verdict.refused += 1
                self._refused(made, row)
        for rows in self._rows.values():
            if any(row.charged_nano for row in rows):
                verdict.problems.append(f"nobody made the call of {rows[0]}")
        if self._served:
            verdict.problems.append(f"the vendor served calls nobody made: {len(self._served)}")
        self._each_worker_died_once()
        self._count_unshipped()
        return verdict

    def _whole(self, made: Made, row: Row | None, served: list[Entry]) -> None:
        """Whose answer arrived whole is charged exactly for it."""
        usage = made.answer.usage()
        if len(served) != 1 or usage != (served[0].billed_input, served[0].billed_output):
            self._say(made, f"got {usage}, the vendor says {served}")
            return
        due = self._price.of(*usage)
        if row is None:
            self._say(made, f"was answered whole and has no row; {due} is due")
        elif row.charged_nano != due or row.written_off_nano or row.recovered:
            self._say(made, f"was answered whole; {due} is due, but {row}")
        elif not made.stream and _nano(made.answer.headers["x-aipool-charge"]) != due:
            self._say(made, f"was told a charge of {made.answer.headers['x-aipool-charge']}")

    def _refused(self, made: Made, row: Row | None) -> None:
        if made.answer.status != 503:
            self._say(made, f"was answered {made.answer.status}: {bytes(made.answer.body)!r}")
        if row is not None and (row.charged_nano or row.written_off_nano or row.recovered):
            self._say(made, f"was refused, but {row}")

    def _cut(self, made: Made, row: Row | None, served: list[Entry]) -> None:
        """Who was cut off pays at most what the vendor asks, at most what was held."""
        kills = [kill for kill in self._kills if kill.role == "worker" and made.spans(kill.moment)]
        if not kills:
            self._say(made, f"was cut off, and no worker was killed: {made.answer} {row}")
        billed = self._price.of(
            sum(entry.billed_input for entry in served), sum(e.billed_output for e in served)
        )
        if row is None:
            if served:
                self._say(made, "reached the vendor and has no row")
            return
        if row.charged_nano > min(row.hold_nano, billed) or row.written_off_nano:
            self._say(made, f"the vendor asks {billed}, but {row}")
        if not row.recovered:
            # It ended, and was in the journal, before its worker died.
            if row.charged_nano != billed:
                self._say(made, f"ended before the kill; the vendor asks {billed}, but {row}")
            return
        self._verdict.recovered += 1
        self._verdict.uncharged_nano += billed - row.charged_nano
        self._recovered.setdefault(worker_of(row.rid), []).append(made)
        self._landed(made, served)
        if made.stream:
            unwritten_seconds = PROGRESS_SECONDS + ON_THE_WAY_SECONDS
            lost = PROGRESS_TOKENS + made.tokens_per_second * unwritten_seconds
            first = 0 if row.charged_nano else served[0].billed_input if served else 0
            if billed - row.charged_nano > self._price.of(first, round(lost)):
                self._say(made, f"lost more than one progress interval of {billed}: {row}")

    def _landed(self, made: Made, served: list[Entry]) -> None:
        """How far was the call that a kill has met?"""
        entry = served[0] if served else None
        if entry is None or entry.status is None:
            where = "held"
        elif made.answer.body:
            where = "mid-stream"
        else:
            where = "headers received"
        self._verdict.landed[where] = self._verdict.landed.get(where, 0) + 1

    def _each_worker_died_once(self) -> None:
        """All recovered calls of one worker were under way at one and the same kill: so there are
        no more of them than were in flight."""
        for worker, calls in self._recovered.items():
            kills = [kill for kill in self._kills if kill.role == "worker"]
            if not any(all(made.spans(kill.moment) for made in calls) for kill in kills):
                self._verdict.problems.append(
                    f"{len(calls)} calls of worker {worker} are recovered, but no kill met them all"
                )

    def _count_unshipped(self) -> None:
        """Answers in the journal only, of the worker that was killed: the one never heard again."""
        last: dict[str, float] = {}
        for made in self._calls:
            worker = made.answer.worker
            last[worker] = max(last.get(worker, 0.0), made.began)
        for kill in self._kills:
            dead = [rid for rid in kill.unrecorded if last[worker_of(rid)] <= kill.moment]
            self._verdict.unshipped.append(len(dead))

    def _say(self, made: Made, text: str) -> None:
        self._verdict.problems.append(f"{made.marker} ({made.address}) {text}")


def _nano(yuan: str) -> int:
    whole, _, rest = yuan.partition(".")
    return int(whole + rest.ljust(9, "0"))


def now() -> float:
    """The clock of all these records."""
    return time.monotonic()
