"""Changes bite at once, and nothing that dies or restarts is noticed by who is calling."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.platform import (
    CHAT,
    PRICE_YAML,
    Customer,
    Platform,
    charge,
    cny,
    eventually,
    platform,
    simple_catalogue,
    wish,
)

pytestmark = pytest.mark.slow

TINY = {"usage": {"prompt_tokens": 10, "completion_tokens": 10}}


class Lines:
    """A kept-alive connection to each worker."""

    def __init__(self, running: Platform, customer: Customer) -> None:
        self._customer = customer
        self.by_worker: dict[str, http.client.HTTPConnection] = {}
        for _ in range(64):
            line = http.client.HTTPConnection(*running.address, timeout=10)
            worker = ask(line, customer)[1]["x-request-id"][15:25]
            if worker in self.by_worker:
                line.close()
            self.by_worker.setdefault(worker, line)
            if len(self.by_worker) == running.workers:
                return
        raise AssertionError("not every worker was met")

    def ask(self, **more: Any) -> list[tuple[int, dict[str, str], bytes]]:
        """The same call at each worker."""
        return [ask(line, self._customer, **more) for line in self.by_worker.values()]

    def statuses(self) -> list[int]:
        return [status for status, _, _ in self.ask()]

    def close(self) -> None:
        for line in self.by_worker.values():
            line.close()


def ask(
    line: http.client.HTTPConnection, customer: Customer, **more: Any
) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps(wish("changes", TINY, max_tokens=20) | more)
    line.request("POST", CHAT, body, {"authorization": f"Bearer {customer.token}"})
    response = line.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return response.status, headers, response.read()


def test_a_disabled_token_is_refused_by_the_very_next_call_everywhere(town: Platform) -> None:
    customer = town.customer()
    lines = Lines(town, customer)
    assert "every worker acts on it" in town.cli("token", "disable", str(customer.token_id))
    assert lines.statuses() == [401, 401]
    assert "every worker acts on it" in town.cli("token", "enable", str(customer.token_id))
    assert lines.statuses() == [200, 200]
    assert "every worker acts on it" in town.cli("token", "delete", str(customer.token_id), "--yes")
    assert lines.statuses() == [401, 401]
    lines.close()


def test_a_disabled_user_is_refused_everywhere(town: Platform) -> None:
    customer = town.customer()
    lines = Lines(town, customer)

    assert "every worker acts on it" in town.cli("user", "disable", customer.phone)

    assert lines.statuses() == [401, 401]
    lines.close()


def test_a_new_list_of_addresses_holds_at_once(town: Platform) -> None:
    customer = town.customer()
    lines = Lines(town, customer)
    file = town.run_dir / "ips.yaml"
    for ips, wanted in (("203.0.113.0/24", 403), ("127.0.0.0/8", 200)):
        file.write_text(f"tokens: [{{user: '{customer.phone}', name: t, ips: [{ips}]}}]")
        assert "every worker acts on it" in town.cli("apply", str(file))
        assert lines.statuses() == [wanted, wanted]
    lines.close()


def test_a_new_price_is_charged_from_the_very_next_call(town: Platform) -> None:
    customer = town.customer()
    lines = Lines(town, customer)
    file = town.run_dir / "price.yaml"
    model = "models: [{{name: m, context: 100000, max_output_tokens: 1000, price: {}, "
    model += "routes: [{{vendor: v0}}]}}]"
    for price, nano in (("{input: 4, output: 16}", 2), (PRICE_YAML, 1)):
        file.write_text(model.format(price))
        assert "every worker acts on it" in town.cli("apply", str(file))
        for status, headers, _ in lines.ask():
            assert status == 200
            assert headers["x-aipool-charge"] == cny(nano * charge((10, 10)))
    lines.close()


def test_a_key_that_is_disabled_is_not_used_any_more(town: Platform) -> None:
    customer = town.customer()
    lines = Lines(town, customer)
    assert "every worker acts on it" in town.cli("key", "disable", "v0", "a")
    try:
        before = len(town.vendors[0].books)
        assert lines.statuses() == [200, 200]
        used = {entry.key for entry in town.vendors[0].books.entries[before:]}
        assert used == {"sk-canary-v0-b-0123456789"}
    finally:
        town.cli("key", "enable", "v0", "a")
    lines.close()


def test_money_that_comes_in_can_be_spent_at_once(town: Platform) -> None:
    customer = town.customer(0)
    reply = town.chat(customer, wish("poor", TINY))
    assert reply.status == 402

    town.cli("user", "adjust", customer.phone, "1", "--reason", "test")

    lines = Lines(town, customer)
    assert lines.statuses() == [200, 200]
    lines.close()


@pytest.mark.parametrize("number", range(4))
def test_a_wallet_worth_one_hold_admits_one_call_and_its_rest_is_spent_anywhere(
    town: Platform, number: int
) -> None:
    half = {"usage": {"prompt_tokens": 0, "completion_tokens": 500}, "delay": 0.2}
    body = wish(f"one-hold-{number}", half, max_tokens=1_000)
    hold = len(json.dumps(body)) * 2_000 + 1_000 * 8_000
    customer = town.customer(hold)
    statuses: list[int] = []

    def call() -> None:
        statuses.append(town.chat(customer, body).status)

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [200] + [402] * 15
    left = hold - 500 * 8_000
    eventually(lambda: town.wallet(customer) == (left, 0), "the rest is back")
    lines = Lines(town, customer)
    assert lines.statuses() == [200, 200]
    lines.close()


@contextmanager
def traffic(running: Platform, customer: Customer, threads: int = 4) -> Iterator[list[Any]]:
    """Calls without pause, on kept connections that are left when the server says so. Gives
    what did not go well."""
    bad: list[Any] = []
    done = [0] * threads
    stop = threading.Event()

    def work(index: int) -> None:
        line = http.client.HTTPConnection(*running.address, timeout=15)
        while not stop.is_set():
            try:
                status, headers, body = ask(line, customer, stream=index % 2 == 1)
            except (OSError, http.client.HTTPException) as error:
                bad.append(repr(error))
                line.close()
                continue
            if status != 200 or (index % 2 and not body.endswith(b"[DONE]\n\n")):
                bad.append((status, body))
            done[index] += 1
            if headers.get("connection") == "close":
                line.close()
        line.close()

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    try:
        eventually(lambda: min(done) > 3, "traffic flows")
        yield bad
        reached = list(done)
        eventually(
            lambda: all(now > then + 3 for now, then in zip(done, reached, strict=True)),
            "traffic still flows",
        )
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def test_workers_are_rolled_under_load_without_a_failed_request(town: Platform) -> None:
    customer = town.customer("100")
    before = town.pids("gateway")
    assert town.process is not None
    with traffic(town, customer) as bad:
        town.process.send_signal(signal.SIGHUP)
        eventually(lambda: "every worker has been replaced" in town.log, "the roll", 30)
        eventually(
            lambda: len(now := town.pids("gateway")) == 2 and not set(now) & set(before),
            "the old workers are gone",
            30,
        )
    assert bad == []


def test_without_the_ledger_process_calls_go_on(town: Platform) -> None:
    customer = town.customer("100")
    lines = Lines(town, customer)
    lines.close()
    (ledger,) = town.pids("books")
    with traffic(town, customer) as bad:
        os.kill(ledger, signal.SIGKILL)
        eventually(
            lambda: len(town.pids("books")) == 1 and town.pids("books") != [ledger],
            "a new ledger process",
        )
        time.sleep(1)
    assert bad == []
    rid = town.chat(customer, wish("after", TINY)).rid
    assert town.row(rid).charged_nano == charge((10, 10))


def test_without_control_calls_go_on_and_people_get_a_page(town: Platform) -> None:
    customer = town.customer("100")
    (control,) = town.pids("control")
    os.kill(control, signal.SIGSTOP)
    try:
        with traffic(town, customer) as bad:
            os.kill(control, signal.SIGKILL)
            page = eventually(
                lambda: reply if (reply := town.ask("GET", "/")).status == 503 else None,
                "the page of a control process that is down",
            )
            assert page.headers["content-type"].startswith("text/html")
            assert int(page.headers["retry-after"]) >= 1
        assert bad == []
    finally:
        eventually(lambda: town.ask("GET", "/").status == 200, "control is back")


def test_workers_that_are_killed_are_replaced_and_their_calls_recovered(town: Platform) -> None:
    customer = town.customer()
    wishes = {"events": 4_000, "interval": 0.001, "word": " word" * 5}
    body = wish("killed", wishes, stream=True, max_tokens=90_000)

    reader = threading.Thread(
        target=lambda: _quietly(lambda: town.leave(customer, body, lambda _: False))
    )
    reader.start()
    served = town.vendors[0].books
    eventually(
        lambda: any(entry.tokens_sent > 1_000 for entry in served.marked("killed")),
        "the stream is well under way",
    )
    time.sleep(0.5)  # its progress is journaled every quarter of a second
    for pid in town.pids("gateway"):
        os.kill(pid, signal.SIGKILL)
    reader.join()
    town.recovered += 1

    row = eventually(
        lambda: next((row for row in town.rows(customer) if row.recovered), None),
        "the call is recovered",
    )
    entry = town.vendors[0].one("killed")
    assert 0 < row.output_tokens <= entry.tokens_sent
    assert row.charged_nano == charge((row.input_tokens, row.output_tokens))
    assert row.charged_nano <= row.hold_nano
    eventually(lambda: _serves(town, customer), "the workers are back")
    eventually(lambda: len(town.pids("gateway")) == 2, "both workers are back")


def _quietly(watch: Any) -> None:
    try:
        watch()
    except (AssertionError, OSError):
        pass  # the connection was lost with the worker


def _serves(running: Platform, customer: Customer) -> bool:
    try:
        return running.chat(customer, wish("back", TINY)).status == 200
    except OSError:
        return False


def test_a_server_that_is_told_to_end_finishes_what_it_has_begun() -> None:
    with platform(catalogue=simple_catalogue, workers=2) as running:
        customer, books = running.customer(), running.vendors[0].books
        replies: list[Any] = []
        bodies = [
            wish("drain-stream", {"events": 60, "interval": 0.02}, stream=True),
            wish("drain-whole", {"delay": 1.0}),
        ]
        threads = [
            threading.Thread(target=lambda body=body: replies.append(running.chat(customer, body)))
            for body in bodies
        ]
        for thread in threads:
            thread.start()
        left = wish("drain-left", {"delay": 1.5})  # its client does not wait
        running.leave(customer, left, lambda _: books.marked("drain-left"))
        eventually(
            lambda: books.marked("drain-stream") and books.marked("drain-whole"), "all have begun"
        )

        assert running.stop() == 0

        for thread in threads:
            thread.join()
        assert sorted(reply.status for reply in replies) == [200, 200]
        assert any(reply.events[-1:] == [b"[DONE]"] for reply in replies)
        assert running.vendors[0].one("drain-left").phase == "completed"
        rows = running.rows(customer)
        assert sorted(row.status for row in rows) == [200, 200, 499]
        assert all(row.charged_nano > 0 for row in rows)
