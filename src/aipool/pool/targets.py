"""Reads what is needed to ask a vendor with one of its keys (pool.asking), the secret included."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from aipool.kit.errors import Conflict
from aipool.kit.sealing import Keyring
from aipool.pool import rules
from aipool.pool.asking import Target
from aipool.pool.key_cases import secret_of
from aipool.pool.types import UpstreamKey, Vendor
from aipool.vendors import VENDORS_BY_TYPE


def target_of(connection: Connection, keyring: Keyring, vendor: Vendor, key: UpstreamKey) -> Target:
    """The key, ready to be asked with, enabled or not.

    Raises Conflict for one whose secret was dropped: nobody is asked without it.
    """
    if key.secret_missing:
        raise Conflict(
            "api_key_missing",
            f"the secret of {key.name} was dropped when its address changed: give it again",
            field="api_key",
            params={"key": key.name},
        )
    secret = secret_of(connection, keyring, key)
    address = rules.address_of(vendor.base_url, key.settings)
    return Target(VENDORS_BY_TYPE[vendor.type], address, key.settings, secret)
