"""aipool user …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aipool.cli.options import DataDir, Output, OutputOption, PasswordStdin, Phone, parsed
from aipool.cli.output import show_record, show_rows

if TYPE_CHECKING:
    from aipool.kit.errors import Conflict
    from aipool.ledger.types import RefusalReason, Wallet

COLUMNS = ("id", "phone", "role", "status", "balance", "created")

#: How often money is asked back from workers that go on lending it to new calls.
ADJUST_ATTEMPTS = 3


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
    from aipool.audit.service import record as note
    from aipool.cli.session import open_session
    from aipool.kit.ids import RequestIds
    from aipool.kit.money import format_cny
    from aipool.ledger.service import adjust_wallet, wallet_balance
    from aipool.ledger.types import Moved, RefusalReason, Wallet, wallet_account

    amount_nano = parsed("AMOUNT", adjustment_nano, amount)
    wallet, answered = Wallet(0, 0), True
    with open_session(data_dir) as session:
        act = session.act
        idem_key = f"adjust:{RequestIds().new(act.at_ms)}"
        for _ in range(1 + ADJUST_ATTEMPTS):
            with session.change() as tx:
                user = accounts.get_user(tx.connection, phone)
                answer = adjust_wallet(
                    tx,
                    user_id=user.id,
                    amount_nano=amount_nano,
                    idem_key=idem_key,
                    ref=reason,
                    actor=act.actor,
                    at_ms=act.at_ms,
                )
                if isinstance(answer, Moved):
                    change = {"amount": format_cny(amount_nano), "reason": reason}
                    note(tx, act, "user.adjust", accounts.target(user), after=change)
                wallet = wallet_balance(tx.connection, user.id) or wallet
            short = answer.reason if not isinstance(answer, Moved) else None
            # What workers have set aside and do not need comes back when it is asked for.
            lent = short is RefusalReason.NOT_ENOUGH_FREE and wallet.balance_nano >= -amount_nano
            collected = session.collect([(wallet_account(user.id), 0)]) if lent else None
            if collected is None:
                break
            answered = collected
    if isinstance(answer, Moved):
        record = {"phone": user.phone, "balance": format_cny(answer.wallet_balance_nano)}
        show_record(record, output)
    else:
        raise _refusal(amount, amount_nano, answer.reason, wallet, answered=answered)


def _refusal(
    amount: str, amount_nano: int, reason: RefusalReason, wallet: Wallet, *, answered: bool
) -> Conflict:
    """answered: every worker that has some of the wallet gave back what it does not need."""
    from aipool.kit.errors import Conflict
    from aipool.kit.money import format_cny
    from aipool.ledger.types import RefusalReason

    balance = format_cny(wallet.balance_nano)
    if reason is RefusalReason.BALANCE_TOO_LARGE:
        why = f"the balance of {balance} CNY would grow beyond any sense"
    elif reason is not RefusalReason.NOT_ENOUGH_FREE:
        why = f"the ledger refused it: {reason}"
    elif wallet.balance_nano < -amount_nano:
        why = f"the balance is {balance} CNY"
    else:
        free, held = format_cny(wallet.free_nano), format_cny(wallet.leased_nano)
        where = "in running calls" if answered else "at workers of which one does not answer"
        why = f"{free} CNY can be; {held} CNY are {where}, try again when that is over"
    return Conflict("adjustment_refused", f"{amount} CNY cannot be moved: {why}")


def set_password(
    phone: Phone, password_stdin: PasswordStdin = False, data_dir: DataDir = None
) -> None:
    """Gives a user another password."""
    from aipool.accounts import rules
    from aipool.accounts import service as accounts
    from aipool.accounts.passwords import hash_password
    from aipool.cli.session import open_session, secret_from

    with open_session(data_dir) as session:
        with session.read() as connection:
            user = accounts.get_user(connection, phone)
        password = secret_from(from_stdin=password_stdin, prompt="new password")
        rules.check_password(password, user.role, user.phone)
        password_hash = hash_password(password)
        with session.change() as tx:
            accounts.set_password(tx, session.act, user, password_hash=password_hash)


def disable(phone: Phone, data_dir: DataDir = None) -> None:
    """Disables an account and all its tokens. Its money stays."""
    _set_status(phone, data_dir, enabled=False)


def enable(phone: Phone, data_dir: DataDir = None) -> None:
    """Enables an account again."""
    _set_status(phone, data_dir, enabled=True)


def _set_status(phone: str, data_dir: DataDir, *, enabled: bool) -> None:
    from aipool.accounts import service as accounts
    from aipool.accounts.types import Status
    from aipool.cli.session import open_session

    with open_session(data_dir) as session, session.change() as tx:
        user = accounts.get_user(tx.connection, phone)
        status = Status.ACTIVE if enabled else Status.DISABLED
        accounts.set_status(tx, session.act, user, status)
