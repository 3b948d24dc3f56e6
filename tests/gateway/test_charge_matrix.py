"""Every way a call can end, at every point, with every kind of report: what it is charged.

    {stream, whole} × {clean, left by the client, cut by the vendor, error event, timeout,
    failover, our own mistake} × {before the first byte, in the middle, after the last}
    × {usage reported, none, zero}; where the client leaves, × each policy of vendors

All the calls of a policy run at once through one worker. A charge is compared, to the nano, with
the books of the vendor that served it, or with what the client itself had received. Afterwards
nothing may be open: no hold, no request at the vendor, no money at the worker.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
import uvloop

from aipool.dialects.chat import decode_chunk
from aipool.dialects.estimate import estimate_request, estimate_text
from aipool.doors.outcome import Outcome, UsageSource
from aipool.gateway import relay as relay_module
from aipool.gateway import stream as stream_module
from aipool.gateway.metering import usage_of_answer
from aipool.gateway.stream import Stream
from aipool.kit.digests import digest, load_pepper
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.base import OnDisconnect
from tests.chats import charge, head, parse_reply, wish
from tests.fakes.books import CLIENT_GONE, COMPLETED, Entry
from tests.gateway.accounts import PLENTY_NANO, missing_nano
from tests.gateway.rig import TOKEN, Rig, rig

# One run of all the calls, 6 s, comes before the first of them.
pytestmark = pytest.mark.slow

SHORT = {
    f"AIPOOL_LIMIT_{name}_SECONDS": "1.5" for name in ("FIRST_BYTE", "FIRST_EVENT", "IDLE", "TOTAL")
} | {"AIPOOL_LIMIT_TOTAL_SECONDS": "20"}
PAUSE = 0.4

#: What a vendor reports, unlike anything that could be counted.
REPORT = {"prompt_tokens": 700, "completion_tokens": 90, "total_tokens": 790}
REPORTS: dict[str, Any] = {"reported": REPORT, "none": "none", "zero": "zero"}

# The events of a stream: the role, eight words, the finish, the usage if any, [DONE].
IN_THE_MIDDLE = 5
WORDS_IN_THE_MIDDLE = " word" * 4


def after_last(report: str) -> int:
    """The number of events before [DONE]."""
    return 10 if report == "none" else 11


@dataclass(frozen=True)
class Cell:
    """One call, and what it has to cost.

    leave: when the client leaves, "" = never.
    costs: "witness" = what the vendor's books say of its last attempt; "relayed" = the input as it
    is estimated and the text the client has received; "nothing".
    """

    name: str
    stream: bool
    wishes: Any
    costs: str
    leave: str = ""
    attempts: int = 1
    policy: OnDisconnect = OnDisconnect.DRAIN
    phase: str = ""
    fault: str = ""


@dataclass
class Ended:
    """What came of one."""

    asked: dict[str, Any]
    outcome: Outcome
    entries: list[Entry]
    status: int
    text: str
    body: bytes


# --- the cells ------------------------------------------------------------------------------------


def clean() -> Iterator[Cell]:
    for kind, stream in (("stream", True), ("whole", False)):
        for report, usage in REPORTS.items():
            costs = "nothing" if report == "zero" else "witness"
            yield Cell(f"{kind}, clean, {report}", stream, {"usage": usage}, costs)
        yield Cell(f"{kind}, says nothing", stream, {"usage": "none", "content": ""}, "nothing")


def left_by_the_client(policy: OnDisconnect) -> Iterator[Cell]:
    drains = policy is OnDisconnect.DRAIN
    for report, usage in REPORTS.items():
        if_reported = "nothing" if report == "none" else "witness"
        last = after_last(report)
        # where, stream, wishes, when the client leaves, what it costs, is the vendor hung up on
        rows: tuple[tuple[str, bool, dict[str, Any], str, str, bool], ...] = (
            (
                "stream, left before the first byte",
                True,
                {"delay": PAUSE},
                "asked",
                if_reported if drains else "nothing",
                not drains,
            ),
            (
                "stream, left in the middle",
                True,
                {"pause_after": IN_THE_MIDDLE, "pause": PAUSE},
                "some",
                "witness" if drains and report != "none" else "relayed",
                not drains,
            ),
            (
                "stream, left after the last",
                True,
                {"pause_after": last, "pause": PAUSE},
                "all",
                "witness",
                not drains,
            ),
            (
                "whole, left before the first byte",
                False,
                {"delay": PAUSE},
                "asked",
                if_reported,
                False,
            ),
            (
                "whole, left in the middle",
                False,
                {"pause_after": 0, "pause": PAUSE},
                "begun",
                if_reported,
                False,
            ),
            ("whole, left after the last", False, {}, "all", "witness", False),
        )
        for where, stream, wishes, leave, costs, hung_up in rows:
            yield Cell(
                f"{where}, {report}, {policy.value}",
                stream,
                {"usage": usage, **wishes},
                "nothing" if report == "zero" and costs == "witness" else costs,
                leave,
                policy=policy,
                phase=CLIENT_GONE if hung_up else COMPLETED,
            )


def cut_by_the_vendor() -> Iterator[Cell]:
    for report, usage in REPORTS.items():
        last = "nothing" if report == "zero" else "witness"
        for cut in ("fin", "rst"):
            more = {"usage": usage, "cut": cut}
            name = f"cut ({cut})"
            first = {"cut_after": 0, **more}
            yield Cell(f"stream, {name} before, {report}", True, first, "nothing", attempts=2)
            some = {"cut_after": IN_THE_MIDDLE, **more}
            yield Cell(f"stream, {name} in the middle, {report}", True, some, "relayed")
            late = {"cut_after": after_last(report), **more}
            yield Cell(f"stream, {name} after the last, {report}", True, late, last)
            none = {"cut_at": 0, **more}
            yield Cell(f"whole, {name} before, {report}", False, none, "nothing", attempts=2)
            half = {"cut_at": 700, "events": 200, **more}
            yield Cell(f"whole, {name} within, {report}", False, half, "nothing", attempts=2)
        closes = {"usage": usage, "keep_alive": False, "framing": "close"}
        yield Cell(f"whole, closed after the last, {report}", False, closes, last)
    running = {"usage_at": "every", "cut_after": IN_THE_MIDDLE}
    yield Cell("stream, cut in the middle, reported all along", True, running, "witness")


ERROR = {"message": "words of an error are not words of an answer " * 40, "type": "server_error"}


def error_events() -> Iterator[Cell]:
    for report, usage in REPORTS.items():
        last = "nothing" if report == "zero" else "witness"
        for place, events, costs, attempts in (
            ("at once", 0, "nothing", 2),
            ("after the role", 1, "nothing", 2),
            ("in the middle", IN_THE_MIDDLE, "relayed", 1),
            ("after the last", after_last(report), last, 1),
        ):
            wishes = {"error_after": events, "error": ERROR, "usage": usage}
            name = f"stream, error event {place}, {report}"
            yield Cell(name, True, wishes, costs, attempts=attempts)
    yield Cell("whole, error with status 200", False, {"error": ERROR}, "nothing", attempts=2)
    choice = {"index": 0, "message": {"role": "assistant", "content": "half"}}
    beside = {"error": ERROR, "choices": [choice], "usage": REPORT}
    yield Cell("whole, error beside an answer", False, {"body": beside}, "nothing", attempts=2)


def timeouts() -> Iterator[Cell]:
    yield Cell("stream, never begins", True, {"never": True}, "nothing", attempts=2)
    yield Cell("whole, never begins", False, {"never": True}, "nothing")
    for report, usage in REPORTS.items():
        last = "nothing" if report == "zero" else "witness"
        some = {"stall_after": IN_THE_MIDDLE, "usage": usage}
        yield Cell(f"stream, stalls in the middle, {report}", True, some, "relayed")
        late = {"stall_after": after_last(report), "usage": usage}
        yield Cell(f"stream, stalls after the last, {report}", True, late, last)
        half = {"pause_after": 0, "pause": 30, "usage": usage}
        yield Cell(f"whole, stalls within, {report}", False, half, "nothing")
    left = {"stall_after": IN_THE_MIDDLE, "usage": "none"}
    yield Cell("stream, left, then stalls", True, left, "witness", "some", phase=CLIENT_GONE)


def failovers() -> Iterator[Cell]:
    firsts: dict[str, tuple[bool, Any]] = {
        "stream, status 500": (True, {"status": 500}),
        "stream, never begins": (True, {"never": True}),
        "stream, cut before": (True, {"cut_after": 0}),
        "stream, error event": (True, {"error_after": 1, "error": ERROR}),
        "whole, status 500": (False, {"status": 500}),
        "whole, cut before": (False, {"cut_at": 0}),
        "whole, cut within": (False, {"cut_at": 700, "events": 200}),
        "whole, no JSON": (False, {"body": "not JSON"}),
    }
    for report, usage in REPORTS.items():
        costs = "nothing" if report == "zero" else "witness"
        for name, (stream, first) in firsts.items():
            wishes = [{"usage": usage, **first}, {"usage": usage, "events": 3}]
            yield Cell(f"{name}, then answered, {report}", stream, wishes, costs, attempts=2)
        begun = [{"cut_after": IN_THE_MIDDLE, "usage": usage}, {"usage": usage}]
        yield Cell(f"stream, cut in the middle, no second, {report}", True, begun, "relayed")
        late = [{"cut_after": after_last(report), "usage": usage}, {"usage": usage}]
        yield Cell(f"stream, cut after the last, no second, {report}", True, late, costs)


def our_mistakes() -> Iterator[Cell]:
    before = {"content": "boom goes the first word", "usage": REPORT}
    yield Cell("stream, our mistake at the head", True, {}, "nothing", fault="head")
    yield Cell("stream, our mistake at the first word", True, before, "nothing")
    middle = {"content": "two words boom never seen", "usage": REPORT}
    yield Cell("stream, our mistake in the middle", True, middle, "relayed")
    last = {"usage": {**REPORT, "boom": 1}}
    yield Cell("stream, our mistake after the last", True, last, "relayed")
    left = {"pause_after": IN_THE_MIDDLE, "pause": PAUSE}
    name = "stream, our mistake when the client left"
    yield Cell(name, True, left, "relayed", "some", fault="left", phase=CLIENT_GONE)
    yield Cell("whole, our mistake", False, last, "nothing")


def impossible_reports() -> Iterator[Cell]:
    """Below zero counts as zero; what is no count at all is no report; a part left out is zero."""
    for name, usage, costs in (
        ("negative", {"prompt_tokens": -700, "completion_tokens": -90}, "nothing"),
        ("absurd", {"prompt_tokens": 2**63, "completion_tokens": 10**19}, "witness"),
        ("beyond any float", {"prompt_tokens": 7, "completion_tokens": 1e308}, "witness"),
        ("a fraction", {"prompt_tokens": 1.5, "completion_tokens": 90}, "witness"),
        ("text", {"prompt_tokens": "700", "completion_tokens": "90"}, "witness"),
        ("true", {"prompt_tokens": True, "completion_tokens": 90}, "witness"),
        ("only a total", {"total_tokens": 790}, "witness"),
        ("only the input", {"prompt_tokens": 700}, "witness"),
        ("empty", {}, "witness"),
    ):
        for kind, stream in (("stream", True), ("whole", False)):
            yield Cell(f"{kind}, reports {name}", stream, {"usage": usage}, costs)


DRAIN_CELLS = (
    *clean(),
    *impossible_reports(),
    *left_by_the_client(OnDisconnect.DRAIN),
    *cut_by_the_vendor(),
    *error_events(),
    *timeouts(),
    *failovers(),
    *our_mistakes(),
)
CELLS = {
    OnDisconnect.DRAIN: DRAIN_CELLS,
    OnDisconnect.CANCEL: tuple(left_by_the_client(OnDisconnect.CANCEL)),
    OnDisconnect.BILL_RELAYED: tuple(left_by_the_client(OnDisconnect.BILL_RELAYED)),
}


# --- running them ---------------------------------------------------------------------------------


@dataclass
class Run:
    """All cells of one policy, ended, and what was left when the worker had gone."""

    ended: dict[str, Ended] = field(default_factory=dict)
    open_calls: int = -1
    drains: int = -1
    open_requests: list[Entry] = field(default_factory=list)
    open_connections: int = -1
    missing_nano: int = 0


def _said(got: bytes) -> str:
    """The text in what a client has of a stream, framing or not."""
    chunks = [json.loads(line[6:]) for line in got.split(b"\n") if line.startswith(b"data: {")]
    choices = (choice for chunk in chunks for choice in chunk.get("choices", ()))
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def _call(on: Rig, cell: Cell, body: dict[str, Any], token: str) -> bytes:
    """The client's side: what it had received when it left, or everything."""
    raw, mark = json.dumps(body).encode(), body["user"]
    reader, writer = await asyncio.open_connection("127.0.0.1", on.port)
    writer.write(head(token, len(raw), "connection: close") + raw)
    got = b""

    def asked() -> list[Entry]:
        return [entry for entry in on.vendor.books.marked(mark) if entry.phase != "headers"]

    enough: dict[str, Callable[[], object]] = {
        "": lambda: False,
        "asked": asked,
        "begun": lambda: [entry for entry in asked() if entry.bytes_sent],
        "some": lambda: _said(got) == WORDS_IN_THE_MIDDLE,
        "all": lambda: b'"finish_reason": "stop"' in got.replace(b'":"', b'": "'),
    }
    while not enough[cell.leave]():
        try:
            piece = await asyncio.wait_for(reader.read(65536), 0.01)
        except TimeoutError:
            continue
        if not piece:
            break
        got += piece
    if cell.leave:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
    return got


