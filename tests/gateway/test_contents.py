"""What is said in a call is kept where the token's owner wants it, and nowhere else."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from aipool.calls import contents
from aipool.calls.types import Said
from aipool.control.contents import sweep
from aipool.doors.contents import TEXT_BYTES_MAX
from aipool.gateway.contents import Keeping
from aipool.kit.clock import now_ms
from aipool.kit.sealing import load_keyring
from tests.chats import messages, wish
from tests.platform import Platform, eventually, platform, simple_catalogue

DAY_MS = 86_400_000
MARKER = "the-marker-of-a-prompt"


def test_what_is_too_long_is_cut_and_says_so() -> None:
    keeping = Keeping(b"r" * (TEXT_BYTES_MAX + 1))
    for _ in range(3):
        keeping.add(b"a" * (TEXT_BYTES_MAX // 2))

    content = keeping.content("req_1", 7, 1, 1_000, 2)

    assert (len(content.request), content.request_cut) == (TEXT_BYTES_MAX, True)
    assert (len(content.answer), content.answer_cut) == (TEXT_BYTES_MAX, True)
    assert content.expires_at_ms == 1_000 + 2 * DAY_MS


def test_what_is_short_is_whole() -> None:
    keeping = Keeping(b"{}")
    keeping.add(b"one ")
    keeping.add(b"two")

    content = keeping.content("req_1", 7, 1, 0, 1)

    assert (content.request, content.request_cut) == (b"{}", False)
    assert (content.answer, content.answer_cut) == (b"one two", False)


# --- against the whole platform -----------------------------------------------------------------


def said_in(running: Platform, rid: str, user_id: int, at_ms: int | None = None) -> Said | None:
    keyring = load_keyring(running.data_dir)
    with running.database.read() as connection:
        return contents.get(connection, keyring, rid, user_id=user_id, now_ms=at_ms or now_ms())


def on_disk(folder: Path, marker: str) -> list[str]:
    """The files that have this text in them."""
    wanted = marker.encode()
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and wanted in path.read_bytes()
    ]


@pytest.mark.slow
def test_only_what_is_asked_for_is_kept_sealed_and_for_its_time() -> None:
    with platform(catalogue=simple_catalogue) as running:
        keeper = running.customer("10", content_days=2)
        other = running.customer("10")
        whole = running.chat(keeper, {"model": "m", **messages(MARKER)})
        stream = running.chat(keeper, wish(MARKER, {}, stream=True))
        silent = running.chat(other, {"model": "m", **messages(MARKER)})
        running.row(silent.rid)

        first = eventually(lambda: said_in(running, whole.rid, keeper.user_id), "kept")
        second = eventually(lambda: said_in(running, stream.rid, keeper.user_id), "kept")

        assert MARKER in first.request
        assert first.answer.encode() == whole.body
        assert "data: [DONE]" in second.answer
        assert not first.answer_cut
        assert said_in(running, whole.rid, other.user_id) is None
        assert said_in(running, silent.rid, other.user_id) is None
        assert said_in(running, whole.rid, keeper.user_id, now_ms() + 2 * DAY_MS + 60_000) is None
        assert on_disk(running.data_dir, MARKER) == [], "nothing of it lies open"

        sweep(running.database, now_ms() + 3 * DAY_MS)
        assert said_in(running, whole.rid, keeper.user_id) is None


@pytest.mark.slow
def test_calls_go_on_while_nobody_takes_what_is_said() -> None:
    with platform(catalogue=simple_catalogue) as running:
        keeper = running.customer("10", content_days=1)
        (control,) = running.pids("control")
        os.kill(control, signal.SIGKILL)
        reply = running.chat(keeper, {"model": "m", **messages("lost")})
        assert reply.status == 200
        time.sleep(2.5)
        later = running.chat(keeper, {"model": "m", **messages("kept again")})

        kept = eventually(lambda: said_in(running, later.rid, keeper.user_id), "kept")
        assert "kept again" in kept.request
