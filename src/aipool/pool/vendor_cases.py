"""Vendors are made, changed and deleted.

A secret is given to one host. When the vendor moves to another one, the keys that go there with
it lose theirs, and the headers and parameters that may hold another: whoever may change an address
could otherwise have every key sent to himself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import msgspec
from sqlalchemy.engine import Connection

from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.catalog.service import models_routed_to
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, NotFound
from aipool.kit.names import checked_name
from aipool.kit.outbound import Vet
from aipool.kit.sealing import is_empty
from aipool.pool import rules, store
from aipool.pool.trail import key_target, vendor_fields, vendor_target
from aipool.pool.types import UpstreamKey, Vendor
from aipool.vendors.types import Ordering

#: How many models a refusal names.
_NAMED_MAX = 5


def create_vendor(
    tx: Transaction,
    act: Act,
    vet: Vet,
    *,
    name: str,
    vendor_type: str,
    base_url: str = "",
    ordering: Ordering = Ordering.PRIORITY,
    concurrency: int = 0,
    low_balance: str = "",
) -> Vendor:
    """A new vendor, without keys. base_url: "" = the usual one of its type.

    Raises Conflict when the name is taken.
    """
    checked_name(name)
    _refuse_taken(tx.connection, name)
    rules.check_type(vendor_type)
    rules.check_concurrency(concurrency)
    rules.check_low_balance(vendor_type, low_balance)
    vendor = store.insert_vendor(
        tx.connection,
        name=name,
        vendor_type=vendor_type,
        base_url=rules.base_url_for(vendor_type, base_url, vet),
        ordering=ordering,
        concurrency=concurrency,
        low_balance=low_balance,
        at_ms=act.at_ms,
    )
    tx.changes.note_catalogue()
    record(tx, act, "vendor.create", vendor_target(vendor.id), after=vendor_fields(vendor))
    return vendor


def change_vendor(
    tx: Transaction,
    act: Act,
    vet: Vet,
    vendor: Vendor,
    *,
    name: str | None = None,
    base_url: str | None = None,
    ordering: Ordering | None = None,
    concurrency: int | None = None,
    low_balance: str | None = None,
) -> tuple[Vendor, tuple[str, ...]]:
    """Changes what is given (not None) of a vendor.

    Gives it as it is now, and the names of the keys whose secret was dropped because they
    would have gone to another host with it.
    """
    before = vendor_by_id(tx.connection, vendor.id)
    if name is not None and name != before.name:
        checked_name(name)
        _refuse_taken(tx.connection, name)
    if concurrency is not None:
        rules.check_concurrency(concurrency)
    if low_balance is not None:
        rules.check_low_balance(before.type, low_balance)
    address = before.base_url
    if base_url is not None:
        address = rules.base_url_for(before.type, base_url, vet)
    after = replace(
        before,
        name=before.name if name is None else name,
        base_url=address,
        ordering=before.ordering if ordering is None else ordering,
        concurrency=before.concurrency if concurrency is None else concurrency,
        low_balance=before.low_balance if low_balance is None else low_balance,
    )
    if after == before:
        return before, ()
    _store_change(tx, act, before, after)
    return after, _take_along(tx, act, before, after)


def put_vendor(
    tx: Transaction,
    act: Act,
    vet: Vet,
    *,
    name: str,
    vendor_type: str,
    base_url: str,
    ordering: Ordering = Ordering.PRIORITY,
    concurrency: int = 0,
    low_balance: str = "",
    reentered: Collection[str] = (),
) -> tuple[Vendor, tuple[str, ...] | None]:
    """The vendor of this name, made or changed to be so.

    base_url: "" = the usual one of its type.  reentered: names of the keys that are described
    again in the same transaction, with their secrets; instead of dropping the secret of a key
    that is not among them, another host is refused. Gives the vendor and None when it was
    made, else what changed in words.
    """
    before = store.vendor_by_name(tx.connection, name)
    if before is None:
        vendor = create_vendor(
            tx,
            act,
            vet,
            name=name,
            vendor_type=vendor_type,
            base_url=base_url,
            ordering=ordering,
            concurrency=concurrency,
            low_balance=low_balance,
        )
        return vendor, None
    rules.check_type(vendor_type)
    if before.type != vendor_type:
        raise Conflict(
            "vendor_type_fixed",
            f"vendor {name} is of type {before.type}; make another one of type {vendor_type}",
            field="type",
            params={"vendor": name, "type": before.type, "wanted": vendor_type},
        )
    rules.check_concurrency(concurrency)
    rules.check_low_balance(vendor_type, low_balance)
    after = replace(
        before,
        base_url=rules.base_url_for(vendor_type, base_url, vet),
        ordering=ordering,
        concurrency=concurrency,
        low_balance=low_balance,
    )
    if after == before:
        return before, ()
    if rules.moves_host(before.base_url, after.base_url):
        _refuse_forwarded_keys(tx, before, reentered)
    _store_change(tx, act, before, after)
    if after.base_url != before.base_url:
        _void_health(tx, _going_along(tx, before))
    return after, _differences(before, after)


def delete_vendor(tx: Transaction, act: Act, vendor: Vendor) -> None:
    """Forgets a vendor and all its keys for good. Raises Conflict while a route names it."""
    before = vendor_by_id(tx.connection, vendor.id)
    models = models_routed_to(tx.connection, before.id)
    if models:
        more = ", …" if len(models) > _NAMED_MAX else ""
        raise Conflict(
            "vendor_in_use",
            f"vendor {before.name} serves {', '.join(models[:_NAMED_MAX])}{more}: "
            "give these models other routes first",
            params={"vendor": before.name, "models": ", ".join(models[:_NAMED_MAX]) + more},
        )
    keys = [key.name for key in store.list_keys(tx.connection, before.id)]
    store.delete_vendor(tx.connection, before.id)
    tx.changes.note_catalogue()
    gone = {**vendor_fields(before), "keys": keys}
    record(tx, act, "vendor.delete", vendor_target(before.id), before=gone)


def get_vendor(connection: Connection, name: str) -> Vendor:
    """The vendor of this name; raises NotFound when there is none."""
    vendor = store.vendor_by_name(connection, name)
    if vendor is None:
        raise NotFound(
            "vendor_unknown",
            f"there is no vendor {name!r}",
            field="vendor",
            params={"vendor": name},
        )
    return vendor


def vendor_by_id(connection: Connection, vendor_id: int) -> Vendor:
    """The vendor with this id; raises NotFound when there is none."""
    vendor = store.vendor_by_id(connection, vendor_id)
    if vendor is None:
        raise NotFound(
            "vendor_unknown",
            f"there is no vendor {vendor_id}",
            field="vendor_id",
            params={"vendor": vendor_id},
        )
    return vendor


def list_vendors(connection: Connection) -> list[Vendor]:
    """Every vendor, in the order they were made."""
    return store.list_vendors(connection)


def _refuse_taken(connection: Connection, name: str) -> None:
    if store.vendor_by_name(connection, name) is not None:
        raise Conflict(
            "vendor_exists",
            f"there is a vendor {name!r} already",
            field="name",
            params={"name": name},
        )


def _store_change(tx: Transaction, act: Act, before: Vendor, after: Vendor) -> None:
    store.update_vendor(tx.connection, after)
    tx.changes.note_catalogue()
    fields = {"before": vendor_fields(before), "after": vendor_fields(after)}
    record(tx, act, "vendor.change", vendor_target(before.id), **fields)


def _going_along(tx: Transaction, vendor: Vendor) -> list[UpstreamKey]:
    """The keys that are called at the vendor's address, having none of their own."""
    keys = store.list_keys(tx.connection, vendor.id)
    return [key for key in keys if not key.settings.base_url]


