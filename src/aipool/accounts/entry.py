"""Coming in: registering, logging in, and choosing another password where the old one is lost.

Each of these looks things up, hashes a password, which takes long, and then writes; so they are
not one transaction but a few, and what was looked up is looked at again before it is acted on.
The order is always the same: is it too often (`throttle`, `proof`), is it well formed, is it true.

What is told to whoever is not in yet says nothing of who has an account: one refusal for an
unknown number and for a wrong password, which take the same time.

Refusals (kit.errors), beside those of service, sessions, codes and totp:
    invalid_credentials, totp_needed, login_needed                             401
    account_disabled, account_pending, registration_closed, invitation_invalid,
    reset_link_invalid                                                         403
    country_not_served, terms_not_agreed, email_needed, code_needed, code_wrong,
    address_needed, codes_not_offered                                          422
    challenge_needed                                                           428
    too_many_tries, too_many_codes                                             429
    busy                                                                       503
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from aipool.accounts import codes, devices, passwords, rules, service, sessions, totp
from aipool.accounts.callers import Caller
from aipool.accounts.premises import Premises
from aipool.accounts.proof import BITS_LEAST, Proof, Proofs
from aipool.accounts.store import ways as way_store
from aipool.accounts.throttle import Try, Visits, network_of
from aipool.accounts.types import Channel, Role, Session, Status, User
from aipool.audit.types import Act
from aipool.kit import digests
from aipool.kit.db import Transaction
from aipool.kit.errors import Forbidden, Invalid, Unauthenticated
from aipool.notices.codes import Locale, Purpose
from aipool.site import types as settings
from aipool.site.rules import Values
from aipool.site.types import ProofOfWork, Registration, SmsProvider, Verification

#: Registrations of one network in an hour before work is asked for, and before it must wait.
_FREE_REGISTRATIONS = 5
_REGISTRATIONS_WITHOUT_WAIT = 20
#: Codes always ask for work, and have limits of their own.
_CODES_WITHOUT_WAIT = 1_000_000

_NO_LOGIN = rules.Login()


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody writes who wants an account. …_code: what was sent there, "" = nothing.
    …_code_handle: what was answered when it was asked for."""

    phone: str
    password: str
    name: str = ""
    email: str = ""
    locale: str = ""
    phone_code: str = ""
    phone_code_handle: str = ""
    email_code: str = ""
    email_code_handle: str = ""
    invitation: str = ""
    terms_version: str = ""
    privacy_version: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """What somebody shows to get in. login: a number or an address.  code: of the second factor.
    device: the cookie of `devices`, "" = none.  caller: whose session this browser has."""

    login: str
    password: str
    code: str = ""
    device: str = ""
    caller: Caller | None = None


