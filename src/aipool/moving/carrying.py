"""Moves a dump of new-api in: groups, channels, models, users and tokens, in this order.

A few rows are one transaction, with a pause after it, so that the books of a platform that runs
hardly wait; what is there after a failure is whole rows, and running it again does the rest: what
was moved in is remembered by its number there, and is left alone after that,
whatever people have changed of it here. A user is remembered by name as well, so that the dump of
a second platform, whose numbers begin with 1 too, gives nobody what is another's. A row that cannot
be is refused by itself, with its number and the reason. A dry run does the very same in one
transaction and takes it back: for that long the books wait.

Nobody can know a password: an administrator gives each person a link to set one; who has neither a
number nor an address names one there, to log in with. Nobody becomes an administrator by moving in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from sqlalchemy.engine import Connection

from aipool.accounts import rules as account_rules
from aipool.accounts import service as accounts
from aipool.accounts.passwords import hash_password
from aipool.accounts.rules import Login
from aipool.accounts.service import Details
from aipool.accounts.types import Status
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import TokenTerms
from aipool.apply.credit import OPENING_ACCOUNT
from aipool.apply.plan import Secrets
from aipool.audit.types import Act
from aipool.catalog import rules as catalog_rules
from aipool.catalog import seed
from aipool.catalog import service as catalog
from aipool.catalog.quoting import Exchange
from aipool.catalog.types import (
    CONTEXT_TOKENS_DEFAULT,
    MAX_OUTPUT_TOKENS_DEFAULT,
    TYPED,
    Kind,
    ModelTerms,
    Quote,
    Route,
)
from aipool.groups import service as groups
from aipool.groups.types import DEFAULT_NAME, Group
from aipool.kit import digests
from aipool.kit.db import Changes, Database, Transaction
from aipool.kit.errors import BusinessError, Conflict, Invalid
from aipool.kit.money import AMOUNT_NANO_MAX, PPM, format_cny, format_multiplier
from aipool.kit.names import NAME_CHARACTERS_MAX, checked_name
from aipool.kit.outbound import Vet
from aipool.ledger.service import credit_wallet, open_wallet
from aipool.ledger.types import Refused, TransferKind
from aipool.moving import new_api, store
from aipool.moving.new_api import Ratios, TheirChannel, TheirToken, TheirUser
from aipool.moving.sql import Rows
from aipool.pool import service as pool
from aipool.pool.types import KeyTerms
from aipool.rating.types import Price

_NO_PRICE = Price(0, 0, 0, 0)
_NAME_OF_USER = "name of user"
#: Rows of one transaction, and the pause after it: the books wait for some tenths of a second;
#: calls wait three seconds for money.
BITE = 50
PAUSE_SECONDS = 0.05


class Outcome(StrEnum):
    """What became of a row."""

    CREATED = "created"
    UNCHANGED = "unchanged"
    """It was moved in before."""
    SKIPPED = "skipped"
    """It was deleted there."""
    REFUSED = "refused"


class Step(NamedTuple):
    """A row and what became of it. number: its id there.  says: more, or why it was refused."""

    kind: str
    number: str
    name: str
    outcome: Outcome
    says: str = ""


@dataclass(slots=True)
class Moved:
    """What was done, or would be. changes, revision: for the workers; 0 = nothing for them."""

    steps: list[Step] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    revision: int = 0


class _Made(NamedTuple):
    """Its id here, and what a person should know of it."""

    id: int
    says: tuple[str, ...] = ()


class _TakeBack(Exception):
    """Ends a dry run's transaction without a commit."""


