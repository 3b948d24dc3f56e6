"""Who tries too often waits, longer each time, and works; owners elsewhere do not."""

from __future__ import annotations

import pytest

from aipool.accounts import throttle
from aipool.accounts.proof import BITS_LEAST, BITS_MAX
from aipool.accounts.throttle import FREE_TRIES, Throttle, Try, Visits, network_of
from aipool.kit.errors import TooMany

MINE = Try("+8613800138001", "203.0.113.7")


def failed(throttle: Throttle, tried: Try, now: float, times: int = 1) -> None:
    for _ in range(times):
        throttle.enter(tried, now)


def test_the_first_tries_are_free_and_then_each_waits_twice_as_long() -> None:
    counting = Throttle()
    failed(counting, MINE, 0.0, FREE_TRIES)

    now, waits = 0.0, []
    for _ in range(12):
        with pytest.raises(TooMany) as refused:
            counting.enter(MINE, now)
        waits.append(refused.value.wait_seconds)
        now += waits[-1] + 0.001
        failed(counting, MINE, now)
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == throttle.WAIT_SECONDS_MAX


def test_a_try_that_was_refused_does_not_count() -> None:
    counting = Throttle()
    failed(counting, MINE, 0.0, FREE_TRIES)
    for _ in range(100):
        with pytest.raises(TooMany):
            counting.enter(MINE, 0.5)

    failed(counting, MINE, 1.01)


def test_work_is_asked_for_after_five_tries_and_grows() -> None:
    counting = Throttle()
    failed(counting, MINE, 0.0, FREE_TRIES - 1)
    assert counting.bits(MINE, 0.0) == 0
    failed(counting, MINE, 0.0)

    assert counting.bits(MINE, 0.0) == BITS_LEAST
    now = 0.0
    for _ in range(60):
        now += throttle.WAIT_SECONDS_MAX + 1
        failed(counting, MINE, now)
    assert counting.bits(MINE, now) == BITS_MAX


def test_who_gets_in_is_not_hindered_after() -> None:
    counting = Throttle()
    failed(counting, MINE, 0.0, FREE_TRIES)
    counting.succeeded(MINE)

    failed(counting, MINE, 0.0)
    assert counting.bits(MINE, 0.0) == 0


def test_a_known_browser_has_a_lane_of_its_own() -> None:
    counting = Throttle()
    owner = Try(MINE.account, MINE.network, "7.device")
    failed(counting, MINE, 0.0, FREE_TRIES)

    assert counting.bits(owner, 0.0) == 0
    failed(counting, owner, 0.0, FREE_TRIES)
    with pytest.raises(TooMany):
        counting.enter(owner, 0.0)


def test_one_network_that_tries_many_accounts_waits_and_works() -> None:
    counting = Throttle()
    for number in range(throttle.FREE_TRIES_OF_NETWORK):
        failed(counting, Try(f"account {number}", MINE.network), 0.0)

    next_one = Try("another", MINE.network)
    assert counting.bits(next_one, 0.0) >= BITS_LEAST
    with pytest.raises(TooMany):
        counting.enter(next_one, 0.0)
    failed(counting, Try("another", "198.51.100.1"), 0.0)


def test_many_networks_that_try_many_accounts_make_everybody_work() -> None:
    counting = Throttle()
    stranger = Try("new", "new")
    for number in range(throttle.FREE_TRIES_OF_ALL):
        assert counting.bits(stranger, 0.0) == 0
        failed(counting, Try(f"account {number}", f"network {number}"), 0.0)

    assert counting.bits(stranger, 0.0) == BITS_LEAST
    for number in range(10_000):
        failed(counting, Try(f"more {number}", f"more {number}"), 1.0)
    assert counting.bits(stranger, 1.0) == BITS_MAX
    assert counting.bits(stranger, 700.0) == 0


def test_those_who_are_forgotten_first_had_the_fewest_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(throttle, "KEYS_MAX", 8)
    counting = Throttle()
    failed(counting, MINE, 0.0, FREE_TRIES)
    for number in range(1000):
        counting.enter(Try(f"account {number}", f"network {number}"), 0.5)

    with pytest.raises(TooMany):
        counting.enter(MINE, 0.5)
    assert len(counting._accounts._tries) <= 8


def test_tries_are_forgotten_after_half_a_day() -> None:
    counting = Throttle()
    failed(counting, MINE, 0.0, FREE_TRIES)

    failed(counting, MINE, throttle.FORGET_SECONDS, FREE_TRIES)


def test_visits_of_a_network_ask_for_work_and_then_wait() -> None:
    visits = Visits(free=2, free_of_wait=4)
    seen = []
    for _ in range(4):
        seen.append(visits.bits("net", 0.0) > 0)
        visits.enter("net", 0.0)

    assert seen == [False, False, True, True]
    with pytest.raises(TooMany):
        visits.enter("net", 0.0)
    visits.enter("other", 0.0)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_a_network_is_an_address_or_a_house_with_ipv6(address: str, network: str) -> None:
    assert network_of(address) == network
