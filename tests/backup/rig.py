"""An installation with money in it, some of it leased, for backups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aipool import config
from aipool.backup.restore import Restored, restore
from aipool.backup.write import Written, backup
from aipool.books.verify import verify
from aipool.config import Settings
from aipool.doors.frames import Need
from aipool.kit.db import Transaction, open_database
from aipool.ledger import service as ledger
from aipool.ledger.types import Lend, LendRule
from tests.world import World, open_world

PASSPHRASE = "correct horse battery staple"
AT_SECONDS = 1_800_000_000
DAY = 20_000
OPEN_EPOCH, FROZEN_EPOCH = 5, 6
CREDIT_NANO, LEASED_NANO = 1_000_000, 400_000


def settings_of(data_dir: Path, environ: Mapping[str, str] | None = None) -> Settings:
    return config.load({"data_dir": str(data_dir)}, {"HOME": str(data_dir), **(environ or {})})


@contextmanager
def lived_in(data_dir: Path) -> Iterator[World]:
    """Somebody with money, two workers that were cut off with leases, a vendor with a key."""
    with open_world(data_dir) as world:
        with world.database.write() as tx:
            world.vendor(tx)
            user = world.user(tx)
            credit(tx, user.id, "start")
            for epoch in (OPEN_EPOCH, FROZEN_EPOCH):
                ledger.open_epoch(tx, epoch, worker=epoch, pid=1, at_ms=1)
                need = Need(f"wallet:{user.id}", 0, LEASED_NANO, LEASED_NANO)
                ledger.apply(tx, [Lend(epoch, ((need,),), LendRule(2, 1, DAY))])
            ledger.freeze_epoch(tx, FROZEN_EPOCH, 2)
        for epoch in (OPEN_EPOCH, FROZEN_EPOCH):
            folder = data_dir / "epochs" / f"{epoch:016x}"
            folder.mkdir(parents=True)
            (folder / "lock").touch()
            (folder / "0.journal").write_bytes(b"calls")
        yield world


def credit(tx: Transaction, user_id: int, key: str) -> None:
    ledger.adjust_wallet(
        tx,
        user_id=user_id,
        amount_nano=CREDIT_NANO,
        idem_key=key,
        ref=key,
        actor="test",
        at_ms=1,
    )


def written(data_dir: Path, file: Path, *, keys: bool = False, force: bool = False) -> Written:
    passphrase = PASSPHRASE if keys else None
    return backup(
        settings_of(data_dir), file, passphrase=passphrase, force=force, at_seconds=AT_SECONDS
    )


def restored(
    data_dir: Path, file: Path, *, passphrase: str = PASSPHRASE, replace: bool = False
) -> Restored:
    return restore(
        settings_of(data_dir),
        file,
        passphrase=lambda: passphrase,
        replace=replace,
        at_seconds=AT_SECONDS,
    )


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file with its content, every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def assert_books_agree(data_dir: Path) -> None:
    database = open_database(f"sqlite:///{data_dir / 'aipool.db'}")
    report = verify(database)
    database.close()
    assert not report.count, list(report.lines())
