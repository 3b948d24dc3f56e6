"""The shapes of accounts on the wire.

A password, a code and a secret come in and never go out, but for what is shown once when it is
made: the secret of an access token, of a second factor, and its recovery codes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from aipool.accounts import rules
from aipool.accounts.proof import Challenge, Proof
from aipool.accounts.types import AccessToken, Role, Session, Status, User
from aipool.audit.desk import Sent
from aipool.kit.clock import iso_ms
from aipool.kit.errors import Invalid
from aipool.kit.expiry import NEVER, moment_or_days
from aipool.kit.money import AMOUNT_NANO_MAX, MoneyError, format_cny, parse_cny
from aipool.notices.codes import Purpose
from aipool.site import types as settings
from aipool.site.rules import Values

#: What is longer than any of its kind is refused before it is read.
_PASSWORD_MAX = 4 * rules.PASSWORD_CHARACTERS_MAX
_SHORT_MAX = 100
_SECRET_MAX = 200

_Phone = Annotated[str, Field(max_length=_SHORT_MAX, description="such as 13800138000")]
_Email = Annotated[str, Field(max_length=rules.EMAIL_CHARACTERS_MAX)]
_Password = Annotated[SecretStr, Field(max_length=_PASSWORD_MAX)]
_Code = Annotated[str, Field(max_length=_SHORT_MAX)]
_Handle = Annotated[
    str,
    Field(max_length=_SHORT_MAX, description="what was answered when the code was asked for"),
]
_Name = Annotated[str, Field(max_length=_SHORT_MAX)]
_Version = Annotated[str, Field(max_length=_SHORT_MAX)]
_Locale = Literal["", "zh-CN", "en"]


class Shown(BaseModel):
    """Something that is shown. Amounts are decimal CNY, times ISO 8601 in UTC."""

    model_config = ConfigDict(frozen=True)


# --- work -------------------------------------------------------------------------------------


class ProofSent(Sent):
    """A solved challenge: `sha256("<challenge>:<answer>")` begins with `bits` zero bits."""

    challenge: str = Field(max_length=_SECRET_MAX)
    answer: str = Field(max_length=_SHORT_MAX)

    def proof(self) -> Proof:
        """As it is checked."""
        return Proof(self.challenge, self.answer)


class ChallengeShown(Shown):
    """Find an `answer` with which `sha256("<challenge>:<answer>")` begins with `bits` zero
    bits, and send both as `proof`. It is good once, from this network."""

    challenge: str
    bits: int
    expires_at: str


def challenge_shown(challenge: Challenge) -> ChallengeShown:
    """A challenge."""
    return ChallengeShown(
        challenge=challenge.text, bits=challenge.bits, expires_at=iso_ms(challenge.expires_at_ms)
    )


# --- coming in --------------------------------------------------------------------------------


class RegisterSent(Sent):
    """A new account. What else than phone and password is needed, GET /api/site tells.

    phone_code, email_code: what POST /api/auth/codes sent there; each needs the handle that was
    answered then.  terms_version, privacy_version: what the person agreed to.
    """

    phone: _Phone
    password: _Password
    name: _Name = ""
    email: _Email = ""
    locale: _Locale = ""
    phone_code: _Code = ""
    phone_code_handle: _Handle = ""
    email_code: _Code = ""
    email_code_handle: _Handle = ""
    invitation: str = Field(default="", max_length=_SECRET_MAX)
    terms_version: _Version = ""
    privacy_version: _Version = ""
    proof: ProofSent | None = None


class LoginSent(Sent):
    """login: a phone number or a mail address.  code: of the second factor, or a recovery code,
    when the answer to the first try was `totp_needed`."""

    login: str = Field(max_length=rules.LOGIN_CHARACTERS_MAX)
    password: _Password
    code: _Code = ""
    proof: ProofSent | None = None


class CodeWanted(Sent):
    """A code to a phone number or to a mail address, for one purpose. It always asks for work:
    POST /api/auth/challenge."""

    purpose: Literal["register", "reset", "verify"]
    phone: _Phone = ""
    email: _Email = ""
    locale: _Locale = ""
    proof: ProofSent | None = None

    def meant(self) -> Purpose:
        """What it is for."""
        return Purpose(self.purpose)


class CodeAsked(Shown):
    """Alike whether there is an account or not. handle: send it along with the code, which is good
    for nobody else."""

    handle: str
    expires_in_seconds: int
    resend_after_seconds: int


class ResetSent(Sent):
    """Another password: with a code that was sent to `login` and its handle, or with an
    administrator's link. login: with a link, the number or the address to log in with from now on,
    for an account that has neither (`address_needed`)."""

    password: _Password
    login: str = Field(default="", max_length=rules.LOGIN_CHARACTERS_MAX)
    code: _Code = ""
    code_handle: _Handle = ""
    link: str = Field(default="", max_length=_SECRET_MAX)


# --- oneself ----------------------------------------------------------------------------------


class SessionShown(Shown):
    """Somebody at a browser. is_current: it is the one that asks."""

    id: int
    created_at: str
    seen_at: str
    expires_at: str
    idle_seconds: int
    ip: str
    user_agent: str
    is_current: bool


class MeShown(Shown):
    """Who asks.

    phone: null = somebody else proved to own the number; choose another.
    must: what has to be done before anything else: "password_needed", "totp_set_up_needed",
    "phone_needed", or "".
    agree_needed: the terms or the privacy notice are others than those that were agreed to.
    low_balance: a warning is sent when the balance falls below; null = as the site does.
    balance: null = there is no wallet.
    step_up_until: until then sensitive things may be done; null = not without a step-up.
    session: null = asked with an access token.
    """

    id: int
    phone: str | None
    phone_verified: bool
    email: str | None
    email_verified: bool
    name: str
    locale: str
    role: Role
    status: Status
    created_at: str
    last_login_at: str | None
    terms_version: str
    privacy_version: str
    agree_needed: bool
    totp: bool
    recovery_codes_left: int
    low_balance: str | None
    balance: str | None
    must: str
    stepped_up: bool
    step_up_until: str | None
    session: SessionShown | None


class RegisteredShown(Shown):
    """me: null = an administrator must approve the account before its first login.
    password_strength: a hint: weak, fair, good or strong."""

    id: int
    status: Status
    password_strength: rules.Strength
    me: MeShown | None


class MeChange(Sent):
    """What becomes other; the rest stays. low_balance: an amount, "0" = never, null = as the site
    does.  terms_version, privacy_version: what the person agrees to now."""

    name: _Name = ""
    locale: _Locale = ""
    low_balance: str | None = Field(default=None, max_length=_SHORT_MAX)
    terms_version: _Version = ""
    privacy_version: _Version = ""


class PasswordSent(Sent):
    """Another password."""

    current_password: _Password
    password: _Password


class PasswordChanged(Shown):
    """password_strength: a hint: weak, fair, good or strong. The other sessions have ended, and
    the sensitive access tokens."""

    password_strength: rules.Strength


class StepUpSent(Sent):
    """Whoever has a second factor sends its code, everybody else their password."""

    password: _Password = SecretStr("")
    code: _Code = ""


class SteppedUp(Shown):
    """Until then sensitive things may be done."""

    step_up_until: str


class PhoneSent(Sent):
    """code: what POST /api/auth/codes sent there, with the purpose `verify`, asked for in the same
    session."""

    phone: _Phone
    code: _Code = ""
    code_handle: _Handle = ""


class EmailSent(Sent):
    """email: "" = none from now on.  code: what POST /api/auth/codes sent there, with the purpose
    `verify`, asked for in the same session."""

    email: _Email
    code: _Code = ""
    code_handle: _Handle = ""


class SessionsShown(Shown):
    """The person's own sessions, the newest first."""

    items: list[SessionShown]
    next_cursor: None = None


