"""Proof of work: whoever asks often pays for it with a second of their processor.

A challenge is a signed text that nothing is kept of: how many bits it asks for, until when it is
good, and for which network. Its answer is any text with which `sha256("<challenge>:<answer>")`
begins with so many zero bits; there is no quicker way than trying. It is good once, which is
remembered until it would have expired anyway.

It stops nobody who means it, but ten thousand tries cost a day instead of a minute, and no
picture must be shown to a third party (security S-08, S-09).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass

from aipool.kit.errors import BusinessError

#: Some 65,000 hashes: a fifth of a second in a browser, two on an old phone.
BITS_LEAST = 16
#: 64 times as many; more would hit phones harder than whoever rents machines.
BITS_MAX = 22
#: A slow machine solves the hardest in so long.
LIFE_SECONDS = 300
#: Answers that are remembered; beyond that none is taken until some expire.
_USED_MAX = 50_000
_CHALLENGE_CHARACTERS_MAX = 200
_ANSWER_CHARACTERS_MAX = 64


@dataclass(frozen=True, slots=True)
class Challenge:
    """text: what is hashed.  bits: how many zero bits the hash must begin with."""

    text: str
    bits: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What somebody computed."""

    challenge: str
    answer: str


class ChallengeNeeded(BusinessError):
    """Work must be shown, or more of it. Carries the challenge."""

    status = 428

    def __init__(self, challenge: Challenge) -> None:
        super().__init__(
            "challenge_needed",
            "there were many tries: solve the challenge, and send it along with the answer",
            field="proof",
            more={"challenge": challenge.text, "bits": challenge.bits},
        )


class Proofs:
    """Makes challenges and checks answers. key: of this installation, for nothing else."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._used: dict[str, int] = {}
        self._lock = threading.Lock()

    def challenge(self, network: str, bits: int, now_ms: int) -> Challenge:
        """A new one, good in this network only."""
        expires_at_ms = now_ms + LIFE_SECONDS * 1000
        head = f"{expires_at_ms}.{bits}.{secrets.token_urlsafe(12)}"
        return Challenge(f"{head}.{self._mac(head, network)}", bits, expires_at_ms)

    def demand(self, proof: Proof | None, network: str, bits: int, now_ms: int) -> None:
        """Raises ChallengeNeeded, with a new challenge, for anything but a fresh proof of so
        many bits."""
        if not self._is_good(proof, network, bits, now_ms):
            raise ChallengeNeeded(self.challenge(network, bits, now_ms))

    def _is_good(self, proof: Proof | None, network: str, bits: int, now_ms: int) -> bool:
        if proof is None or len(proof.challenge) > _CHALLENGE_CHARACTERS_MAX:
            return False
        head, _, mac = proof.challenge.rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(head, network).encode()):
            return False
        # Signed by us, so its parts are what we wrote.
        expires_at_ms, asked = (int(part) for part in head.split(".")[:2])
        if now_ms >= expires_at_ms or asked < bits or len(proof.answer) > _ANSWER_CHARACTERS_MAX:
            return False
        return is_solved(proof, asked) and self._use(proof.challenge, expires_at_ms, now_ms)

    def _use(self, challenge: str, expires_at_ms: int, now_ms: int) -> bool:
        with self._lock:
            if len(self._used) >= _USED_MAX:
                self._used = {text: end for text, end in self._used.items() if end > now_ms}
            if challenge in self._used or len(self._used) >= _USED_MAX:
                return False
            self._used[challenge] = expires_at_ms
            return True

    def _mac(self, head: str, network: str) -> str:
        about = f"{head}|{network}".encode()
        return hmac.new(self._key, about, "sha256").hexdigest()[:32]


def is_solved(proof: Proof, bits: int) -> bool:
    """Does the hash begin with so many zero bits?"""
    found = hashlib.sha256(f"{proof.challenge}:{proof.answer}".encode()).digest()
    return int.from_bytes(found, "big") >> (256 - bits) == 0
