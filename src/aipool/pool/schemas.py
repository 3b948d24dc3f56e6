"""The shapes of the pool on the wire: what an operator sends (what is shown: pool.shown).

A key's configuration is read by `vendors.settings`, which names its fields as `config.…`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from aipool.audit.desk import Sent, SentId

#: Ids of one bulk action.
MANY_MAX = 1000

_CHARACTERS_MAX = 8192
_SHORT_MAX = 100


class KeySent(Sent):
    """A new key. name: "" = `key` and a number.  expires_at: never (or null), 7d, 30d, a date
    or a moment."""

    name: str = Field(default="", max_length=_CHARACTERS_MAX)
    api_key: str = ""
    expires_at: str | None = Field(default=None, max_length=_SHORT_MAX)
    config: dict[str, Any] = {}


class KeyChange(Sent):
    """What becomes other of a key; the rest stays. api_key: another secret.  config: fields that
    are not in it stay as well, and null sets one back to its default."""

    name: str = Field(default="", max_length=_CHARACTERS_MAX)
    api_key: str = ""
    expires_at: str | None = Field(default=None, max_length=_SHORT_MAX)
    config: dict[str, Any] = {}


class KeysPasted(Sent):
    """Many keys, one a line: the secret, or a name and the secret. All are configured alike."""

    lines: list[str]
    expires_at: str | None = Field(default=None, max_length=_SHORT_MAX)
    config: dict[str, Any] = {}


class VendorSent(Sent):
    """A new vendor with its default key. base_url: "" = the usual one of its type.
    key_name, api_key, config: of the default key, which does not expire."""

    name: str = Field(max_length=_CHARACTERS_MAX)
    type: str = Field(max_length=_SHORT_MAX)
    base_url: str = Field(default="", max_length=_CHARACTERS_MAX)
    ordering: str = Field(default="priority", max_length=_SHORT_MAX)
    concurrency: int = 0
    low_balance: str = Field(default="", max_length=_SHORT_MAX)
    key_name: str = Field(default="", max_length=_CHARACTERS_MAX)
    api_key: str = ""
    config: dict[str, Any] = {}


class VendorChange(Sent):
    """What becomes other of a vendor; the rest stays. Its type does not change.
    base_url: "" = the usual one of its type."""

    name: str = Field(default="", max_length=_CHARACTERS_MAX)
    base_url: str = Field(default="", max_length=_CHARACTERS_MAX)
    ordering: str = Field(default="priority", max_length=_SHORT_MAX)
    concurrency: int = 0
    low_balance: str = Field(default="", max_length=_SHORT_MAX)


class BulkSent(Sent):
    """One action for many keys."""

    action: Literal["enable", "disable", "delete", "test"]
    ids: list[SentId] = Field(max_length=MANY_MAX)


class OrderSent(Sent):
    """The keys of a vendor, first = tried first. version: of the order that was looked at."""

    version: int
    keys: list[int]


class DefaultSent(Sent):
    """Which key is the vendor's default one."""

    key: SentId


class KeywordSent(Sent):
    """These words in the message of such a vendor mean this. vendor_type: "" = every vendor."""

    phrase: str = Field(max_length=_CHARACTERS_MAX)
    action: str = Field(max_length=_SHORT_MAX)
    vendor_type: str = Field(default="", max_length=_SHORT_MAX)
