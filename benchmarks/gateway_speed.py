"""What a paid chat call costs, beside nginx passing the same call on.

    core 0   the one gateway worker, or nginx as a plain reverse proxy: whose turn it is
    core 1   wrk with 64 connections, nginx as the vendor, and the rest of the platform

Everything of the platform is on: tokens, prices, holds, the journal, the books, and a pool of a
thousand upstream keys, of which the first of each vendor is called. The runs of the
two take turns, and medians are compared, because a machine's speed drifts within minutes. A pair
whose nginx did not keep its core 90 % busy was disturbed from outside and is run again.

The group of the caller has limits of requests and tokens a minute, far above what is asked, so
that every call passes them; `--unlimited` measures without.

CPU per call counts user and system time of the worker with all its threads. How far the books lag
behind is read from the journal's files and the database: a settlement's bytes are unrecorded from
when the journal has them until the worker's high-water mark passes them.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from aipool import config
from aipool.cli.session import open_installation
from aipool.groups import service as groups
from aipool.groups.types import DEFAULT_NAME, CallLimits
from aipool.kit.money import PPM
from benchmarks import load
from benchmarks.bars import Bars
from benchmarks.cpu import BUSY_LEAST, Cores, Use, Watch, busy_elsewhere, median
from benchmarks.load import CONNECTIONS, Load
from benchmarks.money_path import cpu_seconds_per_call
from benchmarks.nginx import Nginx, make_certificate, proxy_server, upstream_servers
from benchmarks.platform import MODEL, PRICE, CommandFailed, Platform, free_port, upstream_keys
from benchmarks.witness import LookedUp

PLAIN_RATIO_MAX: Final = 2.6
TLS_RATIO_MAX: Final = 2.4
# With the indexes of the log and all its sums, which are written with every call.
SUSTAINED_SHARE_LEAST: Final = 0.15
UNRECORDED_SECONDS_MAX: Final = 2.0
DRAIN_SECONDS_MAX: Final = 2.0
LEDGER_MICROSECONDS_MAX: Final = 75.0
GRANTS_PER_1000_MAX: Final = 5.0
MONEY_MICROSECONDS_MAX: Final = 20.0

#: Both vendors together: a thousand keys in the pool.
KEYS_A_VENDOR: Final = 500

#: Of the caller's group; no machine reaches them.
RPM: Final = 10_000_000
TPM: Final = 1_000_000_000_000

TLS_MODEL: Final = "bench-model-tls"
CHAT: Final = "/v1/chat/completions"

#: The books are quiet when the high-water mark has not moved for this long.
QUIET_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.05
#: The journal's own note of what is on the disk may stand last, and is never shipped.
_SYNCED_BYTES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it. pairs: of runs that take turns, for each kind of upstream; at most
    `tries` times as many are begun."""

    pairs: int = 7
    run_seconds: float = 5.0
    sustained_seconds: float = 60.0
    money_batches: int = 200
    tries: int = 3


QUICK: Final = Plan(pairs=3, run_seconds=2.0, sustained_seconds=10.0, money_batches=40, tries=2)


class Side(NamedTuple):
    """One of the two that are compared. process: whose CPU counts.  made: every run on it."""

    url: str
    process: int
    script: Path
    made: list[Load]


class Turn(NamedTuple):
    """One run on one side."""

    load: Load
    use: Use

    @property
    def microseconds(self) -> float:
        """CPU per call."""
        return self.use.cpu_seconds / self.load.answered * 1e6


@dataclass
class Pairs:
    """Runs that took turns. disturbed: pairs that did not count."""

    nginx: list[Turn] = field(default_factory=list)
    aipool: list[Turn] = field(default_factory=list)
    disturbed: int = 0
    valid: bool = True

    @property
    def ratio(self) -> float:
        """CPU per call, of nginx's."""
        return self._median(self.aipool) / self._median(self.nginx)

    @property
    def words(self) -> str:
        """Both figures."""
        return f"{self._median(self.aipool):.1f} : {self._median(self.nginx):.1f} µs"

    @property
    def rates(self) -> str:
        """Requests a second of both."""
        rates = [median([t.load.per_second for t in turns]) for turns in (self.aipool, self.nginx)]
        return f"{rates[0]:,.0f} : {rates[1]:,.0f} /s"

    @staticmethod
    def _median(turns: list[Turn]) -> float:
        return median([turn.microseconds for turn in turns])


