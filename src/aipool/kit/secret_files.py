"""Secrets of the installation, each in a file of its own.

A file holds 32 random bytes as one line of hex. It is made at the first start, mode 0600
in a folder of mode 0700; there is no default, so no two installations share one. What a
person writes there instead must be as long and must not be a word from a manual.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

SECRET_BYTES = 32
FOLDER_NAME = "secrets"

PEPPER_NAME = "pepper"
#: The key that seals upstream keys; its number stands in front of what it sealed.
SEALING_NAME = "sealing-1"

# Real randomness repeats itself less: 32 bytes with fewer different ones have a chance
# of about 1e-12.
_DIFFERENT_BYTES_LEAST = 16


class BadSecret(Exception):
    """A secret file that must not be used; the message names it and says what to do."""


def secrets_folder(data_dir: Path) -> Path:
    """Where the secrets of an installation are; made (mode 0700) when missing."""
    folder = data_dir / FOLDER_NAME
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


def read_or_create(path: Path) -> bytes:
    """The secret in this file, made now if there is none. Safe when several processes
    start at once: all get the same one. Raises BadSecret."""
    if not path.exists():
        _create(path)
    return read(path)


def read(path: Path) -> bytes:
    """The secret in this file. Raises BadSecret for one that is missing, readable by
    others, too short, or not random."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("ascii").strip()
        secret = bytes.fromhex(text)
    except FileNotFoundError:
        raise BadSecret(f"{path} is missing: restore it from a backup") from None
    except (OSError, ValueError) as error:
        raise BadSecret(
            f"{path} cannot be used: it must hold {2 * SECRET_BYTES} hex digits ({_why(error)})"
        ) from None
    if mode & 0o077:
        raise BadSecret(f"{path} can be read by others (mode {mode:04o}): chmod 600 it")
    if len(secret) != SECRET_BYTES:
        raise BadSecret(f"{path} holds {len(secret)} bytes: it must hold {SECRET_BYTES}, as hex")
    if len(set(secret)) < _DIFFERENT_BYTES_LEAST:
        raise BadSecret(f"{path} holds a placeholder: put {SECRET_BYTES} random bytes there as hex")
    return secret


def _create(path: Path) -> None:
    """Writes beside it and links: the name appears only with its whole content."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, os.urandom(SECRET_BYTES).hex().encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _why(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else "not hex"
