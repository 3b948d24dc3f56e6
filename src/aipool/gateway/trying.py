"""Gets a key to answer: tries one after the other, and learns from each that does not.

    start ─▶ send ──failed──▶ learn ─▶ next key, the same without a field, or give up
                └─ went well ─▶ what comes of it is gateway.relay's

What a failure means, `vendors.failures` and `gateway.attempts` say; what it shows of the key goes
to the board, so that no other call has to find out. Nobody waits for a second try once the client
has left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from aipool.dialects.estimate import TokenCounter
from aipool.doors.outcome import Attempt, UsageSource
from aipool.gateway import errors
from aipool.gateway.affinity import SESSION_HEADERS, Session, session_of
from aipool.gateway.attempts import Attempts, is_of_model, may_be_the_requests, signal_of
from aipool.gateway.board import FRESH, Mark, Standing
from aipool.gateway.body import ChatBody
from aipool.gateway.candidates import Candidate
from aipool.gateway.catalogue import Offer
from aipool.gateway.errors import upstream_timed_out
from aipool.gateway.headers import forwarded
from aipool.gateway.metering import estimate_input
from aipool.gateway.outgoing import REASONING, outgoing
from aipool.gateway.unwanted import NOTHING, STREAM_OPTIONS, THEIR_STREAM_OPTIONS
from aipool.pool.health import Signal
from aipool.rating.types import NO_USAGE
from aipool.vendors.types import Action, Verdict
from aipool.wire.request import Failure, FailureKind, Request

if TYPE_CHECKING:
    from aipool.gateway.call import Call
    from aipool.gateway.stream import Stream

CLIENT_GONE = 499

#: How long a call waits for room in all, however many keys are busy; then it takes what is free.
ROOM_SECONDS = 0.2


class Trying(ABC):
    """The tries of one call. Who listens to their answers is made of it (ResponseListener)."""

    __slots__ = (
        "_attempt_at",
        "_attempts",
        "_body",
        "_cap",
        "_headers",
        "_input_tokens",
        "_leave_queue",
        "_left_out",
        "_mark",
        "_request",
        "_room_until",
        "_session",
        "_slots",
        "_status",
        "_stream",
        "attempts",
        "call",
        "candidate",
        "first_event_by",
        "offer",
        "renamed",
    )

    def __init__(self, call: Call, body: ChatBody, offer: Offer, cap: int | None) -> None:
        self.call = call
        self.offer = offer
        self.attempts: list[Attempt] = []
        self.candidate: Candidate | None = None
        self.renamed = False
        #: When a stream must have said something, on the loop's clock.
        self.first_event_by = 0.0
        self._body = body
        self._cap = cap
        self._attempts: Attempts | None = None
        self._attempt_at: float | None = None  # when the try in hand began
        self._mark: Mark = FRESH  # of the try in hand
        self._slots: tuple[tuple[str, int], ...] = ()  # held under caps
        self._leave_queue: Callable[[], None] | None = None  # of those who wait for slots
        self._room_until = 0.0  # it waits for room until then, 0.0 = it did not yet
        self._left_out = ""  # by the try in hand, because its key did not take it
        self._session: Session | None = None
        self._request: Request | None = None
        self._status = 0
        self._stream: Stream | None = None
        self._input_tokens: int | None = None

    # --- what its answers are told to -------------------------------------------------------

    @abstractmethod
    def response(self, status: int, headers: dict[bytes, bytes], /) -> bool:
        """See ResponseListener."""

    @abstractmethod
    def data(self, chunk: bytes, /) -> None:
        """See ResponseListener."""

    @abstractmethod
    def complete(self, body: bytes, /) -> None:
        """See ResponseListener."""

    @abstractmethod
    def failed(self, failure: Failure, /) -> None:
        """See ResponseListener."""

    # --- tries ----------------------------------------------------------------------------

    def start(self) -> None:
        """Try the key of the session, else the first that is well."""
        call = self.call
        context, headers = call.context, call.exchange.headers
        now = context.time()
        candidate = self.offer.candidates.ready(now)
        name = (
            headers.get(SESSION_HEADERS[0])
            or headers.get(SESSION_HEADERS[1])
            or headers.get(SESSION_HEADERS[2])
            or self._body.cache_key
        )
        prefer = 0
        if name:
            assert call.token is not None
            self._session = session_of(call.token.view.user_id, self.offer.model, name)
            prefer = context.affinity.preferred(self._session, now)
        if candidate is not None and (not prefer or prefer == candidate.key.id):
            self._try(candidate)
        else:
            self._attempts = Attempts(self.offer.candidates, prefer)
            self._try_another()

    def _try_another(self) -> None:
        context, attempts = self.call.context, self._attempts
        assert attempts is not None
        self._left_out = ""
        now = context.time()
        if now - self.call.started >= context.limits.total_seconds:
            self.call.refuse(upstream_timed_out())
            return
        while True:
            candidate = attempts.next(now, context.chance())
            if candidate is None:
                self.call.refuse(attempts.give_up(now))
                return
            attempts.begun(candidate)
            if not self._room_until or now < self._room_until or self._has_room(candidate):
                self._try(candidate)
                return

    def _try(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.renamed = candidate.model_json is not None
        if candidate.key.caps and not self._take_slots(candidate.key.caps):
            return
        self._send(candidate)

    def _has_room(self, candidate: Candidate) -> bool:
        slots = self.call.context.slots
        return all(slots.has_room(name, limit) for name, limit in candidate.key.caps)

    def _take_slots(self, caps: tuple[tuple[str, int], ...]) -> bool:
        """Room under every cap of a key; False: somebody else has to be asked first."""
        slots = self.call.context.slots
        for index, (name, limit) in enumerate(caps):
            if not slots.take(name, limit):
                for taken, _ in caps[:index]:
                    slots.free(taken)
                if not self._room_until:
                    self._room_until = self.call.context.time() + ROOM_SECONDS
                self._leave_queue = slots.wait(caps, self._admitted)
                return False
        self._slots = caps
        return True

    def _admitted(self, has_room: bool) -> None:
        """There is room under the caps of the key in hand, or it is busy."""
        self._leave_queue = None
        candidate = self.candidate
        assert candidate is not None
        try:
            if has_room:
                self._slots = candidate.key.caps
                if self._may_still_be_called(candidate):
                    self._send(candidate)
                    return
                self._free_slots()
            self._attempts_after(candidate)
            self._try_another()
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.call.mistaken(mistake)

    def _may_still_be_called(self, candidate: Candidate) -> bool:
        """While this call waited, another may have found the key bad, or have begun to probe it."""
        board, now = self.offer.candidates.board, self.call.context.time()
        standing = board.look(candidate.key, candidate.upstream_model, now)[0]
        return standing is not Standing.OUT

    def _send(self, candidate: Candidate) -> None:
        call = self.call
        self._status = 0
        self._input_tokens = None
        context = call.context
        limits, timeouts, key = context.limits, candidate.timeouts, candidate.key
        self._attempt_at = now = context.time()
        self._mark = self.offer.candidates.board.begin(key, candidate.upstream_model, now)
        body = self._body
        if body.stream:
            first_byte_seconds = timeouts.first_event or limits.first_event_seconds
            self.first_event_by = now + first_byte_seconds
            # Nor may it begin and then say nothing: longer pauses are for what has said something.
            idle_seconds = min(self._idle_seconds(candidate), first_byte_seconds)
        else:
            first_byte_seconds = timeouts.first_byte or limits.first_byte_seconds
            idle_seconds = timeouts.idle or limits.idle_seconds
        attempts = self._attempts
        unwanted = NOTHING if attempts is None else attempts.without
        if context.unwanted:
            unwanted |= context.unwanted.of(key.id, candidate.upstream_model, self._user_id())
        if candidate.is_plain and self._cap is None and not (body.stream or unwanted):
            raw = body.raw
        else:
            raw = outgoing(body, candidate, self._cap, unwanted)
        client = context.secure if key.origin.tls else context.plain
        self._request = client.request(
            key.origin,
            b"%b%bContent-Length: %d\r\n\r\n"
            % (candidate.head, forwarded(call.exchange.headers), len(raw)),
            raw,
            self,
            first_byte_seconds=first_byte_seconds,
            idle_seconds=idle_seconds,
            total_seconds=call.started + limits.total_seconds - now,
        )

    def _idle_seconds(self, candidate: Candidate) -> float:
        return candidate.timeouts.idle or self.call.context.limits.idle_seconds

    def attempted(self, reason: str) -> float:
        """The try in hand has ended, now; reason "" = well. Of one try, the first time counts."""
        candidate, began = self.candidate, self._attempt_at
        now = self.call.context.time()
        if candidate is not None and began is not None:
            self._attempt_at = None
            self.attempts.append(
                Attempt(
                    candidate.key.vendor_id,
                    candidate.key.id,
                    self._status,
                    reason,
                    int((now - began) * 1000),
                    candidate.called_model if self.renamed else "",
                )
            )
        return now

    def went_well(self) -> float:
        """The try in hand has the first of a good answer, now."""
        began, candidate = self._attempt_at, self.candidate
        assert candidate is not None
        now = self.attempted("")
        if began is not None:
            candidate.key.tally.went_well(now - began)
            if self._mark.probes:
                self._show_probes(Signal.SERVED)
            if self._session is not None:
                self.call.context.affinity.served(self._session, candidate.key.id, now)
            if self._left_out:
                self._keep_unwanted(candidate, self._left_out)
        return now

    def _keep_unwanted(self, candidate: Candidate, what: str) -> None:
        """This key answers without this field: the next call need not bring it. But reasoning is
        one conversation's, and who does not stream may not bring what belongs to a stream."""
        if what != REASONING and (self._body.stream or what != STREAM_OPTIONS):
            unwanted, user_id = self.call.context.unwanted, self._user_id()
            unwanted.keep(candidate.key.id, candidate.upstream_model, user_id, what)

    def _user_id(self) -> int:
        assert self.call.token is not None
        return self.call.token.view.user_id

    # --- failures -------------------------------------------------------------------------

    def try_failed(self, verdict: Verdict, body: bytes = b"", *, bad_answer: bool = False) -> None:
        """The try in hand failed before anything was relayed. body: what the vendor said."""
        candidate = self.candidate
        assert candidate is not None
        self.attempted(verdict.why)
        self._stream = None
        self.learn(verdict)
        self._free_slots()
        if self.call.gone:
            self._void()
            return
        match verdict.action:
            case Action.PASS:
                self._pass_on(body)
            case Action.STOP:
                self.call.refuse(upstream_timed_out())
            case Action.STRIP:
                self._try_without(verdict.strip, body)
            case _:
                self._fail_over(candidate, verdict, bad_answer=bad_answer)

    def _fail_over(self, candidate: Candidate, verdict: Verdict, *, bad_answer: bool) -> None:
        call, attempts = self.call, self._attempts_after(candidate)
        attempts.bad_answers &= bad_answer
        attempts.failed(candidate, verdict)
        context = call.context
        now, in_flight = context.time(), context.counters.in_flight
        if attempts.may_go_on(candidate, verdict, now, context.retries, in_flight):
            self._try_another()
        else:
            call.refuse(attempts.give_up(now))

    def _attempts_after(self, candidate: Candidate) -> Attempts:
        """The tries, of which this is one: nearly every call needs no other."""
        attempts = self._attempts
        if attempts is None:
            attempts = self._attempts = Attempts(self.offer.candidates)
            attempts.begun(candidate)
        return attempts

    def _try_without(self, what: str, body: bytes) -> None:
        """The same key once more, without what it did not take; and so from now on, if it answers.

        Without `stream_options` it would not report usage: first only what the client wrote goes.
        """
        candidate = self.candidate
        assert candidate is not None
        attempts = self._attempts_after(candidate)
        before = attempts.without
        sent = outgoing(self._body, candidate, self._cap, before)
        if before <= {THEIR_STREAM_OPTIONS}:
            for one in (THEIR_STREAM_OPTIONS, what) if what == STREAM_OPTIONS else (what,):
                if outgoing(self._body, candidate, self._cap, before | {one}) != sent:
                    attempts.without = before | {one}
                    self._left_out = one
                    self._try(candidate)
                    return
        self._pass_on(body)

    def _pass_on(self, body: bytes) -> None:
        """The vendor refuses the request itself: the client can act on what it says."""
        candidate = self.candidate
        assert candidate is not None
        status = self._status if self._status >= 400 else 400
        names = (candidate.called_model, self.offer.model)
        self.call.refuse(errors.passed_on(status, body, (candidate.key.secret,), names))

    def learn(self, verdict: Verdict) -> None:
        """What a failure of the try in hand shows of its key."""
        candidate, mark = self.candidate, self._mark
        assert candidate is not None
        shown = signal_of(verdict)
        if shown is None:  # the vendor has answered, if not as one would like; or we gave up
            ours = verdict.why == FailureKind.TIMEOUT_TOTAL.value
            self._show_probes(Signal.UNTRIED if ours else Signal.SERVED)
            return
        if len(self.attempts) > 1 and may_be_the_requests(verdict):
            # It was answered badly elsewhere, too: perhaps it is the request, and one client with
            # a request that vendors stumble over must not take every key from everybody.
            self._show_probes(Signal.UNTRIED)
            return
        of_model = is_of_model(verdict)
        lane = candidate.upstream_model if of_model else ""
        self._mark = mark.ended()
        board = self.offer.candidates.board
        board.show(candidate.key, lane, mark, shown[0], verdict.why, shown[1])
        for probed in mark.probes:
            if probed != lane:
                signal = Signal.SERVED if of_model else Signal.UNTRIED
                board.show(candidate.key, probed, mark, signal, "")

    def _show_probes(self, signal: Signal) -> None:
        """The lanes that the try in hand probes are well again, or were not tried after all."""
        mark, candidate = self._mark, self.candidate
        if mark.probes and candidate is not None:
            self._mark = mark.ended()
            for lane in mark.probes:
                self.offer.candidates.board.show(candidate.key, lane, mark, signal, "")

    def _free_slots(self) -> None:
        slots, self._slots = self._slots, ()
        for name, _ in slots:
            self.call.context.slots.free(name)

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
        candidate = self.candidate
        assert candidate is not None
        if self._request is not None:
            self._request.wait_between_bytes(self._idle_seconds(candidate))
        self.call.committed()
        if self.call.body is not None:
            self._body = self.call.body

    def _void(self) -> None:
        """Nobody got anything and nobody waits."""
        self.call.settle(NO_USAGE, UsageSource.NONE, status=CLIENT_GONE, error="client_gone")
