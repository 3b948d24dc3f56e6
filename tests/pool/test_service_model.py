"""People do anything to the keys of a vendor, in any order: a model says what then is so."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aipool.audit.types import Act
from aipool.kit.db import Database, Transaction
from aipool.kit.errors import BusinessError, Conflict
from aipool.pool import service as pool
from aipool.pool.types import KeyTerms, UpstreamKey
from aipool.vendors.types import KeySettings
from tests.world import open_world

HOUR_MS = 3_600_000
PLACES = st.integers(0, 7)
EXPIRIES = st.sampled_from([-1, 0, 1, 3])
HOSTS = st.sampled_from(["", "https://one.example/v1", "https://two.example/v1"])


@dataclass
class Expected:
    """A key as it must be."""

    id: int
    name: str
    expires_at: int
    generation: int
    secret: str
    host: str = ""
    enabled: bool = True


class KeysOfAVendor(RuleBasedStateMachine):
    """One transaction a step, on a real database."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.closing = ExitStack()
        folder = Path(self.closing.enter_context(tempfile.TemporaryDirectory()))
        self.world = self.closing.enter_context(open_world(folder))
        with self.world.database.write() as tx:
            self.vendor = self.world.vendor(tx, keys=())
        self.keys: list[Expected] = []
        self.default = 0
        self.version = 0
        self.secrets = 0

    def teardown(self) -> None:
        self.closing.close()

    @property
    def act(self) -> Act:
        return self.world.act

    def stored(self, tx: Transaction, place: int) -> tuple[UpstreamKey, Expected]:
        expected = self.keys[place % len(self.keys)]
        return pool.get_key(tx.connection, expected.id), expected

    def expired(self, key: Expected) -> bool:
        return key.expires_at != 0 and key.expires_at * 1000 <= self.act.at_ms

    def expiry(self, hours: int) -> int:
        return self.act.at_ms // 1000 + hours * 3600 if hours else 0

    def secret(self) -> str:
        self.secrets += 1
        return f"a-long-secret-number-{self.secrets:06}"

    @rule(hours=EXPIRIES)
    def create(self, hours: int) -> None:
        secret, expires_at = self.secret(), self.expiry(hours)
        terms = KeyTerms("", secret, expires_at=expires_at)
        keyring = self.world.secrets.keyring
        allowed = hours >= 0 and (bool(self.keys) or hours == 0)
        try:
            with self.world.database.write() as tx:
                key = pool.create_key(tx, self.act, keyring, self.world.vet, self.vendor, terms)
        except BusinessError:
            assert not allowed
            return
        assert allowed
        numbers = [int(known.name.removeprefix("key")) for known in self.keys]
        assert key.name == f"key{max(numbers, default=0) + 1}"
        self.keys.append(Expected(key.id, key.name, expires_at, 1, secret))
        if len(self.keys) == 1:
            self.default = key.id

    @precondition(lambda self: self.keys)
    @rule(
        place=PLACES,
        hours=st.none() | EXPIRIES,
        host=st.none() | HOSTS,
        weight=st.integers(1, 3),
        new_secret=st.booleans(),
    )
    def change(
        self, place: int, hours: int | None, host: str | None, weight: int, new_secret: bool
    ) -> None:
        secret = self.secret() if new_secret else None
        expires_at = None if hours is None else self.expiry(hours)
        try:
            with self.world.database.write() as tx:
                key, expected = self.stored(tx, place)
                wanted = None if host is None else KeySettings(base_url=host, weight=weight)
                pool.change_key(
                    tx,
                    self.act,
                    self.world.secrets.keyring,
                    self.world.vet,
                    key,
                    secret=secret,
                    settings=wanted,
                    expires_at=expires_at,
                )
        except BusinessError as refusal:
            past = hours is not None and hours < 0 and expires_at != expected.expires_at
            of_default = expected.id == self.default and bool(expires_at)
            assert self.expired(expected) or past or of_default, refusal
            return
        assert not self.expired(expected)
        moves = host is not None and host != expected.host
        expected.generation += moves or new_secret
        expected.host = expected.host if host is None else host
        expected.expires_at = expected.expires_at if expires_at is None else expires_at
        if moves or new_secret:
            expected.secret = secret or ""

    @precondition(lambda self: self.keys)
    @rule(place=PLACES, enabled=st.booleans())
    def switch(self, place: int, enabled: bool) -> None:
        do = pool.enable_key if enabled else pool.disable_key
        try:
            with self.world.database.write() as tx:
                key, expected = self.stored(tx, place)
                do(tx, self.act, key)
        except Conflict:
            assert self.expired(expected)
            return
        assert not self.expired(expected)
        expected.enabled = enabled
        expected.generation += enabled

    @precondition(lambda self: self.keys)
    @rule(place=PLACES)
    def delete(self, place: int) -> None:
        try:
            with self.world.database.write() as tx:
                key, expected = self.stored(tx, place)
                pool.delete_key(tx, self.act, key)
        except Conflict:
            assert expected.id == self.default
            return
        assert expected.id != self.default
        self.keys.remove(expected)

    @precondition(lambda self: self.keys)
    @rule(place=PLACES)
    def make_default(self, place: int) -> None:
        try:
            with self.world.database.write() as tx:
                key, expected = self.stored(tx, place)
                pool.set_default_key(tx, self.act, key)
        except Conflict:
            assert expected.expires_at
            return
        assert not self.expired(expected)
        self.default = expected.id

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), stale=st.booleans())
    def order(self, data: st.DataObject, stale: bool) -> None:
        wanted = data.draw(st.permutations(self.keys))
        ids = [key.id for key in wanted]
        try:
            with self.world.database.write() as tx:
                seen = pool.get_vendor(tx.connection, self.vendor.name).order_version
                pool.order_keys(tx, self.act, self.vendor, ids, seen - stale)
        except pool.StaleOrder as conflict:
            assert stale
            assert conflict.current == (seen, tuple(key.id for key in self.keys))
            return
        assert not stale
        self.keys = wanted

    @precondition(lambda self: self.keys)
    @rule(place=PLACES, changed_meanwhile=st.booleans())
    def test_was_good(self, place: int, changed_meanwhile: bool) -> None:
        with self.world.database.write() as tx:
            key, expected = self.stored(tx, place)
            tested = replace(key, generation=key.generation - changed_meanwhile)
            cleared = pool.clear_health(tx, self.act, tested, why="it answered")
        assert cleared is (not changed_meanwhile and not self.expired(expected))
        expected.generation += cleared

    @rule(hours=st.integers(1, 2))
    def time_passes(self, hours: int) -> None:
        self.world.act = Act("test", self.act.at_ms + hours * HOUR_MS)

    @invariant()
    def the_keys_are_as_they_must_be(self) -> None:
        with self.world.database.read() as connection:
            stored = pool.list_keys(connection, self.vendor)
            version = pool.get_vendor(connection, self.vendor.name).order_version
            secrets = pool.open_secrets(connection, self.world.secrets.keyring)
        assert [
            (key.id, key.name, key.expires_at, key.generation, key.enabled) for key in stored
        ] == [(key.id, key.name, key.expires_at, key.generation, key.enabled) for key in self.keys]
        assert [key.position for key in stored] == list(range(len(stored)))
        assert len({key.name for key in stored}) == len(stored)
        assert [key.id for key in stored if key.default] == [self.default] * bool(stored)
        assert not any(key.default and key.expires_at for key in stored)
        assert secrets == {key.id: key.secret for key in self.keys if key.secret and key.enabled}
        assert version >= self.version
        self.version = version


TestKeysOfAVendor = KeysOfAVendor.TestCase
TestKeysOfAVendor.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
