"""Use cases of the pool.

Refusals (kit.errors):
    vendor_type_unknown, base_url_missing, base_url_not_allowed           422
    api_key_missing, api_key_malformed, proxy_malformed, order_incomplete 422
    vendor_unknown, key_unknown                                           404
    vendor_type_fixed     a vendor's type does not change                 409
    keys_must_be_reentered a new address would send them to another host  409
    key_is_default        the default key is replaced, not deleted        409
    key_exists                                                            409
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy.engine import Connection

from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid, NotFound
from aipool.kit.outbound import Vet
from aipool.kit.sealing import Keyring
from aipool.pool import rules, store
from aipool.pool.types import KeyTerms, UpstreamKey, Vendor, last4

_SEALED_FIELD = "secret"


# --- vendors ---------------------------------------------------------------------------


def put_vendor(
    tx: Transaction,
    act: Act,
    vet: Vet,
    *,
    name: str,
    vendor_type: str,
    base_url: str,
    reentered: Collection[str] = (),
) -> tuple[Vendor, str | None]:
    """The vendor of this name, made or moved to this address.

    base_url: "" = the usual one of its type.  reentered: names of the keys whose secret is
    given again in the same transaction; another host gets no key that is not among them.
    Gives the vendor and "created", or what changed in words, or None.
    """
    rules.check_type(vendor_type)
    address = rules.base_url_for(vendor_type, base_url, vet)
    before = store.vendor_by_name(tx.connection, name)
    if before is None:
        vendor = store.insert_vendor(
            tx.connection,
            name=name,
            vendor_type=vendor_type,
            base_url=address,
            at_ms=act.at_ms,
        )
        tx.changes.note_catalogue()
        record(tx, act, "vendor.create", _vendor_target(vendor), after=_vendor_fields(vendor))
        return vendor, "created"
    if before.type != vendor_type:
        raise Conflict(
            "vendor_type_fixed",
            f"vendor {name} is of type {before.type}; make another one of type {vendor_type}",
            field="type",
        )
    if before.base_url == address:
        return before, None
    if rules.moves_host(before.base_url, address):
        _refuse_forwarded_keys(tx, before, reentered)
    store.update_base_url(tx.connection, before.id, address)
    after = replace(before, base_url=address)
    tx.changes.note_catalogue()
    record(
        tx,
        act,
        "vendor.change",
        _vendor_target(before),
        before=_vendor_fields(before),
        after=_vendor_fields(after),
    )
    return after, f"base_url {before.base_url} -> {address}"


def get_vendor(connection: Connection, name: str) -> Vendor:
    """The vendor of this name; raises NotFound when there is none."""
    vendor = store.vendor_by_name(connection, name)
    if vendor is None:
        raise NotFound("vendor_unknown", f"there is no vendor {name!r}", field="vendor")
    return vendor


def list_vendors(connection: Connection) -> list[Vendor]:
    """Every vendor, in the order they were made."""
    return store.list_vendors(connection)


# --- upstream keys -----------------------------------------------------------------------


def put_key(
    tx: Transaction, act: Act, keyring: Keyring, vendor: Vendor, terms: KeyTerms
) -> tuple[UpstreamKey, tuple[str, ...] | None]:
    """The vendor's key of this name, made (last in order) or changed to these terms.

    The first key of a vendor is its default key. Gives the key and None when it was made,
    else what changed in words, () when nothing did.
    """
    rules.check_secret(vendor.type, terms.secret)
    rules.check_proxy(terms.proxy_url)
    keys = store.list_keys(tx.connection, vendor.id)
    before = next((key for key in keys if key.name == terms.name), None)
    if before is None:
        key = store.insert_key(
            tx.connection,
            vendor_id=vendor.id,
            name=terms.name,
            position=keys[-1].position + 1 if keys else 0,
            default=not keys,
            proxy_url=terms.proxy_url,
            at_ms=act.at_ms,
        )
        _seal(tx, keyring, key, terms.secret)
        key = replace(key, last4=last4(terms.secret))
        tx.changes.note_catalogue()
        record(tx, act, "key.create", _key_target(key), after=_key_fields(key))
        return key, None

    changed = []
    if _open(tx.connection, keyring, before) != terms.secret:
        _seal(tx, keyring, before, terms.secret)
        changed.append("api_key")
    if before.proxy_url != terms.proxy_url:
        store.update_proxy(tx.connection, before.id, terms.proxy_url)
        changed.append(f"proxy {before.proxy_url or 'none'} -> {terms.proxy_url or 'none'}")
    after = replace(before, proxy_url=terms.proxy_url, last4=last4(terms.secret))
    if changed:
        tx.changes.note_catalogue()
        fields = {"before": _key_fields(before), "after": _key_fields(after)}
        record(tx, act, "key.change", _key_target(before), **fields)
    return after, tuple(changed)


def create_key(
    tx: Transaction, act: Act, keyring: Keyring, vendor: Vendor, terms: KeyTerms
) -> UpstreamKey:
    """A new key, last in order. terms.name "": `key` and a number. Raises Conflict when
    the name is taken."""
    names = [key.name for key in store.list_keys(tx.connection, vendor.id)]
    if terms.name in names:
        raise Conflict(
            "key_exists", f"vendor {vendor.name} has a key {terms.name} already", field="name"
        )
    named = replace(terms, name=terms.name or rules.next_key_name(names))
    key, _ = put_key(tx, act, keyring, vendor, named)
    return key


def set_key_enabled(tx: Transaction, act: Act, key: UpstreamKey, *, enabled: bool) -> bool:
    """Lets a key be called, or not. True = changed."""
    if key.enabled == enabled:
        return False
    store.update_enabled(tx.connection, key.id, enabled=enabled)
    tx.changes.note_catalogue()
    action = f"key.{'enable' if enabled else 'disable'}"
    change = {"before": {"enabled": key.enabled}, "after": {"enabled": enabled}}
    record(tx, act, action, _key_target(key), **change)
    return True


def delete_key(tx: Transaction, act: Act, key: UpstreamKey) -> None:
    """Forgets a key and its secret for good. Raises Conflict for the default key."""
    if key.default:
        raise Conflict(
            "key_is_default",
            f"{key.name} is the vendor's default key: give it another secret instead",
            field="name",
        )
    store.delete_key(tx.connection, key.id)
    tx.changes.note_catalogue()
    record(tx, act, "key.delete", _key_target(key), before=_key_fields(key))


def order_keys(tx: Transaction, act: Act, vendor: Vendor, names: Sequence[str]) -> bool:
    """The named keys first, in this order; the others after them as they were.

    True = the order changed. Raises Invalid for a name twice, NotFound for an unknown one.
    """
    keys = store.list_keys(tx.connection, vendor.id)
    by_name = {key.name: key for key in keys}
    if len(set(names)) != len(names):
        raise Invalid("order_incomplete", "a key is named twice in the order", field="keys")
    first = [_named(by_name, vendor, name) for name in names]
    wanted = [*first, *(key for key in keys if key.name not in set(names))]
    if wanted == keys:
        return False
    store.update_positions(tx.connection, [key.id for key in wanted])
    tx.changes.note_catalogue()
    record(
        tx,
        act,
        "key.order",
        _vendor_target(vendor),
        before={"keys": [key.name for key in keys]},
        after={"keys": [key.name for key in wanted]},
    )
    return True


def set_default_key(tx: Transaction, act: Act, vendor: Vendor, name: str) -> bool:
    """Makes another key of the vendor its default one. True = changed."""
    keys = store.list_keys(tx.connection, vendor.id)
    key = _named({key.name: key for key in keys}, vendor, name)
    if key.default:
        return False
    store.update_default(tx.connection, vendor.id, key.id)
    before = [key.name for key in keys if key.default]
    change = {"before": {"default": before}, "after": {"default": [name]}}
    record(tx, act, "vendor.set_default_key", _vendor_target(vendor), **change)
    return True


def move_key(tx: Transaction, act: Act, vendor: Vendor, name: str, place: int) -> bool:
    """Puts a key at this place of the order, 1 = tried first. True = changed."""
    keys = store.list_keys(tx.connection, vendor.id)
    _named({key.name: key for key in keys}, vendor, name)
    if not 1 <= place <= len(keys):
        raise Invalid(
            "order_incomplete", f"a place is a number from 1 to {len(keys)}", field="place"
        )
    names = [key.name for key in keys if key.name != name]
    names.insert(place - 1, name)
    return order_keys(tx, act, vendor, names)


def get_key(connection: Connection, vendor: Vendor, name: str) -> UpstreamKey:
    """The vendor's key of this name; raises NotFound when there is none."""
    keys = store.list_keys(connection, vendor.id)
    return _named({key.name: key for key in keys}, vendor, name)


