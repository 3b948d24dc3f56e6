"""A catalogue and tokens for tests of what is decided by them."""

from __future__ import annotations

from typing import Any

from aipool.doors.snapshot import (
    GroupView,
    KeyView,
    ModelView,
    RouteView,
    Snapshot,
    TokenView,
    VendorView,
)
from aipool.gateway.board import Board
from aipool.gateway.catalogue import Catalogue
from aipool.gateway.tokens import Token
from aipool.pool.health import HealthRules, Report
from aipool.rating.types import Price
from aipool.vendors.types import KeySettings

PRICE = Price(1, 2_000_000_000, 500_000_000, 8_000_000_000)
COST = Price(2, 1, 1, 1)
DEFAULT, VIP = 1, 2


def model(name: str, *routes: RouteView, price: Price = PRICE, **other: Any) -> ModelView:
    shape = {"context_tokens": 100_000, "max_output_tokens": 1_000, **other}
    return ModelView(1, name, "chat", 5, price=price, routes=routes, **shape)


def route(vendor_id: int, upstream: str = "m", *groups: int) -> RouteView:
    return RouteView(vendor_id, upstream, COST, groups)


def snapshot(*models: ModelView) -> Snapshot:
    """Two vendors with two keys and one, a group of everything and one of `m` alone."""
    return Snapshot(
        9,
        (GroupView(DEFAULT, "default", 1_000_000, None), GroupView(VIP, "vip", 800_000, ("m",))),
        (
            VendorView(
                1,
                "one",
                "openai",
                "https://api.one.test/v1",
                (
                    KeyView(11, "a", "sk-one-a"),
                    KeyView(12, "b", "sk-one-b", settings=KeySettings(proxy="http://proxy:1")),
                ),
            ),
            VendorView(2, "two", "openai_compatible", "http://[::1]:8080", (KeyView(21, "c", ""),)),
        ),
        models or (model("m", route(1), route(2, "theirs")), model("other", route(2, "theirs"))),
    )


class Clock:
    """The monotonic clock and the time of day, in the test's hand."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.offset = 1_800_000_000.0

    def unix(self) -> float:
        return self.now + self.offset


class Boards:
    """A board, what it reports, and its clock."""

    def __init__(self, *, place: int = 0, rules: HealthRules | None = None) -> None:
        self.clock = Clock()
        self.reports: list[Report] = []
        self.board = Board(
            rules or HealthRules(),
            place=place,
            tell=lambda said: self.reports.extend(said.reports),
            now=lambda: self.clock.now,
            unix_now=self.clock.unix,
            chance=lambda: 0.0,
        )


def catalogue(*models: ModelView, boards: Boards | None = None) -> Catalogue:
    board = (boards or Boards()).board
    return Catalogue(snapshot(*models), board, lambda name: f"/run/{name}")


def view(**other: Any) -> TokenView:
    """A token that may do everything, but for what is said."""
    shape: dict[str, Any] = {
        "id": 7,
        "user_id": 3,
        "group_id": DEFAULT,
        "name": "t",
        "expires_at": 0,
        "models": None,
        "ips": (),
        "budgets": ("wallet:3", "token:7"),
        "blocked": "",
        **other,
    }
    return TokenView(**shape)


def token(**other: Any) -> Token:
    return Token(view(**other))
