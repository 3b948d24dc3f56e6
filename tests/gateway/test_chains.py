"""Which budgets a call must fit, and which of their windows."""

from __future__ import annotations

from aipool.doors.snapshot import CallLimits, GroupView, TokenView
from aipool.gateway.chains import chain_of

DAY = 20_773  # Monday, 2026-11-16


def token(*budgets: str, limits: CallLimits = CallLimits()) -> TokenView:  # noqa: B008
    return TokenView(7, 3, 2, "t", 0, None, (), ("wallet:3", *budgets), "", limits)


def group(each_user: CallLimits = CallLimits(), whole: CallLimits = CallLimits()) -> GroupView:  # noqa: B008
    return GroupView(2, "g", 1_000_000, None, each_user, whole)


def test_each_budget_of_money_stands_with_the_window_of_the_day() -> None:
    view = token("token:7", "token:7/day", "token:7/week#2", "token:7/month", "token:7/life#1")

    assert chain_of(view, group(), DAY) == [
        ("wallet:3", 0, 0),
        ("token:7", 0, 0),
        ("token:7/day", DAY, 0),
        ("token:7/week#2", 2968, 0),
        ("token:7/month", 2026 * 12 + 10, 0),
        ("token:7/life#1", 0, 0),
    ]


def test_limits_of_calls_belong_to_the_user_in_the_group_to_the_group_and_to_the_token() -> None:
    view = token(limits=CallLimits(concurrency=1))
    of = group(CallLimits(requests_per_day=5), CallLimits(requests_per_day=50, concurrency=9))

    assert chain_of(view, of, DAY)[1:] == [
        ("requests:group-2-user-3/day", DAY, 5),
        ("requests:group-2/day", DAY, 50),
        ("concurrency:group-2", 0, 9),
        ("concurrency:token-7", 0, 1),
    ]


def test_a_group_that_is_gone_limits_nothing() -> None:
    assert chain_of(token(), None, DAY) == [("wallet:3", 0, 0)]
