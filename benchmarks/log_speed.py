"""How fast the log is read: ten million calls, one owner with half of them, while 1,000 calls a
second are recorded, on SQLite and on PostgreSQL.

A page by each filter, of a common value and of a rare one, its first page and one from the middle,
for operators and for the owner of half of everything; the dashboards; the list of a thousand
tokens; searches that no index serves, which answer in time or ask to narrow them; and a file of a
million rows, made at constant memory.

The calls are recorded by the books' own code in a process beside, and each figure is of what the
console's routes do after their question was understood: reading, naming, and writing the answer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from aipool import config
from aipool.accounts.types import Role, Status, User, UserId
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import Asked
from aipool.audit.desk import ID_MAX
from aipool.calls import service as calls
from aipool.calls.schemas import CallsForOperators, CallsListed, call_for_operators, call_shown
from aipool.calls.types import DAY_MS, Outcomes, Place, Search
from aipool.cli.session import Session, open_installation
from aipool.control import balance_flow, usage
from aipool.control.call_names import names_of_calls
from aipool.control.exports import OWN_COLUMNS, as_csv, call_rows
from aipool.control.last_used import last_used
from aipool.kit.clock import now_ms
from aipool.kit.db import Database, open_database
from aipool.kit.errors import BusinessError
from benchmarks import log_rows
from benchmarks.bars import Bars
from benchmarks.cpu import busy_elsewhere
from benchmarks.platform import ROOT
from benchmarks.population import Population, settle_in
from tests.postgres import Server

ROWS: Final = 10_000_000
QUICK_ROWS: Final = 1_000_000
CALLS_PER_SECOND: Final = 1_000
TOKENS: Final = 1_000
EXPORT_ROWS: Final = 1_000_000

PAGE_MILLISECONDS_MAX: Final = 100.0
OTHER_SECONDS_MAX: Final = 2.0
EXPORT_MIB_MAX: Final = 40.0
RECORDER_LATE_SECONDS_MAX: Final = 2.0

#: Who may not administer everybody: of whom they are told is looked up as well.
OPERATOR: Final = User(UserId(ID_MAX), "", Role.ADMIN, Status.ACTIVE, 0)

Ask = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it. times: each question is asked."""

    rows: int = ROWS
    times: int = 40
    seed: int = 1


