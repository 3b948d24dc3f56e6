"""Asks vendors outside of calls: tests a key, fetches its models, asks for its balance.

What is asked and how an answer is read is `pool.asking`; here it is carried out, over the same
client as the gateway's and with the same guard: addresses are vetted at every connection, a
redirect is an answer like any other, and an answer is bounded in bytes and in time. For the control
process and for the command line.

Nobody is called in a transaction: what is needed is read first (`subject_of`), and what a good test
means for the key is written after it (`note_test`). A failed test changes nothing: people decide.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy.engine import Connection

from aipool.audit.types import Act
from aipool.catalog import proposals
from aipool.catalog import service as catalog
from aipool.catalog.proposals import Proposal, Terms
from aipool.catalog.types import Model
from aipool.config import Settings
from aipool.installation import owner_of
from aipool.kit.db import Transaction
from aipool.kit.outbound import Vet
from aipool.kit.sealing import Keyring
from aipool.pool import asking
from aipool.pool import service as pool
from aipool.pool.asking import Answer, KeyTest, Question, Target
from aipool.pool.health import Health
from aipool.pool.offered import CHAT, Offered, read_models
from aipool.pool.targets import target_of
from aipool.pool.types import UpstreamKey, Vendor
from aipool.vendors.failures import classify
from aipool.vendors.types import Keyword, Money, Verdict
from aipool.wire.client import Failure, FailureKind, HttpClient, Origin

#: In all, connecting included: a person waits.
ASK_SECONDS = 20.0
#: Thousands of models with a page of fields each.
ANSWER_BYTES_MAX = 4 << 20


# --- carrying it out --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Clients:
    """secure, plain: for https and http, each with its guard.  run: where the sockets of the
    platform are, None when none runs."""

    secure: HttpClient
    plain: HttpClient
    run: Path | None


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """Clients for as long as the block runs."""
    limits = replace(settings.limits, answer_bytes=ANSWER_BYTES_MAX)
    vet = Vet(settings.private_upstreams)
    secure = HttpClient(limits, tls=_tls(settings.upstream_ca_file), vet=vet.encrypted)
    plain = HttpClient(limits, vet=vet.plain, sweep=secure.sweep)
    owner = owner_of(settings.data_dir)
    try:
        yield Clients(secure, plain, owner.run_directory.path if owner else None)
    finally:
        await plain.close()
        await secure.close()


async def ask(clients: Clients, target: Target, question: Question) -> Answer:
    """Asks once. Never raises for what the other side does: see `Answer.failure`."""
    origin = _origin(clients, target)
    if origin is None:
        return Answer(0, {}, b"", 0, "The sandbox answers only while the platform runs.")
    loop = asyncio.get_running_loop()
    listener = _Listener(loop.create_future())
    began = loop.time()
    request = (clients.secure if origin.tls else clients.plain).request(
        origin,
        asking.head_of(target, question),
        question.body,
        listener,
        first_byte_seconds=ASK_SECONDS,
        idle_seconds=ASK_SECONDS,
        total_seconds=ASK_SECONDS,
    )
    try:
        ended = await listener.ended
    finally:
        request.cancel()
    latency_ms = round((loop.time() - began) * 1000)
    if isinstance(ended, Failure):
        return Answer(0, {}, b"", latency_ms, _words(ended, origin))
    if listener.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        words = "The answer is compressed, although it was asked for as it is."
        return Answer(0, {}, b"", latency_ms, words)
    return Answer(listener.status, listener.headers, ended, latency_ms)


class _Listener:
    """Collects an answer."""

    __slots__ = ("ended", "headers", "status")

    def __init__(self, ended: asyncio.Future[bytes | Failure]) -> None:
        self.ended = ended
        self.status = 0
        self.headers: dict[bytes, bytes] = {}

    def response(self, status: int, headers: dict[bytes, bytes], /) -> bool:
        """The head; the body is collected whole."""
        self.status, self.headers = status, headers
        return False

    def data(self, _chunk: bytes, /) -> None:
        """Nothing is streamed."""

    def complete(self, body: bytes, /) -> None:
        """The whole answer is there."""
        if not self.ended.done():
            self.ended.set_result(body)

    def failed(self, failure: Failure, /) -> None:
        """There will be none."""
        if not self.ended.done():
            self.ended.set_result(failure)


def _origin(clients: Clients, target: Target) -> Origin | None:
    url = urlsplit(target.base_url)
    socket, tls = target.traits.socket, url.scheme == "https"
    if socket is not None and clients.run is None:
        return None
    return Origin(
        host=url.hostname or "",
        port=url.port or (443 if tls else 80),
        tls=tls,
        unix_path=str(clients.run / socket) if socket and clients.run else None,
        proxy=target.settings.proxy or None,
    )


_KINDS = {
    FailureKind.CONNECT: "No connection",
    FailureKind.TLS: "No encrypted connection",
    FailureKind.TIMEOUT_CONNECT: "No connection in time",
    FailureKind.TIMEOUT_FIRST_BYTE: f"No answer within {ASK_SECONDS:g} seconds",
    FailureKind.TIMEOUT_IDLE: "The answer stopped coming",
    FailureKind.TIMEOUT_TOTAL: f"No whole answer within {ASK_SECONDS:g} seconds",
    FailureKind.RESET: "The connection broke",
    FailureKind.TRUNCATED: "The answer ended in the middle",
    FailureKind.PROTOCOL: "The answer is no HTTP",
    FailureKind.TOO_LARGE: f"The answer has more than {ANSWER_BYTES_MAX} bytes",
}


def _words(failure: Failure, origin: Origin) -> str:
    if failure.kind is FailureKind.BLOCKED_ADDRESS:
        how = "" if origin.tls else " over plain http"
        return (
            f"{origin.host}{how} is not public: list its network in AIPOOL_PRIVATE_UPSTREAMS "
            "if that is meant."
        )
    return f"{_KINDS[failure.kind]}: {failure.detail}."


def _tls(ca_file: Path | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=str(ca_file))
    return context


# --- what is asked about ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subject:
    """An upstream key to ask with, as it was at one moment.

    routed: the names in routes of its vendor that it serves, in the order of the catalogue.
    keywords: the operator's own lines of the table of failures.
    """

    vendor: Vendor
    key: UpstreamKey
    target: Target
    routed: tuple[str, ...]
    keywords: tuple[Keyword, ...]


def subject_of(
    connection: Connection, keyring: Keyring, vendor: Vendor, key: UpstreamKey
) -> Subject:
    """All that asking with this key needs, its secret included. Raises Conflict for a key
    whose secret was dropped."""
    served = key.settings.models
    routed = dict.fromkeys(
        route.upstream_model
        for model in catalog.list_models(connection)
        for route in model.routes
        if route.vendor_id == vendor.id and (served is None or route.upstream_model in served)
    )
    keywords = tuple(stored.keyword for stored in pool.list_keywords(connection))
    target = target_of(connection, keyring, vendor, key)
    return Subject(vendor, key, target, tuple(routed), keywords)


# --- testing a key --------------------------------------------------------------------------------


async def test_key(
    clients: Clients, subject: Subject, *, unix_now: float, model: str = ""
) -> KeyTest:
    """Makes the cheapest real call: of this model, else of the first that a route of the vendor
    has for this key, else of the first of the vendor's own list."""
    if not model and subject.routed:
        model = subject.routed[0]
    if not model:
        fetched = await fetch_models(clients, subject, unix_now=unix_now)
        model = next((one.name for one in fetched.models if one.kind == CHAT), "")
        if not model:
            words = fetched.said or "The vendor lists no chat model: name one to test with."
            return KeyTest(
                False, fetched.status, fetched.latency_ms, fetched.url, "", fetched.verdict, words
            )
    question = asking.test_question(subject.target, model)
    answer = await ask(clients, subject.target, question)
    return asking.read_test(subject.target, model, answer, subject.keywords, unix_now=unix_now)