class Lag:
    """How far the books are behind the journal, in seconds of traffic, while load goes on."""

    def __init__(self, platform: Platform) -> None:
        self._path = platform.database_path
        self._epoch = _epoch(self._path)
        self._folder = platform.data_dir / "epochs" / f"{self._epoch:016x}"
        self._ends: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.looks = 0
        self.seconds_max = 0.0
        self.last_moved = 0.0

    def __enter__(self) -> Lag:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.looks < 2:
            raise RuntimeError("nobody could look how far the books are")

    def drained(self, since: float) -> float:
        """Waits until the high-water mark rests; seconds from `since` until it last moved."""
        while time.monotonic() - max(self.last_moved, since) < QUIET_SECONDS:
            time.sleep(LOOK_SECONDS)
        return max(0.0, self.last_moved - since)

    def _look(self) -> None:
        books = LookedUp(self._path)  # a connection belongs to its thread
        mark = -1
        sql = "SELECT high_water FROM streams WHERE epoch = ?"
        while not self._stop.is_set():
            end, now = self._journal_end(), time.monotonic()
            if not self._ends or end > self._ends[-1][1]:
                self._ends.append((now, end))
            newest = int(str(books.rows(self._epoch, sql=sql)[0][0]))
            if newest != mark:
                mark, self.last_moved = newest, time.monotonic()
            # What the books lack was written since this moment.
            while len(self._ends) > 1 and self._ends[1][1] <= mark:
                self._ends.pop(0)
            self.seconds_max = max(self.seconds_max, self._behind(now, mark))
            self.looks += 1
            self._stop.wait(LOOK_SECONDS)
        books.close()

    def _behind(self, now: float, mark: int) -> float:
        """For how long the oldest settlement that the books lack has waited, in seconds."""
        if len(self._ends) < 2 or mark >= self._ends[-1][1] - _SYNCED_BYTES_MAX:
            return 0.0
        (began, low), (ended, high) = self._ends[:2]
        share = min(1.0, max(0.0, (mark - low) / (high - low)))
        return now - (began + share * (ended - began))

    def _journal_end(self) -> int:
        """Where the journal ends: the newest segment says where it begins, and how long it is."""
        while True:
            newest = max(self._folder.glob("*.seg"), key=lambda path: path.name)
            with contextlib.suppress(FileNotFoundError):
                return int(newest.stem, 16) + newest.stat().st_size


class Sustained(NamedTuple):
    """A long run, and what the books did meanwhile. valid: nginx kept its core busy before and
    after it.  share: of the requests a second that nginx passed on."""

    load: Load
    valid: bool
    share: float
    unrecorded_seconds: float
    drain_seconds: float
    ledger_microseconds: float
    grants_per_1000: float


def _epoch(path: Path) -> int:
    """The epoch of the one worker."""
    books = LookedUp(path)
    try:
        return books.worker(0)[0]
    finally:
        books.close()


def measure_turn(side: Side, seconds: float) -> Turn:
    """One run on one side; raises RuntimeError when an answer was no 2xx."""
    watch = Watch(side.process)
    came = load.result(load.begin(side.url, side.script, seconds))
    use = watch.use()
    side.made.append(came)
    if came.refused or came.broken or not came.answered:
        raise RuntimeError(f"{side.url}: {came}")
    return Turn(came, use)


def measure_pairs(nginx: Side, aipool: Side, plan: Plan) -> Pairs:
    """The two sides in turns, until there are enough undisturbed pairs, or too many tries."""
    pairs = Pairs()
    disturbed: list[tuple[Turn, Turn]] = []
    for side in (nginx, aipool):
        measure_turn(side, 1.0)  # connections, leases, caches
    while len(pairs.nginx) < plan.pairs and pairs.disturbed <= plan.pairs * (plan.tries - 1):
        one, other = measure_turn(nginx, plan.run_seconds), measure_turn(aipool, plan.run_seconds)
        if one.use.busy >= BUSY_LEAST:
            pairs.nginx.append(one)
            pairs.aipool.append(other)
        else:
            pairs.disturbed += 1
            disturbed.append((one, other))
    pairs.valid = len(pairs.nginx) == plan.pairs
    if not pairs.nginx:
        # Something to look at, though it proves nothing.
        pairs.nginx, pairs.aipool = map(list, zip(*disturbed, strict=True))
    return pairs


