"""Upstream keys are made, changed, enabled, disabled and deleted.

What a person does wins over what calls learn (pool.health): every change of where or how a key is
called, and every enabling, counts its generation up. Each use case reads the key again, so that
what it is given may be older than the transaction.

A key whose time is over can only be deleted. The default key has no such time.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
from sqlalchemy.engine import Connection

from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.kit.clock import iso
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, NotFound
from aipool.kit.names import checked_name
from aipool.kit.outbound import Vet
from aipool.kit.sealing import Keyring
from aipool.pool import rules, store
from aipool.pool.health import Health
from aipool.pool.keeping import health_rows
from aipool.pool.trail import key_fields, key_target, vendor_target
from aipool.pool.types import KeyTerms, UpstreamKey, Vendor, last4
from aipool.pool.vendor_cases import vendor_by_id
from aipool.vendors.types import KeySettings

SEALED_FIELD = "secret"


def create_key(
    tx: Transaction, act: Act, keyring: Keyring, vet: Vet, vendor: Vendor, terms: KeyTerms
) -> UpstreamKey:
    """A new key, last in order. terms.name "": `key` and a number.

    The first key of a vendor is its default key. Raises Conflict when the name is taken.
    """
    keys = store.list_keys(tx.connection, vendor.id)
    names = [key.name for key in keys]
    if terms.name in names:
        raise name_taken(vendor, terms.name)
    named = replace(terms, name=terms.name or rules.next_key_name(names))
    return add_key(tx, act, keyring, vendor, checked_terms(vendor, named, vet, act), keys)


def checked_terms(vendor: Vendor, terms: KeyTerms, vet: Vet, act: Act) -> KeyTerms:
    """The terms of a new key, if there can be such a one. Raises Invalid."""
    checked_name(terms.name)
    rules.check_secret(vendor.type, terms.secret)
    rules.check_expiry(terms.expires_at, act.at_ms)
    settings = rules.checked_settings(vendor.type, terms.settings, vet)
    return replace(terms, settings=settings)


def add_key(
    tx: Transaction,
    act: Act,
    keyring: Keyring,
    vendor: Vendor,
    terms: KeyTerms,
    keys: list[UpstreamKey],
) -> UpstreamKey:
    """A new key after those of the vendor that are there; its terms are checked already."""
    if not keys and terms.expires_at:
        raise default_expires("the first key of a vendor is its default key and")
    key = store.insert_key(
        tx.connection,
        vendor_id=vendor.id,
        name=terms.name,
        position=keys[-1].position + 1 if keys else 0,
        default=not keys,
        settings=terms.settings,
        expires_at=terms.expires_at,
        at_ms=act.at_ms,
    )
    key = _seal(tx, keyring, key, terms.secret)
    store.bump_order_version(tx.connection, vendor.id)
    tx.changes.note_catalogue()
    record(tx, act, "key.create", key_target(key.id), after=key_fields(key))
    return key


def change_key(
    tx: Transaction,
    act: Act,
    keyring: Keyring,
    vet: Vet,
    key: UpstreamKey,
    *,
    name: str | None = None,
    secret: str | None = None,
    settings: KeySettings | None = None,
    expires_at: int | None = None,
) -> tuple[UpstreamKey, tuple[str, ...]]:
    """Changes what is given (not None) of a key. settings: whole.

    Gives the key as it is now, and what changed in words. A key that goes to another host
    loses its secret, unless one is given with it (`secret_missing`), and with it the headers
    and the query that it had there.
    """
    before = to_change(tx, act, key)
    vendor = vendor_by_id(tx.connection, before.vendor_id)
    after = before
    if name is not None and name != before.name:
        checked_name(name)
        if find_key(tx.connection, vendor, name) is not None:
            raise name_taken(vendor, name)
        after = replace(after, name=name)
    if secret is not None:
        rules.check_secret(vendor.type, secret)
    if settings is not None and settings != before.settings:
        wanted = rules.checked_settings(vendor.type, settings, vet)
        if secret is None and _moves(vendor, before.settings, wanted):
            wanted = _left_behind(before.settings, wanted)
        after = replace(after, settings=wanted)
    if expires_at is not None and expires_at != before.expires_at:
        rules.check_expiry(expires_at, act.at_ms)
        if before.default and expires_at:
            raise default_expires("the default key")
        after = replace(after, expires_at=expires_at)
    if secret is None and after == before:
        return before, ()
    return _store_change(tx, act, keyring, vendor, before, after, secret)


def put_key(
    tx: Transaction, act: Act, keyring: Keyring, vet: Vet, vendor: Vendor, terms: KeyTerms
) -> tuple[UpstreamKey, tuple[str, ...] | None]:
    """The vendor's key of this name, made (last in order) or changed to these terms.

    Gives the key and None when it was made, else what changed in words, () when nothing did.
    """
    before = find_key(tx.connection, vendor, terms.name)
    if before is None:
        return create_key(tx, act, keyring, vet, vendor, terms), None
    rules.check_secret(vendor.type, terms.secret)
    settings = rules.checked_settings(vendor.type, terms.settings, vet)
    same_secret = not before.secret_missing and terms.secret == secret_of(
        tx.connection, keyring, before
    )
    if same_secret and (before.settings, before.expires_at) == (settings, terms.expires_at):
        return before, ()
    # Given again, so another host gets it because somebody said so.
    moves = _moves(vendor, before.settings, settings)
    return change_key(
        tx,
        act,
        keyring,
        vet,
        before,
        secret=None if same_secret and not moves else terms.secret,
        settings=settings,
        expires_at=terms.expires_at,
    )


def enable_key(tx: Transaction, act: Act, key: UpstreamKey) -> UpstreamKey:
    """Lets a key be called, from the very next call: whatever calls had shown of it is void,
    also when it was enabled all the time."""
    before = to_change(tx, act, key)
    unwell = _unwell(tx.connection, before)
    after = replace(before, enabled=True, generation=before.generation + 1, edited_at_ms=act.at_ms)
    store.update_key(tx.connection, after)
    tx.changes.note_catalogue()
    record(
        tx,
        act,
        "key.enable",
        key_target(key.id),
        before={"enabled": before.enabled, **unwell},
        after={"enabled": True},
    )
    return after


def disable_key(tx: Transaction, act: Act, key: UpstreamKey) -> UpstreamKey:
    """Lets a key be called no more."""
    before = to_change(tx, act, key)
    if not before.enabled:
        return before
    after = replace(before, enabled=False, edited_at_ms=act.at_ms)
    store.update_key(tx.connection, after)
    tx.changes.note_catalogue()
    change = {"before": {"enabled": True}, "after": {"enabled": False}}
    record(tx, act, "key.disable", key_target(key.id), **change)
    return after


def clear_health(tx: Transaction, act: Act, key: UpstreamKey, *, why: str) -> bool:
    """Whatever calls had shown of a key is void, because a test of it has shown better.

    key: as it was when it was tested. False = it was changed since, has expired or is gone:
    then the test says nothing of it, and nothing is done.
    """
    now = store.key_by_id(tx.connection, key.id)
    if now is None or now.generation != key.generation:
        return False
    if rules.is_expired(now.expires_at, act.at_ms):
        return False
    before = _unwell(tx.connection, now)
    store.update_key(tx.connection, replace(now, generation=now.generation + 1))
    tx.changes.note_catalogue()
    record(tx, act, "key.clear_health", key_target(key.id), before=before, after={"why": why})
    return True


def delete_key(tx: Transaction, act: Act, key: UpstreamKey) -> None:
    """Forgets a key and its secret for good; the order of the others stays. Raises Conflict
    for the default key."""
    before = get_key(tx.connection, key.id)
    if before.default:
        raise Conflict(
            "key_is_default",
            f"{before.name} is the vendor's default key: give it another secret instead, or make "
            "another key the default one",
            field="name",
            params={"key": before.name},
        )
    store.delete_key(tx.connection, before.id)
    left = store.list_keys(tx.connection, before.vendor_id)
    store.update_positions(tx.connection, [other.id for other in left])
    store.bump_order_version(tx.connection, before.vendor_id)
    tx.changes.note_catalogue()
    record(tx, act, "key.delete", key_target(before.id), before=key_fields(before))


def set_default_key(tx: Transaction, act: Act, key: UpstreamKey) -> bool:
    """Makes a key the default one of its vendor. True = changed. Raises Conflict for one that
    expires."""
    wanted = to_change(tx, act, key)
    if wanted.default:
        return False
    if wanted.expires_at:
        raise default_expires(f"{wanted.name} expires (set it to never first); the default key")
    keys = store.list_keys(tx.connection, wanted.vendor_id)
    store.update_default(tx.connection, wanted.vendor_id, wanted.id)
    before = [one.name for one in keys if one.default]
    change = {"before": {"default": before}, "after": {"default": [wanted.name]}}
    record(tx, act, "vendor.set_default_key", vendor_target(wanted.vendor_id), **change)
    return True


def get_key(connection: Connection, key_id: int) -> UpstreamKey:
    """The key with this id; raises NotFound when there is none."""
    key = store.key_by_id(connection, key_id)
    if key is None:
        raise NotFound(
            "key_unknown",
            f"there is no upstream key {key_id}",
            field="key_id",
            params={"id": key_id},
        )
    return key


def find_key(connection: Connection, vendor: Vendor, name: str) -> UpstreamKey | None:
    """The vendor's key of this name."""
    keys = store.list_keys(connection, vendor.id)
    return next((key for key in keys if key.name == name), None)