def carry_out(
    database: Database,
    dump: dict[str, Rows],
    dollar: Exchange,
    act: Act,
    secrets: Secrets,
    vet: Vet,
    *,
    dry_run: bool,
) -> Moved:
    """Moves it in, or (dry_run) shows what would be done and writes nothing.

    dollar: what one costs, as the operator says. Raises Invalid for options that cannot be read,
    and Conflict when most of the users who were moved in before are others in this dump.
    """
    ratios = new_api.ratios_of(dump["options"])
    # One password that nobody knows: hashing takes longer than everything else.
    password_hash = hash_password(digests.generate())
    moved = Moved()
    run = _Run(dump, ratios, dollar, act, secrets, vet, password_hash, moved.steps)
    with database.read() as connection:
        run.look_at_users(connection)
    kinds = (run.groups, run.channels, run.models, run.users, run.tokens)
    if dry_run:
        try:
            with database.write() as tx:
                for kind in kinds:
                    while kind(tx):
                        pass
                raise _TakeBack
        except _TakeBack:
            return moved
    for kind in kinds:
        is_more = True
        while is_more:
            with database.write() as tx:
                is_more = kind(tx)
            moved.changes.catalogue |= tx.changes.catalogue
            moved.changes.everything |= tx.changes.everything
            moved.changes.digests |= tx.changes.digests
            moved.revision = max(moved.revision, tx.revision)
            if is_more:
                time.sleep(PAUSE_SECONDS)
    return moved


