"""The pool over HTTP, for operators: parse, call the use case, answer.

Whoever gets here is the root account (control.access). What asks a vendor, or looks at the log of
calls, is in control, which sees both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from aipool.audit import service as audit
from aipool.audit.desk import Acting, AskedId, Desk, Id, Limit
from aipool.audit.types import Act
from aipool.kit.errors import BusinessError, NotFound
from aipool.kit.expiry import moment_or_days
from aipool.kit.outbound import Vet
from aipool.kit.problems import of_refusal
from aipool.kit.sealing import Keyring
from aipool.pool import rules, service
from aipool.pool.schemas import (
    DefaultSent,
    KeyChange,
    KeySent,
    KeysPasted,
    KeywordSent,
    OrderSent,
    VendorChange,
    VendorSent,
)
from aipool.pool.shown import (
    DefaultKeyShown,
    EntriesShown,
    KeyChanged,
    KeyShown,
    KeywordShown,
    KeywordsShown,
    LinesShown,
    OrderShown,
    VendorChanged,
    VendorCreated,
    VendorsShown,
    VendorTypesShown,
    VendorWithKeys,
    entry_shown,
    key_shown,
    keyword_shown,
    line_shown,
    vendor_shown,
    vendor_type_shown,
)
from aipool.pool.types import KeyTerms, UpstreamKey, Vendor
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.settings import shown
from aipool.vendors.types import NO_SETTINGS, KeySettings


def routes(desk: Desk, keyring: Keyring, vet: Vet) -> APIRouter:
    """Vendors, their keys, the order of keys, and the operator's keywords."""
    router = APIRouter(prefix="/api")
    _add_vendors(router, desk, keyring, vet)
    _add_keys(router, desk, keyring, vet)
    _add_keywords(router, desk)
    return router


def _add_vendors(router: APIRouter, desk: Desk, keyring: Keyring, vet: Vet) -> None:
    @router.get("/vendor-types")
    def list_vendor_types() -> VendorTypesShown:
        """The kinds of vendors: usual address, the form of a key, where keys are had, sources."""
        return VendorTypesShown(vendor_types=list(map(vendor_type_shown, VENDORS_BY_TYPE.values())))

    @router.get("/vendors")
    def list_vendors() -> VendorsShown:
        """Every vendor."""
        with desk.database.read() as connection:
            found = service.list_vendors(connection)
        return VendorsShown(vendors=list(map(vendor_shown, found)))

    @router.post("/vendors", status_code=201, response_model=VendorCreated)
    def create_vendor(sent: VendorSent, act: Acting) -> Response:
        """Makes a vendor with its default key."""
        rules.check_type(sent.type)
        terms = KeyTerms(sent.key_name, sent.api_key, rules.settings_from(sent.type, sent.config))
        with desk.database.write() as tx:
            vendor = service.create_vendor(
                tx,
                act,
                vet,
                name=sent.name,
                vendor_type=sent.type,
                base_url=sent.base_url,
                ordering=rules.ordering(sent.ordering),
                concurrency=sent.concurrency,
                low_balance=sent.low_balance,
            )
            with _field_named("name", "key_name"):
                key = service.create_key(tx, act, keyring, vet, vendor, terms)
            vendor = service.vendor_by_id(tx.connection, vendor.id)
        made = VendorCreated(**dict(vendor_shown(vendor)), default_key=key_shown(key))
        return desk.done(tx, made, 201)

    @router.get("/vendors/{vendor_id}")
    def show_vendor(vendor_id: Id) -> VendorWithKeys:
        """One vendor, with the version of its order, its default key and its resolved address."""
        with desk.database.read() as connection:
            vendor = service.vendor_by_id(connection, vendor_id)
            keys = service.list_keys(connection, vendor)
        return VendorWithKeys(**dict(vendor_shown(vendor)), **_of_keys(vendor, keys))

    @router.patch("/vendors/{vendor_id}", response_model=VendorChanged)
    def change_vendor(vendor_id: Id, sent: VendorChange, act: Acting) -> Response:
        """Changes what is sent. A key that would go to another host loses its secret."""
        given = sent.given()
        if "ordering" in given:
            given["ordering"] = rules.ordering(sent.ordering)
        with desk.database.write() as tx:
            before = service.vendor_by_id(tx.connection, vendor_id)
            vendor, dropped = service.change_vendor(tx, act, vet, before, **given)
            content = VendorChanged(**dict(vendor_shown(vendor)), secrets_dropped=list(dropped))
        return desk.done(tx, content)

    @router.delete("/vendors/{vendor_id}", status_code=204)
    def delete_vendor(vendor_id: Id, act: Acting) -> Response:
        """Deletes a vendor that no route names, with its keys."""
        with desk.database.write() as tx:
            vendor = service.vendor_by_id(tx.connection, vendor_id)
            service.delete_vendor(tx, act, vendor)
        return desk.done(tx)

    @router.put("/vendors/{vendor_id}/keys/order", response_model=OrderShown)
    def order_keys(vendor_id: Id, sent: OrderSent, act: Acting) -> Response:
        """Puts the keys of a vendor into this order, first = tried first. A version that is no
        longer the newest meets 409 with the `current` order."""
        try:
            with desk.database.write() as tx:
                vendor = service.vendor_by_id(tx.connection, vendor_id)
                vendor = service.order_keys(tx, act, vendor, sent.keys, sent.version)
        except service.StaleOrder as stale:
            version, keys = stale.current
            return of_refusal(stale, current={"version": version, "keys": list(keys)})
        return desk.done(tx, OrderShown(version=vendor.order_version, keys=sent.keys))

    @router.put("/vendors/{vendor_id}/default-key", response_model=DefaultKeyShown)
    def set_default_key(vendor_id: Id, sent: DefaultSent, act: Acting) -> Response:
        """Makes one of the vendor's keys its default one."""
        with desk.database.write() as tx:
            vendor = service.vendor_by_id(tx.connection, vendor_id)
            with _field_named("key_id", "key"):
                key = service.get_key(tx.connection, sent.key)
            if key.vendor_id != vendor.id:
                raise NotFound(
                    "key_unknown",
                    f"vendor {vendor.name} has no key {sent.key}",
                    field="key",
                    params={"vendor": vendor.name, "name": sent.key},
                )
            service.set_default_key(tx, act, key)
        return desk.done(tx, DefaultKeyShown(default_key=sent.key))


