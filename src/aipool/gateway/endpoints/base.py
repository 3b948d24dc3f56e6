"""What a public path declares of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aipool.gateway.context import Context
    from aipool.wire.exchange import Exchange


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method at one path.

    name: what calls of it are recorded as.  path: of the OpenAI surface it stands under
    `/v1/…`; ending in `/` it takes one more segment.  begin: called at the end of a
    request's headers; it answers, or hangs a listener on the exchange.
    """

    name: str
    method: str
    path: str
    begin: Callable[[Context, Endpoint, Exchange], None]
