"""Taking money away, and lowering a limit, while it lies at workers of a running platform."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from aipool.cli.app import app
from aipool.kit.money import format_cny
from tests.platform import Customer, Platform, messages, platform, simple_catalogue, wish
from tests.waiting import eventually

pytestmark = pytest.mark.slow

#: A slice is a third of a worker's share, so two workers soon have most of a small wallet.
CREDIT = "10"


@pytest.fixture(scope="module")
def shop() -> Iterator[Platform]:
    with platform(catalogue=simple_catalogue, workers=2) as running:
        yield running


def aipool(shop: Platform, *words: str, status: int = 0) -> str:
    """A command beside the server; in this process, because starting one takes a second."""
    done = CliRunner().invoke(app, [*words, "--data-dir", str(shop.data_dir)], prog_name="aipool")
    assert done.exit_code == status, done.output
    return done.output


def lent(shop: Platform, budget: str) -> list[int]:
    """What each worker has of a budget."""
    with shop.database.read() as connection:
        query = sa.text("SELECT remaining FROM leases WHERE budget = :budget")
        return [row.remaining for row in connection.execute(query, {"budget": budget})]


def at_both_workers(shop: Platform, customer: Customer, budget: str) -> None:
    """Calls until both workers have some of the budget; connections are spread over them."""

    def called() -> bool:
        assert shop.chat(customer, {"model": "m", **messages()}).status == 200
        return len(lent(shop, budget)) == 2

    eventually(called, "money at both workers")
    made = shop.chat(customer, {"model": "m", **messages()})
    shop.row(made.rid)  # the last of them is in the books


def of(nano: int) -> str:
    """So much less, as it is typed."""
    return f"-{format_cny(nano)}"


def test_all_of_a_wallet_can_be_taken_away_though_it_lies_at_two_workers(shop: Platform) -> None:
    customer = shop.customer(CREDIT)
    at_both_workers(shop, customer, f"wallet:{customer.user_id}")
    wallet = shop.wallet(customer)
    assert wallet.leased_nano > 10**9

    whole = of(wallet.balance_nano)
    said = aipool(shop, "user", "adjust", customer.phone, whole, "--reason", "all of it")

    assert "balance  0" in said
    assert shop.wallet(customer) == (0, 0)
    assert shop.chat(customer, {"model": "m", **messages()}).status == 402


def test_what_a_running_call_holds_stays_and_is_named(shop: Platform) -> None:
    customer = shop.customer(CREDIT)
    at_both_workers(shop, customer, f"wallet:{customer.user_id}")
    slow = {**wish("slow", {"events": 9, "interval": 0.6}, stream=True), "max_tokens": 1000}
    seen = []

    def look(got: bytes) -> bool:
        if b"data:" not in got:
            return False
        whole = of(shop.wallet(customer).balance_nano)
        seen.append(
            aipool(shop, "user", "adjust", customer.phone, whole, "--reason", "x", status=1)
        )
        seen.append(aipool(shop, "user", "adjust", customer.phone, "-9", "--reason", "x"))
        return True

    shop.leave(customer, slow, look)

    refused, done = seen
    assert "CNY cannot be moved: " in refused
    assert "CNY are in running calls, try again when that is over" in refused
    assert "balance" in done


def test_a_worker_that_is_stopped_is_named_as_the_reason(shop: Platform) -> None:
    customer = shop.customer(CREDIT)
    at_both_workers(shop, customer, f"wallet:{customer.user_id}")
    whole = of(shop.wallet(customer).balance_nano)
    stopped = shop.pids("gateway")[0]

    os.kill(stopped, signal.SIGSTOP)
    try:
        said = aipool(shop, "user", "adjust", customer.phone, whole, "--reason", "x", status=1)
    finally:
        os.kill(stopped, signal.SIGCONT)

    assert "at workers of which one does not answer" in said
    assert "balance  0" in aipool(shop, "user", "adjust", customer.phone, whole, "--reason", "x")


def test_more_than_the_balance_is_refused_without_asking_the_workers(shop: Platform) -> None:
    customer = shop.customer(CREDIT)
    at_both_workers(shop, customer, f"wallet:{customer.user_id}")

    said = aipool(shop, "user", "adjust", customer.phone, "-11", "--reason", "x", status=1)

    assert "-11 CNY cannot be moved: the balance is 9.9" in said
    assert sum(lent(shop, f"wallet:{customer.user_id}")) > 10**9


def test_a_lowered_limit_is_not_passed_by_what_lay_at_the_workers(shop: Platform) -> None:
    customer = shop.customer("100", limit_nano=10 * 10**9)
    at_both_workers(shop, customer, f"token:{customer.token_id}")
    assert sum(lent(shop, f"token:{customer.token_id}")) > 10**9

    said = aipool(shop, "token", "set", str(customer.token_id), "--limit", "0.01")

    assert "limit 10 -> 0.01" in said
    assert sum(lent(shop, f"token:{customer.token_id}")) < 10**7
    # Each holds 0.0083 CNY and costs 0.000088.
    calls = [
        shop.chat(customer, {"model": "m", **messages(), "max_tokens": 1000}) for _ in range(40)
    ]
    assert {reply.status for reply in calls} == {200, 402}
    with shop.database.read() as connection:
        row = connection.execute(
            sa.text("SELECT cap, used, frozen FROM budgets WHERE budget = :budget"),
            {"budget": f"token:{customer.token_id}"},
        ).one()
    assert row.used <= row.cap == 10**7
    assert not row.frozen


def test_a_lowered_number_of_calls_a_day_is_not_passed_either(shop: Platform) -> None:
    customer = shop.customer("100")
    aipool(shop, "token", "set", str(customer.token_id), "--requests-per-day", "1000")
    at_both_workers(shop, customer, f"requests:token-{customer.token_id}/day")
    made = len(shop.rows(customer))

    aipool(shop, "token", "set", str(customer.token_id), "--requests-per-day", str(made + 3))

    statuses = [shop.chat(customer, {"model": "m", **messages()}).status for _ in range(6)]
    assert statuses == [200] * 3 + [429] * 3
