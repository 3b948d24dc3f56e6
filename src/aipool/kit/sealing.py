"""Secrets at rest: AES-256-GCM, bound to the record they belong to.

A sealed text is `<key number>:<base64url of nonce and ciphertext>`. The additional data
name the record and the field, so a ciphertext copied to another row, or from a test
installation, does not open. The key number lets a new key take over while old records
still open.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aipool.kit.secret_files import SEALING_NAME, read_or_create, secrets_folder

_NONCE_BYTES = 12
_TAG_BYTES = 16


class Unsealable(Exception):
    """A sealed text that does not open; the message says for which record."""


class Keyring:
    """The keys that seal. `keys` by number; the highest seals what is new.

    What was opened is remembered: the snapshot of a thousand keys is built again at every
    change of a price, and its secrets are in the memory of the workers anyway.
    """

    __slots__ = ("_ciphers", "_current", "_opened")

    _OPENED_MAX = 10_000

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._ciphers = {number: AESGCM(key) for number, key in keys.items()}
        self._current = max(keys)
        self._opened: dict[tuple[str, str, str], str] = {}

    def seal(self, plain: str, record: str, field: str) -> str:
        """The text to store for `field` of `record` (such as "upstream_key:7")."""
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._ciphers[self._current]
        sealed = nonce + cipher.encrypt(nonce, plain.encode(), _about(record, field))
        return f"{self._current}:{base64.urlsafe_b64encode(sealed).decode('ascii')}"

    def open(self, sealed: str, record: str, field: str) -> str:
        """The plain text. Raises Unsealable when the key is missing, or the text was
        altered or belongs to another record or field."""
        key = (sealed, record, field)
        plain = self._opened.get(key)
        if plain is None:
            plain = self._open(sealed, record, field)
            if len(self._opened) >= self._OPENED_MAX:
                self._opened.clear()
            self._opened[key] = plain
        return plain

    def _open(self, sealed: str, record: str, field: str) -> str:
        number, _, text = sealed.partition(":")
        try:
            cipher = self._ciphers[int(number)]
            raw = base64.urlsafe_b64decode(text)
            nonce, body = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
            return cipher.decrypt(nonce, body, _about(record, field)).decode()
        except KeyError:
            reason = f"the sealing key number {number} is not in the secrets folder"
        except (InvalidTag, ValueError, binascii.Error):
            reason = "it was altered, or sealed for another record or installation"
        raise Unsealable(f"{field} of {record} does not open: {reason}")


def is_empty(sealed: str) -> bool:
    """Does a sealed text hold the empty text? Its length says so, without the key."""
    raw = base64.urlsafe_b64decode(sealed.partition(":")[2])
    return len(raw) == _NONCE_BYTES + _TAG_BYTES


def load_keyring(data_dir: Path) -> Keyring:
    """The installation's sealing keys, made at the first start.

    Every file `sealing-<number>` in the secrets folder counts. Raises BadSecret.
    """
    folder = secrets_folder(data_dir)
    stem, _, first = SEALING_NAME.rpartition("-")
    paths = {
        int(path.name.removeprefix(f"{stem}-")): path for path in folder.glob(f"{stem}-[0-9]*")
    }
    if not paths:
        paths = {int(first): folder / SEALING_NAME}
    return Keyring({number: read_or_create(path) for number, path in paths.items()})


def _about(record: str, field: str) -> bytes:
    return f"{record}/{field}".encode()
