"""The hold of one stream, grown as its answer grows (gateway.rolling says when).

Money for the next slice is asked for early. While the answer is awaited the stream goes
on; when it has used up what is safely held for, nothing more is read from the vendor until
the money is there. No money ends the stream with an error the client can read, and what
was relayed is settled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aipool.gateway import errors
from aipool.gateway.admission import held_further
from aipool.gateway.funds import Denied, Shortage
from aipool.gateway.rolling import extend_at, stop_at

if TYPE_CHECKING:
    from aipool.gateway.call import Call
    from aipool.gateway.relay import Relay

_NO_LIMIT = 1 << 62
_USED_UP = errors.out_of_funds(
    "The answer was cut off: what is left of the balance, or of the API token's limit, does "
    "not cover more of it."
)
_UNKNOWN = errors.unavailable(
    "ledger_unavailable", "The answer was cut off: balances cannot be checked just now."
)


class RollingHold:
    """Owned by the stream. due_at: at how many counted tokens `counted` wants to be called."""

    __slots__ = ("_asking", "_call", "_relay", "_stop_at", "due_at")

    def __init__(self, call: Call, relay: Relay) -> None:
        self._call = call
        self._relay = relay
        self._asking = False
        self.due_at = _NO_LIMIT
        self._stop_at = _NO_LIMIT
        self._look()

    def counted(self, tokens: int) -> None:
        """So much of the answer is counted now."""
        if self._asking:
            if tokens >= self._stop_at:
                self.due_at = _NO_LIMIT
                self._relay.wait_for_money(waits=True)
            return
        call = self._call
        assert call.admitted is not None
        wider = held_further(call.admitted)
        extra = wider.hold_nano - call.admitted.hold_nano
        funds = call.context.funds
        if extra <= 0 or funds.hold(call.money, extra):
            call.widen(wider)
            self._look()
            return
        self._asking = True
        self.due_at = self._stop_at

        def answered(denied: Denied | None) -> None:
            self._asking = False
            self._relay.wait_for_money(waits=False)
            if denied is None:
                call.widen(wider)
                self._look()
            else:
                short = denied.why is Shortage.FUNDS
                self._relay.give_up(_USED_UP if short else _UNKNOWN)

        call.leave_queue = funds.wait(call.money, extra, answered)

    def _look(self) -> None:
        admitted = self._call.admitted
        assert admitted is not None
        due = extend_at(admitted.held_tokens, admitted.output_tokens)
        self.due_at = _NO_LIMIT if due is None else due
        self._stop_at = stop_at(admitted.held_tokens)
