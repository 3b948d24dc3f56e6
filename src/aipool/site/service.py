"""Use cases of the site's settings: what is in force, and what an administrator changes.

`Site` is made once a process, at its start, and handed to whoever needs a setting. What is in
force is remembered by the revision of the database, which every change of a setting counts up; so
it costs one row to read, and nobody acts on a setting that is no longer there.

Refusals (kit.errors):
    setting_unknown, setting_invalid, text_missing, sms_provider_missing, mail_server_missing,
    console_not_allowed, setting_missing, password_must_be_reentered, and those of
    notices.rules for addresses                                                          422
    setting_fixed                                                                        409
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from sqlalchemy.engine import Connection

from aipool import config
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.config import BadSetting, Settings
from aipool.kit.db import Transaction, current_revision
from aipool.kit.errors import Conflict, Invalid
from aipool.kit.outbound import Vet
from aipool.kit.sealing import Keyring, Unsealable
from aipool.site import store
from aipool.site import types as settings_of
from aipool.site.rules import Surroundings, Values, check_together
from aipool.site.types import BY_NAME, SETTINGS, Origin, Setting, Stored
from aipool.site.values import Json

_log = structlog.get_logger()

T = TypeVar("T")

#: Longer text stands in the trail as its length and digest.
_TRAIL_CHARACTERS_MAX = 500

_ORIGINS = {config.Origin.ENVIRONMENT: Origin.ENVIRONMENT, config.Origin.FILE: Origin.FILE}


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting as it is shown. value: None for a secret.  is_set: is it not the default?
    place: what fixes it, "" when it can be changed here.  at_ms, actor: of the last change that
    was made here, None when there is none."""

    setting: Setting[Any]
    value: Json | None
    is_set: bool
    origin: Origin
    place: str
    at_ms: int | None
    actor: str | None


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of the database, and at which revision."""

    revision: int
    values: Values


def check_fixed(settings: Settings) -> None:
    """Raises BadSetting for what the environment or the file says wrong, before a start."""
    _read_fixed(settings)


class Site:
    """The settings of one installation."""

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        """Raises BadSetting for what the environment or the file says wrong."""
        self._keyring = keyring
        self._fixed, self._places = _read_fixed(settings)
        self._around = Surroundings(Vet(settings.private_upstreams), _is_local(settings.host))
        self._known: _Known | None = None

    @property
    def is_local(self) -> bool:
        """Is nobody but this machine listened to?"""
        return self._around.is_local

    def value(self, connection: Connection, setting: Setting[T]) -> T:
        """What is in force of one setting."""
        return self.values(connection)[setting]

    def values(self, connection: Connection) -> Values:
        """What is in force, as it was last committed."""
        revision = current_revision(connection)
        known = self._known
        if known is not None and known.revision == revision:
            return known.values
        values = self._in_force(store.all_settings(connection))
        # A reader of an older moment takes its own and leaves what is newer.
        if known is None or known.revision < revision:
            self._known = _Known(revision, values)
        return values

    def shown(self, connection: Connection) -> list[Shown]:
        """Every setting with its origin, in the order of the table; of secrets whether they are
        set."""
        rows = {row.name: row for row in store.all_settings(connection)}
        values = self._in_force(list(rows.values()))
        return [self._shown(setting, rows.get(setting.name), values) for setting in SETTINGS]

    def set_values(self, tx: Transaction, act: Act, changes: Mapping[str, object]) -> list[str]:
        """Sets these, by name; None = back to the default. Gives what is different now.

        All or nothing: the first that cannot be refuses the others too.
        """
        rows = {row.name: row for row in store.all_settings(tx.connection)}
        before = self._in_force(list(rows.values()))
        wanted = {name: self._checked(name, raw) for name, raw in changes.items()}
        after = Values({**before.by_name(), **wanted})
        changed = [
            name
            for name, raw in changes.items()
            if (raw is None) == (name in rows) or wanted[name] != before.by_name()[name]
        ]
        check_together(after, changed, self._around)
        _check_password_of_mail(after, changed, changes)
        if not changed:
            return []
        store.delete(tx.connection, [name for name in changed if changes[name] is None])
        for name in changed:
            if changes[name] is not None:
                store.put(tx.connection, self._row(BY_NAME[name], wanted[name], act))
        told = [_for_the_trail(BY_NAME[name], before) for name in changed]
        telling = [_for_the_trail(BY_NAME[name], after) for name in changed]
        record(
            tx,
            act,
            "site.update",
            "site",
            before=dict(zip(changed, told, strict=True)),
            after=dict(zip(changed, telling, strict=True)),
        )
        # Counts up the revision, so that every process reads the settings again.
        tx.changes.note_catalogue()
        return changed

    # --- inside -----------------------------------------------------------------------------

    def _checked(self, name: str, raw: object) -> Any:
        setting = BY_NAME.get(name)
        if setting is None:
            raise Invalid(
                "setting_unknown",
                f"there is no setting {name[:80]!r}",
                field=name[:80],
                params={"name": name[:80]},
            )
        if name in self._places:
            raise Conflict(
                "setting_fixed",
                f"{name} is fixed by {self._places[name][1]}",
                field=name,
                params={"name": name, "place": self._places[name][1]},
            )
        if raw is None:
            return setting.default
        try:
            return setting.kind.check(raw)
        except ValueError:
            raise Invalid(
                "setting_invalid",
                f"{name} must be {setting.kind.allowed}",
                field=name,
                params={"name": name, **setting.kind.params},
            ) from None

    def _row(self, setting: Setting[Any], value: Any, act: Act) -> Stored:
        row = Stored(setting.name, setting.kind.write(value), False, act.at_ms, act.actor)
        if setting.secret:
            sealed = self._keyring.seal(str(row.value), _record(setting.name), _SEALED_FIELD)
            row = replace(row, value=sealed, sealed=True)
        return row

    def _in_force(self, rows: list[Stored]) -> Values:
        found = {setting.name: setting.default for setting in SETTINGS}
        for row in rows:
            # An older program may have known other settings, and other bounds.
            setting = BY_NAME.get(row.name)
            if setting is not None:
                found[row.name] = self._opened(setting, row)
        return Values({**found, **self._fixed})

    def _opened(self, setting: Setting[Any], row: Stored) -> Any:
        try:
            plain = row.value
            if row.sealed:
                plain = self._keyring.open(row.value, _record(row.name), _SEALED_FIELD)
            return setting.kind.check(plain)
        except Unsealable as problem:
            _log.error("site_setting_unreadable", setting=row.name, reason=str(problem))
        except ValueError:
            _log.error("site_setting_unreadable", setting=row.name, reason=setting.kind.allowed)
        return setting.default

    def _shown(self, setting: Setting[Any], row: Stored | None, values: Values) -> Shown:
        origin, place = self._places.get(
            setting.name, (Origin.DEFAULT if row is None else Origin.DATABASE, "")
        )
        value = values[setting]
        return Shown(
            setting,
            None if setting.secret else setting.kind.write(value),
            value != setting.default,
            origin,
            place,
            None if row is None else row.at_ms,
            None if row is None else row.actor,
        )


def _check_password_of_mail(
    after: Values, changed: Collection[str], changes: Mapping[str, object]
) -> None:
    """A password that is kept is never sent to another server than the one it was given for."""
    host, password = settings_of.SMTP_HOST, settings_of.SMTP_PASSWORD
    if (
        host.name in changed
        and after[host]
        and after[password]
        and changes.get(password.name) is None
    ):
        raise Invalid(
            "password_must_be_reentered",
            "another mail server would be sent the password of this one: give it again",
            field=password.name,
        )


# --- what the environment and the file say ----------------------------------------------------

_SEALED_FIELD = "value"


def _record(name: str) -> str:
    return f"site_setting:{name}"


def _read_fixed(settings: Settings) -> tuple[dict[str, Any], dict[str, tuple[Origin, str]]]:
    """The values, and where each of them stands."""
    by_environment_name = {setting.environment_name: setting for setting in SETTINGS}
    file = settings.data_dir / config.FILE_NAME
    values: dict[str, Any] = {}
    places: dict[str, tuple[Origin, str]] = {}
    for name, text in settings.site.items():
        setting = by_environment_name.get(name)
        if setting is None:
            raise BadSetting(f"{name}: there is no such setting of the site")
        origin = _ORIGINS[settings.origins[name]]
        place = (
            f"{name} in the environment"
            if origin is Origin.ENVIRONMENT
            else f"{setting.name} under [site] in {file}"
        )
        try:
            values[setting.name] = setting.kind.check(setting.kind.read(text.strip()))
        except ValueError:
            shown = "" if setting.secret else f"={text[:80]!r}"
            raise BadSetting(f"{name}{shown} ({place}): must be {setting.kind.allowed}") from None
        places[setting.name] = (origin, place)
    return values, places


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _for_the_trail(setting: Setting[Any], values: Values) -> object:
    value = values[setting]
    if setting.secret:
        return "set" if value else "not set"
    written = setting.kind.write(value)
    if isinstance(written, str) and len(written) > _TRAIL_CHARACTERS_MAX:
        digest = hashlib.sha256(written.encode()).hexdigest()
        return {"characters": len(written), "sha256": digest}
    return written
