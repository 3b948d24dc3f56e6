"""aipool ledger epochs and aipool ledger release: workers' lives, and money they keep.

A frozen epoch is a worker that died and left a journal that is damaged. What it says up to
the damage is in the books. Its leases stay out of everybody's reach, because nobody knows
what the calls behind the damage have cost; a person decides that they cost nothing more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from aipool.cli.options import DataDir, Output, OutputOption, Yes, confirm
from aipool.cli.output import say, show_record, show_rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from aipool.books.epochs import Epochs
    from aipool.ledger.types import StreamRow

COLUMNS = ("epoch", "state", "worker", "pid", "alive", "since", "leased", "budgets")

#: The journal of an epoch that a person closed is kept beside it, out of the way of tidying.
KEPT_SUFFIX = ".damaged"

EpochName = Annotated[
    str, typer.Argument(help="The epoch, as `aipool ledger epochs` lists it.", metavar="EPOCH")
]


def list_epochs(output: OutputOption = Output.TABLE, data_dir: DataDir = None) -> None:
    """Lists workers' lives that are not over, and those that are frozen, with their leases."""
    from aipool.books.epochs import Epochs
    from aipool.cli.session import open_session
    from aipool.kit.clock import iso_ms
    from aipool.kit.money import format_cny
    from aipool.ledger import service as ledger
    from aipool.ledger.types import EpochState

    with open_session(data_dir) as session, session.read() as connection:
        epochs = Epochs(session.settings.data_dir)
        rows = []
        for state in (EpochState.OPEN, EpochState.FROZEN):
            for stream in ledger.epochs_in(connection, state):
                leased_nano, budgets = _leased(connection, stream.epoch)
                rows.append(
                    {
                        "epoch": f"{stream.epoch:016x}",
                        "state": state.value,
                        "worker": stream.worker,
                        "pid": stream.pid,
                        "alive": epochs.is_held(stream.epoch),
                        "since": iso_ms(_begun_at_ms(stream.epoch)),
                        "leased": format_cny(leased_nano),
                        "budgets": budgets,
                    }
                )
    show_rows(rows, output, COLUMNS)


def release(
    name: EpochName,
    yes: Yes = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Closes a frozen epoch, so that what it had leased can be spent again.

    What its journal says behind the damage is given up: those calls are charged nothing.
    """
    from aipool.audit.service import record as note
    from aipool.books.epochs import Epochs
    from aipool.cli.session import open_session
    from aipool.kit.money import format_cny
    from aipool.ledger import service as ledger

    epoch = _number(name)
    with open_session(data_dir) as session:
        epochs = Epochs(session.settings.data_dir)
        with session.read() as connection:
            stream = _frozen(connection, epochs, epoch)
            leased_nano, budgets = _leased(connection, epoch)
        remains = _look(epochs.directory(epoch), stream)
        leased = format_cny(leased_nano)
        say(f"frozen     worker {stream.worker}, process {stream.pid}: {remains.damage}")
        say("kept       all that the journal says up to there; it is in the books")
        say(
            f"lost       {remains.calls} calls that were under way there (at most "
            f"{format_cny(remains.held_nano)} CNY), and whatever follows: charged nothing"
        )
        say(f"free again {leased} CNY of wallets, on {budgets} budgets")
        confirm(f"Close the epoch {name} for good?", yes=yes)

        kept = epochs.directory(epoch).with_suffix(KEPT_SUFFIX)
        # Before the commit: the directory of a closed epoch is deleted by the ledger process.
        if epochs.directory(epoch).is_dir():
            epochs.directory(epoch).rename(kept)
        with session.change() as tx:
            _frozen(tx.connection, epochs, epoch)
            ledger.close_epoch(tx, epoch, session.act.at_ms)
            fields = {
                "leased": leased,
                "damage": remains.damage,
                "calls_under_way": remains.calls,
                "held": format_cny(remains.held_nano),
            }
            note(tx, session.act, "ledger.release", f"epoch:{name}", before=fields)
    journal = str(kept) if kept.is_dir() else None
    show_record({"epoch": name, "freed": leased, "journal": journal}, output)


class _Remains(NamedTuple):
    """What a damaged journal leaves: calls open at the damage, and what they held."""

    damage: str
    calls: int
    held_nano: int


def _look(directory: Path, stream: StreamRow) -> _Remains:
    from aipool.books import journal
    from aipool.doors.outcome import Outcome
    from aipool.doors.records import Hold

    holds: dict[str, int] = {}
    damage = "its journal reads well, but says what cannot be written to the books"
    try:
        for _, item in journal.read(directory, stream.high_water):
            if isinstance(item, Hold):
                holds[item.rid] = item.hold_nano
            elif isinstance(item, Outcome):
                holds.pop(item.rid, None)
    except journal.Corrupt as corrupt:
        damage = str(corrupt)
    except FileNotFoundError:
        damage = "its journal is gone"
    return _Remains(damage, len(holds), sum(holds.values()))


def _frozen(connection: Connection, epochs: Epochs, epoch: int) -> StreamRow:
    """The epoch, when it is frozen; raises what is to be done otherwise."""
    from aipool.kit.errors import Conflict, NotFound
    from aipool.ledger import service as ledger
    from aipool.ledger.types import EpochState

    found = [
        stream
        for state in (EpochState.FROZEN, EpochState.OPEN)
        for stream in ledger.epochs_in(connection, state)
        if stream.epoch == epoch
    ]
    if not found:
        raise NotFound(
            "epoch_unknown",
            f"there is no epoch {epoch:016x}, or it is over and its leases are free",
        )
    (stream,) = found
    if stream.state is EpochState.FROZEN:
        return stream
    if epochs.is_held(epoch):
        raise Conflict(
            "epoch_alive",
            f"the epoch {epoch:016x} is not frozen: its worker (process {stream.pid}) lives and "
            "spends from its leases",
        )
    raise Conflict(
        "epoch_recoverable",
        f"the epoch {epoch:016x} is not frozen: its worker is dead, and a running server "
        "recovers what its journal says",
    )


def _leased(connection: Connection, epoch: int) -> tuple[int, int]:
    """What an epoch has of wallets, in nano, and on how many budgets it has anything. Limits
    are leased beside the wallet for the same money, so only wallets are added up."""
    from aipool.ledger import service as ledger
    from aipool.ledger.types import is_wallet

    leases = ledger.leases_of(connection, epoch)
    wallets = (amount for (budget, _), amount in leases.items() if is_wallet(budget))
    return sum(wallets), len(leases)


def _number(name: str) -> int:
    from aipool.kit.errors import Invalid

    if len(name) != 16 or not all(digit in "0123456789abcdef" for digit in name):
        raise Invalid(
            "invalid_epoch", f"EPOCH: {name!r} is none; `aipool ledger epochs` lists them"
        )
    return int(name, 16)


def _begun_at_ms(epoch: int) -> int:
    """A worker numbers its life by the milliseconds of its start, then 20 bits of chance."""
    return epoch >> 20
