"""Odd answers through a real worker: none crashes it, none hangs, none looks whole and is not.

The vendor writes bytes as they stand (tests.fakes.odd): hundreds made by hand, and thousands of
right answers to which something was done by chance. Each is asked for by one call, and judged:

    ended       at the latest 2 s after the vendor's last byte, with the time-outs at 1 s
    whole       what came is what was sent, byte for byte, and its end was seen
    broken      else an error event, a cut or a status says so; what came before is as it was sent
    charged     as the vendor reports where that was relayed, else at most what was relayed, and
                nothing for a refusal

Then answers that announce, or are, a gigabyte.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from benchmarks.bars import Bars
from benchmarks.caller import Answer, Line, ask_once
from benchmarks.platform import MODEL, Platform, memory_bytes
from benchmarks.witness import LookedUp, Price, Row
from tests.fakes.chance import by_chance
from tests.fakes.odd import After, Odd, by_hand, head
from tests.fakes.odd_vendor import OddVendor

CLIENTS: Final = 96
HANG_SECONDS_MAX: Final = 2.0
#: A client that gets this far has been forgotten.
PATIENCE_SECONDS: Final = 8.0
#: Clients of endless answers leave after this.
ENOUGH_SECONDS: Final = 1.5
RECORDED_SECONDS_MAX: Final = 20.0
OUTPUT_TOKENS: Final = 1_000
PRICE: Final = {"input": "2.1", "output": "8.4"}
PRICE_NANO: Final = Price(2_100_000_000, 8_400_000_000)
#: More than this was not written down by any vendor, but by chance.
TOKENS_CREDIBLE: Final = 10_000

#: What says that a stream is finished: its own word, a reason to finish, or the last report.
_END: Final = re.compile(rb'\[DONE\]|"finish_reason":\s*[^\sn]|(?<!\}\]),\s*"usage":')

GIANTS: Final = 20
GIANT_BYTES: Final = 1 << 30
GIANT_MEMORY_MIB: Final = 600
#: What fits into the buffers of two sockets, and is gone before anybody can look at a head.
UNREAD_BYTES_MAX: Final = 16 << 20
MIB: Final = 1 << 20

ENVIRONMENT: Final = {
    "AIPOOL_LIMIT_FIRST_BYTE_SECONDS": "1",
    "AIPOOL_LIMIT_FIRST_EVENT_SECONDS": "1",
    "AIPOOL_LIMIT_IDLE_SECONDS": "1",
    # A line of a megabyte passes, an endless one is soon over.
    "AIPOOL_LIMIT_EVENT_BYTES": str(2 * MIB),
    "AIPOOL_LIMIT_ANSWER_BYTES": str(4 * MIB),
    # One key serves all: it fails all the time and must not rest.
    "AIPOOL_KEY_FAILURES": "10000",
    "AIPOOL_KEY_FAILURE_SECONDS": "0.1",
    "AIPOOL_KEY_COOLDOWN_SECONDS": "0.5",
    "AIPOOL_LOG_LEVEL": "warning",
}


@dataclass
class Told:
    """One answer as it came through."""

    odd: Odd
    marker: str
    answer: Answer
    late_seconds: float


@dataclass
class Findings:
    """What came of them. problems: empty when every claim held."""

    told: list[Told] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    late_seconds: float = 0.0
    grown_bytes: int = 0
    charged_nano: int = 0


def question(marker: str, *, stream: bool) -> dict[str, Any]:
    """What is asked for every answer."""
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Say something odd."}],
        "user": marker,
        "max_tokens": OUTPUT_TOKENS,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


async def relay_odd_answers(seed: int, numbers: range, *, hand_made: bool = True) -> Findings:
    """Ask for them all, through one worker. numbers: of those made by chance."""
    request = question("", stream=True)
    made = {f"hand-{n}": odd for n, odd in enumerate(by_hand(request) if hand_made else ())}

    def answer(marker: str) -> Odd:
        kind, _, number = marker.partition("-")
        return made[marker] if kind == "hand" else by_chance(seed, int(number), request)

    markers = [*made, *(f"chance-{number}" for number in numbers)]
    findings = Findings()
    async with OddVendor(answer) as vendor:
        platform = Platform(
            workers=1, upstreams=[vendor.base_url], price=PRICE, extra_env=ENVIRONMENT
        )
        await asyncio.to_thread(platform.__enter__)
        try:
            [worker] = platform.process.workers()
            before = memory_bytes(worker)
            began = time.monotonic()
            queue = iter(markers)
            clients = (_client(platform, vendor, answer, queue, findings) for _ in range(CLIENTS))
            await asyncio.gather(*clients)
            findings.seconds = time.monotonic() - began
            await _all_left(vendor, findings)
            if platform.process.workers() == [worker]:
                findings.grown_bytes = memory_bytes(worker) - before
            else:
                findings.problems.append(f"the worker has died: {platform.log[-500:]}")
            await asyncio.to_thread(_judge_all, platform, findings)
        finally:
            await asyncio.to_thread(platform.__exit__)
    return findings


async def _client(
    platform: Platform,
    vendor: OddVendor,
    answer_of: Callable[[str], Odd],
    markers: Iterator[str],
    findings: Findings,
) -> None:
    line: Line | None = None
    loop = asyncio.get_running_loop()
    for marker in markers:
        odd = answer_of(marker)
        while True:
            if line is None:
                line = await Line.open(platform.port)
            answer = Answer()
            body = question(marker, stream=odd.stream)
            try:
                async with asyncio.timeout(ENOUGH_SECONDS if odd.endless else PATIENCE_SECONDS):
                    await line.ask(platform.token, body, answer=answer)
            except TimeoutError:
                if not odd.endless:
                    findings.problems.append(f"{odd.name}: hung for {PATIENCE_SECONDS} s")
            ended = loop.time()
            if not answer.whole:
                line.close()
                line = None
            # The key rests after what looked like an overload: the answer was not asked for.
            if marker in vendor.served or answer.status != 503:
                break
            await asyncio.sleep(0.2)
        late = 0.0 if odd.endless else ended - vendor.ended_at.get(marker, ended)
        findings.told.append(Told(odd, marker, answer, late))
    if line is not None:
        line.close()


async def _all_left(vendor: OddVendor, findings: Findings) -> None:
    """Endless answers are not read for ever when their clients have gone."""
    deadline = time.monotonic() + 12.0
    while vendor.playing:
        if time.monotonic() > deadline:
            findings.problems.append(f"{vendor.playing} answers are still being read")
            return
        await asyncio.sleep(0.05)


def _judge_all(platform: Platform, findings: Findings) -> None:
    books = LookedUp(platform.database_path)
    rids = {told.answer.rid for told in findings.told if told.answer.rid}
    deadline = time.monotonic() + RECORDED_SECONDS_MAX
    while not rids <= (rows := {row.rid: row for row in books.calls()}).keys():
        if time.monotonic() > deadline:
            findings.problems.append(f"{len(rids - rows.keys())} calls are not in the books")
            break
        time.sleep(0.2)
    for told in findings.told:
        row = rows.get(told.answer.rid)
        outcome, problems = judged(told, row)
        findings.outcomes[outcome] += 1
        findings.late_seconds = max(findings.late_seconds, told.late_seconds)
        findings.charged_nano += row.charged_nano if row is not None else 0
        findings.problems += [f"{told.odd.name} ({told.marker}): {text}" for text in problems]
    platform.verify()
    if "Traceback" in platform.log:
        findings.problems.append(f"a traceback: {platform.log[-2000:]}")
    platform.stop()
    if books.lent_nano():
        findings.problems.append("money is still lent after the platform has ended")
    books.close()


# --- one answer -------------------------------------------------------------------------------


def judged(told: Told, row: Row | None) -> tuple[str, list[str]]:
    """How it ended (whole, broken, cut, refused), and what was wrong with that."""
    odd, answer = told.odd, told.answer
    body = bytes(answer.body)
    problems = []
    if told.late_seconds > HANG_SECONDS_MAX:
        problems.append(f"ended {told.late_seconds:.1f} s after the vendor's last byte")
    if answer.status != 200:
        if answer.status in (0, 500) or not answer.whole:
            problems.append(f"was answered {answer.status}, {body[:200]!r}")
        if row is not None and row.charged_nano:
            problems.append(f"was refused, and charged: {row}")
        return "refused", problems
    if odd.fails:
        problems.append(f"was relayed as a success: {body[:200]!r}")
    relayed = _without_our_error(body) if odd.stream else body
    broken = relayed != body
    outcome = "broken" if broken else "whole" if answer.whole else "cut"
    if outcome == "cut" and not odd.endless:
        problems.append("was cut off without a word")
    if not odd.stream:
        problems += _wrong_answer(odd, body)
    elif odd.payload is not None and not odd.payload.startswith(relayed):
        problems.append(f"was changed on its way: {_difference(odd.payload, relayed)}")
    elif outcome == "whole" and not _says_its_end(relayed):
        problems.append(f"looks whole: {relayed[-200:]!r}")
    if row is None:
        problems.append("has no row")
    else:
        problems += _wrong_charge(relayed, row, outcome)
    return outcome, problems


def _wrong_answer(odd: Odd, body: bytes) -> list[str]:
    if odd.payload is not None and body != odd.payload:
        return [f"was changed on its way: {_difference(odd.payload, body)}"]
    if odd.payload is None and not body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return [f"is no answer: {body[:200]!r}"]
    return []


def _without_our_error(body: bytes) -> bytes:
    """A stream up to the event that says that it broke."""
    start = body.rfind(b'data: {"error"')
    return body[:start] if start >= 0 and body.endswith(b"}\n\n") else body


def _says_its_end(relayed: bytes) -> bool:
    return _END.search(relayed) is not None


def _wrong_charge(relayed: bytes, row: Row, outcome: str) -> list[str]:
    if row.charged_nano and not relayed:
        return [f"was charged for nothing: {row}"]
    reports = list(_reports(relayed))
    credible = all(0 <= tokens <= TOKENS_CREDIBLE for report in reports for tokens in report)
    # What is above the hold is charged too, but never more than what was relayed could cost.
    if credible and not 0 <= row.charged_nano <= max(row.hold_nano, _cost(relayed)):
        return [f"{len(relayed)} bytes were relayed, but {row}"]
    if not reports and b"tokens" not in relayed:
        # About five bytes of text are a token, and no vendor sends text without a frame.
        if row.output_tokens > len(relayed):
            return [f"{len(relayed)} bytes were relayed, but {row}"]
    elif outcome == "whole" and reports and credible and len(set(reports)) == 1:
        due = PRICE_NANO.of(*reports[0])
        if relayed.count(b'"usage"') == len(reports) and row.charged_nano != due:
            return [f"reports {reports[0]}, {due} is due, but {row}"]
    return []


def _cost(relayed: bytes) -> int:
    """More than any text of so many bytes can cost."""
    return PRICE_NANO.of(TOKENS_CREDIBLE, len(relayed))


def _reports(relayed: bytes) -> Iterator[tuple[int, int]]:
    """Usage as any client would read it, where it is as it should be."""
    is_stream = relayed.startswith((b"data:", b":", b"event:", b"\xef\xbb\xbf", b"\n"))
    for block in relayed.split(b"\n\n") if is_stream else [b"data: " + relayed]:
        if not block.startswith(b"data: "):
            continue
        try:
            usage = json.loads(block.removeprefix(b"data: "))["usage"]
            read, said = usage["prompt_tokens"], usage["completion_tokens"]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            continue
        if type(read) is int and type(said) is int:
            yield read, said


def _difference(sent: bytes, came: bytes) -> str:
    at = next((n for n, pair in enumerate(zip(sent, came, strict=False)) if pair[0] != pair[1]),
              min(len(sent), len(came)))  # fmt: skip
    return f"at byte {at}, {sent[at - 20 : at + 40]!r} became {came[at - 20 : at + 40]!r}"


def report(bars: Bars, found: Findings, seconds_max: float) -> None:
    """The figures of them, and whether they are what they must be."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(found.outcomes.items()))
    bars.say(f"{len(found.told):,} odd answers", kinds)
    bars.must(f"  odd answers: problems: {len(found.problems)}", not found.problems)
    for problem in found.problems[:10]:
        bars.say("    PROBLEM", problem)
    bars.at_most("  odd answers: ended late by", found.late_seconds, HANG_SECONDS_MAX, "s")
    bars.at_most("  odd answers: all of them", found.seconds, seconds_max, "s")
    bars.say("  odd answers: the worker grew by", f"{found.grown_bytes / MIB:.0f} MiB")