def key_named(connection: Connection, vendor: Vendor, name: str) -> UpstreamKey:
    """Like find_key; raises NotFound when there is none."""
    key = find_key(connection, vendor, name)
    if key is None:
        raise NotFound(
            "key_unknown",
            f"vendor {vendor.name} has no key {name!r}",
            field="name",
            params={"vendor": vendor.name, "name": name},
        )
    return key


def list_keys(connection: Connection, vendor: Vendor | None = None) -> list[UpstreamKey]:
    """The keys of a vendor, or of all, in the order of trying; never their secrets."""
    return store.list_keys(connection, vendor.id if vendor else None)


def open_secrets(connection: Connection, keyring: Keyring) -> dict[int, str]:
    """The plain secrets of the enabled keys by key id, for the workers' snapshot. A key whose
    secret was dropped is not in it."""
    return _opened(keyring, store.sealed_secrets(connection, enabled_only=True))


def secrets_of(connection: Connection, keyring: Keyring, vendor: Vendor) -> dict[int, str]:
    """The plain secrets of a vendor's keys by key id, to compare others with."""
    return _opened(keyring, store.sealed_secrets(connection, vendor_id=vendor.id))


def secret_of(connection: Connection, keyring: Keyring, key: UpstreamKey) -> str:
    """The plain secret of one key, which has one."""
    sealed = store.sealed_secret_of(connection, key.id)
    return keyring.open(sealed, _record(key.id), SEALED_FIELD)