def measure_undisturbed(nginx: Side, plan: Plan) -> Turn:
    """A run of nginx that kept its core busy, if there is one within the tries."""
    for _ in range(plan.tries):
        turn = measure_turn(nginx, plan.run_seconds)
        if turn.use.busy >= BUSY_LEAST:
            break
    return turn


def measure_sustained(platform: Platform, nginx: Side, aipool: Side, plan: Plan) -> Sustained:
    """A long run between two short ones of nginx."""
    ledger = platform.process.ledger()
    beside = [measure_undisturbed(nginx, plan)]
    grants = platform.metrics()["aipool_ledger_grants_total"]
    calls = platform.metrics()["aipool_ledger_calls_total"]
    watch = Watch(ledger)
    with Lag(platform) as lag:
        turn = measure_turn(aipool, plan.sustained_seconds)
        drain_seconds = lag.drained(time.monotonic())
    use = watch.use()
    metrics = platform.metrics()
    recorded = metrics["aipool_ledger_calls_total"] - calls
    granted = metrics["aipool_ledger_grants_total"] - grants
    beside.append(measure_undisturbed(nginx, plan))
    return Sustained(
        turn.load,
        all(theirs.use.busy >= BUSY_LEAST for theirs in beside),
        turn.load.per_second / median([theirs.load.per_second for theirs in beside]),
        lag.seconds_max,
        drain_seconds,
        use.cpu_seconds / recorded * 1e6,
        granted / recorded * 1000,
    )


def compare_books(platform: Platform, made: Sequence[Load], bars: Bars) -> None:
    """Every answer that wrk counted has its row, is charged, and nothing else is there.

    When a run ends wrk hangs up on the 64 calls then under way. Those are in the books too, as
    answered when their answer was on its way; wrk has not counted them.
    """
    books = LookedUp(platform.database_path)
    try:
        rows = charged = 0
        for (month,) in books.rows(sql="SELECT month FROM call_months"):
            sql = f"SELECT count(*), sum(charged_nano > 0) FROM calls_{month} WHERE status = 200"
            found, paid = books.rows(sql=sql)[0]
            rows, charged = rows + int(str(found)), charged + int(str(paid or 0))
    finally:
        books.close()
    answered = sum(came.answered for came in made)
    hung_up = rows - answered
    bars.must(
        "calls recorded = calls answered + hung up on",
        0 <= hung_up <= len(made) * CONNECTIONS and charged == rows,
        f"{answered:,} + {hung_up}",
    )
    try:
        said = platform.verify().splitlines()[0]
    except CommandFailed as failed:
        said = ""
        print(failed)
    bars.must("aipool ledger verify is clean", bool(said))


def report_pairs(bars: Bars, kind: str, pairs: Pairs, bar: float) -> None:
    """The rows of one kind of upstream."""
    bars.say(f"CPU per call, {kind}, AI-POOL : nginx", pairs.words)
    bars.say(f"requests per second, {kind}", pairs.rates)
    bars.at_most(f"CPU per call of nginx's, {kind}", pairs.ratio, bar, "×")
    if pairs.disturbed:
        bars.say(f"disturbed pairs, {kind}, run again", str(pairs.disturbed))
    if not pairs.valid:
        bars.must(f"nginx kept its core busy, {kind}", holds=False)


def report_sustained(bars: Bars, long: Sustained) -> None:
    """The rows of the long run."""
    bars.say(f"sustained for {long.load.seconds:.0f} s", f"{long.load.per_second:,.0f} /s")
    bars.at_least("sustained, of nginx's", long.share, SUSTAINED_SHARE_LEAST, "×")
    if not long.valid:
        bars.must("nginx kept its core busy, before and after", holds=False)
    bars.at_most("books behind the journal", long.unrecorded_seconds, UNRECORDED_SECONDS_MAX, "s")
    bars.at_most("drained after the load", long.drain_seconds, DRAIN_SECONDS_MAX, "s")
    spent = long.ledger_microseconds
    bars.at_most("CPU of the ledger process per call", spent, LEDGER_MICROSECONDS_MAX, "µs")
    bars.at_most("grants per 1,000 calls", long.grants_per_1000, GRANTS_PER_1000_MAX)


class Bench(NamedTuple):
    """The platform and the proxy to compare with, in front of one vendor, each on its core.

    sides: (nginx, AI-POOL) by the kind of upstream.
    """

    platform: Platform
    worker: int
    sides: dict[str, tuple[Side, Side]]