@dataclass(frozen=True, slots=True)
class In:
    """Somebody is in. secret: of the session's cookie.  device: the cookie of `devices`.
    tx: in which it was written.  session: None = the account waits for approval."""

    user: User
    tx: Transaction
    session: Session | None = None
    secret: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A code that was asked for. handle: for whoever asked.  is_sent: is there anybody to send the
    code to?"""

    to: str
    purpose: Purpose
    handle: str = field(repr=False)
    code: str = field(repr=False)
    locale: Locale
    is_sent: bool


class Entry:
    """The way in; one object a process, as it remembers who tried."""

    def __init__(self, premises: Premises) -> None:
        self._on = premises
        self._registering = Visits(
            free=_FREE_REGISTRATIONS, free_of_wait=_REGISTRATIONS_WITHOUT_WAIT
        )
        self._asking = Visits(free=0, free_of_wait=_CODES_WITHOUT_WAIT)
        self.proofs = Proofs(digests.digest(premises.pepper, b"proof of work"))

    # --- registering ------------------------------------------------------------------------

    def register(self, act: Act, wish: Wish, proof: Proof | None = None) -> In:
        """A new account, logged in unless it waits for approval."""
        values = self._on.values()
        mode = values[settings.REGISTRATION]
        if mode is Registration.CLOSED:
            raise Forbidden("registration_closed", "nobody can register here at the moment")
        network, now = network_of(act.ip), self._on.clock()
        self._demand(values, proof, network, self._registering.bits(network, now), act)
        self._registering.enter(network, now)
        phone = rules.canonical_phone(wish.phone)
        rules.check_country(phone, values[settings.COUNTRY_CODES])
        rules.check_password(wish.password, Role.USER, phone)
        details = self._details(values, wish)
        is_invited = mode is Registration.INVITATION
        invitation = digests.digest(self._on.pepper, wish.invitation.strip().encode())
        with self._on.database.write() as tx:
            # Only whether: it is used up when everything else is right.
            if is_invited and not way_store.invitation_is_good(
                tx.connection, invitation, act.at_ms
            ):
                raise _no_invitation()
            proved = self._use_codes(tx, act, values, phone, details.email, wish)
        wrong = [name for name, is_right in proved.items() if is_right is False]
        if wrong:
            raise codes.wrong(wrong[0])
        details = replace(
            details,
            phone_verified=bool(proved["phone_code"]),
            email_verified=bool(proved["email_code"]),
        )
        password_hash = passwords.hash_password(wish.password)
        with self._on.database.write() as tx:
            if (
                is_invited
                and way_store.use_invitation(tx.connection, invitation, act.at_ms) is None
            ):
                raise _no_invitation()
            user = service.create_user(
                tx,
                act,
                phone=phone,
                password_hash=password_hash,
                status=Status.PENDING if mode is Registration.APPROVAL else Status.ACTIVE,
                details=details,
            )
            self._on.hooks.opened(tx, act, user)
            if user.status is Status.PENDING:
                return In(user, tx)
            return self._open(tx, act, user)

    def _details(self, values: Values, wish: Wish) -> service.Details:
        email = rules.canonical_email(wish.email) if wish.email.strip() else ""
        if values[settings.VERIFY_EMAIL] is Verification.REQUIRED and not email:
            raise Invalid("email_needed", "a mail address is needed here", field="email")
        check_agreed(values, wish.terms_version, wish.privacy_version)
        return service.Details(
            name=rules.display_name(wish.name),
            email=email,
            locale=wish.locale,
            terms_version=values[settings.TERMS_VERSION],
            privacy_version=values[settings.PRIVACY_VERSION],
        )

    def _use_codes(
        self, tx: Transaction, act: Act, values: Values, phone: str, email: str, wish: Wish
    ) -> dict[str, bool | None]:
        """By field: was the code right? None = none was asked for. They are used up when all are
        right; until then each is a try."""
        wanted = (
            ("phone_code", values[settings.VERIFY_PHONE], phone),
            ("email_code", values[settings.VERIFY_EMAIL], email),
        )
        proved: dict[str, bool | None] = {}
        right = []
        for name, verification, address in wanted:
            code, handle = getattr(wish, name), getattr(wish, f"{name}_handle")
            if verification is Verification.REQUIRED and not code:
                raise Invalid("code_needed", "ask for a code and send it along", field=name)
            is_asked = verification is not Verification.OFF and address and code
            claim = codes.Claim(Purpose.REGISTER, address)
            proved[name] = None
            if is_asked:
                proved[name] = codes.take_try(tx, act, self._on.pepper, claim, handle, code)
                right.append(claim)
        if False not in proved.values():
            for claim in right:
                codes.end(tx, claim)
        return proved

    # --- logging in -------------------------------------------------------------------------

    def log_in(self, act: Act, key: Key, proof: Proof | None = None) -> In:
        """A session of whoever the password, and the second factor if there is one, is of."""
        login = rules.login_of(key.login)
        with self._on.database.read() as connection:
            values = self._on.site.values(connection)
            user = service.user_by_login(connection, login)
            stored = service.password_hash_of(connection, user) if user else passwords.NOBODYS_HASH
        device = devices.device_of(self._on.pepper, key.device, user.id) if user else ""
        # What can be no login is one account that nobody has.
        tried = Try(login.key, network_of(act.ip), device)
        if not device:
            bits = self._on.throttle.bits(tried, self._on.clock())
            self._demand(values, proof, tried.network, bits, act)
        self._on.throttle.enter(tried, self._on.clock())
        if not self._on.matches(stored, key.password, tried) or user is None:
            self._on.failed_logins.note(user.id if user else None, act.ip, act.at_ms)
            raise Unauthenticated(
                "invalid_credentials", "the number or address, or the password, is not right"
            )
        _refuse_unusable(user)
        if user.has_totp and not key.code:
            raise Unauthenticated(
                "totp_needed", "a code of the second factor is needed", field="code"
            )
        mine = replace(act, actor=f"user:{user.id}", role=user.role)
        with self._on.database.write() as tx:
            if user.has_totp and not totp.use(
                tx, mine, self._on.pepper, self._on.keyring, user, key.code
            ):
                self._on.failed_logins.note(user.id, act.ip, act.at_ms)
                raise codes.wrong()
            # Nothing of it may have changed since.
            if service.password_hash_of(tx.connection, user) != stored:
                raise Unauthenticated("invalid_credentials", "the password was changed just now")
            before, user = user, service.user_by_id(tx.connection, user.id)
            _refuse_unusable(user)
            if user.has_totp and not before.has_totp:
                raise Unauthenticated(
                    "totp_needed", "a second factor was set up just now", field="code"
                )
            if key.caller is not None and key.caller.session_id:
                # Its place is taken by the new one.
                sessions.forget(tx, key.caller.session_id, self._on.hooks.sessions_end)
            opened = self._open(tx, mine, user, is_short=rules.is_short(key.password, user.role))
        self._on.throttle.succeeded(tried)
        return opened

    def _open(self, tx: Transaction, act: Act, user: User, *, is_short: bool = False) -> In:
        mine = replace(act, actor=f"user:{user.id}", role=user.role)
        session, secret = sessions.open_session(
            tx,
            mine,
            self._on.pepper,
            user,
            self._on.hooks.sessions_end,
            password_is_short=is_short,
        )
        user = service.note_login(tx, mine, user)
        return In(user, tx, session, secret, devices.new_cookie(self._on.pepper, user.id))

    # --- another password -------------------------------------------------------------------

    def reset_by_code(
        self, act: Act, *, login: str, code: str, handle: str, password: str
    ) -> Transaction:
        """Another password for whoever has the number or the address, which they proved before.
        handle: what was answered when the code was asked for."""
        meant = rules.login_of(login)
        rules.check_password(password, Role.USER, meant.phone)
        claim = codes.Claim(Purpose.RESET, meant.key)
        with self._on.database.read() as connection:
            asked = codes.is_asked(connection, self._on.pepper, claim, handle, act.at_ms)
        # Whoever asked has a count of their own: what others try here does not keep them out.
        tried = Try(meant.key, network_of(act.ip), f"code {handle}" if asked else "")
        self._on.throttle.enter(tried, self._on.clock())
        with self._on.database.write() as tx:
            is_right = codes.use(tx, act, self._on.pepper, claim, handle, code)
            user = service.user_by_login(tx.connection, meant) if is_right else None
            # A code that was never sent can be guessed, if hardly ever.
            user = user if user is not None and _is_proved(user, meant) else None
            if user is not None:
                # Undoes that the code was used, so that it can be sent again.
                rules.check_password(password, user.role, user.phone)
        if user is None:
            raise codes.wrong()
        self._on.throttle.succeeded(tried)
        return self._reset(act, user, password, proved=meant)

    def reset_by_link(
        self, act: Act, *, secret: str, password: str, login: str = ""
    ) -> Transaction:
        """Another password for whoever was given this link. login: the number or the address to
        log in with from now on, of an account that has neither; nobody proved it."""
        digest = digests.digest(self._on.pepper, secret.strip().encode())
        network = network_of(act.ip)
        tried = Try(f"link {network}", network)
        self._on.throttle.enter(tried, self._on.clock())
        with self._on.database.read() as connection:
            user = way_store.user_of_reset_link(connection, digest, act.at_ms)
        if user is None:
            raise _no_link()
        self._on.throttle.succeeded(tried)
        named = _NO_LOGIN
        if not (user.phone or user.email):
            named = self._named(login)
        rules.check_password(password, user.role, user.phone or named.phone)
        return self._reset(act, user, password, link=digest, named=named)

    def _named(self, login: str) -> rules.Login:
        """What somebody wants to log in with. Raises Invalid for what cannot be."""
        if not login.strip():
            raise Invalid(
                "address_needed",
                "this account has neither a phone number nor a mail address: name one to log in "
                "with",
                field="login",
            )
        if "@" in login:
            return rules.Login(email=rules.canonical_email(login))
        phone = rules.canonical_phone(login)
        rules.check_country(phone, self._on.values()[settings.COUNTRY_CODES])
        return rules.Login(phone=phone)

    def _reset(
        self,
        act: Act,
        user: User,
        password: str,
        *,
        link: bytes | None = None,
        proved: rules.Login = _NO_LOGIN,
        named: rules.Login = _NO_LOGIN,
    ) -> Transaction:
        password_hash = passwords.hash_password(password)
        mine = replace(act, actor=f"user:{user.id}", role=user.role)
        with self._on.database.write() as tx:
            if link and way_store.user_of_reset_link(tx.connection, link, act.at_ms) is None:
                raise _no_link()
            if proved.key and not self._is_still_proved(tx, user, proved):
                raise codes.wrong()
            service.set_password(
                tx, mine, user, password_hash=password_hash, ended=self._on.hooks.sessions_end
            )
            if named.phone:
                service.set_phone(tx, mine, user, named.phone, is_verified=False)
            if named.email:
                service.set_email(tx, mine, user, named.email, is_verified=False)
        return tx

    @staticmethod
    def _is_still_proved(tx: Transaction, user: User, login: rules.Login) -> bool:
        now = service.user_by_login(tx.connection, login)
        return now is not None and now.id == user.id and _is_proved(now, login)

    # --- codes ------------------------------------------------------------------------------

    def ask_code(
        self,
        act: Act,
        *,
        purpose: Purpose,
        phone: str,
        email: str,
        locale: str,
        caller: Caller | None,
        proof: Proof | None,
    ) -> Asked:
        """A code for one purpose, to a number or an address. What is answered must not depend on
        `is_sent`."""
        values = self._on.values()
        channel, address = self._addressed(values, phone, email)
        if purpose is Purpose.REGISTER and values[settings.REGISTRATION] is Registration.CLOSED:
            raise Forbidden("registration_closed", "nobody can register here at the moment")
        if purpose is Purpose.VERIFY and caller is None:
            raise Unauthenticated("login_needed", "log in first")
        network, now = network_of(act.ip), self._on.clock()
        self._demand(values, proof, network, self._asking.bits(network, now), act)
        self._asking.enter(network, now)
        is_sent = purpose is not Purpose.RESET or self._may_reset(address)
        # What else is proved is proved before there is a session, or without one.
        session_id = caller.session_id if caller and purpose is Purpose.VERIFY else 0
        wanted = codes.Wanted(channel, codes.Claim(purpose, address, session_id), network)
        with self._on.database.write() as tx:
            made = codes.ask(
                tx,
                act,
                self._on.pepper,
                wanted,
                sms_per_day=values[settings.SMS_PER_DAY],
                is_sent=is_sent,
            )
        known = {each.value: each for each in Locale}
        spoken = known.get(locale, values[settings.DEFAULT_LOCALE])
        return Asked(address, purpose, made.handle, made.code, spoken, is_sent)

    def _addressed(self, values: Values, phone: str, email: str) -> tuple[Channel, str]:
        if bool(phone) == bool(email):
            raise Invalid("address_needed", "name a phone number or a mail address", field="phone")
        if phone:
            if values[settings.SMS_PROVIDER] is SmsProvider.NONE:
                raise Invalid(
                    "codes_not_offered", "this site sends no text messages", field="phone"
                )
            number = rules.canonical_phone(phone)
            rules.check_country(number, values[settings.COUNTRY_CODES])
            return Channel.PHONE, number
        if not values[settings.SMTP_HOST]:
            raise Invalid("codes_not_offered", "this site sends no mail", field="email")
        return Channel.EMAIL, rules.canonical_email(email)

    def _may_reset(self, address: str) -> bool:
        """Only who proved before that the number or address is theirs."""
        login = rules.login_of(address)
        with self._on.database.read() as connection:
            user = service.user_by_login(connection, login)
        return user is not None and user.status is not Status.DISABLED and _is_proved(user, login)

    # --- inside -----------------------------------------------------------------------------

    def _demand(
        self, values: Values, proof: Proof | None, network: str, bits: int, act: Act
    ) -> None:
        """Asks for work where there were many tries, or always, as the site wants it."""
        wanted = values[settings.PROOF_OF_WORK]
        if wanted is ProofOfWork.ALWAYS:
            bits = max(bits, BITS_LEAST)
        if bits and wanted is not ProofOfWork.OFF:
            self.proofs.demand(proof, network, bits, act.at_ms)


def check_agreed(values: Values, terms_version: str, privacy_version: str) -> None:
    """Raises Invalid for anything but agreement to what is in force."""
    for name, needed, given in (
        ("terms_version", values[settings.TERMS_VERSION], terms_version),
        ("privacy_version", values[settings.PRIVACY_VERSION], privacy_version),
    ):
        if needed and given != needed:
            raise Invalid(
                "terms_not_agreed",
                f"agree to version {needed} first, by sending it",
                field=name,
                params={"version": needed},
            )


def _is_proved(user: User, login: rules.Login) -> bool:
    """Did the person prove that what they are named by here is theirs?"""
    proved = user.email_verified_at_ms if login.email else user.phone_verified_at_ms
    return proved is not None


def _refuse_unusable(user: User) -> None:
    """Who has the password may know that the account cannot be used."""
    if user.status is Status.DISABLED:
        raise Forbidden("account_disabled", "this account is disabled")
    if user.status is Status.PENDING:
        raise Forbidden("account_pending", "this account waits for an administrator's approval")


def _no_invitation() -> Forbidden:
    return Forbidden(
        "invitation_invalid",
        "a valid invitation is needed here: this one is wrong, used up or too old",
        field="invitation",
    )


def _no_link() -> Forbidden:
    return Forbidden(
        "reset_link_invalid", "this link was used, replaced, or is too old", field="link"
    )
