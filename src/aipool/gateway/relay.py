"""Gets the answer: tries the keys in order until one answers, and passes the answer on.

    start ─▶ try ──failed──▶ next key, or give up
              │
              ├─ whole answer ─▶ settle, answer
              └─ stream ─▶ gateway.stream

When the client left, the vendor's file says what becomes of its answer
(`vendors.base.OnDisconnect`): by default a whole answer is read to its end, and a stream
within bounds, for the usage the vendor will bill. Nobody waits for a second try then.
"""

from __future__ import annotations

from asyncio import TimerHandle
from typing import TYPE_CHECKING

from aipool.dialects.estimate import TokenCounter
from aipool.doors.outcome import Attempt, UsageSource
from aipool.gateway import errors
from aipool.gateway.attempts import Attempts, Verdict, judge_failure, judge_status, refusal_of_stop
from aipool.gateway.body import ChatBody, splice, with_usage
from aipool.gateway.catalogue import Candidate, Offer
from aipool.gateway.context import DRAINS_MAX
from aipool.gateway.errors import Refusal
from aipool.gateway.headers import forwarded
from aipool.gateway.metering import DRAIN_SECONDS, estimate_input, usage_of_answer
from aipool.gateway.stream import Stream
from aipool.rating.types import NO_USAGE
from aipool.vendors.base import OnDisconnect
from aipool.wire.request import Failure, Request

if TYPE_CHECKING:
    from aipool.gateway.call import Call

CLIENT_GONE = 499


