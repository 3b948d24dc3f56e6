"""Sessions keep their key while it is well."""

from __future__ import annotations

import pytest

from aipool.gateway import affinity
from aipool.gateway.affinity import Affinity, Session, session_of


def test_a_long_name_is_cut() -> None:
    assert session_of(1, "m", b"x" * 1000) == Session(1, "m", b"x" * 200)


def test_a_session_prefers_the_key_that_served_it_last() -> None:
    sessions = Affinity(60.0)
    session = Session(1, "m", b"s")
    assert sessions.preferred(session, 0.0) == 0

    sessions.served(session, 7, 0.0)
    sessions.served(session, 8, 10.0)

    assert sessions.preferred(session, 69.9) == 8
    assert sessions.preferred(session, 70.0) == 0


def test_sessions_of_others_are_others() -> None:
    sessions = Affinity(60.0)
    sessions.served(Session(1, "m", b"s"), 7, 0.0)

    assert sessions.preferred(Session(2, "m", b"s"), 0.0) == 0
    assert sessions.preferred(Session(1, "n", b"s"), 0.0) == 0


def test_the_session_that_was_quiet_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "SESSIONS_MAX", 3)
    sessions = Affinity(60.0)
    for number in (1, 2, 3, 1, 4):
        sessions.served(Session(number, "m", b"s"), number, 0.0)

    assert len(sessions) == 3
    assert [sessions.preferred(Session(number, "m", b"s"), 0.0) for number in (1, 2, 3, 4)] == [
        1, 0, 3, 4,
    ]  # fmt: skip
