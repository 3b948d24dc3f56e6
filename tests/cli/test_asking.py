"""Keys are tested and models are taken over from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from aipool.cli.app import app
from aipool.pool import service as pool
from aipool.pool.types import KeyTerms
from tests.control.asked import SmallVendor, small_vendor
from tests.platform import platform
from tests.world import open_world

SECRET = "sk-canary-0123456789abcdefghij"
Run = Callable[..., Result]


@pytest.fixture
def vendor() -> Iterator[SmallVendor]:
    with small_vendor() as made:
        yield made


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `aipool …` on an installation of its own; fails on a traceback, and on a secret."""
    monkeypatch.setenv("AIPOOL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("AIPOOL_PRIVATE_UPSTREAMS", "127.0.0.0/8")
    with open_world(tmp_path):
        pass
    runner = CliRunner()

    def invoke(*words: str, stdin: str = "") -> Result:
        result = runner.invoke(app, list(words), input=stdin, prog_name="aipool")
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        assert SECRET not in result.output
        return result

    return invoke


def create(run: Run, base_url: str, vendor_type: str = "openai_compatible") -> None:
    words = ("--type", vendor_type, "--base-url", base_url, "--api-key-stdin")
    made = run("vendor", "create", "small", *words, stdin=f"{SECRET}\n")
    assert made.exit_code == 0, made.output


def said(result: Result, exit_code: int = 0) -> Any:
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def refused(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("aipool: ")
    return result.stderr


PRICED = {
    "id": "a/talker",
    "context_length": 4096,
    "pricing": {"prompt": "0.000001", "completion": "0.000002"},
}


def test_a_good_key_is_told_with_what_was_called(run: Run, vendor: SmallVendor) -> None:
    vendor.serves("m")
    create(run, vendor.base_url)

    record = said(run("key", "test", "small", "key1", "-o", "json"))

    assert (record["ok"], record["status"], record["model"]) == (True, 200, "m")
    assert record["url"] == f"{vendor.base_url}/chat/completions"
    assert "pong" not in record["said"]


def test_a_bad_key_ends_with_status_1_and_its_verdict(run: Run, vendor: SmallVendor) -> None:
    words = f"Incorrect API key provided: {SECRET}"
    vendor.says("/v1/chat/completions", 401, {"error": {"message": words}})
    create(run, vendor.base_url)

    record = said(run("key", "test", "small", "key1", "--model", "m", "-o", "json"), exit_code=1)

    assert record["verdict"] == "invalid: credential_refused"
    assert record["said"] == "Incorrect API key provided: [removed]"


def test_a_private_address_that_is_not_listed_any_more_is_not_called(
    run: Run, vendor: SmallVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(run, vendor.base_url)
    monkeypatch.delenv("AIPOOL_PRIVATE_UPSTREAMS")

    record = said(run("key", "test", "small", "key1", "--model", "m", "-o", "json"), exit_code=1)

    assert "AIPOOL_PRIVATE_UPSTREAMS" in record["said"]
    assert vendor.books == []


def test_a_balance_is_told_or_why_not(run: Run, vendor: SmallVendor) -> None:
    infos = [{"currency": "CNY", "total_balance": "110.00"}]
    vendor.says("/user/balance", 200, {"is_available": True, "balance_infos": infos})
    create(run, f"http://127.0.0.1:{vendor.port}", "deepseek")

    told = said(run("key", "balance", "small", "key1", "-o", "json"))
    vendor.says("/user/balance", 401, {"error": {"message": f"who is {SECRET}?"}})

    assert told == {"balance": "110.00", "currency": "CNY"}
    assert "who is [removed]?" in refused(run("key", "balance", "small", "key1"))


def test_models_are_listed_with_proposed_prices_and_taken_over_by_them(
    run: Run, vendor: SmallVendor
) -> None:
    vendor.says("/v1/models", 200, {"data": [PRICED, {"id": "painter-image"}]})
    create(run, vendor.base_url)

    before = said(run("vendor", "models", "small", "-o", "json"))
    taken = said(run("vendor", "take", "small", "a/talker", "--proposed", "-o", "json"))
    (model,) = said(run("model", "list", "-o", "json"))
    own = ("--cny-per-usd", "7", "--markup", "1.1")
    after = said(run("vendor", "models", "small", *own, "-o", "json"))

    assert [(row["model"], row["kind"], row["output"]) for row in before] == [
        ("a/talker", "chat", "14.4"),
        ("painter-image", "image", None),
    ]
    assert [row["outcome"] for row in taken] == ["created"]
    assert (model["name"], model["input"], model["output"]) == ("a/talker", "7.2", "14.4")
    assert (model["context"], model["routes"]) == (4096, ["small/a/talker"])
    assert (after[0]["taken_as"], after[0]["cny_per_usd"]) == (["a/talker"], "7")
    assert (after[0]["input"], after[0]["output"]) == ("7.7", "15.4")


def test_a_model_is_taken_over_under_another_name_at_ones_own_price_without_asking(
    run: Run, vendor: SmallVendor
) -> None:
    create(run, vendor.base_url)

    words = ("--as", "mine", "--input-price", "1", "--output-price", "2", "-o", "json")
    (row,) = said(run("vendor", "take", "small", "theirs", *words))
    (model,) = said(run("model", "list", "-o", "json"))

    assert row["outcome"] == "created"
    assert (model["name"], model["routes"], model["cached_input"]) == (
        "mine",
        ["small/theirs"],
        "1",
    )
    assert vendor.books == []


def test_what_cannot_be_taken_over_is_told_line_by_line(run: Run, vendor: SmallVendor) -> None:
    create(run, vendor.base_url)

    words = ("--input-price", "1", "--output-price", "2", "-o", "json")
    rows = said(run("vendor", "take", "small", "talker", "sora-2", *words), exit_code=1)
    (unpriced,) = said(run("vendor", "take", "small", "other", "-o", "json"), exit_code=1)

    assert [(row["model"], row["outcome"]) for row in rows] == [
        ("talker", "created"),
        ("sora-2", "refused"),
    ]
    assert "needs a sale price" in unpriced["problem"]


def test_slips_are_refused_in_one_line(run: Run, vendor: SmallVendor) -> None:
    vendor.says("/v1/models", 200, {"data": [PRICED]})
    create(run, vendor.base_url)

    assert "there is no vendor" in refused(run("key", "test", "nobody", "key1"))
    assert "has no key" in refused(run("key", "test", "small", "nokey"))
    take = ("vendor", "take", "small")
    assert "lists no model 'absent'" in refused(run(*take, "absent", "--proposed"))
    assert "--as names one model" in refused(run(*take, "a", "b", "--as", "c"))
    assert "go together" in refused(run(*take, "a", "--input-price", "1"))
    assert "--markup" in refused(run(*take, "a", "--markup", "-1"))
    vendor.says("/v1/models", 503, {"error": {"message": "come back later"}})
    assert "come back later" in refused(run("vendor", "models", "small"))


@pytest.mark.slow
def test_a_model_that_was_taken_over_is_called_and_charged_for() -> None:
    with platform() as running:
        session, base_url = running.session(), running.vendors[0].base_url
        with session.change() as tx:
            made, _ = pool.put_vendor(
                tx,
                session.act,
                session.vet,
                name="small",
                vendor_type="openai_compatible",
                base_url=base_url,
            )
            terms = KeyTerms("k", SECRET)
            pool.create_key(tx, session.act, session.secrets.keyring, session.vet, made, terms)
        tested = running.cli("key", "test", "small", "k")
        prices = ("--input-price", "2", "--output-price", "8")
        taken = running.cli("vendor", "take", "small", "fake-model", "--as", "talker", *prices)
        customer = running.customer()

        said = [{"role": "user", "content": "hello"}]
        reply = running.chat(customer, {"model": "talker", "messages": said, "max_tokens": 10})

        assert f"{base_url}/chat/completions" in tested
        assert "every worker acts on it" in taken
        assert reply.status == 200
        row = running.newest(customer)
        assert row.model == "talker"
        assert row.charged_nano > 0