def note_test(tx: Transaction, act: Act, subject: Subject, result: KeyTest) -> bool:
    """What a good test means: the key is as good as new, whatever calls had shown of it. True =
    something was known of it that is void now."""
    if not result.ok:
        return False
    if not any(key.id == subject.key.id for key in pool.list_keys(tx.connection, subject.vendor)):
        return False
    listed = pool.list_key(tx.connection, subject.key, at_ms=act.at_ms)
    well = listed.health is None or listed.health.health is Health.NORMAL
    if well and not listed.models:
        return False
    return pool.clear_health(tx, act, subject.key, why="test_passed")


# --- its models -----------------------------------------------------------------------------------


class Fetched(NamedTuple):
    """The vendor's own list. models: () when there is none, and `said` tells why.
    verdict: what such an answer to a call would mean."""

    models: tuple[Offered, ...]
    status: int
    latency_ms: int
    url: str
    verdict: Verdict | None = None
    said: str = ""


class Listing(NamedTuple):
    """A model to choose. name: what it might be called here.  proposal: None when nothing is
    published of it.  taken_as: the models that have a route to it already."""

    offered: Offered
    name: str
    context_tokens: int | None
    max_output_tokens: int | None
    proposal: Proposal | None
    taken_as: tuple[str, ...]


async def fetch_models(clients: Clients, subject: Subject, *, unix_now: float) -> Fetched:
    """Asks for the list of models."""
    target = subject.target
    question = asking.models_question(target)
    if question is None:
        return Fetched((), 0, 0, "", None, f"{target.traits.title} has no list of models.")
    answer = await ask(clients, target, question)
    url = asking.shown_url(target, question)
    models = read_models(answer.body) if answer.status == 200 else None
    if models is not None:
        words = "" if models else "The vendor's list of models is empty."
        return Fetched(tuple(models), answer.status, answer.latency_ms, url, None, words)
    verdict = None
    if answer.status >= 400:
        verdict = classify(
            target.traits,
            answer.status,
            answer.headers,
            answer.body,
            subject.keywords,
            unix_now=unix_now,
        )
    words = asking.said(target, answer)
    return Fetched((), answer.status, answer.latency_ms, url, verdict, words)