@contextlib.contextmanager
def bench(folder: Path, cores: Cores, *, limited: bool) -> Iterator[Bench]:
    """Everything that runs, until the block ends. limited: the group has limits a minute."""
    certificate = make_certificate(folder)
    vendor, vendor_tls, proxy_port, proxy_tls_port = (free_port() for _ in range(4))
    servers = proxy_server(proxy_port, vendor) + proxy_server(proxy_tls_port, vendor_tls, tls=True)
    upstream = Nginx(upstream_servers(vendor, vendor_tls, certificate), (vendor,), folder)
    proxy = Nginx(servers, (proxy_port, proxy_tls_port), folder)
    platform = Platform(
        workers=1,
        upstreams=[f"http://127.0.0.1:{vendor}/v1"],
        keys=KEYS_A_VENDOR,
        credit="1000000",
        extra_env={"AIPOOL_UPSTREAM_CA_FILE": str(certificate.authority)},
        document=tls_document(f"https://localhost:{vendor_tls}/v1"),
        before_start=limit_group if limited else None,
    )
    with upstream, proxy, platform:
        (worker,) = platform.process.workers()
        cores.give(proxy.worker, worker)
        sides = {}
        for kind, model, port in (("plain", MODEL, proxy_port), ("TLS", TLS_MODEL, proxy_tls_port)):
            script = load.script(folder / f"{kind}.lua", load.chat_body(model), platform.token)
            sides[kind] = (
                Side(f"http://127.0.0.1:{port}{CHAT}", proxy.worker, script, []),
                Side(platform.base_url + CHAT, worker, script, []),
            )
        yield Bench(platform, worker, sides)


def limit_group(platform: Platform) -> None:
    """Give the default group limits that are counted at every call and never reached."""
    settings = config.load({"data_dir": platform.data_dir}, platform.environ)
    limits = CallLimits(rpm=RPM, tpm=TPM)
    with open_installation(settings, make=False) as session, session.database.write() as tx:
        groups.put_group(
            tx,
            session.act,
            name=DEFAULT_NAME,
            multiplier_ppm=PPM,
            models=None,
            each_user=limits,
        )


def tls_document(base_url: str) -> dict[str, list[dict[str, Any]]]:
    """A second vendor, and the model TLS_MODEL on it."""
    vendor: dict[str, Any] = {
        "name": "tls",
        "type": "openai_compatible",
        "base_url": base_url,
        "keys": upstream_keys(KEYS_A_VENDOR),
    }
    model: dict[str, Any] = {
        "name": TLS_MODEL,
        "context": 128_000,
        "max_output_tokens": 4_096,
        "price": dict(PRICE),
        "routes": [{"vendor": "tls"}],
    }
    return {"vendors": [vendor], "models": [model]}


def prove(plan: Plan, folder: Path, *, limited: bool = True) -> int:
    """Measure everything; the exit status."""
    bars = Bars("gateway-speed")
    bars.say("cores busy with something else at the start", f"{busy_elsewhere():.2f}")
    found: dict[str, Pairs] = {}
    bars.say("requests and tokens a minute", f"{RPM:,} and {TPM:,}" if limited else "no limits")
    with bench(folder, Cores.split(), limited=limited) as on:
        platform = on.platform
        for kind, bar in (("plain", PLAIN_RATIO_MAX), ("TLS", TLS_RATIO_MAX)):
            found[kind] = measure_pairs(*on.sides[kind], plan)
            report_pairs(bars, kind, found[kind], bar)
        report_sustained(bars, measure_sustained(platform, *on.sides["plain"], plan))
        bars.must("the same worker all the time", platform.process.workers() == [on.worker])
        compare_books(platform, [came for _, side in on.sides.values() for came in side.made], bars)
    money = cpu_seconds_per_call(folder / "money", batches=plan.money_batches) * 1e6
    bars.at_most("hold + settle + both appends", money, MONEY_MICROSECONDS_MAX, "µs")
    return bars.finish(
        f"{found['plain'].ratio:.2f} × nginx's CPU per call, {found['TLS'].ratio:.2f} × over TLS"
    )


def main(arguments: Sequence[str]) -> int:
    """Run the proof; 1 when the claim does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove gateway-speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs; for a first look")
    parser.add_argument("--unlimited", action="store_true", help="no limits a minute")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="aipool-") as folder:
        plan = QUICK if options.quick else Plan()
        return prove(plan, Path(folder), limited=not options.unlimited)
