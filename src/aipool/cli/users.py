"""aipool user …"""

from __future__ import annotations

from typing import Annotated

import typer

from aipool.cli.options import DataDir, Output, OutputOption, PasswordStdin, Phone, parsed
from aipool.cli.output import say, show_record, show_rows

COLUMNS = ("id", "phone", "role", "status", "balance", "created")


def list_users(
    after: Annotated[int, typer.Option(help="Only ids above this one.")] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 1000,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Lists users with their balance in CNY."""
    from aipool.accounts import service as accounts
    from aipool.cli.session import open_session
    from aipool.kit.clock import iso_ms
    from aipool.kit.money import format_cny
    from aipool.ledger.service import wallet_balance

    with open_session(data_dir) as session, session.read() as connection:
        rows = []
        for user in accounts.list_users(connection, after_id=after, limit=limit):
            wallet = wallet_balance(connection, user.id)
            rows.append(
                {
                    "id": user.id,
                    "phone": user.phone,
                    "role": user.role.value,
                    "status": user.status.value,
                    "balance": format_cny(wallet.balance_nano if wallet else 0),
                    "created": iso_ms(user.created_at_ms),
                }
            )
    show_rows(rows, output, COLUMNS)


def create(
    phone: Phone,
    credit: Annotated[str | None, typer.Option(help="Opening credit in CNY.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Make an administrator.")] = False,
    password_stdin: PasswordStdin = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Creates a user."""
    from aipool.accounts import rules
    from aipool.accounts import service as accounts
    from aipool.accounts.passwords import hash_password
    from aipool.accounts.types import Role
    from aipool.apply.credit import book_opening_credit, opening_amount_nano
    from aipool.cli.session import open_session, secret_from
    from aipool.kit.money import format_cny
    from aipool.ledger.service import open_wallet

    number = rules.canonical_phone(phone)
    credit_nano = 0 if credit is None else parsed("--credit", opening_amount_nano, credit)
    role = Role.ADMIN if admin else Role.USER
    password = secret_from(from_stdin=password_stdin, prompt="password")
    rules.check_password(password, role, number)
    password_hash = hash_password(password)
    with open_session(data_dir, make=True) as session, session.change() as tx:
        user = accounts.create_user(
            tx, session.act, phone=number, password_hash=password_hash, role=role
        )
        open_wallet(tx, user.id)
        if credit_nano:
            book_opening_credit(tx, session.act, user, credit_nano)
    record = {"id": user.id, "phone": user.phone, "balance": format_cny(credit_nano)}
    show_record(record, output)


def adjust(
    phone: Phone,
    amount: Annotated[str, typer.Argument(help="CNY to add; negative takes away.")],
    reason: Annotated[str, typer.Option(help="Why; stands in the user's balance flow.")],
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Corrects a user's balance. Only money that no running call holds can be taken away."""
    from aipool.accounts import service as accounts
    from aipool.apply.credit import adjustment_nano
    from aipool.cli.session import open_session
    from aipool.control import adjusting
    from aipool.kit.ids import RequestIds
    from aipool.kit.money import format_cny

    amount_nano = parsed("AMOUNT", adjustment_nano, amount)
    with open_session(data_dir) as session:
        with session.read() as connection:
            user = accounts.get_user(connection, phone)
        adjusted = adjusting.adjust(
            session.database,
            session.collect,
            session.act,
            user,
            amount_nano=amount_nano,
            reason=reason,
            key=RequestIds().new(session.act.at_ms),
        )
    show_record({"phone": user.phone, "balance": format_cny(adjusted.balance_nano)}, output)


def set_password(
    phone: Phone, password_stdin: PasswordStdin = False, data_dir: DataDir = None
) -> None:
    """Gives a user another password. Ends their sessions and access tokens."""
    from aipool.accounts import rules
    from aipool.accounts import service as accounts
    from aipool.accounts.passwords import hash_password
    from aipool.cli.session import open_session, secret_from
    from aipool.control.newcomers import sessions_end

    with open_session(data_dir) as session:
        with session.read() as connection:
            user = accounts.get_user(connection, phone)
        password = secret_from(from_stdin=password_stdin, prompt="new password")
        rules.check_password(password, user.role, user.phone)
        password_hash = hash_password(password)
        with session.change() as tx:
            accounts.set_password(
                tx, session.act, user, password_hash=password_hash, ended=sessions_end
            )


def set_role(
    phone: Phone,
    role: Annotated[str, typer.Argument(help="user, admin or root.")],
    data_dir: DataDir = None,
) -> None:
    """Says what a user may do: user, admin or root. Ends their sessions."""
    from aipool.accounts import service as accounts
    from aipool.accounts.types import Role
    from aipool.cli.session import open_session
    from aipool.control.newcomers import sessions_end
    from aipool.kit.errors import Invalid

    if role not in tuple(Role):
        raise Invalid("invalid_role", f"{role!r} is no role; there is: {', '.join(Role)}")
    with open_session(data_dir) as session, session.change() as tx:
        user = accounts.get_user(tx.connection, phone)
        accounts.set_role(tx, session.act, user, Role(role), sessions_end)


def reset_totp(phone: Phone, data_dir: DataDir = None) -> None:
    """Switches a user's second factor off, for who lost device and recovery codes."""
    from aipool.accounts import service as accounts
    from aipool.accounts import totp
    from aipool.cli.session import open_session
    from aipool.control.newcomers import sessions_end

    with open_session(data_dir) as session, session.change() as tx:
        user = accounts.get_user(tx.connection, phone)
        switched_off = totp.switch_off(tx, session.act, user, ended=sessions_end)
    if not switched_off:
        say(f"{user.phone} has no second factor")


def disable(phone: Phone, data_dir: DataDir = None) -> None:
    """Disables an account and all its tokens. Its money stays."""
    _set_status(phone, data_dir, enabled=False)


def enable(phone: Phone, data_dir: DataDir = None) -> None:
    """Enables an account again, or lets in one that waits for approval."""
    _set_status(phone, data_dir, enabled=True)


def _set_status(phone: str, data_dir: DataDir, *, enabled: bool) -> None:
    from aipool.accounts import service as accounts
    from aipool.accounts.types import Status
    from aipool.cli.session import open_session
    from aipool.control.newcomers import sessions_end

    with open_session(data_dir) as session, session.change() as tx:
        user = accounts.get_user(tx.connection, phone)
        status = Status.ACTIVE if enabled else Status.DISABLED
        accounts.set_status(tx, session.act, user, status, sessions_end)