def listings(
    subject: Subject,
    offered: Sequence[Offered],
    models: Sequence[Model],
    terms: Terms,
    at: datetime,
) -> list[Listing]:
    """What is offered, with what is known beside it. at: now, in UTC.

    Takes up to some seconds for a long list: not for an event loop.
    """
    taken: dict[str, list[str]] = {}
    for model in models:
        for route in model.routes:
            if route.vendor_id == subject.vendor.id:
                taken.setdefault(route.upstream_model, []).append(model.name)
    return [_listing(subject, one, taken.get(one.name, []), terms, at) for one in offered]


def _listing(
    subject: Subject, offered: Offered, taken_as: Sequence[str], terms: Terms, at: datetime
) -> Listing:
    name = offered.name.removeprefix("models/")  # as Gemini writes them
    listed = None
    if offered.price is not None:
        listed = proposals.told(offered.price, subject.target.traits.title)
    elif offered.kind == CHAT:
        listed = proposals.published(subject.target.base_url, name, at)
    return Listing(
        offered,
        name,
        offered.context_tokens or (listed.context_tokens if listed else None),
        offered.max_output_tokens or (listed.max_output_tokens if listed else None),
        proposals.propose(listed, terms) if listed else None,
        tuple(taken_as),
    )


# --- its balance ----------------------------------------------------------------------------------


class Left(NamedTuple):
    """What is left on the account of a key. money: None when the vendor did not say, and `said`
    tells why."""

    money: Money | None
    status: int
    latency_ms: int
    said: str = ""


async def ask_balance(clients: Clients, subject: Subject) -> Left:
    """Asks what is left."""
    target = subject.target
    question = asking.balance_question(target)
    if question is None:
        return Left(None, 0, 0, f"{target.traits.title} tells no balance.")
    answer = await ask(clients, target, question)
    money = asking.read_balance(target, answer)
    words = "" if money is not None else asking.said(target, answer)
    return Left(money, answer.status, answer.latency_ms, words)
