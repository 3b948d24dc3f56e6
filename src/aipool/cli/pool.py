"""aipool vendor … and aipool keyword …"""

from __future__ import annotations

from typing import Annotated

import typer

from aipool.cli.options import DataDir, KeyStdin, Output, OutputOption, VendorName, confirm, parsed
from aipool.cli.options import Yes as YesOption
from aipool.cli.output import say, show_record, show_rows

VENDOR_COLUMNS = ("id", "name", "type", "base_url", "keys")
TYPE_COLUMNS = ("type", "title", "base_url", "key_page")
KEYWORD_COLUMNS = ("id", "vendor_type", "phrase", "action")

Ordering = Annotated[
    str | None, typer.Option(help="How keys are chosen: priority, weighted or least_latency.")
]
Concurrency = Annotated[
    str | None, typer.Option(help="The most calls at a time over all its keys, or none.")
]
LowBalance = Annotated[
    str | None, typer.Option(help="Below this balance of a key you are told, or none.")
]


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
                "ordering": vendor.ordering.value,
                "concurrency": vendor.concurrency,
                "low_balance": vendor.low_balance,
            }
            for vendor in pool.list_vendors(connection)
        ]
    show_rows(rows, output, VENDOR_COLUMNS)


def list_types(output: OutputOption = Output.TABLE) -> None:
    """Lists the kinds of vendors there are, and where each gives keys."""
    from aipool.vendors import VENDORS

    rows = [
        {
            "type": vendor.type,
            "title": vendor.title,
            "base_url": vendor.base_url or "",
            "key_page": vendor.key_page,
        }
        for vendor in VENDORS
    ]
    show_rows(rows, output, TYPE_COLUMNS)


def create_vendor(
    name: Annotated[str, typer.Argument(help="A name for the vendor.")],
    vendor_type: Annotated[str, typer.Option("--type", help="Which kind of vendor it is.")],
    base_url: Annotated[str, typer.Option(help="Its address; default the usual one.")] = "",
    ordering: Ordering = None,
    concurrency: Concurrency = None,
    low_balance: LowBalance = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--set", help="Of its default key: a field and its value; repeatable."),
    ] = None,
    api_key_stdin: KeyStdin = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Creates a vendor with its default key, whose secret is asked for."""
    from aipool.cli.keys import settings_with
    from aipool.cli.session import open_session, secret_from
    from aipool.kit.names import checked_name
    from aipool.pool import rules
    from aipool.pool import service as pool
    from aipool.pool.types import KeyTerms
    from aipool.vendors.types import NO_SETTINGS
    from aipool.vendors.types import Ordering as Orderings

    rules.check_type(vendor_type)
    checked_name(name)
    settings = settings_with(vendor_type, NO_SETTINGS, config, None)
    wanted = Orderings.PRIORITY if ordering is None else rules.ordering(ordering)
    calls = 0 if concurrency is None else rules.concurrency(concurrency)
    amount = "" if low_balance is None else rules.amount(low_balance)
    secret = ""
    if api_key_stdin or rules.needs_secret(vendor_type):
        secret = secret_from(from_stdin=api_key_stdin, prompt="API key")
    with open_session(data_dir, make=True) as session, session.change() as tx:
        vendor = pool.create_vendor(
            tx,
            session.act,
            session.vet,
            name=name,
            vendor_type=vendor_type,
            base_url=base_url,
            ordering=wanted,
            concurrency=calls,
            low_balance=amount,
        )
        terms = KeyTerms("", secret, settings)
        keyring = session.secrets.keyring
        key = pool.create_key(tx, session.act, keyring, session.vet, vendor, terms)
    record = {"id": vendor.id, "name": name, "base_url": vendor.base_url, "key": key.name}
    show_record(record, output)


def set_vendor(
    vendor: VendorName,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Another address.")] = None,
    ordering: Ordering = None,
    concurrency: Concurrency = None,
    low_balance: LowBalance = None,
    data_dir: DataDir = None,
) -> None:
    """Changes a vendor; what is not said stays. Keys that go to another host lose their secret."""
    from aipool.cli.session import open_session
    from aipool.pool import rules
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.change() as tx:
        before = pool.get_vendor(tx.connection, vendor)
        after, dropped = pool.change_vendor(
            tx,
            session.act,
            session.vet,
            before,
            name=name,
            base_url=base_url,
            ordering=None if ordering is None else rules.ordering(ordering),
            concurrency=None if concurrency is None else rules.concurrency(concurrency),
            low_balance=None if low_balance is None else rules.amount(low_balance),
        )
    say("nothing changed" if after == before else f"changed {after.name}")
    for key in dropped:
        say(
            f"the secret of {key} was dropped, as it would go to another host: give it again "
            f"with `aipool key set {after.name} {key} --api-key`"
        )


def delete_vendor(vendor: VendorName, yes: YesOption = False, data_dir: DataDir = None) -> None:
    """Forgets a vendor and all its keys for good. One that a route names cannot be deleted."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    confirm(f"Delete vendor {vendor} with all its keys?", yes=yes)
    with open_session(data_dir) as session, session.change() as tx:
        pool.delete_vendor(tx, session.act, pool.get_vendor(tx.connection, vendor))


def add_keyword(
    phrase: Annotated[str, typer.Argument(help="Words in an error message.")],
    action: Annotated[str, typer.Option(help="What they mean: next, cool, exceeded, invalid, …")],
    vendor_type: Annotated[str, typer.Option(help="Only of this kind of vendor.")] = "",
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Adds words to look for in vendors' error messages, and what they mean."""
    from aipool.cli.session import open_session
    from aipool.pool import rules
    from aipool.pool import service as pool

    meaning = parsed("--action", rules.action, action)
    with open_session(data_dir) as session, session.change() as tx:
        added = pool.add_keyword(
            tx, session.act, vendor_type=vendor_type, phrase=phrase, action=meaning
        )
    show_record({"id": added.id, "phrase": added.keyword.phrase, "action": action}, output)


def list_keywords(output: OutputOption = Output.TABLE, data_dir: DataDir = None) -> None:
    """Lists the words that are looked for in vendors' error messages."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.read() as connection:
        rows = [
            {
                "id": one.id,
                "vendor_type": one.keyword.vendor_type,
                "phrase": one.keyword.phrase,
                "action": one.keyword.action.value,
            }
            for one in pool.list_keywords(connection)
        ]
    show_rows(rows, output, KEYWORD_COLUMNS)


def delete_keyword(
    keyword_id: Annotated[int, typer.Argument(help="The keyword's id.", metavar="ID")],
    data_dir: DataDir = None,
) -> None:
    """Looks for a keyword no more."""
    from aipool.cli.session import open_session
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.change() as tx:
        pool.delete_keyword(tx, session.act, keyword_id)
