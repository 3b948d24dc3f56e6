"""The words of the call log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple

import msgspec

from aipool.rating.types import Units, Usage

HOUR_MS = 3_600_000
DAY_HOURS = 24
DAY_MS = DAY_HOURS * HOUR_MS
#: A status from here on is a failure; 499 = the client had left.
FAILURES_FROM = 400
CLIENT_LEFT = 499
#: The endpoint of nearly every call; an index of the others is small.
COMMON_ENDPOINT = "chat.completions"
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


class Used(NamedTuple):
    """What one token did with one model in an hour, in a day, or in a week, in the order of the
    columns.

    at: unix time in whole hours, days or weeks; the latter begin on Thursdays.  errors: calls with
    a status of 400 and above or an error; a call that a client left is among them.
    """

    at: int
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


class Span(IntEnum):
    """How long a sum is over, in hours: a UTC hour, a UTC day, or a week. Those of a week are made
    when it is over (calls.weeks), and there are none of how long calls took."""

    HOUR = 1
    DAY = 24
    WEEK = 168


#: Those that grow with every call.
GROWING = (Span.HOUR, Span.DAY)
WEEK_DAYS = 7
WEEK_MS = WEEK_DAYS * DAY_MS


class TotalOf(IntEnum):
    """Whose sum it is. EVERYBODY: by group and model.  USER: owner_id is a user.  KEY: owner_id is
    the upstream key that answered, 0 = none did.  The latter two have neither group nor model."""

    EVERYBODY = 0
    USER = 1
    KEY = 2


class Total(NamedTuple):
    """The sums of many tokens' calls, in the order of the columns. at: unix time in whole spans.
    The rest as in Used."""

    span: int
    kind: int
    at: int
    owner_id: int
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


class Sums(NamedTuple):
    """What some calls come to: the last columns of Used."""

    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    charged_nano: int = 0
    written_off_nano: int = 0
    cost_nano: int = 0

    def plus(self, other: Sums) -> Sums:
        """Both together."""
        return Sums._make(map(sum, zip(self, other, strict=True)))


NO_SUMS = Sums()


class Kept(NamedTuple):
    """From when on the log has its calls (unix milliseconds) and its hours (unix hours): what is
    older was let go, or is being let go."""

    calls_from_ms: int = 0
    hours_from: int = 0


# --- searching ------------------------------------------------------------------------------------


class Path(StrEnum):
    """A way into a month's calls: the index that a page is read from."""

    ALL = "all"
    USER = "user"
    TOKEN = "token"
    MODEL = "model"
    GROUP = "group"
    KEY = "key"
    STATUS = "status"
    ENDPOINT = "endpoint"
    USER_MODEL = "user_model"
    USER_GROUP = "user_group"
    USER_STATUS = "user_status"
    USER_ENDPOINT = "user_endpoint"


class Outcomes(StrEnum):
    """A class of statuses. CLIENT_LEFT is 499 alone, and FAILED is not 499."""

    OK = "2xx"
    REFUSED = "4xx"
    CLIENT_LEFT = "499"
    FAILED = "5xx"

    @property
    def bounds(self) -> tuple[int, int]:
        """From this status to below that one."""
        return _BOUNDS[self]


_BOUNDS = {
    Outcomes.OK: (0, FAILURES_FROM),
    Outcomes.REFUSED: (FAILURES_FROM, 500),
    Outcomes.CLIENT_LEFT: (CLIENT_LEFT, CLIENT_LEFT + 1),
    Outcomes.FAILED: (500, 1000),
}


class Place(NamedTuple):
    """Where a page ended: the next one begins with what is older than this call."""

    at_ms: int
    rid: str


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; None = whatever.

    from_ms, to_ms: arrived from this moment on, and before that one.  status: exactly this one;
    outcome: one of a class.  charged: only those that were charged for.
    """

    user_id: int | None = None
    token_id: int | None = None
    model: str | None = None
    group_id: int | None = None
    key_id: int | None = None
    vendor_id: int | None = None
    outcome: Outcomes | None = None
    status: int | None = None
    endpoint: str | None = None
    stream: bool | None = None
    error: str | None = None
    origin: str | None = None
    upstream_request_id: str | None = None
    rid: str | None = None
    charged: bool = False
    from_ms: int | None = None
    to_ms: int | None = None


# --- upstream keys --------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class KeyAsked:
    """A call that wants an idempotency key. key, body: SHA-256 of what the client sent."""

    token_id: int
    key: bytes
    body: bytes
    rid: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Said:
    """A request and its answer, as text: what was no UTF-8 is shown by its sign.

    request_cut, answer_cut: only the beginning was kept.
    """

    rid: str
    token_id: int
    user_id: int
    expires_at_ms: int
    request: str
    request_cut: bool
    answer: str
    answer_cut: bool
