"""Many keys at once: a paste, one a line.

    sk-one                 named key and a number
    spare sk-two           a name before it
    spare,sk-three

Every line gets a result, and a bad one stops no other. A secret that the vendor has already, or
that stands twice in the paste, is stored once.
"""

from __future__ import annotations

from collections.abc import Sequence

from aipool.audit.types import Act
from aipool.kit.db import Transaction
from aipool.kit.errors import BusinessError, Invalid
from aipool.kit.outbound import Vet
from aipool.kit.sealing import Keyring
from aipool.pool import rules, store
from aipool.pool.key_cases import (
    add_key,
    checked_terms,
    default_expires,
    name_taken,
    secrets_of,
)
from aipool.pool.types import KeyTerms, LineResult, LineState, UpstreamKey, Vendor
from aipool.vendors.types import KeySettings

LINES_MAX = 1000


def create_keys(
    tx: Transaction,
    act: Act,
    keyring: Keyring,
    vet: Vet,
    vendor: Vendor,
    lines: Sequence[str],
    *,
    settings: KeySettings,
    expires_at: int,
) -> list[LineResult]:
    """A new key for each line that has one, all configured alike, last in order.

    Gives a result a line. Raises Invalid for too many lines, and for what is wrong with all
    of them: the configuration or the expiry.
    """
    if len(lines) > LINES_MAX:
        raise Invalid(
            "too_many_lines",
            f"at most {LINES_MAX} keys at once",
            field="lines",
            params={"most": LINES_MAX},
        )
    checked = rules.checked_settings(vendor.type, settings, vet)
    rules.check_expiry(expires_at, act.at_ms)
    keys = store.list_keys(tx.connection, vendor.id)
    if not keys and expires_at:
        raise default_expires("the first key of a vendor is its default key and")
    names: dict[int, str] = {key.id: key.name for key in keys}
    paste = _Paste(
        keys,
        {
            secret: names[key_id]
            for key_id, secret in secrets_of(tx.connection, keyring, vendor).items()
        },
    )
    results = []
    for number, line in enumerate(lines, start=1):
        read = paste.read(number, line)
        if isinstance(read, LineResult):
            results.append(read)
            continue
        name, secret = read
        try:
            if any(key.name == name for key in paste.keys):
                raise name_taken(vendor, name)
            terms = checked_terms(vendor, KeyTerms(name, secret, checked, expires_at), vet, act)
            key = add_key(tx, act, keyring, vendor, terms, paste.keys)
        except BusinessError as problem:
            results.append(
                LineResult(number, LineState.REFUSED, code=problem.code, message=problem.message)
            )
            continue
        paste.add(key, secret)
        results.append(LineResult(number, LineState.CREATED, key.name, key.id))
    return results


class _Paste:
    """The keys there are while lines are read. by_secret: names of keys."""

    def __init__(self, keys: list[UpstreamKey], by_secret: dict[str, str]) -> None:
        self.keys = keys
        self._by_secret = by_secret

    def add(self, key: UpstreamKey, secret: str) -> None:
        self.keys.append(key)
        self._by_secret[secret] = key.name

    def read(self, number: int, line: str) -> tuple[str, str] | LineResult:
        """Name and secret in a line, or why there is no key to be made of it."""
        if not line.strip():
            return LineResult(number, LineState.BLANK)
        read = rules.name_and_secret(line)
        if read is None:
            return LineResult(
                number,
                LineState.REFUSED,
                code="line_malformed",
                message="a line is an API key, or a name and an API key, without quotes",
            )
        name, secret = read
        if secret in self._by_secret:
            return LineResult(number, LineState.DUPLICATE, self._by_secret[secret])
        return name or rules.next_key_name(key.name for key in self.keys), secret
