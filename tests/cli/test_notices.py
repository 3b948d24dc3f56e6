"""aipool alert …: channels are added, tried out and deleted, and no secret is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from aipool import config
from aipool.audit.tables import audit_entries
from aipool.cli import notices as commands
from aipool.cli.app import app
from aipool.installation import own
from tests.control.rig import control_process
from tests.notices.receivers import SIGNING, Reply, receiving, run
from tests.world import open_world

Run = Callable[..., Result]
TOKEN = "token-0123456789"
SECRETS = f"https://open.feishu.cn/hook/{TOKEN}\n{SIGNING}\n"


@pytest.fixture
def aipool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `aipool …` on an installation of its own; no output ever has a secret."""
    monkeypatch.setenv("AIPOOL_DATA_DIR", str(tmp_path))
    with open_world(tmp_path):
        pass
    runner = CliRunner()

    def invoke(*words: str, stdin: str = "", status: int = 0) -> Result:
        result = runner.invoke(app, ["alert", *words], input=stdin, prog_name="aipool")
        assert result.exit_code == status, result.output
        assert TOKEN not in result.output
        assert SIGNING not in result.output
        return result

    return invoke


def rows(result: Result) -> list[dict[str, object]]:
    found = json.loads(result.stdout)
    assert isinstance(found, list)
    return found


def test_channels_are_added_changed_and_deleted_and_the_trail_says_so(
    aipool: Run, tmp_path: Path
) -> None:
    add = ("channel", "add", "--secrets-stdin")
    aipool(*add, "ops", "feishu", "--event", "balance_low", stdin=SECRETS)
    mail = ("--host", "smtp.example.com", "--from", "a@e.com", "--to", "b@e.com", "--user", "me")
    aipool(*add, "post", "mail", *mail, stdin=TOKEN)

    ops, post = rows(aipool("channel", "list", "--output", "json"))
    assert (ops["host"], ops["events"], ops["enabled"]) == (
        "open.feishu.cn",
        ["balance_low"],
        True,
    )
    assert (post["host"], post["to"], post["events"]) == ("smtp.example.com", ["b@e.com"], "all")

    aipool("channel", "disable", "ops")
    assert "nothing changed" in aipool("channel", "disable", "ops").stderr
    aipool("channel", "enable", "ops")
    aipool("channel", "delete", "ops", "--yes")
    assert "no channel 'ops'" in aipool("channel", "delete", "ops", "--yes", status=1).stderr

    with open_world(tmp_path) as world, world.database.read() as connection:
        entries = connection.execute(sa.select(audit_entries).order_by(audit_entries.c.id)).all()
    assert [entry.action.partition(".")[2] for entry in entries] == [
        "create",
        "create",
        "disable",
        "enable",
        "delete",
    ]
    assert TOKEN not in repr(entries)


@pytest.mark.parametrize(
    ("words", "stdin", "field"),
    [
        (("ops", "pigeon"), "", "a channel is one of"),
        (("ops", "feishu"), f"http://127.0.0.1/{TOKEN}\n", "AIPOOL_PRIVATE_UPSTREAMS"),
        (("ops", "webhook"), f"https://a.example/{TOKEN}\n", "a webhook is signed"),
        (("ops", "mail", "--tls", "maybe"), "", "--tls"),
        (("ops", "mail"), "", "no host"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    aipool: Run, words: tuple[str, ...], stdin: str, field: str
) -> None:
    result = aipool("channel", "add", "--secrets-stdin", *words, stdin=stdin, status=1)

    assert field in result.stderr
    assert result.stderr.count("\n") == 1
    assert rows(aipool("channel", "list", "--output", "json")) == []


def test_without_a_server_a_test_waits_for_one(aipool: Run) -> None:
    aipool("channel", "add", "ops", "feishu", "--secrets-stdin", stdin=SECRETS)

    assert "as soon as a server runs" in aipool("channel", "test", "ops").stderr
    (notice,) = rows(aipool("list", "--output", "json"))
    assert (notice["event"], notice["sent"]) == ("test", ["ops: pending"])


@pytest.mark.slow
def test_a_test_says_what_became_of_it(
    aipool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_LOOK_SECONDS", 0.02)
    (tmp_path / config.FILE_NAME).write_text('private_upstreams = ["127.0.0.0/8"]\n')

    def scene(url: str) -> None:
        stdin = f"{url}\n{SIGNING}\n"
        aipool("channel", "add", "hook", "webhook", "--secrets-stdin", stdin=stdin)
        with own(tmp_path), control_process(tmp_path):
            assert "sent over hook" in aipool("channel", "test", "hook").stderr
            assert "answered 500" in aipool("channel", "test", "hook", status=1).stderr
        second, first = rows(aipool("list", "--output", "json"))
        assert first["sent"] == ["hook: sent"]
        assert second["sent"] == ["hook: pending (answered 500)"]

    async def both() -> None:
        async with receiving() as receiver:
            receiver.will(Reply(), Reply(500))
            await asyncio.to_thread(scene, receiver.url(f"/{TOKEN}"))

    run(both())
