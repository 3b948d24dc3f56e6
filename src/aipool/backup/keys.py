"""The keys of an installation in a backup: which there are, and how a passphrase seals them.

The pepper and the sealing keys are the files of `DATA_DIR/secrets`. A passphrase a person can
remember has little chance in it, so it is stretched by argon2id before it becomes the key of
AES-256-GCM: half a second and 256 MiB a guess. The figures belong to the format of the file
and are not read from it, so a file cannot ask for more.
"""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aipool.backup.files import new_file, sync_folder
from aipool.backup.manifest import fingerprint
from aipool.kit.errors import Invalid
from aipool.kit.secret_files import (
    FOLDER_NAME,
    PEPPER_NAME,
    SEALING_NAME,
    read,
    secrets_folder,
)

PASSPHRASE_CHARACTERS_LEAST: Final = 12

_STEM: Final = SEALING_NAME.rpartition("-")[0] + "-"

_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_ARGON2_PASSES: Final = 3
_ARGON2_KIB: Final = 256 * 1024
_ARGON2_LANES: Final = 2


@dataclass(frozen=True, slots=True)
class Compared:
    """The keys a backup needs, against those in place.

    present: the keys in place that are the right ones, by name.  missing: files that are not
    there.  others: files that hold another key.
    """

    present: dict[str, bytes]
    missing: tuple[Path, ...]
    others: tuple[Path, ...]


def read_keys(data_dir: Path) -> dict[str, bytes]:
    """The keys of an installation by the names of their files; none is ever made here.

    Raises BadSecret, which names the file, for one that is missing or cannot be used.
    """
    folder = data_dir / FOLDER_NAME
    sealing = sorted(
        path.name
        for path in folder.glob(f"{_STEM}[0-9]*")
        if path.name.removeprefix(_STEM).isdecimal()
    )
    return {name: read(folder / name) for name in (PEPPER_NAME, *(sealing or [SEALING_NAME]))}


def compare(data_dir: Path, fingerprints: Mapping[str, str]) -> Compared:
    """Looks at the keys in place. Raises BadSecret for a file that cannot be used."""
    folder = data_dir / FOLDER_NAME
    present: dict[str, bytes] = {}
    missing, others = [], []
    for name, wanted in sorted(fingerprints.items()):
        path = folder / name
        if not path.exists():
            missing.append(path)
        elif fingerprint(key := read(path)) == wanted:
            present[name] = key
        else:
            others.append(path)
    return Compared(present, tuple(missing), tuple(others))


def sealing_keys(keys: Mapping[str, bytes]) -> dict[int, bytes]:
    """Those that seal, by number: what a Keyring is made of."""
    return {int(name.removeprefix(_STEM)): key for name, key in keys.items() if name != PEPPER_NAME}


def put_in_place(data_dir: Path, keys: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Writes the keys that are missing, each whole or not at all, and syncs; the files. One
    that is there is left as it is: it was compared."""
    missing = [name for name in keys if not (data_dir / FOLDER_NAME / name).exists()]
    if not missing:
        return ()
    folder = secrets_folder(data_dir)
    for name in missing:
        draft = folder / f".{name}.restoring"
        with os.fdopen(new_file(draft), "wb") as file:
            file.write(keys[name].hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(folder / name)
    sync_folder(folder)
    sync_folder(data_dir)
    return tuple(folder / name for name in missing)


def take_away(data_dir: Path, files: tuple[Path, ...]) -> None:
    """Undoes `put_in_place`."""
    for path in files:
        path.unlink()
    with contextlib.suppress(OSError):
        (data_dir / FOLDER_NAME).rmdir()


# --- the passphrase -------------------------------------------------------------------------


def check_passphrase(passphrase: str) -> None:
    """Raises Invalid for a passphrase too short to protect keys."""
    if len(passphrase.strip()) < PASSPHRASE_CHARACTERS_LEAST:
        raise Invalid(
            "passphrase_too_short",
            f"a passphrase has at least {PASSPHRASE_CHARACTERS_LEAST} characters: "
            "four or five words nobody would guess",
        )


def seal_keys(keys: Mapping[str, bytes], passphrase: str, bound_to: bytes) -> bytes:
    """The member of a backup that holds the keys."""
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    plain = msgspec.json.encode({name: key.hex() for name, key in keys.items()})
    return salt + nonce + _cipher(passphrase, salt).encrypt(nonce, plain, bound_to)


def open_keys(sealed: bytes, passphrase: str, bound_to: bytes) -> dict[str, bytes]:
    """The keys. Raises Invalid, in the same words whatever is wrong."""
    salt, nonce = sealed[:_SALT_BYTES], sealed[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
    try:
        cipher = _cipher(passphrase, salt)
        plain = cipher.decrypt(nonce, sealed[_SALT_BYTES + _NONCE_BYTES :], bound_to)
        texts = msgspec.json.decode(plain, type=dict[str, str])
        return {name: bytes.fromhex(text) for name, text in texts.items()}
    except (InvalidTag, ValueError):
        raise Invalid(
            "passphrase_wrong", "the passphrase does not open the keys of this backup"
        ) from None


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    # One passphrase, however a keyboard composes its characters.
    text = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    key = hash_secret_raw(
        text,
        salt.ljust(_SALT_BYTES, b"\0"),
        time_cost=_ARGON2_PASSES,
        memory_cost=_ARGON2_KIB,
        parallelism=_ARGON2_LANES,
        hash_len=32,
        type=Type.ID,
    )
    return AESGCM(key)
