"""Playground keys end with their sessions, whoever ends those and by whatever means."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from aipool.accounts import service as accounts
from aipool.accounts import sessions
from aipool.api_tokens import service as api_tokens
from aipool.apply.document import read_document
from aipool.apply.plan import carry_out
from aipool.audit.types import Act
from aipool.cli.app import app
from aipool.kit.clock import now_ms
from aipool.kit.digests import digest
from tests.world import PHONE, World, open_world


def key_of_a_session(world: World) -> bytes:
    """The digest of a new user's playground key."""
    act, pepper = Act("test", now_ms()), world.secrets.pepper
    with world.database.write() as tx:
        user = world.user(tx)
        token, _ = world.token(tx, user)
        session, _ = sessions.open_session(tx, act, pepper, user)
        secret, _ = api_tokens.make_playground_key(tx, act, pepper, token, session.id)
    return digest(pepper, secret.encode())


def test_another_password_by_a_document_ends_playground_keys(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        key = key_of_a_session(world)
        text = f"users:\n  - {{phone: '{PHONE}', password: violet harbour 93}}\n"
        document = read_document(text, {})
        carry_out(world.database, document, world.act, world.secrets, world.vet, dry_run=False)
        with world.database.read() as connection:
            assert (
                sessions.live_sessions(connection, accounts.get_user(connection, PHONE), now_ms())
                == []
            )
            assert api_tokens.look_up(connection, key) is None


def test_another_password_by_the_command_line_ends_playground_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIPOOL_DATA_DIR", str(tmp_path))
    with open_world(tmp_path) as world:
        key = key_of_a_session(world)
    words = ["user", "set-password", PHONE, "--password-stdin"]
    done = CliRunner().invoke(app, words, input="violet harbour 93\n", prog_name="aipool")
    assert done.exit_code == 0, done.output
    with open_world(tmp_path) as world, world.database.read() as connection:
        assert api_tokens.look_up(connection, key) is None