class Relay:
    """The vendor's side of one call. The listener of its requests."""

    __slots__ = (
        "_attempt_at",
        "_attempts",
        "_body",
        "_cap",
        "_client_reads",
        "_drain_timer",
        "_input_tokens",
        "_money_waits",
        "_request",
        "_status",
        "_stream",
        "attempts",
        "call",
        "candidate",
        "first_token_ms",
        "offer",
        "renamed",
        "upstream_request_id",
    )

    def __init__(self, call: Call, body: ChatBody, offer: Offer, cap: int | None) -> None:
        self.call = call
        self.offer = offer
        self.attempts: list[Attempt] = []
        self.candidate: Candidate | None = None
        self.renamed = False
        self.upstream_request_id = ""
        self.first_token_ms = -1
        self._body = body
        self._cap = cap
        self._attempts: Attempts | None = None
        self._attempt_at: float | None = None  # when the try in hand began
        self._request: Request | None = None
        self._client_reads = True
        self._money_waits = False
        self._status = 0
        self._stream: Stream | None = None
        self._drain_timer: TimerHandle | None = None
        self._input_tokens: int | None = None

    # --- tries ----------------------------------------------------------------------------

    def start(self) -> None:
        """Try the first key."""
        self._try(self.offer.candidates.first)

    def _try(self, candidate: Candidate) -> None:
        call = self.call
        self.candidate = candidate
        self.renamed = candidate.model_json is not None
        self._status = 0
        self._input_tokens = None
        context = call.context
        limits = context.limits
        self._attempt_at = now = context.time()
        body = self._body
        stream = body.stream
        plain = not (stream or self.renamed or self._cap)
        raw = body.raw if plain else self._spliced(body, candidate)
        client = context.secure if candidate.origin.tls else context.plain
        self._request = client.request(
            candidate.origin,
            b"%b%bContent-Length: %d\r\n\r\n"
            % (candidate.head, forwarded(call.exchange.headers), len(raw)),
            raw,
            self,
            first_byte_seconds=limits.first_event_seconds if stream else limits.first_byte_seconds,
            idle_seconds=limits.idle_seconds,
            total_seconds=call.started + limits.total_seconds - now,
        )

    def _spliced(self, body: ChatBody, candidate: Candidate) -> bytes:
        """The client's bytes, with the few values replaced that must differ."""
        changes: dict[str, bytes] = {}
        if candidate.model_json is not None:
            changes["model"] = candidate.model_json
        if body.stream and not body.usage_wanted and candidate.takes_stream_options:
            changes["stream_options"] = with_usage(body)
        if self._cap is not None:
            changes[candidate.cap_field] = b"%d" % self._cap
        return splice(body, changes) if changes else body.raw

    def attempted(self, reason: str) -> float:
        """The try in hand has ended, now; reason "" = well. Of one try, the first time counts."""
        candidate, began = self.candidate, self._attempt_at
        assert candidate is not None
        now = self.call.context.time()
        if began is not None:
            self._attempt_at = None
            duration_ms = int((now - began) * 1000)
            self.attempts.append(
                Attempt(candidate.vendor_id, candidate.key_id, self._status, reason, duration_ms)
            )
        return now

    def try_next(self, reason: str, *, bad_answer: bool = False) -> None:
        """This key failed before anything was relayed."""
        self.attempted(reason)
        self._stream = None
        if self.call.gone:
            self._void()
            return
        attempts = self._attempts
        if attempts is None:
            attempts = self._attempts = Attempts(self.offer.candidates)
            attempts.next()  # the one that has just failed
        attempts.bad_answers &= bad_answer
        candidate = attempts.next()
        if candidate is None:
            self.call.refuse(attempts.give_up())
        else:
            self._try(candidate)

    def input_tokens(self) -> int:
        """About how many tokens the input is for the vendor in hand, for want of its report."""
        candidate, raw, admitted = self.candidate, self._body.raw, self.call.admitted
        assert candidate is not None and admitted is not None
        if candidate.new_counter is TokenCounter or not raw:
            return self.call.input_estimate()
        if self._input_tokens is None:
            counter = candidate.new_counter()
            self._input_tokens = estimate_input(raw, admitted.input_tokens, counter)
        return self._input_tokens

    def committed(self) -> None:
        """No other key from here on: what a further try would have needed may go."""
        self.call.committed()
        if self.call.body is not None:
            self._body = self.call.body

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
        if self._status != 200:
            self._refused(body)
            return
        call = self.call
        candidate = self.candidate
        assert candidate is not None
        used = usage_of_answer(body, self.input_tokens, candidate.new_counter)
        if used is None:
            self.try_next("bad_answer", bad_answer=True)
            return
        now = self.attempted("")
        self.first_token_ms = int((now - call.started) * 1000)
        if call.gone and used[1] is not UsageSource.VENDOR:
            self._void()  # nothing was relayed, and nothing reported
            return
        call.answer(*used, self.ours(body) if self.renamed else body)

    def _refused(self, body: bytes) -> None:
        status = self._status
        reason = f"status_{status}"
        match judge_status(status):
            case Verdict.NEXT:
                self.try_next(reason)
            case Verdict.STOP:
                self.attempted(reason)
                self.call.refuse(refusal_of_stop(status))
            case Verdict.PASS:
                self.attempted(reason)
                candidate = self.candidate
                assert candidate is not None
                names = (candidate.upstream_model, self.offer.model)
                self.call.refuse(errors.passed_on(status, body, (candidate.secret,), names))

    def failed(self, failure: Failure) -> None:
        """The other end of an answer."""
        try:
            self._failed(failure)
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.call.mistaken(mistake)

    def _failed(self, failure: Failure) -> None:
        if self.call.settled:
            return
        reason = failure.kind.value
        if self._stream is not None and self._stream.began:
            self._stream.broke(reason)
        elif judge_failure(failure, stream=self._body.stream) is Verdict.STOP:
            self.attempted(reason)
            self.call.refuse(refusal_of_stop(0))
        else:
            self.try_next(reason, bad_answer=failure.answered)

    # --- the client -----------------------------------------------------------------------

    def client_writable(self, ok: bool) -> None:
        """Read no faster than the client does."""
        self._client_reads = ok
        self._flow()

    def wait_for_money(self, *, waits: bool) -> None:
        """Read no further than money is held for."""
        self._money_waits = waits
        self._flow()

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
        policy = candidate.on_disconnect
        if not self._body.stream:
            if policy is OnDisconnect.CANCEL:
                self.end_drain()
            return
        if stream is not None:
            stream.client_left()
            if self.call.settled:
                return
        if policy is not OnDisconnect.DRAIN or context.drains >= DRAINS_MAX:
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

    def _void(self) -> None:
        """Nobody got anything and nobody waits."""
        self.call.settle(NO_USAGE, UsageSource.NONE, status=CLIENT_GONE, error="client_gone")

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
