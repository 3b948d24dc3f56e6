"""The program as it is started from a shell: help without loading much, and pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def aipool(data_dir: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "aipool.cli", *words],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "AIPOOL_DATA_DIR": str(data_dir)},
        check=False,
    )


def test_help_loads_neither_sql_nor_web_nor_cryptography() -> None:
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from aipool.cli.app import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'sqlalchemy', 'fastapi', 'cryptography', 'phonenumbers', 'alembic', 'argon2',"
        " 'pydantic', 'uvicorn', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_fresh_folder_becomes_an_installation_with_one_command(tmp_path: Path) -> None:
    data_dir = tmp_path / "new"
    created = aipool(
        data_dir, "user", "create", "13800138001", "--password-stdin", stdin="long enough\n"
    )
    assert created.returncode == 0, created.stderr
    token = aipool(data_dir, "token", "create", "13800138001", "prod")
    assert token.stdout.count("sk-") == 1
    assert "only time" in token.stderr

    assert aipool(data_dir, "ledger", "verify").returncode == 0
    assert {path.stat().st_mode & 0o077 for path in [data_dir, *data_dir.iterdir()]} == {0}


def test_a_wrong_folder_is_refused_and_not_made(tmp_path: Path) -> None:
    done = aipool(tmp_path / "none", "token", "list")

    assert done.returncode == 1
    assert "AIPOOL_DATA_DIR" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()