@dataclass(slots=True)
class _Run:
    dump: dict[str, Rows]
    ratios: Ratios
    dollar: Exchange
    act: Act
    secrets: Secrets
    vet: Vet
    password_hash: str
    steps: list[Step]
    #: Numbers of users here who are other people there.
    others: set[str] = field(default_factory=set)
    #: By kind: what was moved in before, and the rows that were not looked at yet.
    before: dict[str, dict[str, int]] = field(default_factory=dict)
    left: dict[str, Iterator[new_api.Row]] = field(default_factory=dict)
    #: The groups of users there, by their numbers.
    groups_of: dict[str, str] = field(default_factory=dict)

    def look_at_users(self, connection: Connection) -> None:
        """Numbers are all that is remembered of most rows. Two platforms both begin with 1, and
        what is moved in of the second must not fall to the users of the first."""
        there = store.ids_of(connection, "user")
        called = store.ids_of(connection, _NAME_OF_USER)
        noted = {name.partition(" ")[0] for name in called}
        same = 0
        for row in self.dump["users"]:
            self.groups_of[str(row.get("id"))] = str(row.get("group") or DEFAULT_NAME)
            number = new_api.printable(str(row.get("id", "?")))
            if number in there and number in noted:
                is_same = _name_of_user(number, row) in called
                same += is_same
                self.others |= set() if is_same else {number}
        if len(self.others) > same:
            raise Conflict(
                "another_platform",
                f"{len(self.others)} users were moved in before under other names: this is the "
                "dump of another platform; what is here came from one",
            )

    # --- groups -------------------------------------------------------------------------------

    def groups(self, tx: Transaction) -> bool:
        """Those that have a ratio, and those that somebody or something is in."""
        named = {DEFAULT_NAME: PPM}
        for name, ratio in self.ratios.groups.items():
            with self.row(tx, "group", name, name):
                checked_name(name)
                named[name] = new_api.multiplier_ppm(ratio)
        there = store.ids_of(tx.connection, "group")
        for name, ppm in named.items():
            with self.row(tx, "group", name, name) as done:
                if name in there or groups.find_group(tx.connection, name) is not None:
                    done(Outcome.UNCHANGED, self.differs(tx, name, ppm))
                    continue
                group, _ = groups.put_group(
                    tx, self.act, name=name, multiplier_ppm=ppm, models=None
                )
                store.remember(tx.connection, "group", name, group.id, self.act.at_ms)
                done(Outcome.CREATED, f"multiplier {format_multiplier(ppm)}")
        return False

    def differs(self, tx: Transaction, name: str, ppm: int) -> str:
        """What a person should know of a group that is here already."""
        group = groups.find_group(tx.connection, name)
        if group is None or group.multiplier_ppm == ppm:
            return ""
        here, theirs = format_multiplier(group.multiplier_ppm), format_multiplier(ppm)
        return f"multiplier {here} here, {theirs} there"

    # --- channels -----------------------------------------------------------------------------

    def channels(self, tx: Transaction) -> bool:
        """Each is a vendor with its keys."""
        names = {vendor.name for vendor in pool.list_vendors(tx.connection)}

        def made(row: new_api.Row) -> _Made:
            channel = new_api.channel_of(row)
            vendor_id = self.channel(tx, channel, _free(channel.name, channel.id, names))
            says = f"{channel.type}, {len(channel.secrets)} keys"
            return _Made(vendor_id, (says, channel.note))

        return self.each_new(tx, "channel", "name", made)

    def channel(self, tx: Transaction, channel: TheirChannel, name: str) -> int:
        """The vendor, which is disabled by its keys."""
        vendor = pool.create_vendor(
            tx,
            self.act,
            self.vet,
            name=name,
            vendor_type=channel.type,
            base_url=channel.base_url,
        )
        for secret in channel.secrets:
            terms = KeyTerms("", secret)
            key = pool.create_key(tx, self.act, self.secrets.keyring, self.vet, vendor, terms)
            if not channel.enabled:
                pool.disable_key(tx, self.act, key)
        return vendor.id

    # --- models -------------------------------------------------------------------------------

    def models(self, tx: Transaction) -> bool:
        """What the channels that were moved in serve, with routes in the order of priority."""
        vendor_ids = store.ids_of(tx.connection, "channel")
        group_ids = {group.name: group.id for group in groups.list_groups(tx.connection)}
        ways: dict[str, dict[str, Route]] = {}
        for channel in sorted(self.moved_channels(), key=lambda one: -one.priority):
            vendor_id = vendor_ids.get(str(channel.id))
            if vendor_id is None:
                continue
            known = tuple(sorted(group_ids[name] for name in channel.groups if name in group_ids))
            limited_to = () if len(known) == len(group_ids) else known
            if not known:
                continue
            for name, upstream_model in channel.models:
                route = Route(vendor_id, upstream_model, _NO_PRICE, limited_to)
                ways.setdefault(name, {}).setdefault(f"{channel.id} {name}", route)
        there = store.ids_of(tx.connection, "model"), store.ids_of(tx.connection, "route")
        for name, routes in ways.items():
            with self.row(tx, "model", name, name) as done:
                new = {way: route for way, route in routes.items() if way not in there[1]}
                done(*self.model(tx, name, new, was_moved=name in there[0]))
                for way, route in new.items():
                    store.remember(tx.connection, "route", way, route.vendor_id, self.act.at_ms)
        return False

    def moved_channels(self) -> Iterator[TheirChannel]:
        """Those that can be read; the others were refused before."""
        for row in self.dump["channels"]:
            try:
                yield new_api.channel_of(row)
            except BusinessError:
                continue

    def model(
        self, tx: Transaction, name: str, new: dict[str, Route], *, was_moved: bool
    ) -> tuple[Outcome, str, str]:
        """Made, or given the routes that are new there. What people took off here stays off."""
        before = catalog.find_model(tx.connection, name)
        routes = tuple(new.values())
        if before is not None:
            there = {(route.vendor_id, route.upstream_model) for route in before.routes}
            more = [one for one in routes if (one.vendor_id, one.upstream_model) not in there]
            if not more:
                return Outcome.UNCHANGED, "", ""
            catalog.put_routes(tx, self.act, before, (*before.routes, *more))
            return Outcome.CREATED, f"{len(more)} routes more; its price stays", ""
        if was_moved or not routes:
            return Outcome.UNCHANGED, "it was deleted here", ""
        made = new_api.price_of(name, self.ratios, self.dollar)
        price, quote, missing = made or (_NO_PRICE, TYPED, "the dump has no ratio of it")
        terms = _terms(name, price, quote, routes)
        # What is sold by the call costs nothing by the token, there as here.
        by_call = price.extras is not None and price.extras.call_nano > 0
        unpriced = catalog_rules.unpriced(terms.kind, price)
        catalog.put_model(
            tx, self.act, replace(terms, free=by_call, enabled=by_call or not unpriced)
        )
        model = catalog.get_model(tx.connection, name)
        store.remember(tx.connection, "model", name, model.id, self.act.at_ms)
        says = f"price {catalog.describe(price)}"
        return Outcome.CREATED, says, f"disabled: {missing}" if unpriced and not by_call else ""

    # --- users --------------------------------------------------------------------------------

    def users(self, tx: Transaction) -> bool:
        """Each with their group and with what was left, as an opening entry."""
        by_name = {group.name: group for group in groups.list_groups(tx.connection)}

        def made(row: new_api.Row) -> _Made:
            user = self.user(tx, new_api.user_of(row), by_name)
            name = _name_of_user(new_api.printable(str(row.get("id"))), row)
            store.remember(tx.connection, _NAME_OF_USER, name, user.id, self.act.at_ms)
            return user

        return self.each_new(tx, "user", "username", made)

    def user(self, tx: Transaction, theirs: TheirUser, by_name: dict[str, Group]) -> _Made:
        """Nobody's password is known, and nobody is more than a user here. What is named like
        somebody who is here already comes without that: the money is theirs all the same."""
        reach = {"phone": _phone(theirs.username), "email": _email(theirs.email)}
        taken = [
            field
            for field, address in reach.items()
            if address and accounts.user_by_login(tx.connection, Login(**{field: address}))
        ]
        free = {field: "" if field in taken else address for field, address in reach.items()}
        user = accounts.create_user(
            tx,
            self.act,
            phone=free["phone"],
            password_hash=self.password_hash,
            status=Status.ACTIVE if theirs.enabled else Status.DISABLED,
            details=Details(name=theirs.name, email=free["email"]),
        )
        accounts.set_note(
            tx,
            self.act,
            user,
            f"new-api user {theirs.id}: {new_api.printable(theirs.username)}"[:200],
        )
        open_wallet(tx, user.id)
        group = by_name.get(theirs.group)
        if group is not None:
            groups.grant(tx, self.act, user.id, group)
        says = [self.opening(tx, theirs, user.id)]
        says += [f"{reach[field]} is another user's: without it" for field in taken]
        if group is None:
            says.append(f"there is no group {theirs.group}")
        if not theirs.is_customer:
            says.append("an administrator there, a user here")
        return _Made(user.id, tuple(says))

    def opening(self, tx: Transaction, theirs: TheirUser, user_id: int) -> str:
        """What was left, booked once."""
        amount_nano = new_api.nano_of(theirs.quota, self.ratios, self.dollar)
        if amount_nano <= 0:
            return "no balance" if theirs.quota == 0 else "owed something there: no balance"
        if amount_nano > AMOUNT_NANO_MAX:
            raise Invalid("credit_out_of_range", f"a balance of {format_cny(amount_nano)} CNY")
        answer = credit_wallet(
            tx,
            user_id=user_id,
            amount_nano=amount_nano,
            source=OPENING_ACCOUNT,
            kind=TransferKind.OPENING,
            idem_key=f"import:new-api:{theirs.id}",
            ref=f"user:{user_id}",
            actor=self.act.actor,
            at_ms=self.act.at_ms,
        )
        if isinstance(answer, Refused):
            raise Conflict("credit_refused", f"the ledger refused the credit: {answer.reason}")
        return f"balance {format_cny(amount_nano)} CNY"

    # --- tokens -------------------------------------------------------------------------------

    def tokens(self, tx: Transaction) -> bool:
        """Each with its own secret, of which only the digest is kept."""
        models = {model.name for model in catalog.list_models(tx.connection)}
        by_name = {group.name: group for group in groups.list_groups(tx.connection)}

        def made(row: new_api.Row) -> _Made:
            theirs = new_api.token_of(row)
            user_id = store.id_of(tx.connection, "user", str(theirs.user_id))
            if str(theirs.user_id) in self.others:
                raise Conflict("user_is_another", f"its user {theirs.user_id} is another one here")
            if user_id is None:
                raise Invalid("user_unknown", f"its user {theirs.user_id} was not moved in")
            usual = self.groups_of.get(str(theirs.user_id), DEFAULT_NAME)
            wanted = theirs.group if theirs.group in by_name else usual
            group = by_name.get(wanted)
            if group is None:
                raise Invalid("group_unknown", f"there is no group {wanted}")
            usable = self.ratios.usable
            may = usable is None or wanted == usual or wanted in usable
            token_id = self.token(tx, theirs, user_id, group, models, may=may)
            note = "" if may else "a group that was not granted there: refused, as it was"
            if theirs.group not in ("", wanted):
                note = f"there is no group {theirs.group}: {wanted}"
            return _Made(token_id, (f"{theirs.secret[-4:]}, group {group.name}", note))

        return self.each_new(tx, "token", "name", made)

    def token(
        self,
        tx: Transaction,
        theirs: TheirToken,
        user_id: int,
        group: Group,
        models: set[str],
        *,
        may: bool,
    ) -> int:
        """may: had its owner the group there? What was taken away there is not given here."""
        user = accounts.user_by_id(tx.connection, user_id)
        allowed = None
        if theirs.models is not None:
            allowed = tuple(name for name in theirs.models if name in models)
            if not allowed:
                raise Invalid("models_unknown", "none of the models it may call was moved in")
        limit_nano = None
        if theirs.remain_quota is not None:
            limit_nano = new_api.nano_of(theirs.remain_quota, self.ratios, self.dollar)
        taken = {token.name for token in api_tokens.list_tokens(tx.connection, user=user)}
        terms = TokenTerms(
            name=_free(theirs.name, theirs.id, taken),
            group_id=group.id,
            models=allowed,
            ips=theirs.ips,
            expires_at=theirs.expires_at,
            limit_nano=None if limit_nano is None else min(limit_nano, AMOUNT_NANO_MAX),
        )
        if may:
            groups.grant(tx, self.act, user.id, group)
        token, _ = api_tokens.create_token(
            tx, self.act, self.secrets.pepper, user, terms, secret=theirs.secret
        )
        if not theirs.enabled:
            api_tokens.set_enabled(tx, self.act, token, enabled=False)
        return token.id

    # --- each row -----------------------------------------------------------------------------

    def each_new(
        self, tx: Transaction, kind: str, called: str, make: Callable[[new_api.Row], _Made]
    ) -> bool:
        """Makes what is there and was not moved in before, and remembers its number: of the next
        few rows. Are there more?

        called: the column that has its name.
        """
        if kind not in self.left:
            self.before[kind] = store.ids_of(tx.connection, kind)
            self.left[kind] = iter(self.dump[f"{kind}s"])
        there, rows = self.before[kind], tuple(islice(self.left[kind], BITE))
        for row in rows:
            number = new_api.printable(str(row.get("id", "?")))
            name = new_api.printable(str(row.get(called, "")))
            with self.row(tx, kind, number, name) as done:
                if kind == "user" and number in self.others:
                    raise Conflict("user_is_another", "this number was moved in under another name")
                if number in there:
                    done(Outcome.UNCHANGED)
                elif new_api.is_deleted(row):
                    done(Outcome.SKIPPED, "it was deleted there")
                else:
                    made = make(row)
                    store.remember(tx.connection, kind, number, made.id, self.act.at_ms)
                    done(Outcome.CREATED, *made.says)
        return len(rows) == BITE

    @contextmanager
    def row(
        self, tx: Transaction, kind: str, number: str, name: str
    ) -> Iterator[Callable[..., None]]:
        """One row: what is refused of it leaves nothing behind, and the others go on."""

        def done(outcome: Outcome, *says: str) -> None:
            words = "; ".join(word for word in says if word)
            self.steps.append(Step(kind, number, name, outcome, words))

        try:
            with tx.part():
                yield done
        except BusinessError as problem:
            done(Outcome.REFUSED, new_api.refusal(problem))


