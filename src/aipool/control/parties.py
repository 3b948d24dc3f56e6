"""What the catalogue is told of slices above it: who the vendors and the groups are."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from aipool.catalog.price_sources import Where
from aipool.groups import service as groups
from aipool.pool import service as pool


def vendor_names(connection: Connection) -> dict[int, str]:
    """The vendors' names by id."""
    return {vendor.id: vendor.name for vendor in pool.list_vendors(connection)}


def vendors_at(connection: Connection) -> dict[int, Where]:
    """The vendors' types and addresses by id, for lists of prices."""
    return {
        vendor.id: Where(vendor.type, vendor.base_url) for vendor in pool.list_vendors(connection)
    }


def group_names(connection: Connection) -> dict[int, str]:
    """The groups' names by id."""
    return {group.id: group.name for group in groups.list_groups(connection)}


def groups_naming(connection: Connection, model_name: str) -> list[str]:
    """The groups whose lists name this model."""
    return [
        group.name
        for group in groups.list_groups(connection)
        if group.models is not None and model_name in group.models
    ]
