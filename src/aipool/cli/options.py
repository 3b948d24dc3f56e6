"""Options that many commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where data live; default AIPOOL_DATA_DIR.", metavar="DIR"),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]
Phone = Annotated[str, typer.Argument(help="The user's phone number.", metavar="PHONE")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
KeyStdin = Annotated[
    bool, typer.Option("--api-key-stdin", help="Read the API key from standard input.")
]
