"""aipool key …

What a key is configured with is said field by field: `--set region=eu`, `--set weight=3`,
`--set 'models=["a","b"]'`, and inside a field `--set headers.X-Team=blue`. A value is JSON where
it reads as such and the field is not a text, else a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aipool.cli.options import (
    DataDir,
    KeyName,
    KeyStdin,
    Output,
    OutputOption,
    VendorName,
    Yes,
    confirm,
    parsed,
)
from aipool.cli.output import say, show_record, show_rows

if TYPE_CHECKING:
    from aipool.pool.types import KeyListed
    from aipool.vendors.types import KeySettings

COLUMNS = (
    "id",
    "vendor",
    "place",
    "name",
    "default",
    "status",
    "reason",
    "until",
    "expires",
    "secret",
    "edited",
)
LINE_COLUMNS = ("line", "result", "name", "reason")
TRAIL_COLUMNS = ("at", "who", "what", "before", "after")

#: More keys than any installation has.
_ALL = 1_000_000

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A field and its value, such as weight=3; repeatable."),
]
Unset = Annotated[
    list[str] | None, typer.Option("--unset", help="A field that is said no more; repeatable.")
]
Expires = Annotated[str | None, typer.Option(help="never, +7d, a date, or a moment.")]


def list_keys(
    vendor: Annotated[str | None, typer.Argument(help="Only this vendor's.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those that are so.")] = None,
    search: Annotated[str, typer.Option(help="What stands in the name, or the vendor's.")] = "",
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Lists upstream keys in the order of trying; of their secrets only the end."""
    from aipool.cli.session import open_session
    from aipool.kit.errors import Invalid
    from aipool.pool import service as pool
    from aipool.pool.health import Status

    wanted = next((one for one in Status if one.value == status), None)
    if status is not None and wanted is None:
        known = ", ".join(one.value for one in Status)
        raise Invalid("invalid_status", f"--status: {status!r} is none of {known}")
    with open_session(data_dir) as session, session.read() as connection:
        chosen = pool.get_vendor(connection, vendor) if vendor else None
        found, _ = pool.search_keys(
            connection,
            vendor_id=chosen.id if chosen else None,
            status=wanted,
            text=search,
            limit=_ALL,
            at_ms=session.act.at_ms,
        )
    show_rows([_shown(listed) for listed in found], output, COLUMNS)


