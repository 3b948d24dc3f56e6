"""What a large installation costs: a million API tokens, 1,000 upstream keys, 2,000 models.

    memory    of an idle worker on an installation with next to nothing in it, and of a worker that
              has served calls of more tokens than it keeps, over all models
    change    from before its transaction until every worker has answered by it: a token disabled
              and enabled, and a price changed, which publishes the whole catalogue anew
    start     from `aipool serve` until every process serves

Changes are made by the product's own use cases, in this process, as the console makes them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from aipool import config
from aipool.api_tokens import service as api_tokens
from aipool.catalog import service as catalog
from aipool.cli.session import Session, open_installation
from aipool.doors.announce import announce
from aipool.doors.frames import Changed
from aipool.kit import digests
from aipool.kit.db import Transaction
from aipool.kit.money import format_cny, parse_cny
from aipool.rating.types import Price
from benchmarks import load
from benchmarks.bars import Bars
from benchmarks.caller import Answer, Line
from benchmarks.cpu import busy_elsewhere, median
from benchmarks.nginx import Nginx, make_certificate, upstream_servers
from benchmarks.platform import Platform, free_port, memory_bytes
from benchmarks.population import PRICE, Population, model_of, settle_in, terms_of, token_of

WORKERS: Final = 2
IDLE_MIB_MAX: Final = 80.0
LOADED_MIB_MAX: Final = 150.0
VISIBLE_MILLISECONDS_MAX: Final = 50.0
START_SECONDS_MAX: Final = 3.0

#: Of these the measured changes are.
TOKEN: Final = 7
MODEL: Final = 7
DEARER: Final = Price(0, 4_200_000_000, 420_000_000, 16_800_000_000)
#: A change that has not come by then is none.
PATIENCE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it. changes: of each kind."""

    people: Population = field(default_factory=Population)
    load_seconds: float = 40.0
    changes: int = 40
    starts: int = 5


QUICK: Final = Plan(Population(tokens=100_000), load_seconds=8.0, changes=10, starts=2)


class Changes:
    """Makes changes and watches them arrive at every worker."""

    def __init__(self, platform: Platform, session: Session, lines: Sequence[Line]) -> None:
        self._link = platform.run_dir / "link.sock"
        self._session = session
        self._lines = lines

    async def token(self, *, enabled: bool) -> float:
        """Seconds until every worker accepts the token, or refuses it."""

        def change(tx: Transaction) -> None:
            digest = digests.digest(self._session.secrets.pepper, token_of(TOKEN).encode())
            found = api_tokens.look_up(tx.connection, digest)
            assert found is not None
            assert api_tokens.set_enabled(tx, self._session.act, found.token, enabled=enabled)

        status = 200 if enabled else 401
        return await self._made(change, lambda answer: answer.status == status)

    async def price(self, price: Price, charge: str) -> float:
        """Seconds until every worker charges by this price."""

        def change(tx: Transaction) -> None:
            model = catalog.get_model(tx.connection, model_of(MODEL))
            terms = terms_of(MODEL, model.routes[0].vendor_id, price)
            _, changed = catalog.put_model(tx, self._session.act, terms)
            assert changed

        return await self._made(change, lambda a: a.headers.get("x-aipool-charge") == charge)

    async def _made(
        self, change: Callable[[Transaction], None], seen: Callable[[Answer], bool]
    ) -> float:
        began = time.perf_counter()
        with self._session.database.write() as tx:
            change(tx)
        made = tx.changes
        told = Changed(tx.revision, made.catalogue, tuple(made.digests), made.everything)
        announce(self._link, told)
        for line in self._lines:
            while not seen(await ask(line)):
                if time.perf_counter() - began > PATIENCE_SECONDS:
                    raise RuntimeError(f"a change has not reached a worker: {told}")
        return time.perf_counter() - began


async def ask(line: Line) -> Answer:
    """The call that shows the changes."""
    body = {"model": model_of(MODEL), "max_tokens": 100, "messages": [{"role": "user"}]}
    return await line.ask(token_of(TOKEN), body)


async def line_to_each_worker(port: int) -> list[Line]:
    """A connection to every worker; the kernel deals them out by chance."""
    found: dict[str, Line] = {}
    while len(found) < WORKERS:
        line = await Line.open(port)
        answer = await ask(line)
        if answer.status != 200:
            raise RuntimeError(f"a call was answered {answer.status}: {bytes(answer.body)!r}")
        if answer.worker in found:
            line.close()
        else:
            found[answer.worker] = line
    return list(found.values())


