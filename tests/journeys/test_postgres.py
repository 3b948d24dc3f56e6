"""The platform on PostgreSQL: the same calls, the same charges, the same books."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from aipool.kit.db import open_database
from tests import postgres
from tests.chats import messages
from tests.platform import Customer, Platform, eventually, platform, simple_catalogue
from tests.postgres import Server
from tests.world import prepared

pytestmark = pytest.mark.slow

BODY = {"model": "m", **messages("hello")}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of their own, which they stop and start."""
    made = Server()
    made.start()
    yield made
    made.remove()


def prepared_on(server: Server) -> str:
    url = server.url(server.create())
    database = open_database(url)
    prepared(database)
    database.close()
    return url


def charged(running: Platform, customer: Customer) -> str:
    """A call that went well; its id."""
    reply = running.chat(customer, BODY)
    assert reply.status == 200, reply
    return reply.headers["x-request-id"]


def test_a_call_is_charged_once_and_the_books_agree() -> None:
    with (
        postgres.fresh(prepared) as url,
        platform(
            catalogue=simple_catalogue, workers=2, environment={"AIPOOL_DATABASE_URL": url}
        ) as running,
    ):
        customer = running.customer("10", limit_nano=5_000_000_000)

        row = running.row(charged(running, customer))

        assert row.charged_nano > 0
        assert running.moved(row.rid) == {"usage": row.charged_nano}
        assert running.wallet(customer).balance_nano == 10_000_000_000 - row.charged_nano
        assert "The books agree." in running.cli("ledger", "verify")
        assert not (running.data_dir / "aipool.db").exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_while_the_server_is_away_calls_go_on_and_nothing_is_lost(
    server: Server, how: signal.Signals
) -> None:
    url = prepared_on(server)
    with platform(catalogue=simple_catalogue, environment={"AIPOOL_DATABASE_URL": url}) as running:
        customer = running.customer("10")
        before = [charged(running, customer)]
        (books,) = running.pids("books")
        server.stop(how)
        try:
            away = [charged(running, customer) for _ in range(3)]
            said = running.cli("user", "list", status=1)
            page = running.ask("GET", "/setup")
        finally:
            server.start()

        assert "cannot be reached" in said
        assert len(said.splitlines()) == 1
        assert page.status == 503
        assert all(running.row(rid).charged_nano > 0 for rid in [*before, *away])
        assert running.pids("books") == [books]
        running.wallet(customer)


def test_a_ledger_process_that_starts_while_the_server_is_away_waits_for_it(
    server: Server,
) -> None:
    url = prepared_on(server)
    with platform(catalogue=simple_catalogue, environment={"AIPOOL_DATABASE_URL": url}) as running:
        customer = running.customer("10")
        charged(running, customer)
        (books,) = running.pids("books")
        server.stop()
        try:
            os.kill(books, signal.SIGKILL)
            eventually(lambda: "database_unreachable" in running.log, "it says that it waits")
            (waiting,) = running.pids("books")
            away = charged(running, customer)
        finally:
            server.start()

        assert running.row(away).charged_nano > 0
        assert running.pids("books") == [waiting]
        charged(running, running.customer("10"))
