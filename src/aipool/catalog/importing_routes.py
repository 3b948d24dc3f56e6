"""Prices from a list over HTTP: a plan, and the plan carried out (catalog.importing)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from aipool.audit.desk import Acting, Desk, Sent
from aipool.catalog import importing, quoting
from aipool.catalog.importing import Line, Options, Plan, VendorsAt
from aipool.catalog.price_sources import (
    FILE_BYTES_MAX,
    USD,
    Package,
    PriceFile,
    PriceList,
    read_file,
)
from aipool.catalog.proposals import factor
from aipool.catalog.routes import today
from aipool.catalog.schemas import PriceShown, QuoteShown, Shown, price_shown, quote_shown
from aipool.kit.clock import now_ms
from aipool.kit.errors import Invalid

_MODELS_MAX = 10_000
_Name = Annotated[str, Field(max_length=200)]


class ImportSent(Sent):
    """A list of prices and how it becomes ours. file: the text of a JSON file in LiteLLM's form,
    null = the package genai-prices.  file_name: what the file is called.  cny_per_usd: what a
    dollar costs, and rate_on the day that was said, null = today.  models: names, [] = all."""

    file: str | None = Field(default=None, max_length=FILE_BYTES_MAX)
    file_name: str = Field(default="file", min_length=1, max_length=100)
    cny_per_usd: str = Field(max_length=30)
    rate_on: str | None = Field(default=None, max_length=10)
    markup: str = Field(default="1", max_length=30)
    models: list[_Name] = Field(default=[], max_length=_MODELS_MAX)


class ApplySent(ImportSent):
    """The same, and the digest of the plan. confirm: names of the models whose large changes are
    meant."""

    digest: str = Field(min_length=64, max_length=64)
    confirm: list[_Name] = Field(default=[], max_length=_MODELS_MAX)


class CostChangeShown(Shown):
    """What a route costs by the list. place: 1 is tried first."""

    place: int
    before: PriceShown
    after: PriceShown
    quote: QuoteShown


class LineShown(Shown):
    """What would be done with a model. state: change, same, missing (the list does not know it)
    or refused (what it says cannot be a price).  after: null = the sale price stays.  needs: why
    the model must be confirmed, [] = it need not."""

    name: str
    state: str
    locked: bool
    before: PriceShown
    after: PriceShown | None
    quote: QuoteShown
    costs: list[CostChangeShown]
    needs: list[str]
    note: str


class PlanShown(Shown):
    """What would be done. missing: names of the models that the list does not know."""

    source: str
    digest: str
    lines: list[LineShown]
    missing: list[str]


class AppliedShown(Shown):
    """What was done. skipped: what needed to be confirmed and was not."""

    changed: list[str]
    skipped: list[str]


def routes(desk: Desk, vendors_at: VendorsAt) -> APIRouter:
    """The plan, and carrying it out."""
    router = APIRouter(prefix="/api/admin/prices/import", tags=["prices"])

    @router.post("/preview")
    def preview_price_import(sent: ImportSent) -> PlanShown:
        """What a list of prices would change. Nothing is changed."""
        at_ms = now_ms()
        listed, options = _list(sent, at_ms), _options(sent, at_ms)
        with desk.database.read() as connection:
            made = importing.plan(connection, listed, options, vendors_at)
        return plan_shown(made)

    @router.post("/apply", response_model=AppliedShown)
    def apply_price_import(sent: ApplySent, act: Acting) -> Response:
        """Carries out the plan of this digest; 409 when it would be another one by now."""
        listed, options = _list(sent, act.at_ms), _options(sent, act.at_ms)
        with desk.database.write() as tx:
            done = importing.apply(
                tx, act, listed, options, vendors_at, digest=sent.digest, confirmed=sent.confirm
            )
        shown = AppliedShown(changed=list(done.changed), skipped=list(done.skipped))
        return desk.done(tx, shown.model_dump())

    return router


def plan_shown(plan: Plan) -> PlanShown:
    """A plan as it is answered."""
    missing = [line.name for line in plan.lines if line.state is importing.State.MISSING]
    return PlanShown(
        source=plan.source,
        digest=plan.digest,
        lines=[_line_shown(line) for line in plan.lines],
        missing=missing,
    )


def _line_shown(line: Line) -> LineShown:
    return LineShown(
        name=line.name,
        state=line.state.value,
        locked=line.locked,
        before=price_shown(line.sale_before),
        after=None if line.sale_after is None else price_shown(line.sale_after),
        quote=quote_shown(line.quote),
        costs=[
            CostChangeShown(
                place=one.place,
                before=price_shown(one.before),
                after=price_shown(one.after),
                quote=quote_shown(one.quote),
            )
            for one in line.costs
        ],
        needs=list(line.needs),
        note=line.note,
    )


def _list(sent: ImportSent, at_ms: int) -> PriceList:
    """The list that is meant. The day of a file is that of the rate, so that preview and apply
    speak of the same."""
    if sent.file is None:
        return Package(datetime.fromtimestamp(at_ms / 1000, UTC))
    if not sent.file_name.isprintable():
        raise Invalid("invalid_name", "a printable name", field="file_name")
    read: PriceFile = read_file(f"{sent.file_name} {sent.rate_on or today(at_ms)}", sent.file)
    return read


def _options(sent: ImportSent, at_ms: int) -> Options:
    try:
        dollar = quoting.exchange(USD, sent.cny_per_usd, sent.rate_on or today(at_ms))
    except Invalid as problem:
        field = "cny_per_usd" if problem.field == "rate" else problem.field
        raise Invalid(problem.code, problem.message, field=field, params=problem.params) from None
    try:
        markup = factor(sent.markup)
    except Invalid as problem:
        raise Invalid(
            problem.code, problem.message, field="markup", params=problem.params
        ) from None
    return Options(dollar, markup, tuple(sent.models))
