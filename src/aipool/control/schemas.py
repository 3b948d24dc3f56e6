"""The shapes on the wire of what the control process does across slices (see pool.schemas)."""

from __future__ import annotations

from pydantic import Field

from aipool.audit.desk import Sent, Shown
from aipool.calls.types import KeyStats
from aipool.catalog.proposals import Proposal
from aipool.catalog.schemas import PriceSent, PriceShown, price_shown
from aipool.control.asking import Fetched, Left, Listing
from aipool.control.taking import Outcome, Result
from aipool.kit.clock import iso_ms
from aipool.kit.money import format_cny
from aipool.pool.asking import KeyTest
from aipool.pool.shown import KeyListedShown, Moment, listed_shown
from aipool.pool.types import KeyListed
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


class ChoiceSent(Sent):
    """A model that is taken over. name: "" = as the vendor calls it.  price: what it is sold for,
    null = as it is sold already.  free: what it has no price for costs nothing.  groups: names of
    those that the route is limited to."""

    upstream_model: str = Field(max_length=_SHORT_MAX)
    name: str = Field(default="", max_length=_SHORT_MAX)
    kind: str = Field(default="chat", max_length=_SHORT_MAX)
    price: PriceSent | None = None
    cost: PriceSent | None = None
    free: bool = False
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    groups: list[str] = []


class TakeSent(Sent):
    """The models that are chosen."""

    models: list[ChoiceSent]


# --- what is shown --------------------------------------------------------------------------------


class KeyStatsShown(KeyListedShown):
    """A key with how it fares and what the log of calls knows of it, in its life."""

    resolved_url: str = Field(description="The whole address of chat completions.")
    used_tokens: int
    input_tokens: int
    output_tokens: int
    cost: str = Field(description="CNY.")
    calls: int
    failures: int
    error_rate: float | None = Field(
        description="Of its calls in the last 24 hours, from 0 to 1; null: there were none."
    )
    last_used_at: Moment | None
    last_error: str
    last_error_at: Moment | None


class KeysShown(Shown):
    """A page of keys, in the order of trying."""

    keys: list[KeyStatsShown]
    total: int


class VerdictShown(Shown):
    """What a failure means."""

    action: str
    why: str
    scope: str
    seconds: float | None


class TestShown(Shown):
    """How a test of a key went."""

    # pytest takes classes by their name.
    __test__ = False

    ok: bool
    status: int = Field(description="0: there was no answer.")
    latency_ms: int
    url: str
    model: str
    verdict: VerdictShown | None
    said: str
    healed: bool = Field(description="What calls had shown of the key is void by it.")


class MoneyShown(Shown):
    """A balance at a vendor, as it says it."""

    amount: str
    currency: str


class BalanceShown(Shown):
    """What is left on a key's account."""

    balance: MoneyShown | None = Field(description="null: the vendor did not say; see `said`.")
    status: int
    latency_ms: int
    said: str


class BulkResult(Shown):
    """What became of one of many keys. ok: it was done, or the test went well."""

    id: int
    ok: bool
    code: str = Field(default="", description="Of a refusal.")
    message: str = ""
    test: TestShown | None = None


class BulkShown(Shown):
    """What became of each key."""

    results: list[BulkResult]


class ProposalShown(Shown):
    """What a model might cost and be sold for."""

    cost: PriceShown
    price: PriceShown
    source: str
    read_on: str
    note: str
    cny_per_usd: str | None


class ListingShown(Shown):
    """A model that a vendor lists."""

    upstream_model: str
    kind: str
    name: str = Field(description="What it might be called here.")
    context_tokens: int | None
    max_output_tokens: int | None
    taken_as: list[str] = Field(description="Models that call it already.")
    proposal: ProposalShown | None


class FetchedShown(Shown):
    """A vendor's own list of models; empty when it gave none, and `said` tells why."""

    status: int
    latency_ms: int
    url: str
    verdict: VerdictShown | None
    said: str
    models: list[ListingShown]


class TakenResult(Shown):
    """What became of one choice."""

    upstream_model: str
    name: str
    outcome: Outcome
    code: str = Field(default="", description="Of a refusal.")
    field: str = ""
    message: str = ""


class TakenShown(Shown):
    """What became of each choice."""

    models: list[TakenResult]


def key_stats_shown(listed: KeyListed, resolved_url: str, stats: KeyStats) -> KeyStatsShown:
    """A key with what the log of calls knows of it."""
    rate = stats.day_failures / stats.day_tries if stats.day_tries else None
    return KeyStatsShown(
        **dict(listed_shown(listed)),
        resolved_url=resolved_url,
        used_tokens=stats.input_tokens + stats.output_tokens,
        input_tokens=stats.input_tokens,
        output_tokens=stats.output_tokens,
        cost=format_cny(stats.cost_nano),
        calls=stats.tries,
        failures=stats.failures,
        error_rate=None if rate is None else round(rate, 4),
        last_used_at=_moment(stats.last_at_ms),
        last_error=stats.last_error,
        last_error_at=_moment(stats.last_error_at_ms),
    )


def test_shown(result: KeyTest, *, healed: bool) -> TestShown:
    """How a test went."""
    return TestShown(
        ok=result.ok,
        status=result.status,
        latency_ms=result.latency_ms,
        url=result.url,
        model=result.model,
        verdict=_verdict(result.verdict),
        said=result.said,
        healed=healed,
    )


def balance_shown(left: Left) -> BalanceShown:
    """What is left on a key's account."""
    money = MoneyShown(**left.money._asdict()) if left.money is not None else None
    return BalanceShown(
        balance=money, status=left.status, latency_ms=left.latency_ms, said=left.said
    )


def fetched_shown(fetched: Fetched, listings: list[Listing]) -> FetchedShown:
    """A vendor's own list of models."""
    return FetchedShown(
        status=fetched.status,
        latency_ms=fetched.latency_ms,
        url=fetched.url,
        verdict=_verdict(fetched.verdict),
        said=fetched.said,
        models=list(map(_listing, listings)),
    )


def taken_shown(result: Result) -> TakenResult:
    """What became of a choice."""
    return TakenResult(
        upstream_model=result.upstream_model,
        name=result.name,
        outcome=result.outcome,
        code=result.code,
        field=result.field,
        message=result.problem,
    )


def _listing(listing: Listing) -> ListingShown:
    return ListingShown(
        upstream_model=listing.offered.name,
        kind=listing.offered.kind,
        name=listing.name,
        context_tokens=listing.context_tokens,
        max_output_tokens=listing.max_output_tokens,
        taken_as=list(listing.taken_as),
        proposal=None if listing.proposal is None else _proposal(listing.proposal),
    )


def _proposal(proposal: Proposal) -> ProposalShown:
    rate = proposal.cny_per_usd
    return ProposalShown(
        cost=price_shown(proposal.cost),
        price=price_shown(proposal.price),
        source=proposal.listed.source,
        read_on=proposal.listed.read_on,
        note=proposal.listed.note,
        cny_per_usd=None if rate is None else str(rate),
    )


def _verdict(verdict: Verdict | None) -> VerdictShown | None:
    if verdict is None:
        return None
    return VerdictShown(
        action=verdict.action.value,
        why=verdict.why,
        scope=verdict.scope.value,
        seconds=verdict.seconds,
    )


def _moment(milliseconds: int) -> str | None:
    return iso_ms(milliseconds) if milliseconds else None
