"""The shapes on the wire of what the control process does across slices (see pool.schemas)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from aipool.audit.desk import Sent
from aipool.calls.types import KeyStats
from aipool.catalog.schemas import price_shown
from aipool.control.asking import Fetched, Left, Listing
from aipool.control.taking import Result
from aipool.kit.clock import iso_ms
from aipool.kit.money import format_cny
from aipool.pool.asking import KeyTest
from aipool.vendors.types import Verdict

_SHORT_MAX = 300


class TestSent(Sent):
    """How a key is tested. model: the name in a route, "" = the first that there is."""

    # pytest takes classes by their name.
    __test__ = False

    model: str = Field(default="", max_length=_SHORT_MAX)


class FetchSent(Sent):
    """What published prices become: CNY for a dollar, and the sale price as a multiple of the
    cost, both decimal texts. key: with which of the vendor's keys it is asked, null = the default
    one."""

    key: int | None = None
    cny_per_usd: str | None = Field(default=None, max_length=_SHORT_MAX)
    markup: str | None = Field(default=None, max_length=_SHORT_MAX)


class PriceSent(Sent):
    """CNY per 1,000,000 tokens, decimal texts. cached_input: null = as input."""

    input: str = Field(max_length=_SHORT_MAX)
    output: str = Field(max_length=_SHORT_MAX)
    cached_input: str | None = Field(default=None, max_length=_SHORT_MAX)


class ChoiceSent(Sent):
    """A model that is taken over. name: "" = as the vendor calls it.  price: what it is sold for,
    null = as it is sold already.  groups: names of those that the route is limited to."""

    upstream_model: str = Field(max_length=_SHORT_MAX)
    name: str = Field(default="", max_length=_SHORT_MAX)
    kind: str = Field(default="chat", max_length=_SHORT_MAX)
    price: PriceSent | None = None
    cost: PriceSent | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    groups: list[str] = []


class TakeSent(Sent):
    """The models that are chosen."""

    models: list[ChoiceSent]


def stats_shown(stats: KeyStats) -> dict[str, Any]:
    """What the log of calls knows of a key. error_rate: of its calls in the last 24 hours, from
    0 to 1, null = there were none.  used_tokens, calls, failures: in its life."""
    rate = stats.day_failures / stats.day_tries if stats.day_tries else None
    return {
        "used_tokens": stats.input_tokens + stats.output_tokens,
        "input_tokens": stats.input_tokens,
        "output_tokens": stats.output_tokens,
        "cost": format_cny(stats.cost_nano),
        "calls": stats.tries,
        "failures": stats.failures,
        "error_rate": None if rate is None else round(rate, 4),
        "last_used_at": _moment(stats.last_at_ms),
        "last_error": stats.last_error,
        "last_error_at": _moment(stats.last_error_at_ms),
    }


def test_shown(result: KeyTest, *, healed: bool) -> dict[str, Any]:
    """How a test went. healed: what calls had shown of the key is void by it."""
    return {
        "ok": result.ok,
        "status": result.status,
        "latency_ms": result.latency_ms,
        "url": result.url,
        "model": result.model,
        "verdict": _verdict(result.verdict),
        "said": result.said,
        "healed": healed,
    }


def balance_shown(left: Left) -> dict[str, Any]:
    """What is left on a key's account; balance null = the vendor did not say, and `said` why."""
    return {
        "balance": left.money._asdict() if left.money is not None else None,
        "status": left.status,
        "latency_ms": left.latency_ms,
        "said": left.said,
    }


def fetched_shown(fetched: Fetched, listings: list[Listing]) -> dict[str, Any]:
    """A vendor's own list of models; empty when it gave none, and `said` tells why."""
    return {
        "status": fetched.status,
        "latency_ms": fetched.latency_ms,
        "url": fetched.url,
        "verdict": _verdict(fetched.verdict),
        "said": fetched.said,
        "models": [_listing(one) for one in listings],
    }


def taken_shown(result: Result) -> dict[str, Any]:
    """What became of a choice."""
    shown: dict[str, Any] = {
        "upstream_model": result.upstream_model,
        "name": result.name,
        "outcome": result.outcome.value,
    }
    if result.code:
        shown |= {"code": result.code, "field": result.field, "message": result.problem}
    return shown


def _listing(listing: Listing) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "upstream_model": listing.offered.name,
        "kind": listing.offered.kind,
        "name": listing.name,
        "context_tokens": listing.context_tokens,
        "max_output_tokens": listing.max_output_tokens,
        "taken_as": list(listing.taken_as),
        "proposal": None,
    }
    proposal = listing.proposal
    if proposal is not None:
        rate = proposal.cny_per_usd
        shown["proposal"] = {
            "cost": price_shown(proposal.cost),
            "price": price_shown(proposal.price),
            "source": proposal.listed.source,
            "read_on": proposal.listed.read_on,
            "note": proposal.listed.note,
            "cny_per_usd": None if rate is None else str(rate),
        }
    return shown


def _verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "action": verdict.action.value,
        "why": verdict.why,
        "scope": verdict.scope.value,
        "seconds": verdict.seconds,
    }


def _moment(milliseconds: int) -> str | None:
    return iso_ms(milliseconds) if milliseconds else None
