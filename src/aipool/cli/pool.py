"""aipool vendor … and aipool key …"""

from __future__ import annotations

from typing import Annotated

import typer

from aipool.cli.options import DataDir, KeyStdin, Output, OutputOption
from aipool.cli.output import show_record, show_rows

VENDOR_COLUMNS = ("id", "name", "type", "base_url", "keys")
KEY_COLUMNS = ("id", "vendor", "place", "name", "default", "enabled", "secret", "proxy")

VendorName = Annotated[str, typer.Argument(help="The vendor's name.", metavar="VENDOR")]
KeyName = Annotated[str, typer.Argument(help="The key's name.", metavar="NAME")]
Proxy = Annotated[str, typer.Option(help="HTTP proxy for this key, http://host:port.")]


def list_vendors(output: OutputOption = Output.TABLE, data_dir: DataDir = None) -> None:
    """Lists vendors with the names of their keys in the order of trying."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.read() as connection:
        rows = [
            {
                "id": vendor.id,
                "name": vendor.name,
                "type": vendor.type,
                "base_url": vendor.base_url,
                "keys": [key.name for key in pool.list_keys(connection, vendor)],
            }
            for vendor in pool.list_vendors(connection)
        ]
    show_rows(rows, output, VENDOR_COLUMNS)


def create_vendor(
    name: Annotated[str, typer.Argument(help="A name for the vendor.")],
    vendor_type: Annotated[str, typer.Option("--type", help="Which kind of vendor it is.")],
    base_url: Annotated[str, typer.Option(help="Its address; default the usual one.")] = "",
    api_key_stdin: KeyStdin = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Creates a vendor with its default key, whose secret is asked for."""
    from aipool.cli.session import open_session, secret_from
    from aipool.kit.errors import Conflict
    from aipool.kit.names import checked_name
    from aipool.pool import rules
    from aipool.pool import service as pool
    from aipool.pool.types import KeyTerms

    rules.check_type(vendor_type)
    checked_name(name)
    secret = ""
    if api_key_stdin or rules.needs_secret(vendor_type):
        secret = secret_from(from_stdin=api_key_stdin, prompt="API key")
    with open_session(data_dir, make=True) as session, session.change() as tx:
        if any(vendor.name == name for vendor in pool.list_vendors(tx.connection)):
            raise Conflict("vendor_exists", f"there is a vendor {name!r} already", field="name")
        vendor, _ = pool.put_vendor(
            tx,
            session.act,
            session.vet,
            name=name,
            vendor_type=vendor_type,
            base_url=base_url,
        )
        terms = KeyTerms("", secret)
        key = pool.create_key(tx, session.act, session.secrets.keyring, vendor, terms)
    record = {"id": vendor.id, "name": name, "base_url": vendor.base_url, "key": key.name}
    show_record(record, output)


def list_keys(
    vendor: Annotated[str | None, typer.Argument(help="Only this vendor's.")] = None,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Lists upstream keys in the order of trying; of their secrets only the end."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.read() as connection:
        chosen = [pool.get_vendor(connection, vendor)] if vendor else pool.list_vendors(connection)
        rows = [
            {
                "id": key.id,
                "vendor": owner.name,
                "place": place,
                "name": key.name,
                "default": key.default,
                "enabled": key.enabled,
                "secret": f"…{key.last4}" if key.last4 else "",
                "proxy": key.proxy_url,
            }
            for owner in chosen
            for place, key in enumerate(pool.list_keys(connection, owner), start=1)
        ]
    show_rows(rows, output, KEY_COLUMNS)


def create_key(
    vendor: VendorName,
    name: Annotated[str, typer.Option(help="A name; default key and a number.")] = "",
    proxy: Proxy = "",
    api_key_stdin: KeyStdin = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Adds an upstream key, last in order. Its secret is asked for."""
    from aipool.cli.session import open_session, secret_from
    from aipool.kit.names import checked_name
    from aipool.pool import service as pool
    from aipool.pool.types import KeyTerms

    if name:
        checked_name(name)
    secret = secret_from(from_stdin=api_key_stdin, prompt="API key")
    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        terms = KeyTerms(name, secret, proxy)
        key = pool.create_key(tx, session.act, session.secrets.keyring, owner, terms)
    show_record({"id": key.id, "vendor": vendor, "name": key.name}, output)


def disable_key(vendor: VendorName, name: KeyName, data_dir: DataDir = None) -> None:
    """Calls a key no more, from now on."""
    _set_enabled(vendor, name, data_dir, enabled=False)


def enable_key(vendor: VendorName, name: KeyName, data_dir: DataDir = None) -> None:
    """Lets a key be called again."""
    _set_enabled(vendor, name, data_dir, enabled=True)


def delete_key(vendor: VendorName, name: KeyName, data_dir: DataDir = None) -> None:
    """Forgets a key for good. The default key cannot be deleted."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        pool.delete_key(tx, session.act, pool.get_key(tx.connection, owner, name))


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


def _set_enabled(vendor: str, name: str, data_dir: DataDir, *, enabled: bool) -> None:
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.change() as tx:
        owner = pool.get_vendor(tx.connection, vendor)
        key = pool.get_key(tx.connection, owner, name)
        pool.set_key_enabled(tx, session.act, key, enabled=enabled)
