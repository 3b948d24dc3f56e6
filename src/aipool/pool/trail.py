"""What the trail says of vendors and keys. Secrets are not in it, nor what headers, parameters
and fields of the body are set to: their names are."""

from __future__ import annotations

from typing import Any

from aipool.kit.clock import iso
from aipool.pool.types import UpstreamKey, Vendor
from aipool.vendors.settings import shown
from aipool.vendors.types import KeySettings

_BY_NAME = ("headers", "query", "body_set")


def key_target(key_id: int) -> str:
    """The key, in the trail."""
    return f"key:{key_id}"


def vendor_target(vendor_id: int) -> str:
    """The vendor, in the trail."""
    return f"vendor:{vendor_id}"


def vendor_fields(vendor: Vendor) -> dict[str, object]:
    """A vendor as it is."""
    return {
        "name": vendor.name,
        "type": vendor.type,
        "base_url": vendor.base_url,
        "ordering": vendor.ordering.value,
        "concurrency": vendor.concurrency,
        "low_balance": vendor.low_balance,
    }


def key_fields(key: UpstreamKey) -> dict[str, object]:
    """A key as it is."""
    return {
        "vendor_id": key.vendor_id,
        "name": key.name,
        "default": key.default,
        "enabled": key.enabled,
        "last4": key.last4,
        "expires": iso(key.expires_at) if key.expires_at else "never",
        "config": config_fields(key.settings),
    }


def config_fields(settings: KeySettings) -> dict[str, Any]:
    """A configuration without values that may be confidential."""
    fields = shown(settings)
    return {name: list(value) if name in _BY_NAME else value for name, value in fields.items()}