async def _ended(on: Rig, cell: Cell, number: int) -> Ended:
    token, mark = f"sk-{number:043d}", f"matrix-{number}-"
    pepper = load_pepper(on.worker._settings.data_dir)
    plain = on.ledger.tokens[digest(pepper, TOKEN.encode())]
    on.ledger.tokens[digest(pepper, token.encode())] = msgspec.structs.replace(plain, id=number)
    body = wish(mark, cell.wishes, stream=cell.stream)
    got = await asyncio.wait_for(_call(on, cell, body, token), 15)
    found: list[Outcome] = []

    def over() -> bool:
        found[:] = [one for one in on.ledger.outcomes if one.token_id == number]
        entries = on.vendor.books.marked(mark)
        return bool(found) and all(entry.ended_time is not None for entry in entries)

    await on.until(over)
    await asyncio.sleep(PAUSE)  # a second attempt, or a second settlement, would come now
    assert over() and len(found) == 1, (cell.name, found)
    status = parse_reply(got).status if got else 0
    return Ended(body, found[0], on.vendor.books.marked(mark), status, _said(got), got)


def _faulty(cells: tuple[Cell, ...], fault: str) -> frozenset[int]:
    return frozenset(number for number, cell in enumerate(cells, 1) if cell.fault == fault)


