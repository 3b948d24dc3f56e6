"""API tokens: how they look, how they are made, and the digest that stands for them.

A token is `sk-` and 256 random bits as 43 URL-safe characters. Only its HMAC-SHA256 is
stored, keyed with a pepper that is not in the database: with 256 bits of chance there is
nothing to guess, so a slow hash would cost 10,000 times more and add nothing.

The gateway imports this file; it must stay light.
"""

from __future__ import annotations

import base64
import hmac
import os
from pathlib import Path

from aipool.kit.secret_files import PEPPER_NAME, read_or_create, secrets_folder

PREFIX = "sk-"
#: Of access tokens, with which programs of a person speak to the platform; the first one of the
#: root account's says so.
ACCESS_PREFIX = "aipool-"
ROOT_PREFIX = "aipool-root-"
SETUP_PREFIX = "aipool-setup-"
RESET_PREFIX = "aipool-reset-"
INVITATION_PREFIX = "aipool-invite-"

RANDOM_BYTES = 32
#: Characters that 256 bits take in URL-safe base64 without padding.
RANDOM_CHARACTERS = 43
#: A token brought from elsewhere may be longer, within reason.
TOKEN_CHARACTERS_MAX = 200

DIGEST_BYTES = 32

_URL_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_PREFIX = PREFIX.encode()
_LENGTH_LEAST = len(_PREFIX) + RANDOM_CHARACTERS


def generate(prefix: str = PREFIX) -> str:
    """A new secret with 256 bits of chance."""
    chance = base64.urlsafe_b64encode(os.urandom(RANDOM_BYTES)).rstrip(b"=")
    return prefix + chance.decode("ascii")


def is_token(text: bytes) -> bool:
    """Does this have the form of an API token? Says nothing about whether it exists."""
    return (
        _LENGTH_LEAST <= len(text) <= TOKEN_CHARACTERS_MAX
        and text.startswith(_PREFIX)
        and not text[len(_PREFIX) :].translate(None, _URL_SAFE)
    )


def digest(pepper: bytes, secret: bytes) -> bytes:
    """The 32 bytes that stand for a secret in the database and in every cache."""
    return hmac.digest(pepper, secret, "sha256")


def load_pepper(data_dir: Path) -> bytes:
    """The installation's pepper, made at the first start. Raises secret_files.BadSecret."""
    return read_or_create(secrets_folder(data_dir) / PEPPER_NAME)
