"""The one table of limits of the wire. Every bound the layer keeps is a field here.

The defaults are the product's published table; the settings page may change each one. Fields
below the line are bounds the table does not name, because no operator has a reason to turn them.
Sizes are bytes, times are seconds.
"""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of both sides of the wire; immutable, shared by every connection of a process."""

    connect_seconds: float = 3.0
    """From asking for an address until TLS is up, name lookup and proxy included."""

    first_byte_seconds: float = 600.0
    """Default for a request that does not say: until the first byte of the answer's body."""

    first_event_seconds: float = 300.0
    """The same for a stream's first event; the caller passes it."""

    idle_seconds: float = 300.0
    """Default for a request that does not say: between two reads of an answer's body."""

    total_seconds: float = 3600.0
    """A request in all."""

    head_bytes: int = 32 * KIB
    head_seconds: float = 10.0

    body_bytes: int = 64 * MIB
    body_bytes_per_second: int = KIB
    """A body slower than this, after `body_grace_seconds`, is answered 408."""

    bodies_in_flight_bytes: int = 512 * MIB
    body_free_bytes: int = 64 * KIB
    """The beginning of each body (and answer) is read however full the budget is."""

    body_wait_seconds: float = 10.0
    """How long a body may wait for room in the budget before it is answered 503."""

    answers_in_flight_bytes: int = 512 * MIB
    answer_bytes: int = 64 * MIB
    """The largest answer collected whole; a streamed one has no bound."""

    event_bytes: int = 16 * MIB
    stalled_reader_seconds: float = 60.0
    keep_alive_seconds: float = 75.0
    pipelined_bytes: int = 256 * KIB
    pipelined_requests: int = 16
    """Requests sent ahead that are queued before reading pauses, and answered in one loop turn."""

    connections_per_address: int = 256
    drain_seconds: float = 120.0

    # ------------------------------------------------------------------------------------

    body_grace_seconds: float = 10.0
    """Head start of a body before its rate is looked at."""

    header_lines: int = 256
    trailer_lines: int = 32
    chunk_extension_bytes: int = 256

    discard_bytes: int = 64 * KIB
    """What is left of an unread body may be swallowed, to keep the connection, up to here."""

    linger_bytes: int = 8 * MIB
    linger_seconds: float = 5.0
    """After a refusal sent before the body was read, how long and how much is read and thrown
    away, so that the client finds the answer and not a reset."""

    drain_idle_seconds: float = 1.0
    """At a drain an idle connection gets this long to send the request it may have on its way."""

    write_buffer_high_bytes: int = 256 * KIB
    write_buffer_low_bytes: int = 64 * KIB

    tls_handshake_seconds: float = 10.0
    sweep_seconds: float = 0.25
    backlog: int = 4096

    resolve_seconds: float = 2.0
    resolve_fresh_seconds: float = 5.0
    resolve_keep_seconds: float = 600.0
    """How long the last good answer of a name stands in when the resolver fails."""

    race_stagger_seconds: float = 0.25
    """Pause between the starts of two connection attempts (RFC 8305 recommends 250 ms)."""

    idle_per_origin: int = 256
    idle_connection_seconds: float = 50.0
    """Below the 60 s after which common load balancers drop an idle connection."""

    stale_seconds: float = 2.0
    """A pooled connection that dies this soon after a request was written to it had been closed
    by its peer while idle; one that dies later may have been working on the request."""
