"""A way in for tests: real premises on a real installation, a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from aipool import config
from aipool.accounts import service, sessions
from aipool.accounts.callers import Caller
from aipool.accounts.entry import Asked, Entry, In, Key, Wish
from aipool.accounts.oneself import Oneself
from aipool.accounts.premises import Hooks, Premises
from aipool.accounts.proof import ChallengeNeeded, Proof, is_solved
from aipool.accounts.store import people as store
from aipool.accounts.types import Role, Status, User
from aipool.audit.types import Act
from aipool.kit.errors import BusinessError
from aipool.notices.codes import Purpose
from aipool.site.service import Site
from tests.world import World, open_world

PASSWORD = "violet harbour 93"
#: Made once, and cheap to compare with.
PASSWORD_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
PHONE = "+8613800138001"
IP = "203.0.113.7"
#: As much work as tests can wait for.
BITS = 6


def solve(challenge: str, bits: int) -> Proof:
    """The proof, found by trying."""
    number = 0
    while not is_solved(proof := Proof(challenge, str(number)), bits):
        number += 1
    return proof


@dataclass
class People:
    """The way in, and short words for what tests do there. seconds: of the clock."""

    world: World
    premises: Premises
    entry: Entry
    oneself: Oneself
    seconds: list[float]
    ended: list[int] = field(default_factory=list)

    def act(self, ip: str = IP, actor: str = "visitor") -> Act:
        at_ms = 1_800_000_000_000 + int(self.seconds[0] * 1000)
        return Act(actor, at_ms, ip=ip, user_agent="tests")

    def later(self, seconds: float) -> None:
        self.seconds[0] += seconds

    def set(self, **values: Any) -> None:
        """Settings of the site, unchecked against each other."""
        self.premises.site._fixed.update(values)
        self.premises.site._known = None

    def user(self, phone: str = PHONE, role: Role = Role.USER, **columns: Any) -> User:
        """Somebody with PASSWORD. columns: of the account."""
        with self.world.database.write() as tx:
            user = service.create_user(
                tx, self.act(), phone=phone, password_hash=PASSWORD_HASH, role=role
            )
            if columns:
                store.update_user(tx.connection, user.id, **columns)
            return service.user_by_id(tx.connection, user.id)

    def again(self, user: User) -> User:
        """The account as it is now."""
        with self.world.database.read() as connection:
            return service.user_by_id(connection, user.id)

    def register(self, phone: str = PHONE, *, ip: str = IP, **wish: Any) -> In:
        wanted = Wish(phone, wish.pop("password", PASSWORD), **wish)
        return self.entry.register(self.act(ip), wanted)

    def log_in(
        self,
        login: str = PHONE,
        password: str = PASSWORD,
        *,
        ip: str = IP,
        code: str = "",
        device: str = "",
        proof: Proof | None = None,
    ) -> In:
        return self.entry.log_in(self.act(ip), Key(login, password, code, device), proof)

    def caller(self, secret: str, *, totp_required: bool = False) -> Caller | None:
        """Whose session the cookie opens now."""
        with self.world.database.read() as connection:
            return sessions.caller_of_cookie(
                connection,
                self.world.secrets.pepper,
                secret,
                self.act().at_ms,
                totp_required=totp_required,
            )

    def known(self, secret: str) -> Caller:
        found = self.caller(secret)
        assert found is not None
        return found

    def ask_code(self, purpose: Purpose, address: str, caller: Caller | None = None) -> Asked:
        """Asks for a code, with the work that it takes."""
        to = {"email": address, "phone": ""} if "@" in address else {"phone": address, "email": ""}
        wanted: dict[str, Any] = {"purpose": purpose, "locale": "", "caller": caller, **to}
        with pytest.raises(ChallengeNeeded) as needed:
            self.entry.ask_code(self.act(), proof=None, **wanted)
        proof = solve(needed.value.more["challenge"], needed.value.more["bits"])
        return self.entry.ask_code(self.act(), proof=proof, **wanted)

    def set_status(self, user: User, status: Status) -> None:
        with self.world.database.write() as tx:
            service.set_status(tx, self.act(), self.again(user), status)


@contextmanager
def open_people(data_dir: Path, kind: str = "sqlite") -> Iterator[People]:
    """The way into an installation in this folder."""
    with open_world(data_dir, kind) as world:
        settings = config.load({"data_dir": data_dir}, {})
        seconds = [0.0]
        ended: list[int] = []
        premises = Premises(
            world.database,
            world.secrets.pepper,
            world.secrets.keyring,
            Site(settings, world.secrets.keyring),
            Hooks(sessions_end=lambda _tx, gone: ended.extend(gone)),
            clock=lambda: seconds[0],
        )
        yield People(world, premises, Entry(premises), Oneself(premises), seconds, ended)


def refused(why: type[BusinessError], word: str, call: Any, *args: Any, **fields: Any) -> None:
    with pytest.raises(why) as caught:
        call(*args, **fields)
    assert caught.value.code == word
