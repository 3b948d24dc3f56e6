"""The dry run: what would become of a call now, and why. Nothing is called and nothing changes.

For a token and a model: may it be called at all; then every route in the order of trying, and in
it every key with its turn, or the reason why it has none. Whether a key may be called is decided
by `pool.health.why_not`, which the workers ask too, so what is told here is what they do. Whether
there is money for it, and room in the limits, is another question.

Times are unix seconds throughout: what is kept of the lanes is written in them. Two things only a
worker knows, and they are said in words: how many calls are in flight, and which key a session was
served by before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil

from sqlalchemy.engine import Connection

from aipool.accounts import service as accounts
from aipool.accounts.types import Status as AccountStatus
from aipool.accounts.types import User
from aipool.api_tokens import rules as token_rules
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken, TokenWithOwner
from aipool.catalog import rules as catalog_rules
from aipool.catalog import service as catalog
from aipool.catalog.types import Model, Route
from aipool.groups import service as groups
from aipool.groups.types import Group
from aipool.kit.clock import iso
from aipool.kit.errors import Invalid, NotFound
from aipool.pool import keeping
from aipool.pool import service as pool
from aipool.pool.health import Lane, Status, callable_at, is_due, status_of, why_not
from aipool.pool.types import HealthRow, UpstreamKey, Vendor
from aipool.vendors.types import Ordering
from aipool.wire.limits import Limits

_LaneOf = Callable[[UpstreamKey, str], Lane | None]


@dataclass(frozen=True, slots=True)
class Place:
    """A key in a route. position: in its vendor's order, 1 first.

    turn: when it would be called, 1 first; 0 = not now; keys without priority between them have
    the first of theirs.  why: "" or a stable word for why not.
    says: the same for a person.  until: when it may be called again, "" = it may, or nobody knows.
    waits_seconds: how long it gets to begin with its answer.
    """

    key_id: int
    key: str
    position: int
    turn: int
    why: str
    says: str
    until: str
    waits_seconds: float


@dataclass(frozen=True, slots=True)
class Way:
    """A route. place: in the model's order, 1 first.  why: "" or why no key of it is called.
    order: in which order its keys are tried, in words."""

    place: int
    vendor_id: int
    vendor: str
    upstream_model: str
    groups: tuple[str, ...]
    why: str
    says: str
    order: str
    keys: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """The dry run of a call. refusal: the code a client would get, "" = the call is allowed.

    only_from: addresses it must come from, () = any.  routes: as they would be tried if the call
    was allowed.
    """

    token_id: int
    token: str
    user: str
    group: str
    model: str
    stream: bool
    refusal: str
    says: str
    only_from: tuple[str, ...]
    routes: tuple[Way, ...]


def explain(
    connection: Connection,
    *,
    token_id: int,
    model_name: str,
    stream: bool,
    limits: Limits,
    now_ms: int,
) -> Explained:
    """What would become of a call of this token for this model.

    limits: the installation's. Raises NotFound for a token that does not exist; a model that does
    not exist is what a client can ask for.
    """
    token = api_tokens.get_token(connection, token_id)
    owner = accounts.user_by_id(connection, token.user_id)
    all_groups: dict[int, Group] = {group.id: group for group in groups.list_groups(connection)}
    model = _model(connection, model_name)
    refusal, says = _refusal(token, owner, all_groups.get(token.group_id), model, now_ms)
    routes: tuple[Way, ...] = ()
    if model is not None:
        names = {group_id: group.name for group_id, group in all_groups.items()}
        routes = _Walk(connection, token, names, stream, limits, now_ms).ways(model)
    if routes and not refusal and not any(key.turn for way in routes for key in way.keys):
        refusal, says = "no_available_key", "No upstream key may be called for it now."
    group = all_groups.get(token.group_id)
    return Explained(
        token.id,
        token.name,
        owner.phone,
        group.name if group else "",
        model_name,
        stream,
        refusal,
        says,
        token.ips,
        routes,
    )


# --- may it? ---------------------------------------------------------------------------------


def _model(connection: Connection, name: str) -> Model | None:
    try:
        return catalog.get_model(connection, catalog_rules.model_name(name))
    except (Invalid, NotFound):
        return None


_BLOCKED = {
    "disabled": ("token_disabled", "This API token is disabled."),
    "user_frozen": ("account_frozen", "The account of this API token is frozen."),
}


def _refusal(
    token: ApiToken, owner: User, group: Group | None, model: Model | None, now_ms: int
) -> tuple[str, str]:
    """The code a client would get, and why; both "" when the call is allowed."""
    found = TokenWithOwner(token, owner.status is AccountStatus.ACTIVE)
    blocked = token_rules.why_blocked(found)
    if blocked:
        return _BLOCKED[blocked]
    if token.expires_at and now_ms // 1000 >= token.expires_at:
        return "token_expired", f"This API token has expired at {iso(token.expires_at)}."
    if group is None:
        return "group_not_granted", "The account has lost access to this API token's group."
    if model is None:
        return "model_not_found", "There is no such model."
    if not model.enabled:
        return "model_not_found", "The model is not on sale: it is disabled."
    if group.models is not None and model.name not in group.models:
        return "model_not_allowed", f"The group {group.name} may not call this model."
    if not catalog_rules.is_routed(model, group.id):
        return "model_not_allowed", f"No route serves this model to the group {group.name}."
    if token.models is not None and model.name not in token.models:
        return "model_not_allowed", "This API token may not call this model."
    return "", ""


# --- over which keys? --------------------------------------------------------------------------


class _Walk:
    """All routes of a model for one token, in order; counts the turns."""

    def __init__(
        self,
        connection: Connection,
        token: ApiToken,
        group_names: dict[int, str],
        stream: bool,
        limits: Limits,
        now_ms: int,
    ) -> None:
        self._connection = connection
        self._group_id = token.group_id
        self._group_names = group_names
        self._stream = stream
        self._limits = limits
        self._now = now_ms / 1000
        self._turns = 0
        self._tried: set[int] = set()
        self._vendors: dict[int, Vendor] = {
            vendor.id: vendor for vendor in pool.list_vendors(connection)
        }
        self._lane = _lanes(keeping.health_rows(connection))

    def ways(self, model: Model) -> tuple[Way, ...]:
        """The routes, and when each key of them would be called."""
        return tuple(
            self._way(model, place, route) for place, route in enumerate(model.routes, start=1)
        )

    def _way(self, model: Model, place: int, route: Route) -> Way:
        vendor = self._vendors[route.vendor_id]
        keys = pool.list_keys(self._connection, vendor)
        names = tuple(self._group_names.get(one, str(one)) for one in route.groups)
        why, says = "", ""
        if route.groups and self._group_id not in route.groups:
            why, says = "other_groups", f"limited to {', '.join(names)}"
        elif not keys:
            why, says = "vendor_without_keys", f"the vendor {vendor.name} has no upstream key"
        barred = ("route_not_used", "its route is not used", "")
        found = {
            key.id: barred if why else self._why_not(key, route.upstream_model) for key in keys
        }
        turns = self._take_turns(vendor, route, [key for key in keys if not found[key.id][0]])
        return Way(
            place,
            vendor.id,
            vendor.name,
            route.upstream_model,
            names,
            why,
            says,
            _order(vendor),
            tuple(
                Place(
                    key.id,
                    key.name,
                    position,
                    turns[key.id][0] if key.id in turns else 0,
                    found[key.id][0],
                    turns[key.id][1] if key.id in turns else found[key.id][1],
                    found[key.id][2],
                    self._waits(model, key),
                )
                for position, key in enumerate(keys, start=1)
            ),
        )

    def _take_turns(
        self, vendor: Vendor, route: Route, keys: list[UpstreamKey]
    ) -> dict[int, tuple[int, str]]:
        """When each of these keys would be called, as a number and in words. Without priority
        between them, they share the first of their turns."""
        first, last = self._turns + 1, self._turns + len(keys)
        self._turns = last
        self._tried.update(key.id for key in keys)
        whole = sum(key.settings.weight for key in keys)
        turns: dict[int, tuple[int, str]] = {}
        for turn, key in enumerate(keys, start=first):
            match vendor.ordering:
                case Ordering.PRIORITY:
                    at, says = turn, _at(turn, turn)
                case Ordering.WEIGHTED:
                    share = round(100 * key.settings.weight / whole)
                    at, says = first, f"{_at(first, last)}, first of them in {share} % of the calls"
                case Ordering.LEAST_LATENCY:
                    at = first
                    says = f"{_at(first, last)}, first of them if it answered soonest of late"
            turns[key.id] = at, says + self._remarks(key, route.upstream_model)
        return turns

    def _why_not(self, key: UpstreamKey, upstream_model: str) -> tuple[str, str, str]:
        """Why it is not called now, the same for a person, and until when; all "" when it may
        be."""
        by_people = status_of(
            enabled=key.enabled,
            expires_at=key.expires_at,
            secret_missing=key.secret_missing,
            lane=None,
            unix_now=self._now,
        )
        if key.id in self._tried:
            return "tried_before", _SAYS["tried_before"], ""
        if by_people is not Status.NORMAL:
            why = "secret_missing" if by_people is Status.ERROR else by_people.value
            return why, _SAYS[why], ""
        key_lane, model_lane = self._lane(key, ""), self._lane(key, upstream_model)
        served = key.settings.models
        why = why_not(
            serves=served is None or upstream_model in served,
            expires_at=key.expires_at,
            unix_now=self._now,
            key_lane=key_lane,
            model_lane=model_lane,
            now=self._now,
        )
        lane = model_lane if why.startswith("model_") else key_lane
        if not why or lane is None or why == "model_not_served":
            return why, _SAYS.get(why, why), ""
        again = callable_at(lane)
        if again == float("inf"):
            return why, f"{_SAYS[why]} ({lane.why}), until a person enables it again", ""
        until = iso(ceil(again))
        return why, f"{_SAYS[why]} ({lane.why}), until {until}", until

    def _remarks(self, key: UpstreamKey, upstream_model: str) -> str:
        """What else is to be known of a key that would be called."""
        remarks = ""
        lanes = (self._lane(key, ""), self._lane(key, upstream_model))
        if any(lane is not None and is_due(lane, self._now) for lane in lanes):
            remarks = ", by one call, which finds out whether it is well again"
        if key.settings.concurrency:
            remarks += f", by at most {key.settings.concurrency} calls at a time"
        return remarks

    def _waits(self, model: Model, key: UpstreamKey) -> float:
        """How long this key gets to begin with its answer."""
        own, usual, last = key.settings.timeouts, model.timeouts, self._limits
        if self._stream:
            return own.first_event or usual.first_event or last.first_event_seconds
        return own.first_byte or usual.first_byte or last.first_byte_seconds


_SAYS = {
    "disabled": "disabled by a person",
    "expired": "expired: it can only be deleted",
    "secret_missing": "its secret was dropped when its address changed: enter it again",
    "tried_before": "an earlier route has it: it is asked here only where it lacked just the model",
    "model_not_served": "it does not serve this model by its configuration",
    "cooling": "it rests",
    "exceeded": "its vendor says that its quota is used up",
    "invalid": "its vendor refuses it",
    "model_cooling": "it rests for this model",
    "model_exceeded": "its quota for this model is used up",
    "model_invalid": "its vendor refuses it for this model",
}


def _lanes(rows: Iterable[HealthRow]) -> _LaneOf:
    """Looks up what is known of a key, or of a key with one model, in the key's generation."""
    known = {(row.key_id, row.model): row for row in rows}

    def lane(key: UpstreamKey, model: str) -> Lane | None:
        row = known.get((key.id, model))
        if row is None or row.generation != key.generation:
            return None
        until = row.until_ms / 1000
        return Lane(row.key_id, row.model, row.generation, row.step, row.health, until, row.why)

    return lane


def _order(vendor: Vendor) -> str:
    """In which order the keys of a vendor are tried, in words."""
    words = {
        Ordering.PRIORITY: "in the order of the list",
        Ordering.WEIGHTED: "by chance, by their weights",
        Ordering.LEAST_LATENCY: "by who answered soonest of late, as each worker has seen it",
    }[vendor.ordering]
    if vendor.concurrency:
        words += f", at most {vendor.concurrency} calls at a time over all of them"
    return words


def _at(first: int, last: int) -> str:
    """A turn, or the turns among which one falls."""
    if last == 1:
        return "would be called now"
    if first == last:
        return f"would be called as number {first}, if all before it fail"
    return f"would be called as number {first} to {last}"
