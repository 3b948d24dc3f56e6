"""What people do with their own account: another password, a step-up, how they are reached, a
second factor, and access tokens for their programs.

Whoever is in shows again who they are before anything that would let somebody else keep the
account; how often is counted for the account.

Refusals (kit.errors), beside those of service, sessions, codes and totp:
    session_needed, step_up_needed, password_needed, totp_set_up_needed,
    phone_needed                                                               403
    password_wrong, code_wrong, code_needed, email_needed                      422
    too_many_tries                                                             429
    busy                                                                       503
"""

from __future__ import annotations

from typing import Any

from aipool.accounts import codes, passwords, rules, service, sessions, totp
from aipool.accounts.callers import Caller
from aipool.accounts.premises import Premises
from aipool.accounts.schemas import MeShown, me_shown
from aipool.accounts.store import ways as way_store
from aipool.accounts.throttle import Try, Visits, network_of
from aipool.accounts.types import AccessToken
from aipool.audit.types import Act
from aipool.kit.db import Transaction
from aipool.kit.errors import Forbidden, Invalid
from aipool.notices.codes import Purpose
from aipool.site import types as settings
from aipool.site.types import Verification

#: Numbers and addresses that a person, or a network, names without proof before it must wait: each
#: answer says whether somebody has it, as that to a registration does.
_NAMED_WITHOUT_WAIT = 20


