"""What Prometheus reads."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections import Counter
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aipool.books import metrics
from aipool.books.key_health import KeyKeeper
from aipool.books.metrics import Metrics
from aipool.books.record import Batch
from aipool.books.recovery import Ended, Ending
from aipool.doors.frames import Counters
from aipool.pool.health import Health

OK = ("chat", "200")


def shipped(calls: int, holds: int) -> Counters:
    """What a worker says of itself: some calls of 30 and 70 ms, and what is open."""
    name = "aipool_http_request_duration_seconds"
    return Counters(
        (
            ("aipool_http_requests_total", OK, calls),
            ("aipool_holds_open", (), holds),
            ("aipool_charged_nano_total", ("CNY", "gpt-4o-mini", "1"), calls * 1_000_000_000),
            (f"{name}_bucket", ("0.05",), calls),
            (f"{name}_bucket", ("+Inf",), 2 * calls),
            (f"{name}_sum_ms", (), 100 * calls),
            (f"{name}_count", (), 2 * calls),
        )
    )


def read(of: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample as an HTTP client on the loopback address sees it."""

    async def fetch() -> str:
        server = await metrics.serve(of, 0)
        port = server.sockets[0].getsockname()[1]

        def get(path: str) -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
                return str(answer.read().decode())

        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            await asyncio.to_thread(get, "/")
        refused.value.close()
        text = await asyncio.to_thread(get, "/metrics")
        server.close()
        await server.wait_closed()
        return text

    text = asyncio.run(fetch())
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_workers_are_summed_and_a_dead_ones_totals_stay() -> None:
    counted = Metrics()
    counted.counted(7, shipped(3, 2))
    counted.counted(7, shipped(5, 2))
    counted.counted(8, shipped(10, 4))
    counted.epoch_ended(Ended(7, Ending.RECOVERED, 2))

    samples = read(counted)

    assert samples["aipool_http_requests_total", OK] == 15
    assert samples["aipool_holds_open", ()] == 4
    assert samples["aipool_charged_total", ("CNY", "1", "gpt-4o-mini")] == 15
    assert samples["aipool_http_request_duration_seconds_bucket", ("0.05",)] == 15
    assert samples["aipool_http_request_duration_seconds_count", ()] == 30
    assert samples["aipool_http_request_duration_seconds_sum", ()] == 1.5
    assert samples["aipool_calls_recovered_total", ()] == 2


def test_what_the_ledger_process_does_is_counted() -> None:
    counted = Metrics()
    counted.entries_queued = lambda: 12
    counted.committed(Batch((), calls=5, grants=1, written_off_nano=500_000_000), 0.25)
    counted.epoch_ended(Ended(7, Ending.FROZEN, 0, (Batch((), 2, 0, 0),)))
    counted.imbalance_nano = 2_000_000_000

    samples = read(counted)

    assert samples["aipool_ledger_calls_total", ()] == 7
    assert samples["aipool_ledger_commits_total", ()] == 1
    assert samples["aipool_ledger_commit_seconds_total", ()] == 0.25
    assert samples["aipool_ledger_grants_total", ()] == 1
    assert samples["aipool_ledger_written_off_total", ()] == 0.5
    assert samples["aipool_usage_queue_depth", ()] == 12
    assert samples["aipool_epochs_frozen", ()] == 1
    assert samples["aipool_epochs_lost_total", ()] == 1
    assert samples["aipool_ledger_imbalance", ()] == 2.0
    assert any(name == "aipool_build_info" for name, _ in samples)


def test_how_upstream_keys_fare_is_counted() -> None:
    class Keys:
        transitions = Counter({("cooling", "rate_limited"): 3, ("normal", ""): 2})

        def healths(self) -> dict[Health, int]:
            return {Health.NORMAL: 5, Health.INVALID: 1}

    counted = Metrics()
    counted.keys = cast(KeyKeeper, Keys())

    samples = read(counted)

    assert samples["aipool_upstream_key_health", ("normal",)] == 5
    assert samples["aipool_upstream_key_health", ("invalid",)] == 1
    assert samples["aipool_upstream_transitions_total", ("cooling", "rate_limited")] == 3


def test_an_unknown_value_is_left_out_and_hurts_nobody() -> None:
    counted = Metrics()
    counted.counted(7, Counters((("aipool_new_total", (), 3), ("aipool_holds_open", ("x",), 1))))

    samples = read(counted)

    assert not any(name.startswith("aipool_new") for name, _ in samples)
    assert ("aipool_holds_open", ("x",)) not in samples


def test_every_value_a_worker_ships_is_known() -> None:
    """The names of both sides are written by hand; this keeps them together."""
    from aipool.gateway import counters

    source = counters.Counters()
    rows = source.rows(holds_open=1, waiting=2)
    counted = Metrics()
    counted.counted(7, Counters(rows))

    samples = read(counted)

    assert samples["aipool_usage_queue_depth", ()] == 2
    assert not counted._unknown