def _add_keys(router: APIRouter, desk: Desk, keyring: Keyring, vet: Vet) -> None:
    @router.post("/vendors/{vendor_id}/keys", status_code=201, response_model=KeyShown)
    def create_key(vendor_id: Id, sent: KeySent, act: Acting) -> Response:
        """Adds a key, last in the order of trying."""
        with desk.database.write() as tx:
            vendor = service.vendor_by_id(tx.connection, vendor_id)
            settings = rules.settings_from(vendor.type, sent.config)
            terms = KeyTerms(sent.name, sent.api_key, settings, _expiry(sent.expires_at, act))
            key = service.create_key(tx, act, keyring, vet, vendor, terms)
        return desk.done(tx, key_shown(key), 201)

    @router.post("/vendors/{vendor_id}/keys/paste", response_model=LinesShown)
    def paste_keys(vendor_id: Id, sent: KeysPasted, act: Acting) -> Response:
        """Adds many keys, a line each: a secret, or a name and a secret."""
        with desk.database.write() as tx:
            vendor = service.vendor_by_id(tx.connection, vendor_id)
            results = service.create_keys(
                tx,
                act,
                keyring,
                vet,
                vendor,
                sent.lines,
                settings=rules.settings_from(vendor.type, sent.config),
                expires_at=_expiry(sent.expires_at, act),
            )
        return desk.done(tx, LinesShown(lines=list(map(line_shown, results))))

    @router.patch("/keys/{key_id}", response_model=KeyChanged)
    def change_key(key_id: Id, sent: KeyChange, act: Acting) -> Response:
        """Changes what is sent; in `config`, fields that are not sent stay and null sets one back
        to its default."""
        given = sent.given()
        with desk.database.write() as tx:
            before = service.get_key(tx.connection, key_id)
            vendor = service.vendor_by_id(tx.connection, before.vendor_id)
            key, changed = service.change_key(
                tx,
                act,
                keyring,
                vet,
                before,
                name=given.get("name"),
                secret=given.get("api_key"),
                settings=_settings(vendor, before, sent.config) if "config" in given else None,
                expires_at=_expiry(sent.expires_at, act) if "expires_at" in given else None,
            )
        return desk.done(tx, KeyChanged(**dict(key_shown(key)), changed=list(changed)))

    @router.delete("/keys/{key_id}", status_code=204)
    def delete_key(key_id: Id, act: Acting) -> Response:
        """Deletes a key that is not the vendor's default one."""
        with desk.database.write() as tx:
            service.delete_key(tx, act, service.get_key(tx.connection, key_id))
        return desk.done(tx)

    @router.post("/keys/{key_id}/enable", response_model=KeyShown)
    def enable_key(key_id: Id, act: Acting) -> Response:
        """Lets calls go to a key again: what calls had shown of it is void."""
        with desk.database.write() as tx:
            key = service.enable_key(tx, act, service.get_key(tx.connection, key_id))
        return desk.done(tx, key_shown(key))

    @router.post("/keys/{key_id}/disable", response_model=KeyShown)
    def disable_key(key_id: Id, act: Acting) -> Response:
        """Lets no call go to a key any more."""
        with desk.database.write() as tx:
            key = service.disable_key(tx, act, service.get_key(tx.connection, key_id))
        return desk.done(tx, key_shown(key))

    @router.get("/keys/{key_id}/trail")
    def list_key_trail(key_id: Id, limit: Limit = 50, before: AskedId = None) -> EntriesShown:
        """What people and calls did to a key, newest first. before: an entry's id."""
        with desk.database.read() as connection:
            found = audit.entries(connection, f"key:{key_id}", limit=limit, before_id=before)
        return EntriesShown(entries=list(map(entry_shown, found)))


