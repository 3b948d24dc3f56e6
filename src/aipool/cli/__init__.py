"""The command line: the same use cases as everywhere else, typed by an operator.

    app       the commands, and how a refusal becomes one line and an exit status
    session   an installation opened for one command, and telling a running server
    output    tables and JSON
    options   options that many share; limits: those of tokens and groups
    serve, apply, backup, users, tokens, pool, catalog, groups, books, epochs, calls
              the commands themselves

Exit status: 0 done, 1 refused or failed, 2 used wrongly. What takes long to load (SQL,
cryptography, phone numbers) is imported by the commands that need it, so `--help` is quick.
"""

from __future__ import annotations


def main() -> None:
    """The entry point `aipool`."""
    from aipool.cli.app import app

    app(prog_name="aipool")
