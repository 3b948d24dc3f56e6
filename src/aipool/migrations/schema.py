"""Every table of the program, imported once: what the newest step must lead to."""

from __future__ import annotations

import aipool.accounts.tables
import aipool.api_tokens.tables
import aipool.audit.tables
import aipool.backup.tables
import aipool.calls.tables
import aipool.catalog.tables
import aipool.groups.tables
import aipool.ledger.tables
import aipool.moving.tables
import aipool.notices.tables
import aipool.pool.tables
import aipool.site.tables  # noqa: F401
from aipool.kit.db import metadata

__all__ = ["metadata"]