class Oneself:
    """The use cases, on these premises; one object a process, as it remembers who named what."""

    def __init__(self, premises: Premises) -> None:
        self._on = premises
        self._naming = Visits(free=_NAMED_WITHOUT_WAIT, free_of_wait=_NAMED_WITHOUT_WAIT)

    def change_password(
        self, act: Act, caller: Caller, *, current: str, password: str
    ) -> tuple[Transaction, str]:
        """The new secret of the session's cookie; the other sessions end, and the sensitive access
        tokens. Whoever has a second factor must have shown it; the password shows it to nobody."""
        refuse_programs(caller)
        if caller.user.has_totp and not caller.stepped_up:
            raise Forbidden(
                "step_up_needed",
                "show that it is you: send a code of the second factor to POST /api/me/step-up",
            )
        self._confirm(caller, current, "current_password")
        rules.check_password(password, caller.user.role, caller.user.phone)
        password_hash = passwords.hash_password(password)
        with self._on.database.write() as tx:
            service.set_password(
                tx,
                act,
                caller.user,
                password_hash=password_hash,
                but_session=caller.session_id,
                ended=self._on.hooks.sessions_end,
            )
            if caller.user.has_totp:
                secret = sessions.renew_secret(tx, self._on.pepper, caller)
            else:
                _, secret = sessions.step_up(tx, act, self._on.pepper, caller)
        return tx, secret

    # --- showing again who one is -----------------------------------------------------------

    def step_up(
        self, act: Act, caller: Caller, *, password: str = "", code: str = ""
    ) -> tuple[int, str]:
        """Until when sensitive things may be done, and the new secret of the session's cookie.
        Whoever has a second factor shows that."""
        refuse_programs(caller)
        if caller.user.has_totp:
            if not code:
                raise Invalid("code_needed", "a code of the second factor is needed", field="code")
            self.use_totp(act, caller, code)
        else:
            self._confirm(caller, password, "password")
        with self._on.database.write() as tx:
            return sessions.step_up(tx, act, self._on.pepper, caller)

    def use_totp(self, act: Act, caller: Caller, code: str) -> None:
        """Uses up a code of the caller's second factor. Raises for a wrong one."""
        tried = _again(caller, "code")
        self._on.throttle.enter(tried, self._on.clock())
        with self._on.database.write() as tx:
            is_right = totp.use(tx, act, self._on.pepper, self._on.keyring, caller.user, code)
        if not is_right:
            raise codes.wrong()
        self._on.throttle.succeeded(tried)

    def _confirm(self, caller: Caller, password: str, field: str) -> None:
        tried = _again(caller, "password")
        with self._on.database.read() as connection:
            stored = service.password_hash_of(connection, caller.user)
        self._on.throttle.enter(tried, self._on.clock())
        if not self._on.matches(stored, password, tried):
            raise Invalid("password_wrong", "this is not your password", field=field)
        self._on.throttle.succeeded(tried)

    # --- being reached ----------------------------------------------------------------------

    def set_phone(
        self, act: Act, caller: Caller, phone: str, code: str, handle: str
    ) -> Transaction:
        """Another number, or the same one, proved. handle: what was answered when the code was
        asked for in this session."""
        refuse_programs(caller)
        values = self._on.values()
        number = rules.canonical_phone(phone)
        rules.check_country(number, values[settings.COUNTRY_CODES])
        if number != caller.user.phone:
            self._refuse_asking_around(act, caller, code)
        self._prove(act, caller, values[settings.VERIFY_PHONE], "phone", number, code, handle)
        with self._on.database.write() as tx:
            service.set_phone(tx, act, caller.user, number, is_verified=bool(code))
        return tx

    def set_email(
        self, act: Act, caller: Caller, email: str, code: str, handle: str
    ) -> Transaction:
        """Another address, or the same one, proved; "" = none. handle: as with a number."""
        refuse_programs(caller)
        values = self._on.values()
        address = rules.canonical_email(email) if email.strip() else ""
        needed = values[settings.VERIFY_EMAIL]
        if not address and needed is Verification.REQUIRED:
            raise Invalid("email_needed", "a mail address is needed here", field="email")
        if address:
            if address != caller.user.email:
                self._refuse_asking_around(act, caller, code)
            self._prove(act, caller, needed, "email", address, code, handle)
        with self._on.database.write() as tx:
            service.set_email(tx, act, caller.user, address, is_verified=bool(code))
        return tx

    def _refuse_asking_around(self, act: Act, caller: Caller, code: str) -> None:
        """Raises TooMany for who names one number or address after the other. A code is no such
        question: there are few of them, and a wrong one is told nothing."""
        if not code:
            now = self._on.clock()
            for who in (f"user:{caller.user.id}", network_of(act.ip)):
                self._naming.enter(who, now)

    def _prove(
        self,
        act: Act,
        caller: Caller,
        needed: Verification,
        field: str,
        address: str,
        code: str,
        handle: str,
    ) -> None:
        if not code:
            if needed is Verification.REQUIRED:
                raise Invalid(
                    "code_needed",
                    f"prove that this {field} is yours",
                    field="code",
                    params={"what": field},
                )
            return
        claim = codes.Claim(Purpose.VERIFY, address, caller.session_id)
        with self._on.database.write() as tx:
            is_right = codes.use(tx, act, self._on.pepper, claim, handle, code)
        if not is_right:
            raise codes.wrong()

    # --- the second factor, and programs -----------------------------------------------------

    def begin_totp(self, act: Act, caller: Caller) -> tuple[str, str]:
        """A secret for the caller's device, and the address it is read from."""
        with self._on.database.write() as tx:
            user = service.user_by_id(tx.connection, caller.user.id)
            issuer = self._on.site.value(tx.connection, settings.NAME)
            return totp.begin(tx, act, self._on.keyring, user, issuer)

    def confirm_totp(self, act: Act, caller: Caller, code: str) -> tuple[Transaction, list[str]]:
        """The recovery codes, now that the caller's device has the secret."""
        tried = _again(caller, "code")
        self._on.throttle.enter(tried, self._on.clock())
        with self._on.database.write() as tx:
            user = service.user_by_id(tx.connection, caller.user.id)
            made = totp.confirm(
                tx,
                act,
                self._on.pepper,
                self._on.keyring,
                user,
                code,
                but_session=caller.session_id,
                ended=self._on.hooks.sessions_end,
            )
        self._on.throttle.succeeded(tried)
        return tx, made

    def renew_recovery_codes(self, act: Act, caller: Caller) -> list[str]:
        """New ones for the caller."""
        with self._on.database.write() as tx:
            user = service.user_by_id(tx.connection, caller.user.id)
            return totp.renew_recovery_codes(tx, act, self._on.pepper, user)

    def create_access_token(
        self, act: Act, caller: Caller, **terms: Any
    ) -> tuple[AccessToken, str]:
        """One for a program of the caller's, and its secret."""
        with self._on.database.write() as tx:
            return sessions.create_access_token(tx, act, self._on.pepper, caller.user, **terms)

    def me(self, caller: Caller, now_ms: int) -> MeShown:
        """The caller, for themselves."""
        with self._on.database.read() as connection:
            user = service.user_by_id(connection, caller.user.id)
            values = self._on.site.values(connection)
            session = sessions.session_of(connection, caller)
            return me_shown(
                user,
                values,
                session=session,
                stepped_up=caller.stepped_up,
                must=sessions.must_of(
                    user,
                    totp_required=values[settings.TOTP_REQUIRED],
                    password_is_short=session is not None and session.password_is_short,
                ),
                recovery_codes_left=way_store.recovery_codes_left(connection, user.id),
                balance_nano=self._on.hooks.balance_nano(connection, user.id),
                now_ms=now_ms,
            )


def _again(caller: Caller, by: str) -> Try:
    """Somebody who is in shows again who they are: the count is the account's, and one for what
    they show, as a right password must not make up for wrong codes."""
    return Try("", "", f"{by} of user:{caller.user.id}")


def refuse_programs(caller: Caller) -> None:
    """Raises Forbidden: what is done here would let the holder of an access token keep the
    account."""
    if not caller.session_id:
        raise Forbidden("session_needed", "this is done by a person who is logged in")


def refuse_unready(caller: Caller) -> None:
    """Raises Forbidden for who must do something first (Caller.must): a program of theirs is not
    asked for it, and would be the way around."""
    if caller.must:
        raise Forbidden(caller.must, "do first what is asked of you under /api/me")
