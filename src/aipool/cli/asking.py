"""aipool key test, aipool key balance, aipool vendor models, aipool vendor take"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from aipool.cli.options import DataDir, KeyName, Output, OutputOption, VendorName, parsed
from aipool.cli.output import say, show_record, show_rows

if TYPE_CHECKING:
    from aipool.catalog.proposals import Terms
    from aipool.cli.session import Session
    from aipool.control.asking import Clients, Listing, Subject
    from aipool.control.taking import Choice
    from aipool.pool.offered import Offered
    from aipool.rating.types import Price

T = TypeVar("T")

MODEL_COLUMNS = (
    "model",
    "kind",
    "context",
    "input",
    "cached_input",
    "output",
    "source",
    "taken_as",
)
TAKEN_COLUMNS = ("model", "name", "outcome", "problem")

Key = Annotated[str, typer.Option(help="With which key; default the first that is enabled.")]
Rate = Annotated[str, typer.Option("--cny-per-usd", help="What a dollar costs in CNY.")]
Markup = Annotated[str, typer.Option(help="Proposed prices are the cost times this.")]


def test_key(
    vendor: VendorName,
    name: KeyName,
    model: Annotated[str, typer.Option(help="Which model is called; default one it serves.")] = "",
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Tests a key by the cheapest real call. A good test makes a key normal again."""
    from aipool.cli.session import open_session
    from aipool.control import asking
    from aipool.kit.clock import now_seconds

    with open_session(data_dir) as session:
        subject = _subject(session, vendor, name)
        result = _asked(
            session,
            lambda clients: asking.test_key(clients, subject, unix_now=now_seconds(), model=model),
        )
        if result.ok:
            with session.change() as tx:
                asking.note_test(tx, session.act, subject, result)
    verdict = result.verdict
    record = {
        "ok": result.ok,
        "status": result.status or None,
        "latency_ms": result.latency_ms,
        "url": result.url,
        "model": result.model,
        "verdict": f"{verdict.action.value}: {verdict.why}" if verdict else None,
        "said": result.said,
    }
    show_record(record, output)
    if not result.ok:
        raise typer.Exit(1)


