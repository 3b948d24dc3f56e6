"""Making an installation what the file says, in one transaction.

Every object is found by its name and made, changed or left alone. A dry run does the
very same and takes it back before it is committed: so it finds every conflict, and
writes nothing. Passwords are hashed before the transaction begins, because a hash takes
longer than everything else together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

import msgspec

from aipool.accounts import service as accounts
from aipool.accounts.passwords import hash_password, password_matches
from aipool.accounts.types import SessionId, User
from aipool.api_tokens import service as api_tokens
from aipool.apply.credit import book_opening_credit, refuse_former_number
from aipool.apply.entries import (
    Document,
    GroupEntry,
    KeywordEntry,
    ModelEntry,
    TokenEntry,
    UserEntry,
    VendorEntry,
)
from aipool.apply.nodes import ApplyRefused, Problem
from aipool.audit.types import Act
from aipool.catalog import service as catalog
from aipool.catalog.types import NOTHING_SAID, About, ModelTerms, Route
from aipool.groups import service as groups
from aipool.groups.types import DEFAULT_NAME, Group
from aipool.kit.db import Changes, Database, Transaction
from aipool.kit.errors import BusinessError, Invalid
from aipool.kit.money import format_cny
from aipool.kit.outbound import Vet
from aipool.kit.sealing import Keyring
from aipool.ledger.service import open_wallet
from aipool.pool import rules as pool_rules
from aipool.pool import service as pool
from aipool.pool.types import KeyTerms


class Verb(StrEnum):
    """What happened to an object."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class Step(NamedTuple):
    """One object of the file and what became of it. details: what changed, in words."""

    verb: Verb
    kind: str
    name: str
    details: tuple[str, ...] = ()


class NewToken(NamedTuple):
    """A token whose secret was made here, to be shown this once."""

    phone: str
    name: str
    secret: str


@dataclass(slots=True)
class Applied:
    """What was done, or would be. revision 0 = the workers need to know nothing."""

    steps: list[Step] = field(default_factory=list)
    new_tokens: list[NewToken] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Secrets:
    """The installation's own secrets, as the use cases need them."""

    keyring: Keyring
    pepper: bytes


class _TakeBack(Exception):
    """Ends a dry run's transaction without a commit."""


def carry_out(
    database: Database, document: Document, act: Act, secrets: Secrets, vet: Vet, *, dry_run: bool
) -> Applied:
    """Makes it so, or (dry_run) shows what would be done and writes nothing.

    Raises ApplyRefused, with the line, for what conflicts with what is there.
    """
    hashes = _password_hashes(database, document)
    applied = Applied()
    try:
        with database.write() as tx:
            run = _Run(tx, act, secrets, vet, hashes, applied)
            run.everything(document)
            if dry_run:
                raise _TakeBack
    except _TakeBack:
        return applied
    applied.changes, applied.revision = tx.changes, tx.revision
    return applied


def _password_hashes(database: Database, document: Document) -> dict[str, str]:
    """By phone: the hash to store, for the passwords that are not the stored ones."""
    stored: dict[str, str] = {}
    with database.read() as connection:
        for entry in document.users:
            if entry.password is not None:
                user = accounts.find_user(connection, entry.phone)
                if user is not None:
                    stored[entry.phone] = accounts.password_hash_of(connection, user)
    return {
        entry.phone: hash_password(entry.password)
        for entry in document.users
        if entry.password is not None
        and not (entry.phone in stored and password_matches(stored[entry.phone], entry.password))
    }


