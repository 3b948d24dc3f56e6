"""The second factor: a code of six digits that a device of the person computes (RFC 6238), or,
when it is lost, one of ten codes on paper.

The secret is sealed; it has to be opened at each login. A code is good in its half minute and the
one before and after, as clocks differ, and never twice. Recovery codes are stored as digests:
they have 50 bits of chance and are tried at the pace of logins.

Refusals (kit.errors):
    totp_on, totp_not_begun                                  409
    code_wrong                                               422
"""

from __future__ import annotations

import base64
import hmac
import secrets

import pyotp

from aipool.accounts import codes
from aipool.accounts.sessions import (
    SessionsEnd,
    end_access_tokens,
    end_sessions,
    ended_tokens,
    untold,
)
from aipool.accounts.store import people as store
from aipool.accounts.store import ways as way_store
from aipool.accounts.types import User
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.kit import digests
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict
from aipool.kit.sealing import Keyring

STEP_SECONDS = 30
#: Steps before and after this one.
_STEPS_AROUND = 1
RECOVERY_CODES = 10
_RECOVERY_CHARACTERS = 10
_FIELD = "totp"


def begin(tx: Transaction, act: Act, keyring: Keyring, user: User, issuer: str) -> tuple[str, str]:
    """A new secret and the address that devices read it from. It counts once it is confirmed;
    one that was begun before is forgotten."""
    if user.has_totp:
        raise Conflict("totp_on", "there is a second factor already: switch it off first")
    secret = pyotp.random_base32()
    sealed = keyring.seal(secret, _record_of(user), _FIELD)
    store.update_user(tx.connection, user.id, totp_secret=sealed, totp_step=0)
    record(tx, act, "totp.begin", _record_of(user))
    return secret, pyotp.TOTP(secret).provisioning_uri(name=user.label, issuer_name=issuer)


def confirm(
    tx: Transaction,
    act: Act,
    pepper: bytes,
    keyring: Keyring,
    user: User,
    code: str,
    *,
    but_session: int,
    ended: SessionsEnd = untold,
) -> list[str]:
    """The device has the secret: it is asked for from now on. Gives the recovery codes, which
    are shown this once. Ends the person's other sessions."""
    if user.has_totp:
        raise Conflict("totp_on", "there is a second factor already")
    sealed, _ = store.totp_of(tx.connection, user.id)
    if not sealed:
        raise Conflict("totp_not_begun", "ask for a secret first")
    if not _use_code(tx, act, keyring, user, code):
        raise codes.wrong()
    store.update_user(tx.connection, user.id, totp_confirmed_at_ms=act.at_ms)
    end_sessions(tx, user.id, but=but_session, ended=ended)
    record(tx, act, "totp.on", _record_of(user))
    return _new_recovery_codes(tx, pepper, user)


def use(tx: Transaction, act: Act, pepper: bytes, keyring: Keyring, user: User, code: str) -> bool:
    """Is this a code of the person's device, or one on paper? It is used up."""
    typed = code.replace(" ", "").replace("-", "").lower()
    if len(typed) == _RECOVERY_CHARACTERS:
        digest = _recovery_digest(pepper, user, typed)
        used = way_store.use_recovery_code(tx.connection, user.id, digest)
        if used:
            record(tx, act, "totp.use_recovery_code", _record_of(user))
        return used
    return _use_code(tx, act, keyring, user, typed)


def renew_recovery_codes(tx: Transaction, act: Act, pepper: bytes, user: User) -> list[str]:
    """Ten new ones; those before are worthless."""
    if not user.has_totp:
        raise Conflict("totp_not_begun", "there is no second factor")
    record(tx, act, "totp.renew_recovery_codes", _record_of(user))
    return _new_recovery_codes(tx, pepper, user)


def switch_off(
    tx: Transaction,
    act: Act,
    user: User,
    *,
    but_session: int = 0,
    ended: SessionsEnd = untold,
) -> bool:
    """No second factor from now on: by the person, or (but_session 0) by an administrator when
    device and paper are lost, which ends the access tokens as well. Ends the other sessions.
    True = changed."""
    if not user.has_totp:
        return False
    store.update_user(
        tx.connection, user.id, totp_secret="", totp_confirmed_at_ms=None, totp_step=0
    )
    way_store.replace_recovery_codes(tx.connection, user.id, [])
    end_sessions(tx, user.id, but=but_session, ended=ended)
    count = 0 if but_session else end_access_tokens(tx, user.id)
    record(tx, act, "totp.off", _record_of(user), before=ended_tokens(count))
    return True


def _use_code(tx: Transaction, act: Act, keyring: Keyring, user: User, code: str) -> bool:
    sealed, _ = store.totp_of(tx.connection, user.id)
    if not sealed:
        return False
    device = pyotp.TOTP(keyring.open(sealed, _record_of(user), _FIELD))
    now_step = act.at_ms // (STEP_SECONDS * 1000)
    for step in range(now_step - _STEPS_AROUND, now_step + _STEPS_AROUND + 1):
        if hmac.compare_digest(device.at(step * STEP_SECONDS).encode(), code.encode()):
            return store.use_totp_step(tx.connection, user.id, step)
    return False


def _new_recovery_codes(tx: Transaction, pepper: bytes, user: User) -> list[str]:
    made = [
        base64.b32encode(secrets.token_bytes(7))[:_RECOVERY_CHARACTERS].decode().lower()
        for _ in range(RECOVERY_CODES)
    ]
    stored = [_recovery_digest(pepper, user, code) for code in made]
    way_store.replace_recovery_codes(tx.connection, user.id, stored)
    return [f"{code[:5]}-{code[5:]}" for code in made]


def _recovery_digest(pepper: bytes, user: User, code: str) -> bytes:
    return digests.digest(pepper, f"recovery|{user.id}|{code}".encode())


def _record_of(user: User) -> str:
    return f"user:{user.id}"
