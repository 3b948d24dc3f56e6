"""Clock, request ids, names, and what a log line must not hold."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from aipool.kit import clock, digests, logging
from aipool.kit.errors import Invalid
from aipool.kit.ids import RequestIds
from aipool.kit.names import checked_name

TOKEN = "sk-" + "a" * 43


def test_moments_are_written_in_utc() -> None:
    assert clock.iso(0) == "1970-01-01T00:00:00Z"
    assert clock.iso_ms(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
    assert abs(clock.now_ms() - clock.now_seconds() * 1000) < 2_000


def test_request_ids_are_unique_and_ordered_by_time() -> None:
    ids = RequestIds()
    moments = [1, 1, 1, 2, 1 << 40, 1 << 41]

    made = [ids.new(moment) for moment in moments]

    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert len({len(rid) for rid in made}) == 1
    assert RequestIds().new(1) != RequestIds().new(1)


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "\x1b[31m", "x" * 101])
def test_a_name_that_cannot_be_listed_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        checked_name(name)


@pytest.mark.parametrize(
    "secret",
    [
        digests.generate(prefix)
        for prefix in (
            digests.PREFIX,
            digests.ACCESS_PREFIX,
            digests.ROOT_PREFIX,
            digests.SETUP_PREFIX,
            digests.RESET_PREFIX,
            digests.INVITATION_PREFIX,
            "__Host-aipool=",
        )
    ],
    ids=lambda secret: secret[:-43],
)
def test_a_secret_of_the_platform_inside_other_text_is_not_logged(secret: str) -> None:
    told = logging.redact(None, "", {"reason": f"KeyError: {secret!r}", "path": "/srv/aipool-main"})

    assert secret[-43:] not in str(told)
    assert told["path"] == "/srv/aipool-main"


def test_a_log_line_is_json_without_credentials() -> None:
    stream = io.StringIO()
    logging.configure("info", stream)
    try:
        structlog.get_logger().info(
            "call_failed",
            authorization="Bearer abc",
            api_key="plain-secret",
            detail=f"vendor said: bad key {TOKEN}",
            nested={"Cookie": "session=1", "ok": "fine"},
            listed=[TOKEN.encode()],
            token_id=7,
            input_tokens=12,
        )
    finally:
        structlog.reset_defaults()

    line = stream.getvalue()
    event = json.loads(line)
    for secret in ("Bearer abc", "plain-secret", TOKEN, "session=1"):
        assert secret not in line
    assert event["token_id"] == 7
    assert event["input_tokens"] == 12
    assert event["nested"]["ok"] == "fine"
    assert event["detail"].startswith("vendor said: bad key")