@dataclass(slots=True)
class _Run:
    tx: Transaction
    act: Act
    secrets: Secrets
    vet: Vet
    hashes: Mapping[str, str]
    applied: Applied

    def everything(self, document: Document) -> None:
        """In the order in which the parts name each other; groups and models both do, so
        what a group names is looked for at the end."""
        for vendor in document.vendors:
            with _at(vendor.line, vendor.path):
                self.vendor(vendor)
        for keyword in document.keywords:
            with _at(keyword.line, keyword.path):
                self.keyword(keyword)
        for group in document.groups:
            with _at(group.line, group.path):
                self.group(group)
        for model in document.models:
            with _at(model.line, model.path):
                self.model(model)
        for group in document.groups:
            with _at(group.line, group.path):
                catalog.check_names(self.tx.connection, group.models or ())
        for user in document.users:
            with _at(user.line, user.path):
                self.user(user)
        for token in document.tokens:
            with _at(token.line, token.path):
                self.token(token)

    def vendor(self, entry: VendorEntry) -> None:
        vendor, change = pool.put_vendor(
            self.tx,
            self.act,
            self.vet,
            name=entry.name,
            vendor_type=entry.type,
            base_url=entry.base_url,
            ordering=entry.ordering,
            concurrency=entry.concurrency,
            low_balance=entry.low_balance,
            reentered=[key.name for key in entry.keys],
        )
        self.note_made_or_changed("vendor", entry.name, change)

        keys = entry.keys
        if not keys and not pool.list_keys(self.tx.connection, vendor):
            if pool_rules.needs_secret(entry.type):
                raise Invalid("keys_missing", "a new vendor needs at least one key", field="keys")
            keys = (KeyTerms(pool_rules.next_key_name(()), ""),)
        other_default = False
        for place, terms in enumerate(keys):
            key, changed = pool.put_key(
                self.tx, self.act, self.secrets.keyring, self.vet, vendor, terms
            )
            self.note_made_or_changed("key", f"{entry.name}/{key.name}", changed)
            if place == 0:
                # Before the others are changed: the one it was may get an expiry now.
                other_default = pool.set_default_key(self.tx, self.act, key)
        if keys:
            names = [terms.name for terms in keys]
            moved = pool.put_first(self.tx, self.act, vendor, names)
            if moved or other_default:
                self.note(Verb.CHANGED, "order of keys", entry.name, (", ".join(names),))

    def keyword(self, entry: KeywordEntry) -> None:
        changed = pool.put_keyword(
            self.tx,
            self.act,
            vendor_type=entry.vendor_type,
            phrase=entry.phrase,
            action=entry.action,
        )
        self.note_made_or_changed("keyword", entry.phrase, changed)

    def model(self, entry: ModelEntry) -> None:
        routes = []
        for route in entry.routes:
            with _at(route.line, route.path):
                vendor = pool.get_vendor(self.tx.connection, route.vendor)
                limited_to = tuple(self.named_group(name).id for name in route.groups)
            routes.append(Route(vendor.id, route.upstream_model, route.cost, limited_to))
        terms = ModelTerms(
            entry.name,
            entry.kind,
            entry.context_tokens,
            entry.max_output_tokens,
            entry.price,
            tuple(routes),
            entry.hidden_reasoning,
            entry.timeouts,
            entry.free,
            self.about(entry),
            price_locked=True,
            quote=entry.quote,
            cost_quotes=tuple(route.cost_quote for route in entry.routes),
        )
        made, changed = catalog.put_model(self.tx, self.act, terms)
        self.note_made_or_changed("model", entry.name, None if made else changed)

    def about(self, entry: ModelEntry) -> About | None:
        """What is said of the model: what the file says, and of the rest what was said before."""
        if not entry.said:
            return None
        there = catalog.find_model(self.tx.connection, entry.name)
        before = catalog.get_about(self.tx.connection, there) if there else NOTHING_SAID
        return msgspec.structs.replace(before, **entry.said)

    def group(self, entry: GroupEntry) -> None:
        before = groups.find_group(self.tx.connection, entry.name)
        group, _ = groups.put_group(
            self.tx,
            self.act,
            name=entry.name,
            multiplier_ppm=entry.multiplier_ppm,
            models=entry.models,
            each_user=entry.each_user,
            whole=entry.whole,
        )
        self.note_made_or_changed(
            "group", entry.name, groups.differences(before, group) if before else None
        )

    def user(self, entry: UserEntry) -> None:
        user = accounts.find_user(self.tx.connection, entry.phone)
        password_hash = self.hashes.get(entry.phone)
        if user is None:
            if password_hash is None:
                raise Invalid("password_missing", "a new user needs a password", field="password")
            user = accounts.create_user(
                self.tx, self.act, phone=entry.phone, password_hash=password_hash
            )
            open_wallet(self.tx, user.id)
            self.note(Verb.CREATED, "user", entry.phone)
        elif password_hash is not None:
            accounts.set_password(
                self.tx, self.act, user, password_hash=password_hash, ended=_sessions_end
            )
            self.note(Verb.CHANGED, "user", entry.phone, ("password",))
        else:
            self.note(Verb.UNCHANGED, "user", entry.phone)
        if entry.credit_nano is not None:
            self.opening_credit(user, entry.credit_nano)

    def opening_credit(self, user: User, amount_nano: int) -> None:
        refuse_former_number(self.tx.connection, user)
        booked = book_opening_credit(self.tx, self.act, user, amount_nano)
        amount = f"{format_cny(amount_nano)} CNY"
        verb = Verb.CREATED if booked else Verb.UNCHANGED
        self.note(verb, "opening credit", user.phone, (amount,) if booked else ())

    def token(self, entry: TokenEntry) -> None:
        user = accounts.get_user(self.tx.connection, entry.phone)
        if entry.models is not None:
            catalog.check_names(self.tx.connection, entry.models)
        group = self.named_group(entry.group)
        terms = entry.terms(group.id)
        name = f"{entry.phone}/{entry.name}"
        pepper = self.secrets.pepper
        token = api_tokens.find_token(self.tx.connection, user, entry.name)
        if token is not None:
            # The file does not say these.
            kept = token.terms
            terms = replace(
                terms,
                description=kept.description,
                playground_allowed=kept.playground_allowed,
                content_days=kept.content_days,
            )
        # What was taken away from a token that is there stays so.
        asks = token is None or token.group_id != group.id
        granted = self.grant(user, group) if asks else ()
        if token is None:
            _, secret = api_tokens.create_token(
                self.tx, self.act, pepper, user, terms, secret=entry.secret
            )
            self.note(Verb.CREATED, "token", name, granted)
            if entry.secret is None:
                self.applied.new_tokens.append(NewToken(entry.phone, entry.name, secret))
            return
        changed = api_tokens.change_token(
            self.tx, self.act, pepper, token, terms, secret=entry.secret
        )
        self.note_change("token", name, (*changed, *granted))

    def grant(self, user: User, group: Group) -> tuple[str, ...]:
        """Who writes the file decides who may be in which group. What changed, in words."""
        granted = groups.grant(self.tx, self.act, user.id, group)
        return (f"group {group.name} granted",) if granted else ()

    def named_group(self, name: str) -> Group:
        if name == DEFAULT_NAME:
            found = groups.find_group(self.tx.connection, name)
            return found or groups.default_group(self.tx, self.act)
        return groups.get_group(self.tx.connection, name)

    def note(self, verb: Verb, kind: str, name: str, details: tuple[str, ...] = ()) -> None:
        self.applied.steps.append(Step(verb, kind, name, details))

    def note_change(self, kind: str, name: str, changed: tuple[str, ...]) -> None:
        self.note(Verb.CHANGED if changed else Verb.UNCHANGED, kind, name, changed)

    def note_made_or_changed(self, kind: str, name: str, changed: tuple[str, ...] | None) -> None:
        if changed is None:
            self.note(Verb.CREATED, kind, name)
        else:
            self.note_change(kind, name, changed)


def _sessions_end(tx: Transaction, ended: Sequence[SessionId]) -> None:
    """With another password sessions end, and with them their playground keys."""
    for session_id in ended:
        api_tokens.drop_playground_keys(tx, session_id)


@contextmanager
def _at(line: int, path: str) -> Iterator[None]:
    """Gives a refusal of a use case the place in the file that asked for it."""
    try:
        yield
    except BusinessError as error:
        inner = f"{path}.{error.field}" if error.field else path
        raise ApplyRefused([Problem(line, inner, error.message)]) from error
