"""What a backup says about itself: the first member of the file, as JSON.

The SHA-256 of every member finds damage, whoever reads the file. The manifest without the
member of the keys is also the additional data under which the keys are sealed, so sealed keys
open only beside the manifest, and with it the database, that they were written with.

A key's fingerprint says whether a key is the one a backup needs. It is an HMAC of a fixed text
under the key: of 256 random bits nothing can be learned from it.
"""

from __future__ import annotations

import hmac
import re
from typing import Annotated, Final

import msgspec

from aipool.kit.errors import Invalid

FORMAT: Final = 1
MANIFEST_BYTES_MAX: Final = 64 * 1024

_KEY_NAME = re.compile(r"pepper|sealing-[0-9]{1,9}")
_FINGERPRINT_OF = b"aipool backup: fingerprint of a key"

_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 60)]
_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member of the file: how long it is, and its SHA-256 as hex."""

    size_bytes: _Count
    sha256: _Sha256


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """format: of the file.  migration_step: of the database ("0004").  database_kind:
    "sqlite" or "postgresql".  created_at: UTC.  installation: its number (backup.tables), 0
    when the database is older than that.  key_fingerprints: of the keys without which the
    database cannot be used, by the name of their files.  keys: None when they are not in it."""

    format: int
    product_version: str
    migration_step: str
    database_kind: str
    created_at: str
    installation: _Count
    key_fingerprints: dict[str, _Sha256]
    database: Member
    keys: Member | None

    def encode(self) -> bytes:
        """As it stands in the file: the same manifest is always the same bytes."""
        compact = msgspec.json.encode(self, order="deterministic")
        return msgspec.json.format(compact, indent=2) + b"\n"

    def with_keys(self, keys: Member) -> Manifest:
        """The same backup with its keys in it."""
        return msgspec.structs.replace(self, keys=keys)

    def keys_are_bound_to(self) -> bytes:
        """The additional data under which the keys are sealed."""
        return msgspec.structs.replace(self, keys=None).encode()


class _Format(msgspec.Struct):
    format: int


def decode(text: bytes) -> Manifest:
    """The manifest. Raises Invalid for one that is newer than this program, or is none."""
    try:
        number = msgspec.json.decode(text, type=_Format).format
        if number > FORMAT:
            raise Invalid(
                "backup_newer",
                f"the backup has format {number} and this program reads up to {FORMAT}: "
                "restore it with the program that wrote it, or a newer one",
            )
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise not_a_backup(f"its manifest cannot be read ({error})") from None
    names = manifest.key_fingerprints
    if not names or not all(map(_KEY_NAME.fullmatch, names)):
        raise not_a_backup("its manifest names keys that no installation has")
    if manifest.format != FORMAT:
        raise not_a_backup(f"there is no format {manifest.format}")
    return manifest


def fingerprint(key: bytes) -> str:
    """What stands for a key in a manifest, as hex."""
    return hmac.digest(key, _FINGERPRINT_OF, "sha256").hex()


def not_a_backup(why: str) -> Invalid:
    """The refusal of a file that `aipool backup` did not write, or not like this."""
    return Invalid("not_a_backup", f"this is not a backup of AI-POOL, or a damaged one: {why}")