def _take_along(tx: Transaction, act: Act, before: Vendor, after: Vendor) -> tuple[str, ...]:
    """What another address means to its keys: another host, that their secrets are dropped.
    Gives the names of the keys that had one."""
    if after.base_url == before.base_url:
        return ()
    keys = _going_along(tx, before)
    if not rules.moves_host(before.base_url, after.base_url):
        _void_health(tx, keys)
        return ()
    sealed = dict(store.sealed_secrets(tx.connection, vendor_id=before.id))
    dropped = []
    for key in keys:
        has_secret = key.id in sealed and not is_empty(sealed[key.id])
        settings = msgspec.structs.replace(key.settings, headers={}, query={})
        store.update_key(
            tx.connection, replace(key, settings=settings, generation=key.generation + 1)
        )
        if has_secret:
            store.update_secret(tx.connection, key.id, sealed_secret="", last4="")
            dropped.append(key.name)
        if has_secret or settings != key.settings:
            why = {"why": "the vendor moved to another host", "base_url": after.base_url}
            record(tx, act, "key.drop_secret", key_target(key.id), after=why)
    return tuple(dropped)


def _void_health(tx: Transaction, keys: Collection[UpstreamKey]) -> None:
    for key in keys:
        store.update_key(tx.connection, replace(key, generation=key.generation + 1))


def _refuse_forwarded_keys(tx: Transaction, vendor: Vendor, reentered: Collection[str]) -> None:
    missing = [key.name for key in _going_along(tx, vendor) if key.name not in reentered]
    if missing:
        raise Conflict(
            "keys_must_be_reentered",
            f"vendor {vendor.name} moves to another host: give {', '.join(missing)} again "
            "with it, or delete them first",
            field="base_url",
            params={"vendor": vendor.name, "keys": ", ".join(missing)},
        )


def _differences(before: Vendor, after: Vendor) -> tuple[str, ...]:
    return tuple(
        f"{name} {old or 'none'} -> {new or 'none'}"
        for name, old, new in (
            ("base_url", before.base_url, after.base_url),
            ("ordering", before.ordering.value, after.ordering.value),
            ("concurrency", before.concurrency, after.concurrency),
            ("low_balance", before.low_balance, after.low_balance),
        )
        if old != new
    )