# --- the second factor ------------------------------------------------------------------------


class TotpBegun(Shown):
    """Shown this once. uri: for the device to read, as a QR code."""

    secret: str
    uri: str


class CodeSent(Sent):
    """A code of the device."""

    code: _Code


class RecoveryCodes(Shown):
    """Shown this once: each works once in place of the device's code."""

    recovery_codes: list[str]


# --- access tokens ----------------------------------------------------------------------------


class AccessTokenSent(Sent):
    """For a program of the person's. read_only: it changes nothing.  sensitive: it may do what a
    person must step up for.  expires_at: never (or null), 30d, a date or a moment."""

    name: _Name
    read_only: bool = False
    sensitive: bool = False
    expires_at: str | None = Field(default=None, max_length=_SHORT_MAX)


class AccessTokenShown(Shown):
    """An access token; its secret is not in it."""

    id: int
    name: str
    masked: str
    read_only: bool
    sensitive: bool
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class AccessTokenMade(AccessTokenShown):
    """secret: shown this once."""

    secret: str


class AccessTokensShown(Shown):
    """The person's own, in the order they were made."""

    items: list[AccessTokenShown]
    next_cursor: None = None


# --- from records -----------------------------------------------------------------------------


def session_shown(session: Session, current_id: int) -> SessionShown:
    """A session."""
    return SessionShown(
        id=session.id,
        created_at=iso_ms(session.created_at_ms),
        seen_at=iso_ms(session.seen_at_ms),
        expires_at=iso_ms(session.expires_at_ms),
        idle_seconds=session.idle_ms // 1000,
        ip=session.ip,
        user_agent=session.user_agent,
        is_current=session.id == current_id,
    )


