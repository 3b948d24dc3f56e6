"""The interface's document without an installation: what is described does not depend on one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, cast

from aipool import config
from aipool.control.app import create_app
from aipool.control.asking import Clients
from aipool.control.openapi import described
from aipool.control.policies import POLICIES
from aipool.kit.db import open_database
from aipool.kit.sealing import load_keyring


def document() -> dict[str, Any]:
    """The OpenAPI document. Nothing is served, and nothing asked."""
    with tempfile.TemporaryDirectory() as folder:
        settings = config.load({"data_dir": Path(folder)}, {})
        database = open_database(settings.database_url_effective)
        try:
            clients = Clients(cast(Any, None), cast(Any, None), None)
            keyring = load_keyring(settings.data_dir)
            app = create_app(database, settings, os.urandom(32), keyring, clients)
            return described(app, POLICIES)
        finally:
            database.close()
