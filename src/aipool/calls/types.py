"""The words of the call log."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from aipool.rating.types import Units, Usage

HOUR_MS = 3_600_000
DAY_HOURS = 24
#: What a try says whose client left: it is no failure of the key.
CLIENT_GONE = "client_gone"


class CallRow(NamedTuple):
    """One call, in the order of its columns.

    rid: unique, ordered by time.  at_ms: unix milliseconds of its arrival.
    status: what the client was sent, 499 = it had left.  first_token_ms: -1 = no content.
    charged_nano + written_off_nano: the rating of the usage at `price_id` and
    `multiplier_ppm`, of which the user paid the first part.  cost_nano: ours, at the vendor.
    attempts: JSON, one array a try.  recovered: settled from the journal of a dead worker.
    units, cost_price_id, cost_ppm, origin, calls: see doors.outcome; units as JSON, "" = none.
    """

    rid: str
    at_ms: int
    duration_ms: int
    first_token_ms: int
    user_id: int
    token_id: int
    group_id: int
    model: str
    endpoint: str
    stream: bool
    status: int
    error: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    usage_source: int
    price_id: int
    multiplier_ppm: int
    hold_nano: int
    charged_nano: int
    written_off_nano: int
    cost_nano: int
    vendor_id: int
    key_id: int
    upstream_model: str
    upstream_request_id: str
    attempts: str
    ip: str
    user_agent: str
    recovered: bool
    units: str
    cost_price_id: int
    cost_ppm: int
    origin: str
    calls: int


class UsageHour(NamedTuple):
    """What one token did with one model in one hour, in the order of the columns.

    hour: unix time in whole hours.  errors: calls with a status of 400 and above or an
    error; a call that a client left is among them.
    """

    hour: int
    user_id: int
    token_id: int
    group_id: int
    model: str
    calls: int
    errors: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    charged_nano: int
    written_off_nano: int
    cost_nano: int


class KeyHour(NamedTuple):
    """What became of the tries at one upstream key in one hour, in the order of the columns.

    hour: unix time in whole hours, of the calls' arrival.  failures: tries that did not go well,
    but for those whose client left.  Tokens and cost are those of the calls that the key
    answered.  last_at_ms: of the newest call.  last_error: the reason of the newest failure, ""
    = there was none.
    """

    key_id: int
    hour: int
    tries: int
    failures: int
    input_tokens: int
    output_tokens: int
    cost_nano: int
    last_at_ms: int
    last_error: str
    last_error_at_ms: int


class KeyStats(NamedTuple):
    """What became of the tries at one upstream key, over all time.

    day_tries, day_failures: of them, those of the last 24 hours, by whole hours of the clock.
    last_at_ms, last_error, last_error_at_ms: see KeyHour.
    """

    tries: int
    failures: int
    input_tokens: int
    output_tokens: int
    cost_nano: int
    day_tries: int
    day_failures: int
    last_at_ms: int
    last_error: str
    last_error_at_ms: int


class CheckedCall(NamedTuple):
    """What the verifier looks at."""

    rid: str
    at_ms: int
    user_id: int
    token_id: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    price_id: int
    multiplier_ppm: int
    hold_nano: int
    charged_nano: int
    written_off_nano: int
    cost_nano: int
    key_id: int
    attempts: str
    recovered: bool
    units: str
    cost_price_id: int
    cost_ppm: int


_UNITS = msgspec.json.Decoder(Units)


def used_by(call: CallRow | CheckedCall) -> Usage:
    """What a recorded call used, to rate it again."""
    return Usage(
        call.input_tokens,
        call.cached_tokens,
        call.output_tokens,
        call.reasoning_tokens,
        _UNITS.decode(call.units) if call.units else None,
    )
