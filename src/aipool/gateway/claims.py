"""A call under a client's idempotency key asks before it is made whether the key is free.

The ledger process decides (books.claims), because a repeat may come to another worker. Nothing is
held yet. A call that came to nothing lets its key go again; what is said of that while the link
goes down is said again when it is up, or the key would be taken for as long as this worker lives.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from aipool.doors.frames import Claim, Claimed, Unclaim, Verdict
from aipool.gateway import errors
from aipool.gateway.errors import Refusal
from aipool.kit.money import format_cny

#: Longer than any scheme of clients that is known; those of payment interfaces end here.
KEY_BYTES_MAX = 255
#: How long the ledger process may take.
ANSWER_SECONDS = 3.0
#: What was said so long before the link went down may not have been heard.
_UNSURE_SECONDS = 30.0
#: Keys that were let go, of the newest, which are said again.
_SAID_MAX = 4_096

BAD_KEY = errors.invalid(
    f"An Idempotency-Key is 1 to {KEY_BYTES_MAX} printable characters of ASCII.",
    "Idempotency-Key",
    "invalid_idempotency_key",
)
_UNKNOWN = errors.unavailable("ledger_unavailable", "The Idempotency-Key cannot be checked now.")


class Held(NamedTuple):
    """A key that a call has."""

    token_id: int
    key: bytes


Later = Callable[[Held | Refusal], None]


def digest_of(body: bytes) -> bytes:
    """By which two bodies are told apart."""
    return hashlib.sha256(body).digest()


def is_key(text: bytes) -> bool:
    """Has this the form of a key?"""
    return 0 < len(text) <= KEY_BYTES_MAX and text.isascii() and text.decode("ascii").isprintable()


class Claims:
    """Of one worker. send: hands a frame to the link; False when it is down."""

    __slots__ = ("_asked", "_is_down", "_now", "_number", "_said", "_send")

    def __init__(self, send: Callable[[Claim | Unclaim], bool], now: Callable[[], float]) -> None:
        self._send = send
        self._now = now
        self._number = 0
        self._is_down = False
        self._asked: dict[int, tuple[float, Held, str, Later]] = {}
        #: When what was let go, the newest last.
        self._said: deque[tuple[float, Unclaim]] = deque(maxlen=_SAID_MAX)

    def ask(self, token_id: int, key: bytes, body: bytes, rid: str, later: Later) -> None:
        """May this call be made under this key? key: as the client sent it.  body: its digest."""
        held = Held(token_id, hashlib.sha256(key).digest())
        self._number += 1
        number = self._number
        self._asked[number] = (self._now() + ANSWER_SECONDS, held, rid, later)
        if not self._send(Claim(number, token_id, held.key, body, rid)):
            self._end(number, _UNKNOWN)

    def let_go(self, held: Held, rid: str) -> None:
        """The call came to nothing."""
        self._say(Unclaim(held.token_id, held.key, rid))

    def answered(self, answer: Claimed) -> None:
        """The ledger process has decided."""
        self._end(answer.number, _refusal(answer))

    def link_down(self) -> None:
        """Who waits is told to come again, and may have been given the key."""
        self._is_down = True
        for number, (_, held, rid, _) in tuple(self._asked.items()):
            self.let_go(held, rid)
            self._end(number, _UNKNOWN)

    def reconnected(self) -> None:
        """The link is up again: says once more what may not have been heard."""
        self._is_down = False
        unclaims = [unclaim for _, unclaim in self._said]
        self._said.clear()
        for unclaim in unclaims:
            self._say(unclaim)

    def tick(self) -> None:
        """Each second: who has waited too long is told to come again."""
        now = self._now()
        for number, (until, held, rid, _) in tuple(self._asked.items()):
            if now >= until:
                # A late answer would give the key to a call that is over.
                self.let_go(held, rid)
                self._end(number, _UNKNOWN)
        while not self._is_down and self._said and self._said[0][0] < now - _UNSURE_SECONDS:
            self._said.popleft()

    def _say(self, unclaim: Unclaim) -> None:
        self._said.append((self._now(), unclaim))
        self._send(unclaim)

    def _end(self, number: int, refusal: Refusal | None) -> None:
        asked = self._asked.pop(number, None)
        if asked is not None:
            _, held, _, later = asked
            later(refusal or held)


def _refusal(answer: Claimed) -> Refusal | None:
    if answer.verdict is Verdict.NEW:
        return None
    if answer.verdict is Verdict.UNKNOWN:
        return _UNKNOWN
    if answer.verdict is Verdict.OTHER:
        return Refusal(
            422,
            "invalid_request_error",
            "idempotency_key_reused",
            "This Idempotency-Key was sent with another body before. Take a new key for a new "
            "request.",
            "Idempotency-Key",
        )
    if answer.verdict is Verdict.RUNNING:
        return Refusal(
            409,
            "invalid_request_error",
            "idempotency_key_in_use",
            f"A request of this Idempotency-Key is under way: {answer.rid}.",
            "Idempotency-Key",
        )
    return Refusal(
        409,
        "invalid_request_error",
        "idempotency_key_used",
        f"The request of this Idempotency-Key was made before: {answer.rid}, charged "
        f"{format_cny(answer.charge_nano)} CNY. Answers are not kept.",
        "Idempotency-Key",
    )