async def measure_changes(
    platform: Platform, session: Session, count: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of each change of a token, and of each change of a price."""
    lines = await line_to_each_worker(platform.port)
    changes = Changes(platform, session, lines)
    cheap = (await ask(lines[0])).headers["x-aipool-charge"]
    await changes.price(DEARER, dear := format_cny(2 * parse_cny(cheap)))
    await changes.price(PRICE, cheap)
    tokens: list[float] = []
    prices: list[float] = []
    for _ in range(count // 2):
        tokens += [1000 * await changes.token(enabled=enabled) for enabled in (False, True)]
        prices += [1000 * await changes.price(*to) for to in ((DEARER, dear), (PRICE, cheap))]
    for line in lines:
        line.close()
    return tokens, prices


def script(path: Path, people: Population) -> Path:
    """Makes wrk call with one token after the other, and one model after the other."""
    body = load.chat_body("%s").replace("%", "%%").replace("%%s", "%s")
    path.write_text(
        f"""
local number = 0
request = function()
  number = number + 1
  local headers = {{
    ["Content-Type"] = "application/json",
    ["Authorization"] = string.format("Bearer sk-%043d", number * 7919 % {people.tokens}),
  }}
  local model = string.format("model-%04d", number % {people.models})
  return wrk.format("POST", nil, headers, string.format([==[{body}]==], model))
end
"""
    )
    return path


def mebibytes(platform: Platform) -> float:
    """Resident memory of the largest worker."""
    return max(map(memory_bytes, platform.process.workers())) / (1 << 20)


def prove(plan: Plan, folder: Path) -> int:
    """Measure everything; the exit status."""
    bars = Bars("scale")
    bars.say("cores busy with something else at the start", f"{busy_elsewhere():.2f}")
    people = plan.people
    vendor, vendor_tls = free_port(), free_port()
    servers = upstream_servers(vendor, vendor_tls, make_certificate(folder))
    with Nginx(servers, (vendor,), folder), Platform(workers=WORKERS) as platform:
        bars.at_most("an idle worker", mebibytes(platform), IDLE_MIB_MAX, "MiB")
        platform.stop()

        settings = config.load({}, platform.environ)
        with open_installation(settings, make=False) as session:
            settle_in(session, people, f"http://127.0.0.1:{vendor}/v1")
            bars.say("API tokens, upstream keys, models", _counts(people))
            seconds = [_start(platform) for _ in range(plan.starts)]
            bars.at_most("start", median(seconds), START_SECONDS_MAX, "s")
            platform.start()
            bars.say("a worker before its first call", f"{mebibytes(platform):.1f} MiB")

            url = f"{platform.base_url}/v1/chat/completions"
            lua = script(folder / "many.lua", people)
            came = load.result(load.begin(url, lua, plan.load_seconds))
            bars.say("calls, each of another token", f"{came.answered:,}")
            bars.must("all of them answered well", not came.refused and not came.broken)
            loaded = mebibytes(platform)
            bars.at_most("a worker after them", loaded, LOADED_MIB_MAX, "MiB")

            tokens, prices = uvloop.run(measure_changes(platform, session, plan.changes))
        for what, times in (("token", tokens), ("price", prices)):
            what = f"a {what} changed on {WORKERS} workers"
            bars.at_most(f"{what}, median", median(times), VISIBLE_MILLISECONDS_MAX, "ms")
            bars.say(f"{what}, worst of {len(times)}", f"{max(times):.1f} ms")
        bars.say("a worker after the changes", f"{mebibytes(platform):.1f} MiB")
        platform.verify()
    return bars.finish(
        f"{loaded:.0f} MiB a worker; a change in {max(median(tokens), median(prices)):.0f} ms; "
        f"a start in {median(seconds):.1f} s"
    )


def _start(platform: Platform) -> float:
    """Seconds of a start; it does not run afterwards."""
    began = time.monotonic()
    platform.start()
    took = time.monotonic() - began
    platform.stop()
    return took


def _counts(people: Population) -> str:
    return f"{people.tokens:,} {people.keys:,} {people.models:,}"


def main(arguments: Sequence[str]) -> int:
    """Run the proof; 1 when the claim does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the tokens, short runs")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="aipool-") as folder:
        return prove(QUICK if options.quick else Plan(), Path(folder))