def _make_mistakes(patch: pytest.MonkeyPatch, cells: tuple[Cell, ...]) -> None:
    """Where the data say boom, and at the calls whose fault it is."""
    at_head, at_leaving = _faulty(cells, "head"), _faulty(cells, "left")

    def booming(original: Callable[..., Any]) -> Callable[..., Any]:
        def called(data: bytes, *rest: Any) -> Any:
            if b"boom" in data:
                raise RuntimeError("a mistake of ours")
            return original(data, *rest)

        return called

    patch.setattr(stream_module, "decode_chunk", booming(decode_chunk))
    patch.setattr(relay_module, "usage_of_answer", booming(usage_of_answer))
    begin, left = Stream.__init__, Stream.client_left

    def begun(self: Stream, relay: Any, **options: Any) -> None:
        if relay.call.token.view.id in at_head:
            raise RuntimeError("a mistake of ours")
        begin(self, relay, **options)

    def gone(self: Stream) -> None:
        if self._call.token is not None and self._call.token.view.id in at_leaving:
            raise RuntimeError("a mistake of ours")
        left(self)

    patch.setattr(Stream, "__init__", begun)
    patch.setattr(Stream, "client_left", gone)


async def _run(cells: tuple[Cell, ...]) -> Run:
    run = Run()
    # Mistakes are told to the loop; here they are meant.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    async with rig(SHORT) as on:
        # Enough for every cell, however much a worker asks for.
        on.ledger.free_nano = PLENTY_NANO
        results = await asyncio.gather(
            *(_ended(on, cell, number) for number, cell in enumerate(cells, 1))
        )
        run.ended = {cell.name: result for cell, result in zip(cells, results, strict=True)}
        run.open_calls = len(on.worker._context.open_calls)
        run.drains = on.worker._context.drains
        run.open_requests = [e for e in on.vendor.books if e.ended_time is None]
    run.open_connections = len(on.vendor._open)
    run.missing_nano = missing_nano(on.ledger, PLENTY_NANO)
    return run


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[OnDisconnect, Run]]:
    done: dict[OnDisconnect, Run] = {}
    for policy, cells in CELLS.items():
        with pytest.MonkeyPatch.context() as patch:
            kind = "openai_compatible"
            traits = replace(VENDORS_BY_TYPE[kind], on_disconnect=policy)
            patch.setitem(VENDORS_BY_TYPE, kind, traits)
            _make_mistakes(patch, cells)
            done[policy] = uvloop.run(_run(cells))
    yield done


