"""A worker's metrics: plain integers, shipped to the ledger process each second.

Names and labels are those under which Prometheus sees them (`aipool_…`, base units). No
label is a user or a token: their number has no bound. A histogram is its cumulative
buckets, sum and count under the customary suffixes.
"""

from __future__ import annotations

from bisect import bisect_left

from aipool.doors.outcome import Outcome

_BUCKETS_SECONDS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
_BUCKETS_MS = tuple(int(seconds * 1000) for seconds in _BUCKETS_SECONDS)
_BUCKET_LABELS = tuple(f"{seconds:g}" for seconds in _BUCKETS_SECONDS)

Row = tuple[str, tuple[str, ...], int]


class Histogram:
    """Durations in milliseconds."""

    __slots__ = ("buckets", "name", "sum_ms")

    def __init__(self, name: str) -> None:
        self.name = name
        self.buckets = [0] * (len(_BUCKETS_MS) + 1)
        self.sum_ms = 0

    def add(self, duration_ms: int) -> None:
        """One more."""
        self.buckets[bisect_left(_BUCKETS_MS, duration_ms)] += 1
        self.sum_ms += duration_ms

    def rows(self) -> list[Row]:
        """Cumulative buckets by upper bound, the sum in milliseconds, and the count."""
        rows: list[Row] = []
        below = 0
        for label, count in zip((*_BUCKET_LABELS, "+Inf"), self.buckets, strict=True):
            below += count
            rows.append((f"{self.name}_bucket", (label,), below))
        rows.append((f"{self.name}_sum_ms", (), self.sum_ms))
        rows.append((f"{self.name}_count", (), below))
        return rows


class Counters:
    """What one worker has seen since it started."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        # Calls, input tokens, output tokens, charge, of which tried once and well: most
        # calls are, and cost one look-up.
        self._ended: dict[tuple[str, int, str, int, int], list[int]] = {}
        self._attempts: dict[tuple[int, str, str], int] = {}
        self._duration = Histogram("aipool_http_request_duration_seconds")
        self._first_token = Histogram("aipool_time_to_first_token_seconds")
        self.in_flight = 0

    def answered(self, route: str, status: int) -> None:
        """A request that was no call ended with this status."""
        key = (route, status)
        self._requests[key] = self._requests.get(key, 0) + 1

    def ended(self, outcome: Outcome) -> None:
        """A call ended."""
        model = outcome.model
        key = (outcome.endpoint, outcome.status, model, outcome.group_id, outcome.vendor_id)
        sums = self._ended.get(key)
        if sums is None:
            sums = self._ended[key] = [0, 0, 0, 0, 0]
        sums[0] += 1
        sums[1] += outcome.input_tokens
        sums[2] += outcome.output_tokens
        sums[3] += outcome.charge_nano
        self._duration.add(outcome.duration_ms)
        if outcome.stream and outcome.first_token_ms >= 0:
            self._first_token.add(outcome.first_token_ms)
        attempts = outcome.attempts
        if len(attempts) == 1 and not attempts[0].reason:
            sums[4] += 1
            return
        for attempt in attempts:
            tried = (attempt.vendor_id, model, attempt.reason)
            self._attempts[tried] = self._attempts.get(tried, 0) + 1

    def rows(self, *, holds_open: int, waiting: int) -> tuple[Row, ...]:
        """Everything, as (name, label values, value)."""
        requests = dict(self._requests)
        attempts = dict(self._attempts)
        sold: dict[tuple[str, str], list[int]] = {}
        for (route, status, model, group_id, vendor_id), sums in self._ended.items():
            requests[route, status] = requests.get((route, status), 0) + sums[0]
            total = sold.setdefault((model, str(group_id)), [0, 0, 0])
            for index in range(3):
                total[index] += sums[index + 1]
            if sums[4]:
                well = (vendor_id, model, "")
                attempts[well] = attempts.get(well, 0) + sums[4]
        failovers: dict[tuple[str, str], int] = {}
        rows: list[Row] = [
            ("aipool_inflight_requests", (), self.in_flight),
            ("aipool_holds_open", (), holds_open),
            ("aipool_usage_queue_depth", (), waiting),
        ]
        for (route, status), value in requests.items():
            rows.append(("aipool_http_requests_total", (route, str(status)), value))
        for (vendor_id, model, reason), value in attempts.items():
            vendor = str(vendor_id)
            rows.append(("aipool_upstream_requests_total", (vendor, model, reason or "ok"), value))
            if reason:
                failovers[vendor, reason] = failovers.get((vendor, reason), 0) + value
        for labels, value in failovers.items():
            rows.append(("aipool_key_failovers_total", labels, value))
        for labels, (incoming, outgoing, charged) in sold.items():
            rows.append(("aipool_tokens_total", ("input", *labels), incoming))
            rows.append(("aipool_tokens_total", ("output", *labels), outgoing))
            rows.append(("aipool_charged_nano_total", ("CNY", *labels), charged))
        rows += self._duration.rows()
        rows += self._first_token.rows()
        return tuple(rows)
