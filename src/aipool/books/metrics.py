"""What the platform counts, as Prometheus reads it.

Workers ship plain integers each second: totals since their start, and gauges. Here they
are summed over the workers; what a dead worker had counted is kept, so totals never
fall, while its gauges go with it. Answered on a loopback port of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from aipool import __version__
from aipool.books.key_health import KeyKeeper
from aipool.books.record import Batch
from aipool.books.recovery import Ended, Ending
from aipool.doors.frames import Counters
from aipool.kit.money import NANO_PER_CNY

log = structlog.get_logger()

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HEAD_BYTES_MAX = 8192
_READ_SECONDS = 5.0


class _Shipped(NamedTuple):
    """How a value of the workers is shown.

    shown: its name, where it is not the one it is shipped under.  divisor: values are
    shipped as integers, and shown in base units.
    """

    labels: tuple[str, ...]
    text: str
    shown: str = ""
    divisor: int = 1


_COUNTERS = {
    "aipool_http_requests_total": _Shipped(("route", "status"), "Requests answered"),
    "aipool_upstream_requests_total": _Shipped(
        ("vendor", "model", "outcome"), "Tries at vendors, by vendor id"
    ),
    "aipool_key_failovers_total": _Shipped(("vendor", "reason"), "Tries that failed, by vendor id"),
    "aipool_tokens_total": _Shipped(("direction", "model", "group"), "Tokens used, by group id"),
    "aipool_charged_nano_total": _Shipped(
        ("currency", "model", "group"),
        "What calls cost, in the currency",
        shown="aipool_charged_total",
        divisor=NANO_PER_CNY,
    ),
}
_GAUGES = {
    "aipool_inflight_requests": _Shipped((), "Requests being answered"),
    "aipool_holds_open": _Shipped((), "Calls that hold money"),
    "aipool_usage_queue_depth": _Shipped((), "Calls that ended and are not yet in the books"),
}
_HISTOGRAMS = {
    "aipool_http_request_duration_seconds": "From the request's first byte to the answer's last",
    "aipool_time_to_first_token_seconds": "From the request's first byte to the first content",
}
_PARTS = {
    **{f"{name}_bucket": name for name in _HISTOGRAMS},
    **{f"{name}_sum_ms": name for name in _HISTOGRAMS},
    **{f"{name}_count": name for name in _HISTOGRAMS},
}

_Key = tuple[str, tuple[str, ...]]


class Metrics(Collector):
    """Everything that is counted, of the workers and of this process."""

    def __init__(self) -> None:
        self._by_epoch: dict[int, dict[_Key, int]] = {}
        self._kept: dict[_Key, int] = {}
        self._unknown: set[str] = set()
        self._own: dict[str, int] = dict.fromkeys(_OWN_COUNTERS, 0)
        self._commit_seconds = 0.0
        self._written_off_nano = 0
        self.entries_queued: Callable[[], int] = int
        self.keys: KeyKeeper | None = None
        self.imbalance_nano = 0
        self.epochs_frozen = 0

    # --- taking in --------------------------------------------------------------------------

    def counted(self, epoch: int, message: Counters) -> None:
        """A worker's newest values."""
        values: dict[_Key, int] = {}
        for name, labels, value in message.values:
            known = _COUNTERS.get(name) or _GAUGES.get(name)
            if (known is not None and len(known.labels) == len(labels)) or name in _PARTS:
                values[name, labels] = value
            elif name not in self._unknown:
                self._unknown.add(name)
                log.warning("metric_unknown", metric=name)
        self._by_epoch[epoch] = values

    def epoch_ended(self, ended: Ended) -> None:
        """A worker is gone; its totals stay."""
        for key, value in self._by_epoch.pop(ended.epoch, {}).items():
            if key[0] not in _GAUGES:
                self._kept[key] = self._kept.get(key, 0) + value
        self._own["aipool_epochs_recovered_total"] += ended.how is Ending.RECOVERED
        self._own["aipool_epochs_lost_total"] += ended.how is not Ending.RECOVERED
        self._own["aipool_calls_recovered_total"] += ended.calls
        self.epochs_frozen += ended.how is Ending.FROZEN
        for batch in ended.batches:
            self._add(batch)

    @property
    def commits(self) -> int:
        """Batches written so far."""
        return self._own["aipool_ledger_commits_total"]

    def committed(self, batch: Batch, seconds: float) -> None:
        """A batch is in the books."""
        self._own["aipool_ledger_commits_total"] += 1
        self._commit_seconds += seconds
        self._add(batch)

    def turned_away(self) -> None:
        """A request could not be written for a reason of its own."""
        self._own["aipool_ledger_turned_away_total"] += 1

    def _add(self, batch: Batch) -> None:
        self._own["aipool_ledger_calls_total"] += batch.calls
        self._own["aipool_ledger_grants_total"] += batch.grants
        self._written_off_nano += batch.written_off_nano

    # --- giving out -------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """The families, for prometheus_client."""
        sums = dict(self._kept)
        for values in self._by_epoch.values():
            for key, value in values.items():
                sums[key] = sums.get(key, 0) + value
        queued = ("aipool_usage_queue_depth", ())
        sums[queued] = max(sums.get(queued, 0), self.entries_queued())
        yield from _shipped(sums)
        yield from self._own_families()

    def _own_families(self) -> Iterator[Metric]:
        for name, text in _OWN_COUNTERS.items():
            yield CounterMetricFamily(name, text, value=self._own[name])
        yield CounterMetricFamily(
            "aipool_ledger_written_off_total",
            "Served but not chargeable, in CNY",
            value=self._written_off_nano / NANO_PER_CNY,
        )
        yield CounterMetricFamily(
            "aipool_ledger_commit_seconds_total",
            "Time spent writing batches",
            value=self._commit_seconds,
        )
        yield GaugeMetricFamily(
            "aipool_ledger_imbalance",
            "Sum of all accounts in CNY; anything but 0 means that the books are broken",
            value=self.imbalance_nano / NANO_PER_CNY,
        )
        yield GaugeMetricFamily(
            "aipool_epochs_frozen",
            "Workers' journals that are damaged and wait for a person",
            value=self.epochs_frozen,
        )
        if self.keys is not None:
            yield from _keys(self.keys)
        build = GaugeMetricFamily("aipool_build_info", "The program", labels=["version"])
        build.add_metric([__version__], 1)
        yield build