def main(arguments: Sequence[str]) -> int:
    """As much as the claim says; 1 when it does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove log-speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a million rows")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    options = parser.parse_args(arguments)
    plan = Plan(options.rows or (QUICK_ROWS if options.quick else ROWS), seed=options.seed)
    print(f"the machine before: {busy_elsewhere()}", flush=True)
    bars = Bars("log-speed")
    worst = 0.0
    for kind in ("sqlite", "postgres"):
        if options.database in (kind, "both"):
            print(f"\n{kind}, {plan.rows:,} calls", flush=True)
            worst = max(worst, measure(kind, plan, bars))
    return bars.finish(f"the slowest page has a p95 of {worst:.0f} ms")


def measure(kind: str, plan: Plan, bars: Bars) -> float:
    """Everything on one kind of database; the slowest p95, in milliseconds."""
    with installation(kind) as session:
        began = time.monotonic()
        settle_in(
            session,
            Population(tokens=2 * TOKENS, users=2, vendors=4, keys=40, models=40),
            "http://127.0.0.1:9000/v1",
        )
        log_rows.fill(session.database, plan.rows, seed=plan.seed, now_ms=now_ms())
        bars.say("made", f"{time.monotonic() - began:.0f} s")
        with Recorder(session.settings.database_url_effective) as recorder:
            worst = _pages(session.database, plan, bars)
            _others(session.database, bars)
            _export(session, min(EXPORT_ROWS, plan.rows // 4), bars)
            recorder.report(bars)
    return worst


@contextlib.contextmanager
def installation(kind: str) -> Iterator[Session]:
    """An installation that does not run, on a database of this kind."""
    with tempfile.TemporaryDirectory(prefix="aipool-log-") as folder, contextlib.ExitStack() as end:
        environment = {
            "AIPOOL_DATA_DIR": folder,
            "XDG_RUNTIME_DIR": folder,
            "AIPOOL_PRIVATE_UPSTREAMS": "127.0.0.0/8",
        }
        if kind == "postgres":
            server = Server(durable=True)
            end.callback(server.remove)
            server.start()
            environment["AIPOOL_DATABASE_URL"] = server.url(server.create())
        settings = config.load({}, environment)
        yield end.enter_context(open_installation(settings, make=True))


class Recorder:
    """The process that records meanwhile."""

    def __init__(self, url: str) -> None:
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.log_recorder", url, str(CALLS_PER_SECOND)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: list[list[float]] = []
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("nothing is recorded")
        self._gathering = threading.Thread(target=self._gather, daemon=True)
        self._gathering.start()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._gathering.join()

    def report(self, bars: Bars) -> None:
        """What it did so far."""
        lines = self._lines[1:]
        each = sorted(line[1] for line in lines)[len(lines) // 2]
        bars.say("recorded meanwhile, calls", f"{sum(line[0] for line in lines):,.0f}")
        bars.say("CPU of recording a call", f"{each:.1f} µs")
        bars.say("slowest batch of 50", f"{max(line[2] for line in lines):.0f} ms")
        late = max(line[3] for line in lines)
        bars.at_most("recording behind its rate", late, RECORDER_LATE_SECONDS_MAX, "s")

    def _gather(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self._lines.append([float(word) for word in line.split()])


# --- what is asked --------------------------------------------------------------------------------


def searches(rid: str) -> dict[str, tuple[Search, Search]]:
    """By filter: of a common value, and of a rare one."""
    return {
        "user": (Search(user_id=log_rows.OWNER), Search(user_id=log_rows.RARE_USER)),
        "token": (Search(token_id=1), Search(token_id=log_rows.RARE_TOKEN)),
        "model": (Search(model="model-0"), Search(model=log_rows.RARE_MODEL)),
        "group": (Search(group_id=1), Search(group_id=log_rows.RARE_GROUP)),
        "key": (Search(key_id=1), Search(key_id=log_rows.RARE_KEY)),
        "status": (Search(outcome=Outcomes.OK), Search(outcome=Outcomes.FAILED)),
        "call type": (Search(endpoint="chat.completions"), Search(endpoint="image")),
        "request id": (Search(rid=rid), Search(rid="req_nobody")),
    }


def operators_page(database: Database, search: Search, before: Place | None = None) -> bytes:
    """As GET /api/admin/calls does it."""
    with database.read() as connection:
        page = calls.page(connection, search, before=before, limit=50)
        names = names_of_calls(connection, page.rows, OPERATOR)
    items = [call_for_operators(call, names) for call in page.rows]
    return CallsForOperators(items=items, next_cursor=None).model_dump_json().encode()


def own_page(database: Database, search: Search, before: Place | None = None) -> bytes:
    """As GET /api/calls does it."""
    with database.read() as connection:
        page = calls.page(connection, search, before=before, limit=50)
        names = names_of_calls(connection, page.rows, None)
    items = [call_shown(call, names) for call in page.rows]
    return CallsListed(items=items, next_cursor=None).model_dump_json().encode()


def _pages(database: Database, plan: Plan, bars: Bars) -> float:
    chance = random.Random(plan.seed)
    with database.read() as connection:
        (newest,) = calls.page(connection, Search(), limit=1).rows
    worst = 0.0

    def time_it(what: str, ask: Ask) -> None:
        nonlocal worst
        took = p95(ask, plan.times)
        worst = max(worst, took)
        bars.at_most(what, took, PAGE_MILLISECONDS_MAX, "ms")

    def anywhere(search: Search) -> bytes:
        place = Place(newest.at_ms - chance.randrange(60 * DAY_MS), "req_")
        return operators_page(database, search, place)

    for what, pair in searches(newest.rid).items():
        for how, search in zip(("common", "rare"), pair, strict=True):
            time_it(f"{what}, {how}", partial(operators_page, database, search))
            time_it(
                f"{what}, {how}, further back",
                partial(anywhere, search),
            )
            if what not in ("user", "key"):
                own = replace(search, user_id=log_rows.OWNER)
                time_it(f"{what}, {how}, of the owner", partial(own_page, database, own))
    time_it("everything", lambda: operators_page(database, Search()))
    at = now_ms()
    for preset in usage.PRESETS:
        wanted = usage.stretch(None, None, preset, "", at)
        time_it(f"dashboard of the owner, {preset}", partial(own_dashboard, database, wanted))
        time_it(f"dashboard of all, {preset}", partial(dashboard, database, wanted))
    time_it("balance flow of the owner", lambda: flow(database))
    time_it("a list of 1,000 tokens", lambda: tokens(database))
    return worst


def own_dashboard(
    database: Database, wanted: usage.Stretch, user_id: int = log_rows.OWNER
) -> bytes:
    """As GET /api/usage does it."""
    with database.read() as connection:
        return usage.own(connection, user_id, wanted).model_dump_json().encode()


def dashboard(database: Database, wanted: usage.Stretch) -> bytes:
    """As GET /api/admin/usage does it."""
    with database.read() as connection:
        return usage.of_all(connection, wanted, OPERATOR).model_dump_json().encode()


def flow(database: Database) -> bytes:
    """As GET /api/balance-flow does it."""
    wanted = balance_flow.Wanted("", None, None)
    with database.read() as connection:
        shown = balance_flow.page(connection, log_rows.OWNER, wanted, 50, "", is_own=True)
    return shown.model_dump_json().encode()


def tokens(database: Database) -> int:
    """A page of them, and when each was called last."""
    with database.read() as connection:
        listed, _ = api_tokens.own_tokens(
            connection, log_rows.OWNER, Asked(), now_ms=now_ms(), limit=100
        )
        last_used(connection, [one.token.id for one in listed])
    return len(listed)


def p95(ask: Ask, times: int) -> float:
    """In milliseconds."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append(1e3 * (time.perf_counter() - began))
    return sorted(took)[int(0.95 * times)]


