"""Passwords are hashed in threads that give way to calls, and that do not stay."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from aipool.accounts import passwords


@pytest.mark.skipif(sys.platform != "linux", reason="a priority is a process's there")
def test_s_07_a_hash_gives_way_and_whoever_asked_for_it_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    niceness: list[int] = []

    class Hasher:
        def hash(self, password: str) -> str:
            niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return password

        def verify(self, _hash: str, password: str) -> bool:
            self.hash(password)
            return True

    monkeypatch.setattr(passwords, "_hasher", Hasher())
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), threading.active_count()

    passwords.hash_password("violet harbour 93")
    assert passwords.password_matches("its hash", "violet harbour 93")
    assert niceness == [19, 19]
    after = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), threading.active_count()
    assert after == before


def test_what_is_no_hash_is_no_match() -> None:
    assert not passwords.password_matches("no hash", "violet harbour 93")
    made = passwords.hash_password("violet harbour 93")
    assert passwords.password_matches(made, "violet harbour 93")
    assert not passwords.password_matches(made, "violet harbour 94")
