"""One metered call, from the end of its headers to its Outcome.

    identified ─▶ body whole ─▶ admitted ─▶ held ─▶ relayed ─▶ settled
         └───────────┴────────────┴─ refused

Promises, whatever happens and in whatever order:
- money is held, and the hold is in the journal, before a vendor sees a byte;
- every hold ends in exactly one `settle`, and the settlement is in the journal before the
  client sees the last byte;
- the client is answered exactly once.

`settle` owns every ending of a hold. The cases differ only in the usage they pass.
"""

from __future__ import annotations

import time
from asyncio import Future
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from aipool.doors import records
from aipool.doors.outcome import UsageSource
from aipool.gateway import errors
from aipool.gateway.access import client_address
from aipool.gateway.admission import Admitted, admit, may_use, reduced_cap
from aipool.gateway.attempts import nobody_ready
from aipool.gateway.body import LARGE_BYTES, ChatBody, parse
from aipool.gateway.claims import BAD_KEY, Held, digest_of, is_key
from aipool.gateway.contents import Keeping
from aipool.gateway.context import Context
from aipool.gateway.errors import Refusal
from aipool.gateway.funds import Chain, Denied, Shortage
from aipool.gateway.identity import find_token
from aipool.gateway.metering import estimate_input
from aipool.gateway.rate import RateChain, Ticket, reserved_tokens
from aipool.gateway.relay import CLIENT_GONE, Relay
from aipool.gateway.settle import alarm_of, charge_of, hold_of, outcome_of
from aipool.gateway.tokens import Token
from aipool.kit.money import format_cny
from aipool.ledger.rules import Unit, unit_of, without_requests
from aipool.rating.types import NO_USAGE, Usage

if TYPE_CHECKING:
    from aipool.gateway.endpoints.base import Endpoint
    from aipool.wire.exchange import Exchange


