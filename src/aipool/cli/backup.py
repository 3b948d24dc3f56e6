"""aipool backup FILE and aipool restore FILE"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aipool.cli.options import DataDir, Output, OutputOption
from aipool.cli.output import say, show_record

if TYPE_CHECKING:
    from aipool.backup.restore import Restored
    from aipool.backup.write import Written

PassphraseStdin = Annotated[
    bool, typer.Option("--passphrase-stdin", help="Read the passphrase from standard input.")
]


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Also the keys, sealed by a passphrase.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    passphrase_stdin: PassphraseStdin = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Writes the books and everything else of the database into one file.

    Works beside a running server. Without --with-keys the file holds no key: keep those of
    the secrets folder elsewhere, for a backup cannot be used without them.
    """
    from aipool import config
    from aipool.backup.write import backup as write
    from aipool.backup.write import check_target
    from aipool.kit.clock import now_seconds

    settings = config.load({"data_dir": data_dir})
    check_target(settings, file, force=force)
    passphrase = _new_passphrase(from_stdin=passphrase_stdin) if with_keys else None
    written = write(settings, file, passphrase=passphrase, force=force, at_seconds=now_seconds())
    show_record(_written(written), output)
    if written.manifest.keys is None:
        say("No key is in it. Keep these files too, and not beside it:")
        for path in written.key_files:
            say(f"  {path}")
    else:
        say("The keys are in it, sealed by the passphrase, which is nowhere else: keep it.")
    say(f"To restore: {shlex.join(['aipool', 'restore', str(file)])} --data-dir DIR")


def _new_passphrase(*, from_stdin: bool) -> str:
    from aipool.backup.keys import check_passphrase
    from aipool.cli.session import secret_from
    from aipool.kit.errors import Invalid

    passphrase = secret_from(from_stdin=from_stdin, prompt="Passphrase for the keys")
    check_passphrase(passphrase)
    if not from_stdin and secret_from(from_stdin=False, prompt="The same again") != passphrase:
        raise Invalid("passphrases_differ", "the two passphrases are not the same")
    return passphrase


def _written(written: Written) -> dict[str, Any]:
    manifest = written.manifest
    return {
        "file": str(written.file),
        "bytes": written.size_bytes,
        "created_at": manifest.created_at,
        "database": manifest.database_kind,
        "step": manifest.migration_step,
        "installation": manifest.installation,
        "sha256": manifest.database.sha256,
        "keys": sorted(manifest.key_fingerprints) if manifest.keys else [],
    }


def restore(
    file: Annotated[Path, typer.Argument(help="A file that aipool backup wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Set the database that is there aside.")
    ] = False,
    passphrase_stdin: PassphraseStdin = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Makes a backup the installation; refuses while a server runs.

    What is refused changes nothing. The passphrase is asked for when the keys are not in
    place and come from the backup.
    """
    from aipool import config
    from aipool.backup.restore import restore as put_back
    from aipool.cli.session import secret_from
    from aipool.kit.clock import now_seconds

    settings = config.load({"data_dir": data_dir})
    restored = put_back(
        settings,
        file,
        passphrase=lambda: secret_from(
            from_stdin=passphrase_stdin, prompt="Passphrase of the backup"
        ),
        replace=replace,
        at_seconds=now_seconds(),
    )
    show_record(_restored(restored), output)
    say("\n".join(restored.report.lines()))
    say(f"The books are those of {restored.manifest.created_at}; what came after is not in them.")
    say(f"Start it: {shlex.join(['aipool', 'serve', '--data-dir', str(settings.data_dir)])}")


def _restored(restored: Restored) -> dict[str, Any]:
    return {
        "created_at": restored.manifest.created_at,
        "step_before": restored.migrated.before,
        "step": restored.migrated.after,
        "installation": restored.installation,
        "epochs_closed": restored.epochs,
        "keys_written": [str(path) for path in restored.key_files],
        "replaced": str(restored.aside) if restored.aside else None,
        "replaced_database": restored.old_database,
    }