# --- gigabytes --------------------------------------------------------------------------------


@dataclass
class Giants:
    """What gigabytes did. grown_bytes: of the worker's memory, at the most.  read_bytes: the most
    that was taken of an answer that announced more than may be."""

    grown_bytes: int = 0
    read_bytes: int = 0
    problems: list[str] = field(default_factory=list)


async def relay_giants() -> Giants:
    """Twenty gigabytes at once, unannounced and announced, whole and streamed."""
    zeros = b" " * (256 * 1024)
    says = head(b"content-length: %d" % GIANT_BYTES, kind=b"application/json")
    chunk = b"%x\r\n%b\r\n" % (len(zeros), zeros)
    chunked = head(b"transfer-encoding: chunked", kind=b"application/json")
    line = b"%x\r\n%b\r\n" % (len(zeros), b"x" * len(zeros))
    stream = head(b"transfer-encoding: chunked") + b"6\r\ndata: \r\n"
    kinds = {
        "announced": Odd("announced", False, (says, zeros), endless=True),
        "whole": Odd("whole", False, (chunked, chunk), endless=True),
        "closed": Odd("closed", False, (head(kind=b"application/json"), zeros), endless=True),
        "stream": Odd("stream", True, (stream, line), endless=True),
        "well": Odd("well", False, (), After.FIN),
    }
    found = Giants()
    numbers = count()
    async with OddVendor(lambda marker: kinds[marker.partition("-")[0]]) as vendor:
        platform = Platform(workers=1, upstreams=[vendor.base_url], price=PRICE,
                            extra_env={"AIPOOL_KEY_FAILURES": "10000"})  # fmt: skip
        await asyncio.to_thread(platform.__enter__)
        try:
            [worker] = platform.process.workers()
            before = memory_bytes(worker)
            for kind in ("announced", "whole", "closed", "stream"):
                _forget_peak(worker)
                markers = [f"{kind}-{next(numbers)}" for _ in range(GIANTS)]
                asked = (
                    ask_once(platform.port, platform.token, question(m, stream=kinds[kind].stream))
                    for m in markers
                )
                for answer in await asyncio.wait_for(asyncio.gather(*asked), 120):
                    if answer.status not in (200, 502, 503) or not answer.whole:
                        found.problems.append(
                            f"{kind}: {answer.status} {bytes(answer.body[:99])!r}"
                        )
                    if answer.status == 200 and b'"error"' not in answer.body[-500:]:
                        found.problems.append(f"{kind}: looks whole")
                found.grown_bytes = max(found.grown_bytes, _peak(worker) - before)
                if kind == "announced":
                    found.read_bytes = max(vendor.written[marker] for marker in markers)
            if platform.process.workers() != [worker]:
                found.problems.append("the worker has died")
            await asyncio.to_thread(platform.verify)
        finally:
            await asyncio.to_thread(platform.__exit__)
    return found


def _forget_peak(pid: int) -> None:
    # 5: the highest resident size begins anew (proc_pid_clear_refs(5)).
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak(pid: int) -> int:
    """The highest resident size since it was last forgotten."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kib) * 1024


def report_giants(bars: Bars, found: Giants) -> None:
    """The figures of them."""
    grown = found.grown_bytes / MIB
    bars.at_most(f"{GIANTS} answers of 1 GB: memory", grown, GIANT_MEMORY_MIB, "MiB")
    bars.at_most("  announced: taken of it", found.read_bytes / MIB, UNREAD_BYTES_MAX / MIB, "MiB")
    bars.must(f"  giants: problems: {len(found.problems)}", not found.problems)
    for problem in found.problems[:5]:
        bars.say("    PROBLEM", problem)