def me_shown(
    user: User,
    values: Values,
    *,
    session: Session | None,
    stepped_up: bool,
    must: str,
    recovery_codes_left: int,
    balance_nano: int | None,
    now_ms: int,
) -> MeShown:
    """A person, for themselves."""
    until_ms = session.stepped_up_until_ms if session else 0
    agree_needed = any(
        needed not in ("", agreed)
        for needed, agreed in (
            (values[settings.TERMS_VERSION], user.terms_version),
            (values[settings.PRIVACY_VERSION], user.privacy_version),
        )
    )
    return MeShown(
        id=user.id,
        phone=user.phone or None,
        phone_verified=user.phone_verified_at_ms is not None,
        email=user.email or None,
        email_verified=user.email_verified_at_ms is not None,
        name=user.name,
        locale=user.locale,
        role=user.role,
        status=user.status,
        created_at=iso_ms(user.created_at_ms),
        last_login_at=moment_shown(user.last_login_at_ms),
        terms_version=user.terms_version,
        privacy_version=user.privacy_version,
        agree_needed=agree_needed,
        totp=user.has_totp,
        recovery_codes_left=recovery_codes_left,
        low_balance=_amount(user.low_balance_nano),
        balance=_amount(balance_nano),
        must=must,
        stepped_up=stepped_up,
        step_up_until=iso_ms(until_ms) if until_ms > now_ms else None,
        session=session_shown(session, session.id) if session else None,
    )


def access_token_shown(token: AccessToken) -> AccessTokenShown:
    """An access token."""
    return AccessTokenShown(
        id=token.id,
        name=token.name,
        masked=f"aipool-…{token.last4}",
        read_only=token.read_only,
        sensitive=token.is_sensitive,
        created_at=iso_ms(token.created_at_ms),
        expires_at=moment_shown(token.expires_at_ms),
        last_used_at=moment_shown(token.last_used_at_ms),
    )


def moment_shown(at_ms: int | None) -> str | None:
    """A moment; null where there is none."""
    return None if at_ms is None else iso_ms(at_ms)


def moment_sent(text: str | None, now_ms: int) -> int | None:
    """When something ends, in unix milliseconds; None = never. Raises Invalid."""
    if text is None:
        return None
    try:
        seconds = moment_or_days(text, now_ms // 1000)
    except Invalid as problem:
        raise Invalid(
            problem.code, problem.message, field="expires_at", params=problem.params
        ) from None
    return None if seconds == NEVER else seconds * 1000


def amount_sent(text: str | None, field: str) -> int | None:
    """An amount that is not negative, in nano; None where there is none. Raises Invalid."""
    if text is None:
        return None
    try:
        nano = parse_cny(text)
    except MoneyError as problem:
        raise Invalid("invalid_amount", str(problem), field=field, params=problem.params) from None
    if not 0 <= nano <= AMOUNT_NANO_MAX:
        most = format_cny(AMOUNT_NANO_MAX)
        raise Invalid(
            "invalid_amount",
            f"an amount from 0 to {most} CNY is needed",
            field=field,
            params={"least": 0, "most": most},
        )
    return nano


def _amount(nano: int | None) -> str | None:
    return None if nano is None else format_cny(nano)