def to_change(tx: Transaction, act: Act, key: UpstreamKey) -> UpstreamKey:
    """The key as it is now. Raises Conflict for one that can only be deleted any more."""
    now = get_key(tx.connection, key.id)
    refuse_expired(now, act.at_ms)
    return now


def refuse_expired(key: UpstreamKey, at_ms: int) -> None:
    """Raises Conflict for a key that can only be deleted any more: nobody is asked with it."""
    if rules.is_expired(key.expires_at, at_ms):
        raise Conflict(
            "key_expired",
            f"{key.name} expired at {iso(key.expires_at)}: it can only be deleted",
            field="expires_at",
            params={"key": key.name, "ended": iso(key.expires_at)},
        )


def name_taken(vendor: Vendor, name: str) -> Conflict:
    """The refusal of a name that another key has."""
    return Conflict(
        "key_exists",
        f"vendor {vendor.name} has a key {name} already",
        field="name",
        params={"vendor": vendor.name, "name": name},
    )


def default_expires(subject: str) -> Conflict:
    """The refusal of an expiry of the default key."""
    return Conflict(
        "default_key_expires",
        f"{subject} does not expire",
        field="expires_at",
        params={"key": subject},
    )


def _left_behind(before: KeySettings, wanted: KeySettings) -> KeySettings:
    """Without what would go along to another host and may be a credential, too."""
    return msgspec.structs.replace(
        wanted,
        headers={} if wanted.headers == before.headers else wanted.headers,
        query={} if wanted.query == before.query else wanted.query,
    )


