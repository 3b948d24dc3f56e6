"""The order in which a vendor's keys are tried.

It is changed whole, by somebody who has seen it: whoever names an old version gets the order as
it is now instead, so two people who drag at once do not undo each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid
from aipool.pool import store
from aipool.pool.key_cases import key_named
from aipool.pool.trail import vendor_target
from aipool.pool.types import UpstreamKey, Vendor
from aipool.pool.vendor_cases import vendor_by_id


class StaleOrder(Conflict):
    """The order is not the one that was meant. current: its version, and the ids of the keys
    as they are tried now."""

    def __init__(self, current: tuple[int, tuple[int, ...]]) -> None:
        super().__init__("order_changed", "the order of the keys was changed meanwhile")
        self.current = current


def order_keys(
    tx: Transaction, act: Act, vendor: Vendor, key_ids: Sequence[int], version: int
) -> Vendor:
    """The vendor's keys in this order. key_ids: all of them.  version: of the order that was
    seen (`Vendor.order_version`).

    Gives the vendor with the new version. Raises StaleOrder, and Invalid for another set of
    keys.
    """
    now = vendor_by_id(tx.connection, vendor.id)
    keys = store.list_keys(tx.connection, now.id)
    if version != now.order_version:
        raise StaleOrder((now.order_version, tuple(key.id for key in keys)))
    by_id: dict[int, UpstreamKey] = {key.id: key for key in keys}
    if len(key_ids) != len(keys) or set(key_ids) != by_id.keys():
        raise Invalid(
            "order_incomplete", "an order names every key of the vendor once", field="keys"
        )
    wanted = [by_id[key_id] for key_id in key_ids]
    if wanted == keys:
        return now
    store.update_positions(tx.connection, list(key_ids))
    store.bump_order_version(tx.connection, now.id)
    tx.changes.note_catalogue()
    record(
        tx,
        act,
        "key.order",
        vendor_target(now.id),
        before={"keys": [key.name for key in keys]},
        after={"keys": [key.name for key in wanted]},
    )
    return vendor_by_id(tx.connection, now.id)


def put_first(tx: Transaction, act: Act, vendor: Vendor, names: Sequence[str]) -> bool:
    """The named keys first, in this order; the others after them as they were.

    True = the order changed. Raises Invalid for a name twice, NotFound for an unknown one.
    """
    if len(set(names)) != len(names):
        raise Invalid("order_incomplete", "a key is named twice in the order", field="keys")
    first = [key_named(tx.connection, vendor, name).id for name in names]
    rest = [key.id for key in store.list_keys(tx.connection, vendor.id) if key.id not in first]
    version = vendor_by_id(tx.connection, vendor.id).order_version
    return order_keys(tx, act, vendor, [*first, *rest], version).order_version != version


def move_key(tx: Transaction, act: Act, vendor: Vendor, name: str, place: int) -> bool:
    """Puts a key at this place of the order, 1 = tried first. True = changed."""
    moved = key_named(tx.connection, vendor, name)
    keys = store.list_keys(tx.connection, vendor.id)
    if not 1 <= place <= len(keys):
        raise Invalid(
            "order_incomplete",
            f"a place is a number from 1 to {len(keys)}",
            field="place",
            params={"least": 1, "most": len(keys)},
        )
    names = [key.name for key in keys if key.id != moved.id]
    names.insert(place - 1, name)
    return put_first(tx, act, vendor, names)