def show_balance(
    vendor: VendorName,
    name: KeyName,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Asks a vendor what is left on the account of a key."""
    from aipool.cli.session import open_session
    from aipool.control import asking

    with open_session(data_dir) as session:
        subject = _subject(session, vendor, name)
        left = _asked(session, lambda clients: asking.ask_balance(clients, subject))
    if left.money is None:
        say(f"aipool: {left.said}")
        raise typer.Exit(1)
    show_record({"balance": left.money.amount, "currency": left.money.currency}, output)


def list_offered(
    vendor: VendorName,
    key: Key = "",
    cny_per_usd: Rate = "",
    markup: Markup = "",
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Lists a vendor's own models with the sale prices that are proposed, in CNY per 1M tokens."""
    from aipool.cli.session import open_session

    terms = _terms(cny_per_usd, markup)
    with open_session(data_dir) as session:
        subject = _subject(session, vendor, key)
        listings = _listings(session, subject, _fetched(session, subject), terms)
    show_rows([_row(listing) for listing in listings], output, MODEL_COLUMNS)


def take(
    vendor: VendorName,
    models: Annotated[
        list[str], typer.Argument(help="What the vendor calls them.", metavar="MODEL...")
    ],
    name: Annotated[str, typer.Option("--as", help="What it is called here; for one model.")] = "",
    proposed: Annotated[
        bool, typer.Option("--proposed", help="As the vendor's list says, at proposed prices.")
    ] = False,
    input_price: Annotated[str | None, typer.Option(help="CNY per 1M input tokens.")] = None,
    cached_input_price: Annotated[
        str | None, typer.Option(help="CNY per 1M cached input tokens; default as input.")
    ] = None,
    output_price: Annotated[str | None, typer.Option(help="CNY per 1M output tokens.")] = None,
    key: Key = "",
    cny_per_usd: Rate = "",
    markup: Markup = "",
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Takes models over from a vendor: each becomes a model here, or one more route of the model
    that has its name."""
    from aipool.cli.session import open_session
    from aipool.control.taking import Outcome, take_over
    from aipool.kit.errors import Invalid

    terms = _terms(cny_per_usd, markup)
    price = _price(input_price, cached_input_price, output_price)
    if name and len(models) != 1:
        raise Invalid("name_not_used", "--as names one model: take the others by themselves")
    with open_session(data_dir) as session:
        subject = _subject(session, vendor, key)
        offered = _wanted(session, subject, tuple(dict.fromkeys(models)), listed=proposed)
        choices = [
            _choice(listing, name, price, proposed=proposed)
            for listing in _listings(session, subject, offered, terms)
        ]
        with session.change() as tx:
            results = take_over(tx, session.act, subject.vendor, choices)
    rows = [
        {
            "model": result.upstream_model,
            "name": result.name,
            "outcome": result.outcome.value,
            "problem": result.problem,
        }
        for result in results
    ]
    show_rows(rows, output, TAKEN_COLUMNS)
    if any(result.outcome is Outcome.REFUSED for result in results):
        raise typer.Exit(1)


# --- asking -------------------------------------------------------------------------------------


def _subject(session: Session, vendor: str, name: str) -> Subject:
    """The key of this name, "" = the first in order that may be called, else the first."""
    from aipool.control.asking import subject_of
    from aipool.kit.errors import NotFound
    from aipool.pool import rules
    from aipool.pool import service as pool

    with session.read() as connection:
        owner = pool.get_vendor(connection, vendor)
        if name:
            key = pool.key_named(connection, owner, name)
        else:
            keys = pool.list_keys(connection, owner)
            if not keys:
                raise NotFound("key_unknown", f"vendor {vendor} has no key", field="key")
            now_ms = session.act.at_ms
            usable = (
                one
                for one in keys
                if one.enabled
                and not one.secret_missing
                and not rules.is_expired(one.expires_at, now_ms)
            )
            key = next(usable, keys[0])
        pool.refuse_expired(key, session.act.at_ms)
        return subject_of(connection, session.secrets.keyring, owner, key)


def _asked(session: Session, ask: Callable[[Clients], Awaitable[T]]) -> T:
    import uvloop

    from aipool.control.asking import open_clients

    async def asked() -> T:
        async with open_clients(session.settings) as clients:
            return await ask(clients)

    return uvloop.run(asked())


def _fetched(session: Session, subject: Subject) -> Sequence[Offered]:
    """The vendor's own list. Raises Invalid when there is none."""
    from aipool.control import asking
    from aipool.kit.clock import now_seconds
    from aipool.kit.errors import Invalid

    fetched = _asked(
        session, lambda clients: asking.fetch_models(clients, subject, unix_now=now_seconds())
    )
    if not fetched.models:
        raise Invalid("models_not_listed", fetched.said, field="models")
    return fetched.models


def _wanted(
    session: Session, subject: Subject, models: Sequence[str], *, listed: bool
) -> Sequence[Offered]:
    """These models. listed: as the vendor's list has them; a vendor without one is believed."""
    from aipool.kit.errors import NotFound
    from aipool.pool.asking import models_question
    from aipool.pool.offered import Offered, kind_of

    if not listed or models_question(subject.target) is None:
        return [Offered(model, kind_of(model)) for model in models]
    by_name = {one.name: one for one in _fetched(session, subject)}
    for model in models:
        if model not in by_name:
            raise NotFound("model_unknown", f"the vendor lists no model {model!r}", field="models")
    return [by_name[model] for model in models]


def _listings(
    session: Session, subject: Subject, offered: Sequence[Offered], terms: Terms
) -> list[Listing]:
    from datetime import UTC, datetime

    from aipool.catalog import service as catalog
    from aipool.control import asking

    with session.read() as connection:
        models = catalog.list_models(connection)
    at = datetime.fromtimestamp(session.act.at_ms / 1000, UTC)
    return asking.listings(subject, offered, models, terms, at)


# --- prices -------------------------------------------------------------------------------------


def _terms(cny_per_usd: str, markup: str) -> Terms:
    from aipool.catalog.proposals import CNY_PER_USD_DEFAULT, MARKUP_DEFAULT, Terms, factor

    return Terms(
        parsed("--cny-per-usd", factor, cny_per_usd) if cny_per_usd else CNY_PER_USD_DEFAULT,
        parsed("--markup", factor, markup) if markup else MARKUP_DEFAULT,
    )


def _price(given: str | None, cached: str | None, answered: str | None) -> Price | None:
    from aipool.catalog import rules
    from aipool.kit.errors import Invalid
    from aipool.rating.types import Price

    if given is None and cached is None and answered is None:
        return None
    if given is None or answered is None:
        raise Invalid("price_incomplete", "--input-price and --output-price go together")
    input_nano = parsed("--input-price", rules.price_nano, given)
    cached_nano = input_nano
    if cached is not None:
        cached_nano = parsed("--cached-input-price", rules.price_nano, cached)
    output_nano = parsed("--output-price", rules.price_nano, answered)
    return Price(0, input_nano, cached_nano, output_nano)


def _choice(listing: Listing, name: str, price: Price | None, *, proposed: bool) -> Choice:
    from aipool.control.taking import Choice

    proposal = listing.proposal
    # A 0 that somebody types is meant; one that is proposed may be a gap in a list.
    free = price is not None and not (price.input_nano and price.output_nano)
    if price is None and proposed and proposal is not None:
        price = proposal.price
    return Choice(
        listing.offered.name,
        name or listing.name,
        listing.offered.kind,
        price,
        proposal.cost if proposal else None,
        listing.context_tokens,
        listing.max_output_tokens,
        free=free,
    )


def _row(listing: Listing) -> dict[str, object]:
    from aipool.kit.money import format_cny

    proposal = listing.proposal
    price = proposal.price if proposal else None
    return {
        "model": listing.offered.name,
        "name": listing.name,
        "kind": listing.offered.kind,
        "context": listing.context_tokens,
        "max_output_tokens": listing.max_output_tokens,
        "input": format_cny(price.input_nano) if price else None,
        "cached_input": format_cny(price.cached_input_nano) if price else None,
        "output": format_cny(price.output_nano) if price else None,
        "source": proposal.listed.source if proposal else None,
        "read_on": proposal.listed.read_on if proposal else None,
        "note": proposal.listed.note if proposal else None,
        "cny_per_usd": str(proposal.cny_per_usd) if proposal and proposal.cny_per_usd else None,
        "taken_as": list(listing.taken_as),
    }