def create_key(
    vendor: VendorName,
    name: Annotated[str, typer.Option(help="A name; default key and a number.")] = "",
    proxy: Annotated[str, typer.Option(help="HTTP proxy for this key, http://host:port.")] = "",
    config: Set = None,
    expires: Expires = None,
    api_key_stdin: KeyStdin = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Adds an upstream key, last in order. Its secret is asked for."""
    from aipool.cli.session import open_session, secret_from
    from aipool.kit.names import checked_name
    from aipool.pool import service as pool
    from aipool.pool.types import KeyTerms
    from aipool.vendors.types import NO_SETTINGS

    if name:
        checked_name(name)
    secret = secret_from(from_stdin=api_key_stdin, prompt="API key")
    said = [*(config or ()), *([f"proxy={proxy}"] if proxy else ())]
    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        settings = settings_with(owner.type, NO_SETTINGS, said, None)
        terms = KeyTerms(name, secret, settings, _expiry(expires, session.act.at_ms) or 0)
        keyring = session.secrets.keyring
        key = pool.create_key(tx, session.act, keyring, session.vet, owner, terms)
    show_record({"id": key.id, "vendor": vendor, "name": key.name}, output)


def set_key(
    vendor: VendorName,
    name: KeyName,
    new_name: Annotated[str | None, typer.Option("--name", help="Another name.")] = None,
    config: Set = None,
    unset: Unset = None,
    expires: Expires = None,
    api_key: Annotated[bool, typer.Option("--api-key", help="Ask for another secret.")] = False,
    api_key_stdin: KeyStdin = False,
    data_dir: DataDir = None,
) -> None:
    """Changes a key; what is not said stays. A key that goes to another host loses its secret."""
    from aipool.cli.session import open_session, secret_from
    from aipool.pool import service as pool

    secret = None
    if api_key or api_key_stdin:
        secret = secret_from(from_stdin=api_key_stdin, prompt="API key")
    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        key = pool.key_named(tx.connection, owner, name)
        settings = None
        if config or unset:
            settings = settings_with(owner.type, key.settings, config, unset)
        after, changed = pool.change_key(
            tx,
            session.act,
            session.secrets.keyring,
            session.vet,
            key,
            name=new_name,
            secret=secret,
            settings=settings,
            expires_at=_expiry(expires, session.act.at_ms),
        )
    for text in changed or ("nothing changed",):
        say(text)
    if after.secret_missing:
        say(f"{after.name} is called again when it has a secret: use --api-key")


def paste_keys(
    vendor: VendorName,
    config: Set = None,
    expires: Expires = None,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Adds many keys from standard input, one a line: a secret, or a name and a secret.

    A line that is refused stops no other, and the command then fails.
    """
    import sys

    from aipool.cli.session import open_session
    from aipool.pool import service as pool
    from aipool.pool.types import LineState
    from aipool.vendors.types import NO_SETTINGS

    lines = sys.stdin.read().splitlines()
    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        results = pool.create_keys(
            tx,
            session.act,
            session.secrets.keyring,
            session.vet,
            owner,
            lines,
            settings=settings_with(owner.type, NO_SETTINGS, config, None),
            expires_at=_expiry(expires, session.act.at_ms) or 0,
        )
    rows = [
        {"line": one.line, "result": one.state.value, "name": one.name, "reason": one.message}
        for one in results
    ]
    show_rows(rows, output, LINE_COLUMNS)
    if any(one.state is LineState.REFUSED for one in results):
        raise typer.Exit(1)


def disable_key(vendor: VendorName, name: KeyName, data_dir: DataDir = None) -> None:
    """Calls a key no more, from now on."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        pool.disable_key(tx, session.act, pool.key_named(tx.connection, owner, name))


def enable_key(vendor: VendorName, name: KeyName, data_dir: DataDir = None) -> None:
    """Lets a key be called again, from the very next call, whatever calls had shown of it."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        key = pool.key_named(tx.connection, owner, name)
        before = pool.list_key(tx.connection, key, at_ms=session.act.at_ms)
        pool.enable_key(tx, session.act, key)
    why = before.health.why if before.health is not None else ""
    was = f"{before.status.value} ({why})" if why else before.status.value
    if key.secret_missing:
        say(f"{name} has no secret: give it one with `aipool key set {vendor} {name} --api-key`")
    else:
        say(f"{name} was {was}: it is tried in its place from the next call")


def delete_key(
    vendor: VendorName, name: KeyName, yes: Yes = False, data_dir: DataDir = None
) -> None:
    """Forgets a key for good. The default key cannot be deleted."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    confirm(f"Delete the key {name} of {vendor}?", yes=yes)
    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        pool.delete_key(tx, session.act, pool.key_named(tx.connection, owner, name))


def make_default(vendor: VendorName, name: KeyName, data_dir: DataDir = None) -> None:
    """Makes a key the default one of its vendor. Its place in the order stays."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        pool.set_default_key(tx, session.act, pool.key_named(tx.connection, owner, name))


def move_key(
    vendor: VendorName,
    name: KeyName,
    place: Annotated[int, typer.Argument(help="Its new place; 1 is tried first.")],
    data_dir: DataDir = None,
) -> None:
    """Changes the order in which a vendor's keys are tried."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        pool.move_key(tx, session.act, owner, name, place)


def order_keys(
    vendor: VendorName,
    names: Annotated[list[str], typer.Argument(help="Keys; the first is tried first.")],
    data_dir: DataDir = None,
) -> None:
    """Puts these keys first, in this order; the others follow as they were."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        pool.put_first(tx, session.act, owner, names)


def show_trail(
    vendor: VendorName,
    name: KeyName,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 50,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Lists what people did to a key and what became of it, with the reason, newest first."""
    from aipool.audit import service as audit
    from aipool.cli.session import open_session
    from aipool.kit.clock import iso_ms
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.read() as connection:
        key = pool.key_named(connection, pool.get_vendor(connection, vendor), name)
        rows = [
            {
                "at": iso_ms(entry.at_ms),
                "who": entry.actor,
                "what": entry.action,
                "before": entry.before,
                "after": entry.after,
            }
            for entry in audit.entries(connection, pool.key_target(key.id), limit=limit)
        ]
    show_rows(rows, output, TRAIL_COLUMNS)


def settings_with(
    vendor_type: str,
    before: KeySettings,
    said: Sequence[str] | None,
    unsaid: Sequence[str] | None,
) -> KeySettings:
    """A configuration with these fields changed; raises Invalid, with the field."""
    from aipool.kit.errors import Invalid
    from aipool.pool import rules
    from aipool.vendors.settings import shown

    values = shown(before)
    for text in unsaid or ():
        if text.partition(".")[0] not in before.__struct_fields__:
            raise Invalid("config_malformed", f"--unset {text}: there is no such field")
        _place(values, text, None)
    for text in said or ():
        path, equals, value = text.partition("=")
        if not equals:
            raise Invalid("config_malformed", f"--set {text}: write field=value")
        _place(values, path, _value(path, value))
    try:
        return rules.settings_from(vendor_type, values)
    except Invalid as problem:
        raise Invalid(
            problem.code, f"{problem.field}: {problem.message}", field=problem.field
        ) from None


def _place(values: dict[str, Any], path: str, value: Any) -> None:
    """Puts a value at its path, or takes away what is there (None)."""
    name, _, inner = path.partition(".")
    if inner:
        fields = values.get(name)
        values[name] = dict(fields) if isinstance(fields, dict) else {}
        # A header or a model may have a dot in its name, so there is no deeper place.
        values, name = values[name], inner
    if value is None:
        values.pop(name, None)
    else:
        values[name] = value


def _value(path: str, text: str) -> Any:
    import msgspec

    from aipool.vendors.types import KeySettings

    outer = path.partition(".")[0]
    known = {field.name: field.type for field in msgspec.structs.fields(KeySettings)}
    if known.get(outer) in (str, dict[str, str]) and not text.startswith("{"):
        return text
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return text


def _expiry(text: str | None, at_ms: int) -> int | None:
    from aipool.kit.expiry import moment_or_days

    if text is None:
        return None
    return parsed("--expires", lambda written: moment_or_days(written, at_ms // 1000), text)


def _shown(listed: KeyListed) -> dict[str, Any]:
    from aipool.kit.clock import iso, iso_ms
    from aipool.pool.health import Health
    from aipool.vendors.settings import shown

    key, health = listed.key, listed.health
    unwell = health is not None and health.health is not Health.NORMAL
    until = iso_ms(health.until_ms) if unwell and health and health.until_ms else ""
    return {
        "id": key.id,
        "vendor": listed.vendor.name,
        "place": key.position + 1,
        "name": key.name,
        "default": key.default,
        "enabled": key.enabled,
        "status": listed.status.value,
        "reason": "secret_missing" if key.secret_missing else health.why if health else "",
        "until": until,
        "expires": iso(key.expires_at) if key.expires_at else "never",
        "secret": f"…{key.last4}" if key.last4 else "",
        "edited": iso_ms(key.edited_at_ms),
        "proxy": key.settings.proxy,
        "config": shown(key.settings),
        "models": {row.model: f"{row.health.value}: {row.why}" for row in listed.models},
    }