def list_keys(connection: Connection, vendor: Vendor | None = None) -> list[UpstreamKey]:
    """The keys of a vendor, or of all, in the order of trying; never their secrets."""
    return store.list_keys(connection, vendor.id if vendor else None)


def open_secrets(connection: Connection, keyring: Keyring) -> dict[int, str]:
    """The plain secrets of the enabled keys by key id, for the workers' snapshot."""
    return {
        key_id: keyring.open(sealed, _record(key_id), _SEALED_FIELD)
        for key_id, sealed in store.sealed_secrets(connection, enabled_only=True)
    }


def _named(by_name: dict[str, UpstreamKey], vendor: Vendor, name: str) -> UpstreamKey:
    key = by_name.get(name)
    if key is None:
        raise NotFound("key_unknown", f"vendor {vendor.name} has no key {name!r}", field="name")
    return key


def _refuse_forwarded_keys(tx: Transaction, vendor: Vendor, reentered: Collection[str]) -> None:
    kept = [key.name for key in store.list_keys(tx.connection, vendor.id)]
    missing = [name for name in kept if name not in reentered]
    if missing:
        raise Conflict(
            "keys_must_be_reentered",
            f"vendor {vendor.name} moves to another host: give {', '.join(missing)} again "
            "with it, or delete them first",
            field="base_url",
        )


def _seal(tx: Transaction, keyring: Keyring, key: UpstreamKey, secret: str) -> None:
    sealed = keyring.seal(secret, _record(key.id), _SEALED_FIELD)
    store.update_secret(tx.connection, key.id, sealed_secret=sealed, last4=last4(secret))


def _open(connection: Connection, keyring: Keyring, key: UpstreamKey) -> str:
    sealed = store.sealed_secret_of(connection, key.id)
    return keyring.open(sealed, _record(key.id), _SEALED_FIELD)


def _record(key_id: int) -> str:
    return f"upstream_key:{key_id}"


def _key_target(key: UpstreamKey) -> str:
    return f"key:{key.id}"


def _vendor_target(vendor: Vendor) -> str:
    return f"vendor:{vendor.id}"


def _vendor_fields(vendor: Vendor) -> dict[str, object]:
    return {"name": vendor.name, "type": vendor.type, "base_url": vendor.base_url}


def _key_fields(key: UpstreamKey) -> dict[str, object]:
    return {
        "vendor_id": key.vendor_id,
        "name": key.name,
        "default": key.default,
        "enabled": key.enabled,
        "last4": key.last4,
        "proxy_url": key.proxy_url,
    }