def _add_keywords(router: APIRouter, desk: Desk) -> None:
    @router.get("/keywords")
    def list_keywords() -> KeywordsShown:
        """The words that operators look for in vendors' error messages, and what they mean."""
        with desk.database.read() as connection:
            found = service.list_keywords(connection)
        return KeywordsShown(keywords=list(map(keyword_shown, found)))

    @router.post("/keywords", status_code=201, response_model=KeywordShown)
    def add_keyword(sent: KeywordSent, act: Acting) -> Response:
        """Looks for these words in the error messages of such a vendor."""
        with desk.database.write() as tx:
            added = service.add_keyword(
                tx,
                act,
                vendor_type=sent.vendor_type,
                phrase=sent.phrase,
                action=rules.action(sent.action),
            )
        return desk.done(tx, keyword_shown(added), 201)

    @router.delete("/keywords/{keyword_id}", status_code=204)
    def delete_keyword(keyword_id: Id, act: Acting) -> Response:
        """Looks for them no more."""
        with desk.database.write() as tx:
            service.delete_keyword(tx, act, keyword_id)
        return desk.done(tx)


def _of_keys(vendor: Vendor, keys: list[UpstreamKey]) -> dict[str, Any]:
    """What a vendor's keys add to what is shown of it: the addresses too that differ from its own
    or, as with some vendors, from model to model (MODEL stands for its name)."""
    return {
        "default_key": next((key.id for key in keys if key.default), None),
        "keys": [key.id for key in keys],
        "resolved_url": url_shown(vendor, next((key for key in keys if key.default), None)),
    }


def url_shown(vendor: Vendor, key: UpstreamKey | None) -> str:
    """The whole address of chat completions, with MODEL for the name of a model."""
    settings = key.settings if key is not None else NO_SETTINGS
    return rules.resolved_url(vendor.type, vendor.base_url, settings, "MODEL")


def _settings(vendor: Vendor, key: UpstreamKey, given: Mapping[str, Any]) -> KeySettings:
    """A key's configuration with what is given in place of what was there; None = its default."""
    unset = {
        name for name in KeySettings.__struct_fields__ if name in given and given[name] is None
    }
    merged = {**shown(key.settings), **given}
    return rules.settings_from(
        vendor.type, {name: value for name, value in merged.items() if name not in unset}
    )


def _expiry(text: str | None, act: Act) -> int:
    """Unix seconds of what a person wrote; None = never. Raises Invalid."""
    with _field_named("expires", "expires_at"):
        return moment_or_days(text or "never", act.at_ms // 1000)


@contextmanager
def _field_named(inside: str, outside: str) -> Iterator[None]:
    """Refusals of this field name it as it was sent."""
    try:
        yield
    except BusinessError as problem:
        if problem.field == inside:
            problem.field = outside
        raise
