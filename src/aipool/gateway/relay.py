"""Passes an answer on: the vendor's side of one call, as it comes.

    gateway.trying ─▶ whole answer ─▶ settle, answer
                   └▶ stream ─▶ gateway.stream

When the client left, the vendor's file says what becomes of a stream
(`vendors.base.OnDisconnect`): by default it is read on within bounds, for the usage the vendor will
bill. A whole answer is read to its end.
"""

from __future__ import annotations

from asyncio import TimerHandle
from typing import TYPE_CHECKING

from aipool.doors.outcome import UsageSource
from aipool.gateway.attempts import judge_failure
from aipool.gateway.body import ChatBody
from aipool.gateway.catalogue import Offer
from aipool.gateway.context import DRAINS_MAX
from aipool.gateway.errors import Refusal
from aipool.gateway.metering import DRAIN_SECONDS, usage_of_answer
from aipool.gateway.stream import Stream
from aipool.gateway.trying import CLIENT_GONE, Trying
from aipool.pool.health import Signal
from aipool.vendors.base import OnDisconnect
from aipool.vendors.failures import classify, classify_event
from aipool.vendors.types import Action, Verdict
from aipool.wire.request import Failure

if TYPE_CHECKING:
    from aipool.gateway.call import Call

__all__ = ["CLIENT_GONE", "Relay"]

#: Stands in the answers of vendors that report failures beside what looks like success.
_BESIDE = b'"base_resp"'

_BAD_ANSWER = Verdict(Action.NEXT, "bad_answer")


