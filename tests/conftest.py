"""What every test may rely on: no setting of the person who runs the tests leaks in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something about the machine, and nothing about the code.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")

TESTS = Path(__file__).parent

#: Whose halves on PostgreSQL belong to the whole run. What a server does otherwise than a file is
#: seen every day in kit, books/test_postgres, catalog, groups, and the service of each other slice.
IN_THE_WHOLE_RUN_ON_A_SERVER = frozenset(
    {
        "accounts/test_codes.py",
        "accounts/test_coming_back.py",
        "accounts/test_entry.py",
        "accounts/test_service.py",
        "accounts/test_sessions.py",
        "accounts/test_totp.py",
        "adversary/test_control_plane_money.py",
        "adversary/test_log_of_calls.py",
        "api_tokens/test_limits.py",
        "api_tokens/test_listing.py",
        "api_tokens/test_secrets.py",
        "audit/test_service.py",
        "backup/test_restore.py",
        "books/test_claims.py",
        "books/test_key_health.py",
        "books/test_record.py",
        "books/test_recovery.py",
        "calls/test_search.py",
        "calls/test_sums.py",
        "calls/test_weeks.py",
        "control/test_balance_flow.py",
        "control/test_deliveries.py",
        "control/test_people_list.py",
        "control/test_taking.py",
        "ledger/test_verify.py",
        "migrations/test_migrations.py",
        "moving/test_carrying.py",
        "notices/test_service.py",
        "pool/test_keeping.py",
        "pool/test_requirements.py",
        "site/test_service.py",
    }
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks them slow, before anything is chosen by its mark."""
    for item in items:
        chosen = getattr(item, "callspec", None)
        if chosen is None or chosen.params.get("kind") != "postgres":
            continue
        if item.path.relative_to(TESTS).as_posix() in IN_THE_WHOLE_RUN_ON_A_SERVER:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kinds of databases: what asks for one is done on each (tests.postgres.place)."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith("AIPOOL_"):
            monkeypatch.delenv(name)