def _terms(name: str, price: Price, quote: Quote, routes: tuple[Route, ...]) -> ModelTerms:
    """What is known of a model of this name, with this price."""
    known = next((terms for terms in seed.seeds() if terms.name == name), None)
    kind = known.kind if known else Kind.EMBEDDING if "embedding" in name else Kind.CHAT
    return ModelTerms(
        name,
        kind,
        known.context_tokens if known else CONTEXT_TOKENS_DEFAULT,
        known.max_output_tokens if known else MAX_OUTPUT_TOKENS_DEFAULT,
        price,
        routes,
        known.hidden_reasoning if known else False,
        about=known.about if known else None,
        quote=quote,
    )


def _name_of_user(number: str, row: new_api.Row) -> str:
    """By which a user is known again."""
    return f"{number} {new_api.printable(str(row.get('username', '')))}"


def _phone(username: str) -> str:
    """Many people sign in there with their number."""
    try:
        return account_rules.canonical_phone(username)
    except Invalid:
        return ""


def _email(text: str) -> str:
    """An address that is none is left out: it is in the note if it is the name."""
    try:
        return account_rules.canonical_email(text) if text else ""
    except Invalid:
        return ""


def _free(name: str, number: int, taken: set[str]) -> str:
    """The name, or the name with its number there where somebody has it already."""
    if name in taken:
        ending = f" ({number})"
        name = name[: NAME_CHARACTERS_MAX - len(ending)] + ending
    taken.add(name)
    return name
