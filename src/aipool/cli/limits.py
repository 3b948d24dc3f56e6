"""Options of limits, which tokens and groups share.

A limit that is not said is left as it is; `none` lifts it. A blank is refused: it is more
often a variable that nobody set than the wish for no limit.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aipool.cli.options import parsed

if TYPE_CHECKING:
    from aipool.groups.types import CallLimits

Limit = Annotated[str | None, typer.Option(help="The most it may spend until reset, in CNY.")]
Reset = Annotated[
    str | None, typer.Option(help="When the limit begins anew: none, daily, weekly or monthly.")
]
Total = Annotated[str | None, typer.Option(help="The most it may spend in its life, in CNY.")]
Rpm = Annotated[str | None, typer.Option(help="Calls in any 60 seconds.")]
Tpm = Annotated[str | None, typer.Option(help="Tokens in any 60 seconds.")]
RequestsPerDay = Annotated[str | None, typer.Option(help="Calls in a UTC day.")]
Concurrency = Annotated[str | None, typer.Option(help="Calls in flight.")]


def money(option: str, text: str | None, kept: int | None = None) -> int | None:
    """A limit of money in nano; raises Invalid, which names the option."""
    from aipool.api_tokens import rules

    return kept if text is None else parsed(option, rules.limit_nano, text)


def calls(kept: CallLimits, *, prefix: str = "", **said: str | None) -> CallLimits:
    """Limits of calls as said, else as kept; raises Invalid, which names the option.

    said: by the names of the fields of CallLimits.  prefix: of the options' names.
    """
    from aipool.groups import rules
    from aipool.groups.types import CallLimits

    limits = asdict(kept)
    for name, text in said.items():
        option = f"--{prefix}{name.replace('_', '-')}"
        if text is not None:
            limits[name] = parsed(option, rules.call_limit, text)
    return CallLimits(**limits)


def shown(limits: CallLimits) -> dict[str, Any] | None:
    """Those there are, for a list."""
    return {name: limit for name, limit in asdict(limits).items() if limit is not None} or None