ALL = list(itertools.chain.from_iterable(CELLS.values()))
every_cell = pytest.mark.parametrize("cell", ALL, ids=[cell.name for cell in ALL])


@every_cell
def test_a_call_is_charged_what_the_witness_says(runs: dict[OnDisconnect, Run], cell: Cell) -> None:
    ended = runs[cell.policy].ended[cell.name]
    witness, outcome = ended.entries[-1], ended.outcome

    if cell.costs == "nothing":
        wanted = (0, 0)
    elif cell.costs == "witness":
        wanted = (witness.billed_input, witness.billed_output)
        assert any(wanted)
    else:
        assert ended.text
        wanted = (estimate_request(ended.asked), estimate_text(ended.text))
        if witness.phase != COMPLETED and "mistake" not in cell.name:
            assert wanted == (witness.billed_input, witness.billed_output)
    assert (outcome.input_tokens, outcome.output_tokens) == wanted
    assert outcome.charge_nano == charge(wanted)
    assert outcome.charge_nano <= outcome.hold_nano


@every_cell
def test_a_call_is_tried_and_told_as_it_should(runs: dict[OnDisconnect, Run], cell: Cell) -> None:
    ended = runs[cell.policy].ended[cell.name]
    outcome = ended.outcome

    if '"cut_at": 0' in json.dumps(cell.wishes):
        # A kept connection that closes without a byte was stale: the request is sent once more.
        assert len(ended.entries) >= len(outcome.attempts)
    else:
        assert len(ended.entries) == len(outcome.attempts) == cell.attempts
    if cell.fault == "left":
        return  # who it is that has gone was what the mistake hid
    if cell.phase:
        assert ended.entries[-1].phase == cell.phase
    left_early = cell.leave and not (cell.leave == "all" and not cell.stream)
    assert (outcome.status == 499) == bool(left_early)
    if not left_early:
        assert ended.status == outcome.status
    assert b"words of an error" not in ended.body
    if cell.costs == "nothing" and not left_early:
        assert outcome.usage_source in (UsageSource.NONE, UsageSource.VENDOR)


@pytest.mark.parametrize("policy", CELLS)
def test_afterwards_nothing_is_open_and_no_money_is_missing(
    runs: dict[OnDisconnect, Run], policy: OnDisconnect
) -> None:
    run = runs[policy]

    assert run.open_requests == []
    assert (run.open_calls, run.drains, run.open_connections) == (0, 0, 0)
    assert run.missing_nano == 0
