"""What a model might cost."""

from __future__ import annotations

import builtins
import socket
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from aipool.catalog import proposals
from aipool.catalog.proposals import Listed, ListPrice, Terms, factor, propose, published
from aipool.kit.errors import Invalid
from aipool.kit.money import PRICE_NANO_MAX
from aipool.rating.types import Price

AT = datetime(2026, 11, 22, 2, tzinfo=UTC)


def listed(*amounts: str, currency: str = "CNY") -> Listed:
    given, cached, answered = map(Decimal, amounts)
    return Listed(ListPrice(given, cached, answered, currency), "somebody")


def test_a_price_in_yuan_is_taken_as_it_is() -> None:
    made = propose(listed("2", "0.04", "8"), Terms(cny_per_usd=Decimal(9)))

    assert made is not None
    assert made.cost == Price(0, 2_000_000_000, 40_000_000, 8_000_000_000)
    assert made.price == made.cost
    assert made.cny_per_usd is None


def test_a_price_in_dollars_becomes_yuan_and_says_at_which_rate() -> None:
    made = propose(listed("0.15", "0.075", "0.6", currency="USD"), Terms())

    assert made is not None
    assert made.cost == Price(0, 1_080_000_000, 540_000_000, 4_320_000_000)
    assert made.cny_per_usd == Decimal("7.2")


def test_nothing_is_rounded_down() -> None:
    terms = Terms(cny_per_usd=Decimal("7.123456789"), markup=Decimal("1.000000001"))
    made = propose(listed("0.000000001", "0.1", "0.3333333333", currency="USD"), terms)

    assert made is not None
    assert made.cost == Price(0, 8, 712_345_679, 2_374_485_597)
    assert made.price == Price(0, 9, 712_345_680, 2_374_485_600)


def test_a_markup_is_taken_on_the_cost() -> None:
    made = propose(listed("2", "0.5", "8"), Terms(markup=Decimal("1.25")))

    assert made is not None
    assert made.price == Price(0, 2_500_000_000, 625_000_000, 10_000_000_000)


def test_a_price_that_cannot_be_stored_is_no_proposal() -> None:
    assert propose(listed("1000000", "0", "0"), Terms()) is not None
    assert propose(listed("1000000.000000001", "0", "0"), Terms()) is None
    assert propose(listed("10001", "0", "0"), Terms(markup=Decimal(100))) is None
    assert PRICE_NANO_MAX == 10**15


@pytest.mark.parametrize("text", ["", "0", "-1", "1e2", "101", "7,2", "NaN", "٣", "1" * 50])
def test_a_factor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        factor(text)


def test_a_factor_is_exact() -> None:
    assert factor("7.123456789") == Decimal("7.123456789")


# --- the file -------------------------------------------------------------------------------------


def test_every_line_of_the_file_has_a_source_a_day_and_a_price() -> None:
    hosts = proposals._listed_prices()

    assert set(hosts) >= {"api.deepseek.com", "open.bigmodel.cn", "api.minimaxi.com"}
    for models in hosts.values():
        for name, one in models.items():
            assert name == name.lower()
            assert one.source.startswith("https://")
            assert date.fromisoformat(one.read_on) <= AT.date()
            assert one.price.currency == "CNY"
            assert 0 < one.price.cached_input <= one.price.input < one.price.output
            assert propose(one, Terms()) is not None


@pytest.mark.parametrize(
    ("base_url", "model", "known"),
    [
        ("https://api.deepseek.com/v1", "deepseek-v4-pro", True),
        ("https://api.deepseek.com", "DeepSeek-V4-Pro", True),
        ("https://ark.cn-beijing.volces.com/api/v3", "doubao-seed-2-1-pro-260915", True),
        ("https://api.deepseek.com/v1", "deepseek-v4-pro-2026-08-13", True),
        ("https://api.deepseek.com/v1", "deepseek-v4-pro-max", False),
        ("https://api.deepseek.com.evil.example/v1", "deepseek-v4-pro", False),
        ("http://127.0.0.1:8000/v1", "deepseek-v4-pro", False),
    ],
)
def test_the_file_knows_a_model_by_its_vendors_host_and_its_name(
    base_url: str, model: str, known: bool
) -> None:
    assert (proposals.published_in_yuan(base_url, model) is not None) is known


# --- the package ----------------------------------------------------------------------------------


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("somebody called out")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_the_package_knows_prices_in_dollars_without_calling_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_network(monkeypatch)

    found = published("https://api.openai.com/v1", "gpt-4o", AT)

    assert found is not None
    assert found.price == ListPrice(Decimal("2.5"), Decimal("1.25"), Decimal(10), "USD")
    assert found.source.startswith("genai-prices ")
    assert found.context_tokens == 128_000


def test_a_price_that_depends_on_the_hour_is_the_dearest_whatever_time_it_is() -> None:
    prices = [
        proposals._from_package("https://api.deepseek.com/v1", "deepseek-v4-pro", at)
        for at in (AT, AT.replace(hour=20))
    ]

    assert prices[0] is not None
    assert prices[0] == prices[1]
    assert prices[0].price.output == Decimal("3.96")
    assert "dearest hour" in prices[0].note


def test_a_price_that_begins_on_a_day_is_not_told_before() -> None:
    base_url = "https://api.z.ai/api/paas/v4"
    before = published(base_url, "glm-5.3-flash", datetime(2026, 9, 1, tzinfo=UTC))
    after = published(base_url, "glm-5.3-flash", AT)

    assert before is not None
    assert after is not None
    assert (before.price.input, after.price.input) == (Decimal("0.075"), Decimal("0.15"))


def test_a_price_that_grows_with_the_request_says_so() -> None:
    base_url = "https://generativelanguage.googleapis.com/v1beta/openai"

    found = published(base_url, "gemini-2.5-pro", AT)

    assert found is not None
    assert "long requests cost more" in found.note


@pytest.mark.parametrize(
    ("base_url", "model"),
    [
        ("https://api.openai.com/v1", "no-such-model-at-all"),
        ("http://127.0.0.1:8000/v1", "gpt-4o"),
        ("https://api.openai.com/v1", "dall-e-3"),
        ("", ""),
    ],
)
def test_what_nobody_publishes_has_no_price(base_url: str, model: str) -> None:
    assert published(base_url, model, AT) is None


def test_what_costs_something_for_each_call_besides_is_not_proposed_by_its_tokens() -> None:
    assert published("https://api.perplexity.ai", "sonar", AT) is None


def test_without_the_package_the_file_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def without(name: str, *args: Any, **named: Any) -> Any:
        if name.startswith("genai_prices"):
            raise ImportError(name)
        return importing(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", without)

    assert published("https://api.openai.com/v1", "gpt-4o", AT) is None
    assert published("https://api.deepseek.com/v1", "deepseek-flash", AT) is not None
