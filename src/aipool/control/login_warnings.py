"""Owners of accounts are told by mail when many logins to theirs failed: once a day at most.

Whoever tries learns nothing of it: a login only counts, and the letters are written beside, to
addresses that were proved. That somebody was told stands in the trail, where those without such
an address find it too, and which outlives this process and its counts. How many are told in a day
has a bound, so that nobody makes the site a source of mail that nobody wants.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from aipool.accounts import service as accounts
from aipool.accounts.failed_logins import DAY_MS, Failed, FailedLogins
from aipool.accounts.types import Status, User
from aipool.audit import service as audit
from aipool.audit.types import Act, Wanted
from aipool.kit.clock import now_ms
from aipool.kit.db import Database
from aipool.kit.recurring import Recurring
from aipool.notices.codes import Letter, Locale, letter_of_failed_logins
from aipool.site.messages import Messenger
from aipool.site.service import Site
from aipool.site.types import DEFAULT_LOCALE, NAME

EVERY_SECONDS = 60.0
#: Owners who are told in 24 hours: more than are attacked one by one, fewer than a mail server's
#: good name is lost for.
TOLD_MAX = 1_000

ACTION = "user.warn_of_failed_logins"

_log = structlog.get_logger()


class LoginWarnings:
    """`job` looks each minute. failed: what the way in has counted."""

    def __init__(
        self, database: Database, site: Site, messenger: Messenger, failed: FailedLogins
    ) -> None:
        self._database = database
        self._site = site
        self._messenger = messenger
        self._failed = failed
        self.job = Recurring(
            "login_warnings", lambda: self.look(now_ms()), every_seconds=EVERY_SECONDS
        )

    async def look(self, at_ms: int) -> None:
        """Tell whom it is time to tell."""
        many = self._failed.many(at_ms)
        if not many:
            return
        # Noted first: a mail that is sent twice is worse than one that is lost with the process.
        for to, letter in await asyncio.to_thread(self._note, many, at_ms):
            await self._messenger.send_letter(to, letter)

    def _note(self, many: Sequence[Failed], at_ms: int) -> list[tuple[str, Letter]]:
        """The letters to send, now that the trail has them."""
        lately = Wanted(action=ACTION, since_ms=at_ms - DAY_MS + 1)
        letters = []
        with self._database.write() as tx:
            entries = audit.search(tx.connection, lately, limit=TOLD_MAX)
            told = {entry.target: entry.at_ms for entry in entries}
            users = accounts.users_by_ids(tx.connection, [failed.user_id for failed in many])
            name = self._site.value(tx.connection, NAME)
            locale = self._site.value(tx.connection, DEFAULT_LOCALE)
            chosen = choose(many, users, told, at_ms)
            for user, failed in chosen.owners:
                after = {"tries": failed.tries, "network": failed.network}
                act = Act("system", at_ms)
                audit.record(tx, act, ACTION, accounts.target(user), after=after)
                if user.email and user.email_verified_at_ms:
                    spoken = Locale(user.locale or locale)
                    words = letter_of_failed_logins(failed.tries, failed.network, spoken, name)
                    letters.append((user.email, words))
        for user_id, until_ms in chosen.quiet_until_ms.items():
            self._failed.be_quiet(user_id, until_ms)
        if chosen.held_back:
            _log.warning("login_warnings_held_back", accounts=chosen.held_back, told=TOLD_MAX)
        return letters


@dataclass(frozen=True, slots=True)
class Chosen:
    """owners: who are told now.  quiet_until_ms: by account, until when it is not asked about
    again.  held_back: how many wait, as enough were told today."""

    owners: list[tuple[User, Failed]]
    quiet_until_ms: dict[int, int]
    held_back: int


def choose(
    many: Sequence[Failed], users: Mapping[int, User], told: Mapping[str, int], at_ms: int
) -> Chosen:
    """Whose turn it is. told: who were told in the last 24 hours, and when, as the trail names
    them: also by a process that was here before this one."""
    owners: list[tuple[User, Failed]] = []
    quiet_until_ms: dict[int, int] = {}
    held_back = 0
    for failed in many:
        user = users.get(failed.user_id)
        told_at_ms = at_ms
        if user is not None and user.status is Status.ACTIVE:
            before_ms = told.get(accounts.target(user))
            if before_ms is not None:
                told_at_ms = before_ms
            elif len(told) + len(owners) < TOLD_MAX:
                owners.append((user, failed))
            else:
                held_back += 1
                continue
        quiet_until_ms[failed.user_id] = told_at_ms + DAY_MS
    return Chosen(owners, quiet_until_ms, held_back)
