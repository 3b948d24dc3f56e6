"""The hold of one stream, grown as its answer grows (gateway.rolling says when).

Money for what comes next is asked for early. While the answer is awaited the stream goes
on; when it has used up what is safely held for, it waits, and nothing more of it is relayed
or read before the money is there. No money ends the stream with an error the client can
read, and what was relayed is settled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aipool.gateway import errors
from aipool.gateway.admission import Admitted, held_further
from aipool.gateway.funds import Denied, Shortage
from aipool.gateway.rolling import extend_at, stop_at

if TYPE_CHECKING:
    from aipool.gateway.call import Call
    from aipool.gateway.stream import Stream

_NO_LIMIT = 1 << 62
_USED_UP = errors.out_of_funds(
    "The answer was cut off: what is left of the balance, or of the API token's limit, does "
    "not cover more of it."
)
_UNKNOWN = errors.unavailable(
    "ledger_unavailable", "The answer was cut off: balances cannot be checked just now."
)


class RollingHold:
    """Owned by the stream. due_at: at how many counted tokens `covers` wants to be asked."""

    __slots__ = ("_asking", "_call", "_stop_at", "due_at")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._asking = False
        self.due_at = _NO_LIMIT
        self._stop_at = _NO_LIMIT
        self._look()

    def covers(self, tokens: int, stream: Stream) -> bool:
        """May the event with which so many tokens are counted be relayed now?

        False: not before the stream is told to go on, or to give up.
        """
        if self._asking:
            return tokens < self._stop_at
        call = self._call
        assert call.admitted is not None
        wider = held_further(call.admitted, tokens)
        extra = wider.hold_nano - call.admitted.hold_nano
        funds = call.context.funds
        if extra <= 0 or funds.hold(call.money, extra):
            self._widen(wider)
            return True
        self._asking = True
        self.due_at = self._stop_at

        def answered(denied: Denied | None) -> None:
            try:
                self._answered(denied, wider, stream)
            except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
                call.mistaken(mistake)

        call.leave_queue = funds.wait(call.money, extra, answered)
        return not self._asking or tokens < self._stop_at

    def stop(self) -> None:
        """Nothing more is relayed: nothing more is held."""
        self.due_at = _NO_LIMIT

    def _answered(self, denied: Denied | None, wider: Admitted, stream: Stream) -> None:
        self._asking = False
        if denied is None:
            self._widen(wider)
            stream.go_on()
        else:
            stream.give_up(_USED_UP if denied.why is Shortage.FUNDS else _UNKNOWN)

    def _widen(self, wider: Admitted) -> None:
        self._call.widen(wider)
        self._look()

    def _look(self) -> None:
        admitted = self._call.admitted
        assert admitted is not None
        due = extend_at(admitted.held_tokens, admitted.output_tokens)
        self.due_at = _NO_LIMIT if due is None else due
        self._stop_at = _NO_LIMIT if due is None else stop_at(admitted.held_tokens)
