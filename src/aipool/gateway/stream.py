"""A stream from a vendor to a client, event by event.

    events ─▶ held back until the first that means something
                 │
               commit: the client sees 200; no other key from here on
                 │
               relay each event as it comes ─▶ [DONE] ─▶ settle ─▶ last bytes

A stream ends in one of four ways: whole, broken, cut by our own shutdown, or because the
client left. It never looks whole when it was not: a broken one closes with an error event.
A clean end of the connection proves nothing; the stream itself must have said that it is
finished. After the client left, nothing is relayed, only read and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aipool.dialects.chat import chunk_is_meaningful, chunk_usage, decode_chunk
from aipool.doors import records
from aipool.doors.records import Progress
from aipool.gateway import errors
from aipool.gateway.errors import Refusal
from aipool.gateway.extending import RollingHold
from aipool.gateway.metering import StreamMeter
from aipool.vendors.types import Action, Verdict
from aipool.wire.sse import EventSplitter, EventTooLarge, data_of, together

if TYPE_CHECKING:
    from aipool.gateway.relay import Relay

#: More events than this in one piece, and others have their turn before the next piece is read.
CROWD = 512

#: Held back at the most before the first meaningful event; then the stream is committed.
HELD_BYTES_MAX = 64 * 1024

_HEADERS = (
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
)
_CLIENT_GONE = 499
_DONE = b"[DONE]"
#: Stands in the events of vendors that report failures beside what looks like success.
_BESIDE = b'"base_resp"'


class Stream:
    """One streamed answer of one try."""

    __slots__ = (
        "_call",
        "_ending",
        "_finished",
        "_hold",
        "_held",
        "_held_bytes",
        "_kept",
        "_kept_first",
        "_last_sent_at",
        "_left",
        "_meter",
        "_out",
        "_over",
        "_relay",
        "_relayed",
        "_splitter",
        "_time",
        "_usage_wanted",
        "_waits",
        "committed",
    )

    def __init__(self, relay: Relay, *, usage_wanted: bool) -> None:
        call = relay.call
        self.committed = False
        self._relay = relay
        self._call = call
        self._usage_wanted = usage_wanted
        self._time = call.context.time
        self._splitter = EventSplitter(call.context.limits.event_bytes)
        candidate = relay.candidate
        assert candidate is not None
        self._meter = StreamMeter(relay.input_tokens, self._time(), candidate.new_counter())
        self._hold = RollingHold(call)
        # While it waits for money: the event that would be too much, what follows it, the tokens
        # without both, and how the vendor's answer has ended meanwhile.
        self._waits = False
        self._kept_first = b""
        self._kept: list[bytes] = []
        self._relayed = 0
        self._ending: Callable[[], None] | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._out: list[bytes] = []  # of the events now being read, what the client gets
        self._finished = False  # the stream said that it is whole
        self._left = False  # the client is gone
        self._over = False  # settled, or given up for the next key
        self._last_sent_at = 0.0
        if call.gone:
            self.client_left()

    @property
    def began(self) -> bool:
        """Is it too late for another key, because the client has something, or has left?"""
        return self.committed or self._left

    def data(self, chunk: bytes) -> None:
        """A piece of the stream: relay the events that are whole."""
        if self._over:
            return
        if not self.committed and not self._left and self._time() >= self._relay.first_event_by:
            # It sends, but nothing that means anything: comments, or empty chunks.
            self._fail(Verdict(Action.NEXT, "timeout_first_event"))
            return
        try:
            events = self._splitter.feed(chunk)
        except EventTooLarge:
            self._fail(Verdict(Action.NEXT, "event_too_large"))
            return
        if len(events) > CROWD:
            events = together(events)
            self._relay.take_turns()
        if self._waits:
            self._kept += events
        else:
            self._read(events, [])

    def _read(self, events: list[bytes], out: list[bytes]) -> None:
        """Read events, and relay what of them the client gets, after `out`."""
        self._out = out
        for index, event in enumerate(events):
            if not self._event(event):
                if not self._waits:
                    return
                self._kept = events[index + 1 :]
                break
            if self._finished:
                self._finish()
                return
        if self._left:
            if self._meter.drained_enough:
                self._relay.end_drain()
        elif self.committed:
            if out:
                self._relay_on(out[0] if len(out) == 1 else b"".join(out))
        else:
            self._held += out
            self._held_bytes += sum(len(event) for event in out)
            if self._held_bytes > HELD_BYTES_MAX:
                self._commit()
        # An ending that comes between two pieces must not send these events again.
        self._out = []

    def _event(self, event: bytes) -> bool:
        """Read one event, and put out what of it the client gets. False: the stream is over, or
        waits for money."""
        data = data_of(event)
        if data is None:
            self._out.append(event)
            return True
        if data == _DONE:
            self._finished = True
            self._out.append(event)
            return True
        chunk = decode_chunk(data)
        if chunk is None:
            self._out.append(event)
            return True
        if chunk.error or (not chunk.choices and (b'"message"' in data or _BESIDE in data)):
            verdict = self._relay.read_event(data, is_error=bool(chunk.error))
            if verdict is not None:
                self._fail(verdict, data)
                return False
        meter = self._meter
        usage = chunk_usage(chunk)
        before = meter.counter.tokens
        meter.read(chunk, usage)
        if not self.committed and not self._left and chunk_is_meaningful(chunk):
            self._commit()
        if self.committed and not self._left:
            tokens = meter.counter.tokens
            if tokens >= self._hold.due_at and not self._hold.covers(tokens, self):
                self._wait(event, before)
                return False
            progress = meter.progress(self._time())
            if progress is not None:
                self._journal(progress)
        if usage is None or chunk.choices or self._usage_wanted:
            self._out.append(self._relay.ours(event) if self._relay.renamed else event)
        return True

    # --- money for more of it -------------------------------------------------------------

    def _wait(self, event: bytes, relayed: int) -> None:
        """This event and what follows stay here until there is money for them.

        relayed: the tokens without it.
        """
        self._waits = True
        self._kept_first = event
        self._relayed = relayed
        self._relay.wait_for_money(waits=True)

    def go_on(self) -> None:
        """There is money for what waits, if something does."""
        if self._over or not self._waits:
            return
        first = self._kept_first
        kept = self._stop_waiting()
        self._read(kept, [self._relay.ours(first) if self._relay.renamed else first])
        self._resume()

    def give_up(self, refusal: Refusal) -> None:
        """There is none."""
        if not self._over:
            self._relay.give_up(refusal)

    def _stop_waiting(self) -> list[bytes]:
        """What was kept behind the first."""
        self._waits = False
        kept, self._kept = self._kept, []
        return kept

    def _resume(self) -> None:
        """Read on from the vendor, whose end may have come meanwhile."""
        if self._over or self._waits:
            return
        self._relay.wait_for_money(waits=False)
        ending, self._ending = self._ending, None
        if ending is not None:
            ending()

    # --- the beginning --------------------------------------------------------------------

    def _commit(self) -> None:
        """From here on the client has this vendor's answer."""
        call, relay = self._call, self._relay
        self.committed = True
        now = relay.went_well()
        relay.first_token_ms = int((now - call.started) * 1000)
        self._last_sent_at = now
        exchange = call.exchange
        exchange.start(200, _HEADERS + call.headers())
        relay.committed()
        call.context.streams.add(self)
        if self._held:
            self._relay_on(b"".join(self._held))
            self._held.clear()

    def _relay_on(self, data: bytes) -> None:
        """The vendor's own words."""
        if self._call.keeping is not None:
            self._call.keeping.add(data)
        self._send(data)

    def _send(self, data: bytes) -> None:
        self._last_sent_at = self._time()
        self._call.exchange.send(data)

    def _journal(self, tokens: tuple[int, int]) -> None:
        candidate = self._relay.candidate
        assert candidate is not None
        record = Progress(self._call.rid, *tokens, candidate.vendor_id, candidate.key_id)
        self._call.progress(records.encode(record))

    # --- endings --------------------------------------------------------------------------

    def _finish(self) -> None:
        """The stream is whole: settle, then let the client have its last bytes."""
        if not self.began:
            if self._meter.is_empty:
                self._fail(Verdict(Action.NEXT, "empty_stream"))
                return
            self._commit()
        self.settle("")

    def closed(self) -> None:
        """The vendor closed the answer cleanly."""
        if self._over:
            return
        if self._waits:
            self._ending = self.closed
        elif self._meter.finish_seen:
            self._finish()
        else:
            self._fail(Verdict(Action.NEXT, "stream_not_finished"))

    def broke(self, verdict: Verdict) -> None:
        """The connection failed in the middle of a stream that had begun."""
        if self._waits:
            self._ending = lambda: self.broke(verdict)
        elif not self._over:
            self._fail(verdict)

    def _fail(self, verdict: Verdict, said: bytes = b"") -> None:
        """The vendor failed. What it said about it stays with us, unless it is about the request
        and nothing was relayed."""
        self._relay.cancel()
        if self._left:
            self._relay.learn(verdict)
            self._relay.end_drain()
        elif self.committed:
            self._relay.learn(verdict)
            self.break_off(errors.upstream_failed("The vendor's stream broke off."))
        else:
            self._over = True
            self._relay.try_failed(verdict, said, bad_answer=True)

    def break_off(self, refusal: Refusal) -> None:
        """End a committed stream with an error event: it must not look whole."""
        if not self._left:
            self._out.append(errors.event_of(refusal, self._call.rid))
        self.settle(refusal.code)

    def settle(self, error: str) -> None:
        """End the hold; the last bytes for the client follow its settlement."""
        call = self._call
        self._over = True
        if self._waits:
            self._stop_waiting()
            self._meter.relayed = self._relayed
        self._ending = None
        usage, source = self._meter.usage()
        if self._left:
            self._relay.attempted(error)
            call.settle(usage, source, status=_CLIENT_GONE, error="client_gone")
            return
        last = b"".join(self._out)
        exchange = call.exchange
        if call.keeping is not None:
            call.keeping.add(last)
        call.settle(usage, source, status=200, error=error, then=lambda: exchange.end(last))

    # --- the client -----------------------------------------------------------------------

    def client_left(self) -> None:
        """From here on nothing is relayed, only read and counted."""
        self._left = True
        self._hold.stop()
        self._meter.client_left()
        if self._waits:
            self._meter.relayed = self._relayed
            self._read(self._stop_waiting(), [])
            self._resume()

    def ping(self, now: float, quiet_seconds: float) -> None:
        """Keep a quiet stream's connection alive through proxies; only once committed."""
        if not self._left and not self._over and now - self._last_sent_at >= quiet_seconds:
            self._send(b": ping\n\n")