class Call:
    """A call at an endpoint that is metered. The listener of its exchange."""

    __slots__ = (
        "_answer_body",
        "_body_waits",
        "_charge_nano",
        "_input_estimate",
        "address",
        "admitted",
        "at_ms",
        "body",
        "budgets",
        "cap_written",
        "claim",
        "chain",
        "context",
        "endpoint",
        "exchange",
        "gone",
        "held",
        "hold_payload",
        "keeping",
        "leave_queue",
        "money",
        "progress_payload",
        "rates",
        "relay",
        "rid",
        "settled",
        "started",
        "ticket",
        "token",
        "tries",
    )

    def __init__(self, context: Context, endpoint: Endpoint, exchange: Exchange) -> None:
        self.context = context
        self.endpoint = endpoint
        self.exchange = exchange
        self.at_ms = at_ms = time.time_ns() // 1_000_000
        self.rid = context.next_rid(at_ms)
        self.started = exchange.received_at
        peer = exchange.connection.address
        forwarded_for = exchange.headers.get(b"x-forwarded-for")
        self.address = (
            peer
            if forwarded_for is None
            else client_address(peer, forwarded_for, context.trusted_proxies)
        )
        self.token: Token | None = None
        self.body: ChatBody | None = None
        self.admitted: Admitted | None = None
        self.chain: Chain = ()
        self.money: Chain = ()
        self.budgets: tuple[tuple[str, int], ...] = ()
        self.rates: RateChain | None = None
        self.ticket: Ticket | None = None
        self.relay: Relay | None = None
        self.hold_payload = b""
        self.progress_payload = b""
        self.held = False
        self.settled = False
        self.gone = False
        self.tries = 0
        self.cap_written: int | None = None
        self.claim: Held | None = None
        self.keeping: Keeping | None = None
        self._answer_body = b""
        self._charge_nano = 0
        self._body_waits = False
        self._input_estimate: int | None = None
        self.leave_queue: Callable[[], None] | None = None
        context.counters.in_flight += 1

    # --- 1. who is calling ----------------------------------------------------------------

    def identify(self) -> None:
        """At the end of the headers: a refusal goes out before the body is read."""
        found = find_token(self.context, self.exchange, self.address, self._looked_up)
        if found is not None:
            self._identified(found)

    def _looked_up(self, found: Token | Refusal) -> None:
        if self.gone or self.settled:
            return
        self._identified(found)
        if not self.settled:
            self.exchange.take_body()
            if self._body_waits:
                self._read()

    def _identified(self, found: Token | Refusal) -> None:
        if isinstance(found, Refusal):
            self.refuse(found)
            return
        self.token = found
        refusal = may_use(found, self.address, self.at_ms / 1000)
        if refusal is not None:
            self.refuse(refusal)

    # --- 2. what is asked, and may it be --------------------------------------------------

    def body_complete(self) -> None:
        """The exchange has its whole body."""
        try:
            if self.token is None:
                self._body_waits = True
            else:
                self._read()
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.mistaken(mistake)

    def _read(self) -> None:
        if self.settled:
            return
        raw = self.exchange.body
        if len(raw) <= LARGE_BYTES:
            self._admit(parse(raw))
            return
        future = self.context.loop.run_in_executor(self.context.reader, parse, raw)
        future.add_done_callback(self._read_elsewhere)

    def _read_elsewhere(self, future: Future[ChatBody | Refusal]) -> None:
        try:
            self._admit(future.result())
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.mistaken(mistake)

    def _admit(self, body: ChatBody | Refusal) -> None:
        if self.gone or self.settled:
            return
        context, token = self.context, self.token
        assert token is not None
        if isinstance(body, Refusal):
            self.refuse(body)
            return
        self.body = body
        catalogue = context.catalogue
        if catalogue is None or not context.journal.admitting:
            self.refuse(
                errors.unavailable("ledger_unavailable", "Calls cannot be recorded just now.")
            )
            return
        admitted = admit(body, token, catalogue)
        if isinstance(admitted, Refusal):
            self.refuse(admitted)
            return
        if admitted.offer.candidates.ready(context.time()) is None:
            refusal = nobody_ready(admitted.offer.candidates, context.time())
            if refusal is not None:  # so nothing need be held
                self.refuse(refusal)
                return
        key = self.exchange.headers.get(b"idempotency-key")
        if key is not None and not body.stream:
            self._claim(key, body, admitted)
        else:
            self._begin(admitted)

    def _claim(self, key: bytes, body: ChatBody, admitted: Admitted) -> None:
        """A client that may repeat the call says under which key."""
        token, context = self.token, self.context
        assert token is not None
        if not is_key(key):
            self.refuse(BAD_KEY)
            return

        def ask(digest: bytes) -> None:
            context.claims.ask(
                token.view.id, key, digest, self.rid, lambda found: self._claimed(found, admitted)
            )

        if len(body.raw) <= LARGE_BYTES:
            ask(digest_of(body.raw))
        else:
            hashed = context.loop.run_in_executor(context.reader, digest_of, body.raw)
            hashed.add_done_callback(lambda done: ask(done.result()))

    def _claimed(self, found: Held | Refusal, admitted: Admitted) -> None:
        """The key is this call's, or was another's before."""
        if self.settled:
            if isinstance(found, Held):
                self.context.claims.let_go(found, self.rid)
            return
        try:
            if isinstance(found, Refusal):
                self.refuse(found)
            else:
                self.claim = found
                self._begin(admitted)
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.mistaken(mistake)

    def _begin(self, admitted: Admitted) -> None:
        """Limits, then money."""
        context, token = self.context, self.token
        assert token is not None
        catalogue = context.catalogue
        assert catalogue is not None
        if token.day != context.day or token.catalogue is not catalogue:
            token.renew(context.funds, context.rates, catalogue, context.day)
        self.rates = token.rates
        if token.rates is None:
            self._hold(admitted)
        else:
            self._pass(admitted, token.rates)

    def _pass(self, admitted: Admitted, chain: RateChain) -> None:
        """The limits of requests and tokens a minute."""
        self.admitted = admitted
        rates, now, tokens = self.context.rates, self.context.passed_seconds(), 0
        if chain.counts_tokens:
            tokens = reserved_tokens(admitted)
        self.ticket = rates.take(chain, tokens, now)
        if self.ticket is not None:
            self._hold(admitted)
        elif (refusal := chain.too_large(tokens)) is not None:
            self.refuse(refusal)
        else:
            self.leave_queue = rates.wait(chain, tokens, self._passed, now)

    def _passed(self, found: Ticket | Refusal) -> None:
        """The ledger process has answered: the call may pass, or not."""
        self.leave_queue = None
        try:
            if isinstance(found, Refusal):
                self.refuse(found)
                return
            assert self.admitted is not None
            self.ticket = found
            self._hold(self.admitted)
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.mistaken(mistake)

    # --- 3. money -------------------------------------------------------------------------

    def _hold(self, admitted: Admitted) -> None:
        token, context = self.token, self.context
        assert token is not None and context.catalogue is not None
        self.admitted = admitted
        if token.day != context.day or token.catalogue is not context.catalogue:
            token.renew(context.funds, context.rates, context.catalogue, context.day)
        # The call belongs to these windows, also when it ends in others.
        self.chain, self.money, self.budgets = token.chain, token.money, token.budgets
        if context.funds.hold(token.chain, admitted.hold_nano):
            self._journal_hold()
        else:
            self.leave_queue = context.funds.wait(token.chain, admitted.hold_nano, self._money)

    def _money(self, denied: Denied | None) -> None:
        """The ledger process has answered: the hold is had, or not."""
        self.leave_queue = None
        try:
            self._answered(denied)
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.mistaken(mistake)

    def _answered(self, denied: Denied | None) -> None:
        token, body, admitted = self.token, self.body, self.admitted
        assert token is not None and body is not None and admitted is not None
        if denied is None:
            self._journal_hold()
            return
        if denied.why is Shortage.WINDOW and token.day != self.context.day:
            self._hold(admitted)
            return
        if denied.why is not Shortage.FUNDS:
            self.refuse(
                errors.unavailable("ledger_unavailable", "Balances cannot be checked just now.")
            )
            return
        unit = unit_of(denied.budget)
        if unit is not Unit.MONEY:
            self.refuse(errors.too_many_calls(unit, self.at_ms))
            return
        reduced = reduced_cap(body, admitted, denied.available, self.input_estimate())
        if reduced is None or reduced[1].hold_nano >= admitted.hold_nano:
            what = "balance" if denied.budget.startswith("wallet:") else "API token's limit"
            self.refuse(
                errors.out_of_funds(f"The {what} does not cover this call at its output cap.")
            )
            return
        self.cap_written, smaller = reduced
        self._hold(smaller)

    def _journal_hold(self) -> None:
        context, token, admitted, body = self.context, self.token, self.admitted, self.body
        assert token is not None and admitted is not None and body is not None
        self.held = True
        if token.view.content_days:
            self.keeping = Keeping(body.raw)
        self.hold_payload = payload = records.encode(hold_of(self, admitted))
        context.open_calls[self.rid] = self
        context.journal.append(payload, self._call_vendor, self._not_journaled)

    def widen(self, admitted: Admitted) -> None:
        """More is held now: recovery has to know how much it may charge."""
        if self.ticket is not None and self.admitted is not None:
            tokens = admitted.held_tokens - self.admitted.held_tokens
            self.context.rates.widen(self.ticket, tokens)
        self.admitted = admitted
        self.leave_queue = None
        self.hold_payload = payload = records.encode(hold_of(self, admitted))
        self.context.journal.append(payload)

    def _not_journaled(self) -> None:
        self.refuse(errors.unavailable("ledger_unavailable", "Calls cannot be recorded just now."))

    # --- 4. the vendor --------------------------------------------------------------------

    def _call_vendor(self) -> None:
        if self.settled:
            return
        if self.gone:
            self.settle(NO_USAGE, UsageSource.NONE, status=CLIENT_GONE, error="client_gone")
            return
        assert self.body is not None and self.admitted is not None
        try:
            self.relay = Relay(self, self.body, self.admitted.offer, self.cap_written)
            self.relay.start()
        except Exception as mistake:  # noqa: BLE001 - one call's; `mistaken` ends it
            self.mistaken(mistake)

    def writable(self, ok: bool) -> None:
        """Back-pressure of the client."""
        if self.relay is not None:
            self.relay.client_writable(ok)

    def client_gone(self) -> None:
        """The client has left; what was begun is wound up."""
        if self.gone or self.settled:
            return
        self.gone = True
        self._leave()
        if self.relay is not None:
            self.relay.client_gone()
        elif not self.held:
            self._end_unheld(CLIENT_GONE, "client_gone")
        # Otherwise the hold is being journaled: `_call_vendor` settles it.

    def shut_down(self) -> None:
        """The worker's drain limit has come."""
        refusal = errors.unavailable("draining", "This server is shutting down.")
        if self.relay is not None:
            self.relay.give_up(refusal)
        else:
            self.refuse(refusal)

    def mistaken(self, mistake: Exception) -> None:
        """Our own mistake: it is told, and the call ends like any other, so that no hold
        stays open and nobody waits for ever."""
        self.context.loop.call_exception_handler(
            {"message": f"call {self.rid} failed", "exception": mistake}
        )
        if self.settled:
            return
        if self.relay is not None:
            self.relay.give_up(errors.internal())
        else:
            self.refuse(errors.internal())

    def input_estimate(self) -> int:
        """About how many tokens the input is, for want of a report."""
        if self._input_estimate is None:
            assert self.body is not None and self.admitted is not None
            self._input_estimate = estimate_input(self.body.raw, self.admitted.input_tokens)
        return self._input_estimate

    def committed(self) -> None:
        """The stream has begun: a large body is needed no longer, and its memory goes back."""
        body = self.body
        if body is not None and len(body.raw) > LARGE_BYTES:
            self.input_estimate()
            self.body = msgspec.structs.replace(body, raw=b"", spans={})
            self.exchange.release_body()

    def progress(self, payload: bytes) -> None:
        """A P record of this call: journaled now, and repeated in a new segment."""
        self.progress_payload = payload
        self.context.journal.append(payload)

    # --- 5. the ending --------------------------------------------------------------------

    def answer(self, usage: Usage, source: UsageSource, body: bytes) -> None:
        """A whole answer: settle, then send it."""
        if self.gone:
            self.settle(usage, source, status=CLIENT_GONE, error="client_gone")
            return
        self._answer_body = body
        if self.keeping is not None:
            self.keeping.add(body)
        self.settle(usage, source, status=200, error="", then=self._send_answer)

    def settle(
        self,
        usage: Usage,
        source: UsageSource,
        *,
        status: int,
        error: str,
        then: Callable[[], None] | None = None,
    ) -> None:
        """End the hold at what this usage costs. Every ending comes here, and once.

        status and error: what the client was told. then: runs once the settlement is in the
        journal. A void is a settlement of no usage.
        """
        assert self.held and not self.settled
        token, admitted = self.token, self.admitted
        assert token is not None and admitted is not None
        self.settled = True
        context = self.context
        self._charge_nano = charge = charge_of(admitted.offer, usage)
        heard = self._is_heard()
        if not heard:  # by no vendor: it is no request of the day
            self.budgets = without_requests(self.budgets)
        outcome = outcome_of(self, token, status, error, usage, source, charge, context.time())
        del context.open_calls[self.rid]
        context.settle_outcome(outcome, then)
        if heard:
            context.funds.settle(self.chain, admitted.hold_nano, charge)
        else:
            context.funds.release(self.chain, admitted.hold_nano)
        if self.ticket is not None:
            self._end_ticket(self.ticket, usage)
        if charge > admitted.hold_nano:
            context.log.event("charge_above_hold", **alarm_of(self, admitted, usage, charge))
        if self.keeping is not None:
            view = token.view
            context.contents.keep(
                self.keeping.content(self.rid, view.id, view.user_id, self.at_ms, view.content_days)
            )
        self._ended(status, error)

    def refuse(self, refusal: Refusal) -> None:
        """No: void what was held, record it where a row belongs, tell the client."""
        if self.settled:
            return
        if self.held:
            self.settle(
                NO_USAGE,
                UsageSource.NONE,
                status=CLIENT_GONE if self.gone else refusal.status,
                error=refusal.code,
                then=lambda: self._send_refusal(refusal),
            )
            return
        self._end_unheld(refusal.status, refusal.code)
        self._send_refusal(refusal)

    def _end_unheld(self, status: int, code: str) -> None:
        self.settled = True
        context, token = self.context, self.token
        if self.ticket is not None:
            self._end_ticket(self.ticket, NO_USAGE)
        row = None
        if token is not None:
            row = context.refusals.row_of(
                token.view.id,
                code,
                lambda: outcome_of(
                    self, token, status, code, NO_USAGE, UsageSource.NONE, 0, context.time()
                ),
            )
        if row is not None:
            context.settle_outcome(row, None)
        else:
            context.counters.answered(self.endpoint.name, status)
        self._ended(status, code)

    def _end_ticket(self, ticket: Ticket, usage: Usage) -> None:
        """What no vendor heard of counts for nothing; otherwise the tokens that were used do."""
        if not self._is_heard():
            self.context.rates.give_back(ticket, self.context.passed_seconds())
        else:
            self.context.rates.settle(ticket, usage.input_tokens + usage.output_tokens)

    def _is_heard(self) -> bool:
        """Has a vendor been asked? Not when no key could be called, or all were busy."""
        return self.relay is not None and bool(self.relay.attempts)

    def _leave(self) -> None:
        """Nobody waits for money or permits any more."""
        leave, self.leave_queue = self.leave_queue, None
        if leave is not None:
            leave()

    def _ended(self, status: int, code: str) -> None:
        context = self.context
        self._leave()
        if self.claim is not None and status >= 400 and not self._charge_nano:
            context.claims.let_go(self.claim, self.rid)
        context.counters.in_flight -= 1
        relay, self.relay = self.relay, None
        if relay is not None:
            self.tries = len(relay.attempts)
            relay.leave()
        if status >= 300:
            context.log.call(
                rid=self.rid,
                status=status,
                code=code,
                path=self.endpoint.path,
                model="" if self.body is None else self.body.model,
                token_id=0 if self.token is None else self.token.view.id,
                attempts=self.tries,
                duration_ms=int((context.time() - self.started) * 1000),
                address=self.address,
            )

    # --- what the client gets -------------------------------------------------------------

    def headers(self) -> bytes:
        """Header lines of every answer to this call."""
        relay = self.relay
        lines = b"x-request-id: %b\r\nx-aipool-attempts: %d\r\n" % (
            self.rid.encode(),
            self.tries if relay is None else len(relay.attempts),
        )
        if self.rates is not None:
            lines += self.rates.headers(self.context.passed_seconds())
        origin = self.exchange.headers.get(b"origin")
        return lines if origin is None else lines + self.context.cors.headers(origin)

    def _send_answer(self) -> None:
        self.exchange.answer(
            200,
            b"Content-Type: application/json\r\nx-aipool-charge: %b\r\n%b"
            % (format_cny(self._charge_nano).encode(), self.headers()),
            self._answer_body,
        )

    def _send_refusal(self, refusal: Refusal) -> None:
        self.exchange.answer(
            refusal.status,
            errors.headers_of(refusal) + self.headers(),
            errors.body_of(refusal, self.rid),
        )
