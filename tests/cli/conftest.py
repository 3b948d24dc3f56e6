"""Commands are run hundreds of times here: what they are is worked out once."""

from __future__ import annotations

import functools

import pytest
import typer
from typer import testing

_command = functools.cache(typer.main.get_command)


@pytest.fixture(autouse=True)
def _one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "_get_command", _command)
