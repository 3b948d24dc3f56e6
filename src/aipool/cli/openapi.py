"""aipool openapi"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aipool.cli.output import say


def openapi(
    check: Annotated[
        Path | None,
        typer.Option(help="Say whether this file is that document; print nothing.", metavar="FILE"),
    ] = None,
) -> None:
    """Prints the OpenAPI document of the interface."""
    from aipool.control.described import document
    from aipool.control.openapi import text_of

    text = text_of(document())
    if check is None:
        print(text, end="")
    elif not check.is_file() or check.read_text(encoding="utf-8") != text:
        say(f"aipool: {check} is not what the interface is now: aipool openapi > {check}")
        raise typer.Exit(1)