class Relay(Trying):
    """The vendor's side of one call. The listener of its requests."""

    __slots__ = (
        "_client_reads",
        "_drain_timer",
        "_money_waits",
        "first_token_ms",
        "upstream_request_id",
    )

    def __init__(self, call: Call, body: ChatBody, offer: Offer, cap: int | None) -> None:
        super().__init__(call, body, offer, cap)
        self.upstream_request_id = ""
        self.first_token_ms = -1
        self._client_reads = True
        self._money_waits = False
        self._drain_timer: TimerHandle | None = None

    # --- ResponseListener -----------------------------------------------------------------

    def response(self, status: int, headers: dict[bytes, bytes]) -> bool:
        """The head of the answer: stream it, or have it whole?"""
        try:
            return self._response(status, headers)
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.call.mistaken(mistake)
            return False

    def _response(self, status: int, headers: dict[bytes, bytes]) -> bool:
        self._status = status
        self._headers = headers
        request_id = headers.get(b"x-request-id")
        if request_id is not None:
            self.upstream_request_id = request_id[:100].decode("latin-1")
        if (
            status == 200
            and self._body.stream
            and headers.get(b"content-type", b"").lower().startswith(b"text/event-stream")
        ):
            self._stream = Stream(self, usage_wanted=self._body.usage_wanted)
            return True
        return False

    def data(self, chunk: bytes) -> None:
        """A piece of a stream."""
        if self._stream is not None:
            try:
                self._stream.data(chunk)
            except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
                self.call.mistaken(mistake)

    def complete(self, body: bytes) -> None:
        """The clean end of an answer."""
        try:
            self._complete(body)
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.call.mistaken(mistake)

    def _complete(self, body: bytes) -> None:
        if self.call.settled:
            return
        if self._stream is not None:
            self._stream.closed()
            return
        candidate = self.candidate
        assert candidate is not None
        if self._status != 200:
            self.try_failed(self._read_failure(body) or _BAD_ANSWER, body)
            return
        used = usage_of_answer(body, self.input_tokens, candidate.new_counter)
        beside = candidate.fails_beside and _BESIDE in body
        if used is None or used[1] is UsageSource.NONE or beside:
            verdict = self._read_failure(body)
            if verdict is not None or used is None:
                self.try_failed(verdict or _BAD_ANSWER, body, bad_answer=True)
                return
        call = self.call
        self.first_token_ms = int((self.went_well() - call.started) * 1000)
        if call.gone and used[1] is not UsageSource.VENDOR:
            self._void()  # nothing was relayed, and nothing reported
            return
        call.answer(*used, self.ours(body) if self.renamed else body)

    def _read_failure(self, body: bytes) -> Verdict | None:
        """What a whole answer means that is none, or looks like it."""
        candidate = self.candidate
        assert candidate is not None
        key = candidate.key
        return classify(
            key.traits,
            self._status,
            self._headers,
            body,
            key.keywords,
            unix_now=self.call.context.unix_now(),
        )

    def read_event(self, data: bytes, *, is_error: bool) -> Verdict | None:
        """What an event of a stream means that is an error, or looks like one; None = nothing."""
        candidate, unix_now = self.candidate, self.call.context.unix_now()
        assert candidate is not None
        key = candidate.key
        if is_error:
            return classify_event(key.traits, data, key.keywords, unix_now=unix_now)
        return classify(key.traits, 200, {}, data, key.keywords, unix_now=unix_now)

    def failed(self, failure: Failure) -> None:
        """The other end of an answer."""
        try:
            self._failed(failure)
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.call.mistaken(mistake)

    def _failed(self, failure: Failure) -> None:
        if self.call.settled:
            return
        verdict = judge_failure(failure, stream=self._body.stream)
        if self._stream is not None and self._stream.began:
            self._stream.broke(verdict)
            return
        self.try_failed(verdict, bad_answer=failure.answered)

    # --- the client -----------------------------------------------------------------------

    def client_writable(self, ok: bool) -> None:
        """Read no faster than the client does."""
        self._client_reads = ok
        self._flow()

    def wait_for_money(self, *, waits: bool) -> None:
        """Read no further than money is held for."""
        self._money_waits = waits
        self._flow()

    def take_turns(self) -> None:
        """Much has come at once: everybody else first, before more of it is read."""
        if self._request is not None:
            self._request.pause()
            self.call.context.loop.call_soon(self._flow)

    def _flow(self) -> None:
        request = self._request
        if request is None:
            return
        if self.call.gone or (self._client_reads and not self._money_waits):
            request.resume()
        else:
            request.pause()

    def client_gone(self) -> None:
        """The client left: what becomes of the answer, the vendor's file says."""
        try:
            self._client_gone()
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.call.mistaken(mistake)

    def _client_gone(self) -> None:
        context, candidate, stream = self.call.context, self.candidate, self._stream
        assert candidate is not None
        if self._leave_queue is not None:  # for room under a cap: nothing was sent yet
            self._void()
            return
        if not self._body.stream:
            return
        if stream is not None:
            stream.client_left()
            if self.call.settled:
                return
        if candidate.on_disconnect is not OnDisconnect.DRAIN or context.drains >= DRAINS_MAX:
            self.end_drain()
            return
        context.drains += 1
        self._drain_timer = context.loop.call_later(DRAIN_SECONDS, self.end_drain)
        if self._request is not None:
            self._request.resume()

    def end_drain(self) -> None:
        """Enough was read for a client that left: settle what there is."""
        self.cancel()
        if self.call.settled:
            return
        try:
            if self._stream is not None:
                self._stream.settle("client_gone")
            else:
                self.attempted("client_gone")
                self._void()
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.call.mistaken(mistake)

    def give_up(self, refusal: Refusal) -> None:
        """End the call from our side, honestly: it must not look whole."""
        self.cancel()
        if self._stream is not None and self._stream.began:
            self._stream.break_off(refusal)
        else:
            self.attempted(refusal.code)
            self.call.refuse(refusal)

    def leave(self) -> None:
        """The call has ended: nothing here waits any more."""
        # Nothing points back from here on, so that no collector is needed to free a call.
        self._request = None
        if self._leave_queue is not None:
            self._leave_queue()
            self._leave_queue = None
        if self._mark.probes:
            self._show_probes(Signal.UNTRIED)
        if self._slots:
            self._free_slots()
        if self._attempts is not None:
            self._attempts.over()
        if self._stream is not None:
            self.call.context.streams.discard(self._stream)
            self._stream = None
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None
            self.call.context.drains -= 1

    def cancel(self) -> None:
        """End the vendor's answer."""
        if self._request is not None:
            self._request.cancel()

    def ours(self, data: bytes) -> bytes:
        """The vendor's name for the model gives way to ours, once, where it is a value."""
        candidate = self.candidate
        if candidate is None or candidate.model_json is None:
            return data
        for colon in (b'"model":', b'"model": '):
            theirs = colon + candidate.model_json
            if theirs in data:
                return data.replace(theirs, colon + self.offer.model_json, 1)
        return data
