"""Carriers of text messages, a file each. They differ in what they ask and how they sign.

A carrier sends one code and says what became of it. It tries once: a second try might be a second
message, which costs money, and whoever waits for a code asks again by themselves.
"""

from __future__ import annotations

from typing import Protocol

from aipool.notices.codes import CodeSent
from aipool.notices.sending import Outcome


class Carrier(Protocol):
    """Sends codes to phones."""

    async def send(self, sent: CodeSent, now_ms: int) -> Outcome:
        """Gives a code to the carrier, in bounded time. now_ms: for signatures. The outcome has
        neither a secret nor a number in it."""
        ...