_OWN_COUNTERS = {
    "aipool_ledger_commits_total": "Batches written",
    "aipool_ledger_calls_total": "Calls recorded",
    "aipool_ledger_grants_total": "Requests for leases that were answered",
    "aipool_ledger_turned_away_total": "Requests of workers that could not be written",
    "aipool_epochs_recovered_total": "Lives of workers that ended and left nothing open",
    "aipool_epochs_lost_total": "Workers whose journal was damaged or missing",
    "aipool_calls_recovered_total": "Calls that a worker's death cut off",
}


def _keys(keys: KeyKeeper) -> Iterator[Metric]:
    health = GaugeMetricFamily(
        "aipool_upstream_key_health",
        "Upstream keys that may be called, by how they fare",
        labels=["health"],
    )
    for state, count in keys.healths().items():
        health.add_metric([state.value], count)
    yield health
    transitions = CounterMetricFamily(
        "aipool_upstream_transitions_total",
        "Changes of how upstream keys fare, whole or with one model",
        labels=["health", "why"],
    )
    for labels, count in keys.transitions.items():
        transitions.add_metric(labels, count)
    yield transitions


def _shipped(sums: dict[_Key, int]) -> Iterator[Metric]:
    for name, how in _COUNTERS.items():
        counter = CounterMetricFamily(how.shown or name, how.text, labels=how.labels)
        for labels, value in _of(sums, name):
            counter.add_metric(labels, value / how.divisor)
        yield counter
    for name, how in _GAUGES.items():
        gauge = GaugeMetricFamily(name, how.text, labels=how.labels)
        for labels, value in _of(sums, name):
            gauge.add_metric(labels, value)
        yield gauge
    for name, text in _HISTOGRAMS.items():
        histogram = HistogramMetricFamily(name, text)
        buckets = sorted(
            ((labels[0], float(value)) for labels, value in _of(sums, f"{name}_bucket")),
            key=lambda bucket: float(bucket[0]),
        )
        if buckets:
            total_ms = sum(value for _, value in _of(sums, f"{name}_sum_ms"))
            histogram.add_metric([], buckets, sum_value=total_ms / 1000)
        yield histogram


def _of(sums: dict[_Key, int], name: str) -> Iterable[tuple[tuple[str, ...], int]]:
    return ((labels, value) for (of, labels), value in sums.items() if of == name)


async def serve(metrics: Metrics, port: int) -> asyncio.Server:
    """Answers `GET /metrics` on the loopback address. Raises OSError when it cannot listen."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, registry))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", port, limit=_HEAD_BYTES_MAX)


def _response(head: bytes, registry: CollectorRegistry) -> bytes:
    if head.startswith((b"GET /metrics ", b"GET /metrics?")):
        status, body, content_type = b"200 OK", generate_latest(registry), _CONTENT_TYPE
    else:
        status, body, content_type = b"404 Not Found", b"see /metrics\n", "text/plain"
    return (
        b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        % (status, content_type.encode(), len(body))
        + body
    )