def _store_change(
    tx: Transaction,
    act: Act,
    keyring: Keyring,
    vendor: Vendor,
    before: UpstreamKey,
    after: UpstreamKey,
    secret: str | None,
) -> tuple[UpstreamKey, tuple[str, ...]]:
    changed = _differences(before, after)
    voids = secret is not None or rules.voids_health(before.settings, after.settings)
    generation = before.generation + voids
    after = replace(after, generation=generation, edited_at_ms=act.at_ms)
    store.update_key(tx.connection, after)
    if secret is not None:
        after = _seal(tx, keyring, after, secret)
        changed.append("api_key")
    elif _moves(vendor, before.settings, after.settings) and _has_secret(tx, keyring, before):
        store.update_secret(tx.connection, before.id, sealed_secret="", last4="")
        after = replace(after, last4="", secret_missing=True)
        changed.append("api_key dropped: the key goes to another host")
    tx.changes.note_catalogue()
    fields = {"before": key_fields(before), "after": {**key_fields(after), "changed": changed}}
    record(tx, act, "key.change", key_target(before.id), **fields)
    return after, tuple(changed)


def _differences(before: UpstreamKey, after: UpstreamKey) -> list[str]:
    def until(key: UpstreamKey) -> str:
        return iso(key.expires_at) if key.expires_at else "never"

    changed = []
    if before.name != after.name:
        changed.append(f"name {before.name} -> {after.name}")
    if before.expires_at != after.expires_at:
        changed.append(f"expires {until(before)} -> {until(after)}")
    changed += [
        f"config.{field}"
        for field in KeySettings.__struct_fields__
        if getattr(before.settings, field) != getattr(after.settings, field)
    ]
    return changed


def _moves(vendor: Vendor, before: KeySettings, after: KeySettings) -> bool:
    """Does a key go to another host by another configuration? Over plain http a proxy is one
    that reads it."""
    old, new = (rules.address_of(vendor.base_url, settings) for settings in (before, after))
    read_by_another = after.proxy not in ("", before.proxy) and new.startswith("http://")
    return read_by_another or rules.moves_host(old, new)


def _has_secret(tx: Transaction, keyring: Keyring, key: UpstreamKey) -> bool:
    return not key.secret_missing and secret_of(tx.connection, keyring, key) != ""


def _unwell(connection: Connection, key: UpstreamKey) -> dict[str, object]:
    """What calls had shown of a key, where that was not good."""
    lanes = {
        row.model or "key": f"{row.health}: {row.why}"
        for row in health_rows(connection, [key.id])
        if row.generation == key.generation and row.health is not Health.NORMAL
    }
    return {"health": lanes} if lanes else {}


def _seal(tx: Transaction, keyring: Keyring, key: UpstreamKey, secret: str) -> UpstreamKey:
    sealed = keyring.seal(secret, _record(key.id), SEALED_FIELD)
    store.update_secret(tx.connection, key.id, sealed_secret=sealed, last4=last4(secret))
    return replace(key, last4=last4(secret), secret_missing=False)


def _opened(keyring: Keyring, sealed: list[tuple[int, str]]) -> dict[int, str]:
    return {key_id: keyring.open(text, _record(key_id), SEALED_FIELD) for key_id, text in sealed}


def _record(key_id: int) -> str:
    return f"upstream_key:{key_id}"
