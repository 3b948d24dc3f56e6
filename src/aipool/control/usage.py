"""Dashboards: what was called, what it cost, how long it took, and how long the money will last.

All of it is read from the roll-ups that the ledger process writes with every call (calls.summing),
so a page costs the same however many calls there were. A range of up to three days is shown by
hours, a longer one by UTC days; it begins with a whole one of these.

Refusals (kit.errors):
    empty_range, range_too_long, invalid_moment     422
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from fastapi import APIRouter, Depends, Query
from sqlalchemy.engine import Connection

from aipool.accounts import service as accounts
from aipool.accounts.callers import Asking
from aipool.accounts.types import User
from aipool.audit.desk import Desk, Shown
from aipool.calls import service as calls
from aipool.calls.latency import percentile
from aipool.calls.schemas import Named, Text, moment
from aipool.calls.types import DAY_MS, HOUR_MS, NO_SUMS, Span, Sums, TotalOf
from aipool.control.call_names import key_names, token_names
from aipool.groups import service as groups
from aipool.kit.clock import iso_ms, now_ms
from aipool.kit.errors import Invalid
from aipool.kit.money import format_cny
from aipool.ledger import service as ledger

K = TypeVar("K")

Preset = Literal["24h", "7d", "30d", "90d"]
PRESETS: tuple[Preset, ...] = ("24h", "7d", "30d", "90d")
_HOURS = {"24h": 24, "7d": 168, "30d": 720, "90d": 2160}
#: Longer ranges are shown by days.
_BY_HOURS_MAX = 72
_DAYS_MAX = 92
#: The last day of 9999 is left out: its end has no date.
_END_MS = 2_932_896 * DAY_MS
#: The largest so many are shown of each kind.
_SHOWN_MAX = 50
#: How long money lasts is judged by today and so many days before it.
_PACE_DAYS = 7
#: And by no less than this, or the first call of an account, of seconds ago, would be taken for
#: what goes on all day. An account's first hour is the shortest that the sums tell apart, too.
_PACE_MS_MIN = HOUR_MS
#: A balance is also low when it lasts for less than this at the pace of late.
LOW_DAYS = 3.0

#: The balance below which people are warned who have not chosen one, in nano-yuan.
LowBalance = Callable[[Connection], int]


class Amounts(Shown):
    """Calls together. success_rate: the share of calls without an error, null without calls.
    tokens: in and out."""

    requests: int
    errors: int
    success_rate: float | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    spend: str


class Point(Amounts):
    """One hour or one UTC day."""

    at: str


class OfModel(Amounts):
    """The calls of one model."""

    model: str


class OfToken(Amounts):
    """The calls of one token."""

    token: Named


class Percentiles(Shown):
    """In milliseconds, of calls that went well; null without any."""

    p50_ms: int | None
    p95_ms: int | None
    p99_ms: int | None


class Latency(Shown):
    """How long it took until the first token, and until the end."""

    first_token: Percentiles
    duration: Percentiles


class Money(Shown):
    """days_left: at the pace of the last seven days, of a newer account since the hour of its first
    charge, null when nothing was spent.  is_low: it is below what its owner or the site calls low,
    or will not last for three days."""

    balance: str
    spend_per_day: str
    days_left: float | None
    is_low: bool


class Statistics(Shown):
    """average_rpm, average_tpm: calls and tokens a minute, over the range."""

    from_at: str
    to_at: str
    bucket: Literal["hour", "day"]
    totals: Amounts
    average_rpm: float
    average_tpm: float
    series: list[Point]
    by_model: list[OfModel]
    by_token: list[OfToken]
    latency: Latency
    money: Money


class Earned(Amounts):
    """With what it cost us. margin: spend − cost.  written_off: served, and not paid for."""

    cost: str
    margin: str
    written_off: str


class EarnedAt(Earned):
    """One hour or one UTC day."""

    at: str


class EarnedByModel(Earned):
    """The calls of one model."""

    model: str


class EarnedBy(Earned):
    """The calls of one user, of one group, or answered by one upstream key; id 0 = of none."""

    owner: Named


class StatisticsOfAll(Shown):
    """average_rpm, average_tpm: calls and tokens a minute, over the range."""

    from_at: str
    to_at: str
    bucket: Literal["hour", "day"]
    totals: Earned
    average_rpm: float
    average_tpm: float
    series: list[EarnedAt]
    by_model: list[EarnedByModel]
    by_user: list[EarnedBy]
    by_group: list[EarnedBy]
    by_key: list[EarnedBy]
    latency: Latency


class Stretch(NamedTuple):
    """What is looked at: whole hours or whole days. now_ms: nothing was called after it."""

    span: Span
    ats: range
    now_ms: int

    @property
    def bucket(self) -> Literal["hour", "day"]:
        """What a point is of."""
        return "hour" if self.span is Span.HOUR else "day"

    def at(self, place: int) -> str:
        """The first moment of a point."""
        return iso_ms(place * self.span * HOUR_MS)

    @property
    def minutes(self) -> float:
        """How long it is, up to now."""
        start, end = (place * self.span * HOUR_MS for place in (self.ats.start, self.ats.stop))
        return max(min(end, self.now_ms) - start, 60_000) / 60_000


def asked(
    preset: Annotated[Preset, Query(alias="range", description="Unless from and to say.")] = "7d",
    start: Annotated[Text, Query(alias="from", description="From this moment (ISO 8601).")] = "",
    end: Annotated[Text, Query(alias="to", description="Before this moment.")] = "",
    bucket: Literal["", "hour", "day"] = "",
) -> Stretch:
    """The stretch of time that is asked for."""
    return stretch(moment(start, "from"), moment(end, "to"), preset, bucket, now_ms())


def stretch(
    from_ms: int | None, to_ms: int | None, preset: Preset, bucket: str, at_ms: int
) -> Stretch:
    """Whole hours, or days, that hold what is asked for. Raises Invalid."""
    to_ms = at_ms + 1 if to_ms is None else min(to_ms, _END_MS)
    from_ms = to_ms - _HOURS[preset] * HOUR_MS if from_ms is None else from_ms
    if to_ms <= from_ms:
        raise Invalid("empty_range", "the end of the time range lies before its start", field="to")
    hours = -(-(to_ms - from_ms) // HOUR_MS)
    by_hours = bucket == "hour" or (not bucket and hours <= _BY_HOURS_MAX)
    span = Span.HOUR if by_hours else Span.DAY
    if hours > (_BY_HOURS_MAX if span is Span.HOUR else _DAYS_MAX * 24):
        most, units = (_BY_HOURS_MAX, "hours") if span is Span.HOUR else (_DAYS_MAX, "days")
        raise Invalid(
            "range_too_long",
            f"a time range has at most {most} {units}",
            field="from",
            params={"most": most, "what": units},
        )
    unit = span * HOUR_MS
    # The hour that it begins in is left out, so that 24 hours are 24 points.
    first = max(0, from_ms // unit + (1 if from_ms % unit else 0))
    return Stretch(span, range(min(first, (to_ms - 1) // unit), (to_ms - 1) // unit + 1), at_ms)


Asked = Annotated[Stretch, Depends(asked)]


def routes(desk: Desk, low_balance: LowBalance) -> APIRouter:
    """One's own, and everybody's for operators."""
    router = APIRouter(prefix="/api")

    @router.get("/usage")
    def show_usage(caller: Asking, wanted: Asked) -> Statistics:
        """What the caller used and spent."""
        with desk.database.read() as connection:
            chosen = caller.user.low_balance_nano
            low_nano = low_balance(connection) if chosen is None else chosen
            return own(connection, caller.user.id, wanted, low_nano)

    @router.get("/admin/usage")
    def show_all(caller: Asking, wanted: Asked) -> StatisticsOfAll:
        """What everybody used and spent, what it cost us, and what is left of it."""
        with desk.database.read() as connection:
            return of_all(connection, wanted, caller.user)

    return router


# --- one's own ------------------------------------------------------------------------------------


def own(connection: Connection, user_id: int, wanted: Stretch, low_nano: int = 0) -> Statistics:
    """The statistics of one user. low_nano: below which the balance is low."""
    series = calls.totals(connection, wanted.span, TotalOf.USER, wanted.ats, user_id)
    parts = calls.usage_of(connection, wanted.span, user_id, wanted.ats)
    models = _largest(_folded((model, sums) for (_, model), sums in parts.items()))
    tokens = _largest(_folded((token_id, sums) for (token_id, _), sums in parts.items()))
    names = token_names(connection, [token_id for token_id, _ in tokens])
    whole = _together(series.values())
    return Statistics(
        **_frame(wanted, whole),
        totals=Amounts(**_amounts(whole)),
        series=[Point(at=wanted.at(at), **_amounts(series.get(at, NO_SUMS))) for at in wanted.ats],
        by_model=[OfModel(model=model, **_amounts(sums)) for model, sums in models],
        by_token=[
            OfToken(token=Named(id=token_id, name=names.get(token_id)), **_amounts(sums))
            for token_id, sums in tokens
        ],
        latency=_latency(connection, wanted, user_id),
        money=money(connection, user_id, wanted.now_ms, low_nano),
    )


def money(connection: Connection, user_id: int, at_ms: int, low_nano: int = 0) -> Money:
    """How much there is, and how long it lasts."""
    wallet = ledger.wallet_balance(connection, user_id)
    balance = wallet.balance_nano if wallet else 0
    per_day = _per_day(connection, user_id, at_ms)
    left = round(balance / per_day, 1) if per_day else None
    return Money(
        balance=format_cny(balance),
        spend_per_day=format_cny(per_day),
        days_left=left,
        is_low=balance < low_nano or (left is not None and left < LOW_DAYS),
    )


def _per_day(connection: Connection, user_id: int, at_ms: int) -> int:
    """What a user spends in a day at the pace of late, in nano-yuan."""
    first_day = max(0, at_ms // DAY_MS - _PACE_DAYS)
    began_ms = first_day * DAY_MS
    hours = range(began_ms // HOUR_MS, at_ms // HOUR_MS + 1)
    series = calls.totals(connection, Span.HOUR, TotalOf.USER, hours, user_id)
    charged = {hour: sums.charged_nano for hour, sums in series.items() if sums.charged_nano}
    # Days on which the account was not in use yet say nothing of its pace; those on which it
    # was, and nothing was spent, do.
    if charged and not calls.was_charged_before(connection, user_id, first_day):
        began_ms = min(charged) * HOUR_MS
    return sum(charged.values()) * DAY_MS // max(at_ms - began_ms, _PACE_MS_MIN)


# --- everybody's ----------------------------------------------------------------------------------


def of_all(connection: Connection, wanted: Stretch, operator: User) -> StatisticsOfAll:
    """The statistics of the platform. operator: who reads them, and is not told the names of those
    whom they may not administer."""
    span, ats = wanted.span, wanted.ats
    series = calls.totals(connection, span, TotalOf.EVERYBODY, ats)
    parts = calls.by_group_and_model(connection, span, ats)
    models = _largest(_folded((model, sums) for (_, model), sums in parts.items()))
    of_groups = _largest(_folded((group_id, sums) for (group_id, _), sums in parts.items()))
    users, keys = (_owners(connection, wanted, kind) for kind in (TotalOf.USER, TotalOf.KEY))
    user_ids = {user_id for user_id, _ in users}
    user_ids -= accounts.masked_among(connection, operator, user_ids)
    people = accounts.users_by_ids(connection, user_ids)
    labels = {user_id: user.label for user_id, user in people.items()}
    whole = _together(series.values())
    return StatisticsOfAll(
        **_frame(wanted, whole),
        totals=Earned(**_earned(whole)),
        series=[
            EarnedAt(at=wanted.at(at), **_earned(series.get(at, NO_SUMS))) for at in wanted.ats
        ],
        by_model=[EarnedByModel(model=model, **_earned(sums)) for model, sums in models],
        by_user=_by(users, labels),
        by_group=_by(of_groups, groups.group_names(connection)),
        by_key=_by(keys, key_names(connection)),
        latency=_latency(connection, wanted, 0),
    )


def _owners(connection: Connection, wanted: Stretch, kind: TotalOf) -> list[tuple[int, Sums]]:
    span, ats = wanted.span, wanted.ats
    owner_ids = calls.dearest(connection, span, kind, ats, limit=_SHOWN_MAX)
    found = calls.totals_of(connection, span, kind, ats, owner_ids)
    return [(owner_id, found[owner_id]) for owner_id in owner_ids]


def _by(found: list[tuple[int, Sums]], names: Mapping[int, str]) -> list[EarnedBy]:
    return [
        EarnedBy(owner=Named(id=number, name=names.get(number)), **_earned(sums))
        for number, sums in found
    ]


# --- arithmetic -----------------------------------------------------------------------------------


def _together(parts: Iterable[Sums]) -> Sums:
    whole = NO_SUMS
    for part in parts:
        whole = whole.plus(part)
    return whole


def _folded(parts: Iterable[tuple[K, Sums]]) -> dict[K, Sums]:
    found: dict[K, Sums] = {}
    for key, sums in parts:
        found[key] = found.get(key, NO_SUMS).plus(sums)
    return found


def _largest(found: Mapping[K, Sums]) -> list[tuple[K, Sums]]:
    """The dearest, then the most often called."""
    ordered = sorted(
        found.items(), key=lambda one: (-one[1].charged_nano, -one[1].calls, str(one[0]))
    )
    return ordered[:_SHOWN_MAX]


def _frame(wanted: Stretch, whole: Sums) -> dict[str, Any]:
    return {
        "from_at": wanted.at(wanted.ats.start),
        "to_at": wanted.at(wanted.ats.stop),
        "bucket": wanted.bucket,
        "average_rpm": round(whole.calls / wanted.minutes, 3),
        "average_tpm": round((whole.input_tokens + whole.output_tokens) / wanted.minutes, 3),
    }


def _amounts(sums: Sums) -> dict[str, Any]:
    return {
        "requests": sums.calls,
        "errors": sums.errors,
        "success_rate": round(1 - sums.errors / sums.calls, 6) if sums.calls else None,
        "input_tokens": sums.input_tokens,
        "cached_tokens": sums.cached_tokens,
        "output_tokens": sums.output_tokens,
        "spend": format_cny(sums.charged_nano),
    }


def _earned(sums: Sums) -> dict[str, Any]:
    return {
        **_amounts(sums),
        "cost": format_cny(sums.cost_nano),
        "margin": format_cny(sums.charged_nano - sums.cost_nano),
        "written_off": format_cny(sums.written_off_nano),
    }


def _latency(connection: Connection, wanted: Stretch, user_id: int) -> Latency:
    found = calls.latencies_of(connection, wanted.span, wanted.ats, user_id)
    return Latency(first_token=_percentiles(found.first), duration=_percentiles(found.whole))


def _percentiles(counts: list[int]) -> Percentiles:
    p50, p95, p99 = (percentile(counts, share) for share in (0.50, 0.95, 0.99))
    return Percentiles(p50_ms=p50, p95_ms=p95, p99_ms=p99)