# --- what no index serves, and files --------------------------------------------------------------


def _others(database: Database, bars: Bars) -> None:
    end = now_ms()
    week = Search(user_id=log_rows.OWNER, from_ms=end - 7 * DAY_MS, to_ms=end)
    slowest, narrowed = 0.0, 0
    for search in (
        replace(week, error="nothing_like_it"),
        replace(week, error="nothing_like_it", user_id=None),
        replace(week, upstream_request_id="up-none", user_id=None),
        replace(week, stream=True),
        replace(week, origin="playground"),
        Search(user_id=log_rows.OWNER, model="model-0", endpoint="image"),
        Search(model="model-0", group_id=log_rows.RARE_GROUP),
        Search(stream=False),
    ):
        began = time.perf_counter()
        try:
            operators_page(database, search)
        except BusinessError as said:
            if said.code != "narrow_the_search":
                raise
            narrowed += 1
        slowest = max(slowest, time.perf_counter() - began)
    bars.at_most("slowest of eight other searches", slowest, OTHER_SECONDS_MAX, "s")
    bars.say("of these, asked to narrow", str(narrowed))


def _export(session: Session, rows: int, bars: Bars) -> None:
    """In a process of its own, whose memory is its own."""
    url = session.settings.database_url_effective
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.log_speed", url, str(rows)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, grown = map(float, done.stdout.split())
    bars.say(f"a file of {rows:,} calls", f"{rows / seconds:,.0f} /s")
    bars.at_most("memory it grew by after a tenth", grown, EXPORT_MIB_MAX, "MiB")


def export(url: str, rows: int) -> None:
    """Prints the seconds, and how many MiB more memory it had at the end than after a tenth."""
    database = open_database(url)
    text = as_csv(OWN_COLUMNS, call_rows(database, Search(user_id=log_rows.OWNER), operator=None))
    began, lines, early = time.monotonic(), 0, 0
    for some in text:
        lines += some.count("\n")
        if not early and lines >= rows // 10:
            early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if lines >= rows:
            break
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - early
    print(time.monotonic() - began, grown / 1024)


if __name__ == "__main__":
    export(sys.argv[1], int(sys.argv[2]))
