"""The log of calls that did not end well, and the counters."""

from __future__ import annotations

import io
import json

from aipool.gateway.counters import Counters, Histogram
from aipool.gateway.log import LINES_PER_SECOND, CallLog


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_the_fields_of_the_table_and_no_others() -> None:
    stream = io.StringIO()

    CallLog(stream, lambda: 7.25).call(
        rid="req_1", status=502, code="upstream_error", path="/v1/x", model="m" * 500, attempts=2
    )

    (line,) = lines(stream)
    assert line == {
        "at": "7.250",
        "event": "call",
        "request_id": "req_1",
        "status": 502,
        "code": "upstream_error",
        "path": "/v1/x",
        "model": "m" * 200,
        "token_id": 0,
        "attempts": 2,
        "duration_ms": 0,
        "address": "",
    }


def test_a_burst_is_cut_and_counted() -> None:
    stream, now = io.StringIO(), [10.0]
    log = CallLog(stream, lambda: now[0])

    for _ in range(LINES_PER_SECOND + 30):
        log.event("x")
    assert len(lines(stream)) == LINES_PER_SECOND
    now[0] = 11.0
    log.event("y")

    assert [line["event"] for line in lines(stream)[LINES_PER_SECOND:]] == ["lines_kept", "y"]
    assert lines(stream)[LINES_PER_SECOND]["count"] == 30


def test_a_histogram_is_cumulative() -> None:
    histogram = Histogram("h")
    for milliseconds in (1, 5, 6, 400_000):
        histogram.add(milliseconds)

    rows = {(name, labels): value for name, labels, value in histogram.rows()}
    assert rows["h_bucket", ("0.005",)] == 2
    assert rows["h_bucket", ("0.01",)] == 3
    assert rows["h_bucket", ("300",)] == 3
    assert rows["h_bucket", ("+Inf",)] == rows["h_count", ()] == 4
    assert rows["h_sum_ms", ()] == 400_012


def test_requests_are_counted_by_route_and_status() -> None:
    counters = Counters()
    counters.answered("models", 200)
    counters.answered("models", 200)
    counters.answered("models", 401)

    rows = {(name, labels): value for name, labels, value in counters.rows(holds_open=3, waiting=4)}
    assert rows["aipool_http_requests_total", ("models", "200")] == 2
    assert rows["aipool_http_requests_total", ("models", "401")] == 1
    assert rows["aipool_holds_open", ()] == 3
    assert rows["aipool_usage_queue_depth", ()] == 4
