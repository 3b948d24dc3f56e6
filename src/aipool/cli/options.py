"""Options that many commands share, and values that say which option they were wrong in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

T = TypeVar("T")


class Output(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where data live; default AIPOOL_DATA_DIR.", metavar="DIR"),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]
VendorName = Annotated[str, typer.Argument(help="The vendor's name.", metavar="VENDOR")]
KeyName = Annotated[str, typer.Argument(help="The key's name.", metavar="NAME")]
Phone = Annotated[str, typer.Argument(help="The user's phone number.", metavar="PHONE")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
KeyStdin = Annotated[
    bool, typer.Option("--api-key-stdin", help="Read the API key from standard input.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def parsed(option: str, parse: Callable[[str], T], text: str) -> T:
    """A value as `parse` reads it; raises Invalid, which names the option."""
    from aipool.kit.errors import BusinessError, Invalid
    from aipool.kit.money import MoneyError

    try:
        return parse(text)
    except BusinessError as problem:
        raise Invalid(problem.code, f"{option}: {problem.message}") from None
    except MoneyError as problem:
        raise Invalid("malformed_amount", f"{option}: {problem}") from None


def confirm(question: str, *, yes: bool) -> None:
    """Goes on only if somebody says so; raises Invalid when there is nobody to ask."""
    from aipool.kit.errors import Invalid

    if yes:
        return
    if not sys.stdin.isatty():
        raise Invalid("no_terminal", f"{question} There is no terminal to ask on; use --yes")
    typer.confirm(question, abort=True, err=True)
