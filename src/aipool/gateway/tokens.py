"""API tokens as a worker knows them: fetched on first use by digest, forgotten on change.

Every answer and every invalidation carries a revision. An answer older than the newest
invalidation of its digest may predate the change, and is fetched again. An unknown digest
is remembered for a few seconds, so that guessing costs the database little; how many
look-ups may come to nothing is bounded, over all and per client address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from aipool.doors.frames import FetchToken, TokenAnswer
from aipool.doors.snapshot import TokenView
from aipool.gateway.access import AddressList
from aipool.gateway.catalogue import Catalogue
from aipool.gateway.chains import buckets_of, chain_of
from aipool.gateway.funds import Chain, Funds
from aipool.gateway.limits import Rates
from aipool.gateway.rate import RateChain
from aipool.kit.digests import is_token

TOKENS_MAX = 50_000
NEGATIVE_SECONDS = 5
#: Look-ups that find nothing, a second: over all, and from one client address.
MISSES_PER_SECOND = 200
MISSES_PER_SECOND_PER_ADDRESS = 20
#: How long a look-up may take before the client is told to come again.
FETCH_SECONDS = 3

_BLOCK_BYTES = 64  # of SHA-256


class Token:
    """A token ready for admission.

    chain, budgets: the leases a call must fit, and the same as (budget, window), as they
    were at `renew`.  money: those of the chain that a longer answer needs more of.
    rates: the limits of requests and tokens a minute, None = it has none.
    up_to_date: False once it was changed; calls that have begun go on with it as it was.
    """

    __slots__ = (
        "addresses",
        "budgets",
        "catalogue",
        "chain",
        "day",
        "models",
        "money",
        "rates",
        "up_to_date",
        "view",
    )

    def __init__(self, view: TokenView) -> None:
        self.view = view
        self.up_to_date = True
        self.models = None if view.models is None else frozenset(view.models)
        self.addresses = AddressList(view.ips)
        self.catalogue: Catalogue | None = None
        self.day = 0
        self.chain: Chain = ()
        self.money: Chain = ()
        self.rates: RateChain | None = None
        self.budgets: tuple[tuple[str, int], ...] = ()

    def renew(self, funds: Funds, rates: Rates, catalogue: Catalogue, day: int) -> None:
        """Have the chain of this day and this catalogue. Calls in flight keep theirs."""
        self.catalogue = catalogue
        self.day = day
        group = catalogue.groups.get(self.view.group_id)
        named = chain_of(self.view, group, day)
        self.budgets = tuple((budget, window) for budget, window, _ in named)
        self.chain = funds.chain(named, up_to_date=self.up_to_date)
        self.money = tuple(lease for lease in self.chain if not lease.each)
        self.rates = rates.chain(buckets_of(self.view, group), up_to_date=self.up_to_date)


class Digester:
    """HMAC-SHA256 with the keyed halves made once: a third of the cost of doing it whole.

    Gives the same 32 bytes as kit.digests.digest.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, pepper: bytes) -> None:
        key = hashlib.sha256(pepper).digest() if len(pepper) > _BLOCK_BYTES else pepper
        padded = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def digest(self, secret: bytes) -> bytes:
        """What stands for this secret."""
        inner = self._inner.copy()
        inner.update(secret)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


Found = Callable[["Token | None", bool], None]


class Tokens:
    """The cache. ask: hands a FetchToken to the link; False when the link is down."""

    def __init__(self, pepper: bytes, ask: Callable[[FetchToken], bool]) -> None:
        self.digest = Digester(pepper).digest
        self._ask = ask
        self._known: dict[bytes, Token] = {}
        self._unknown: dict[bytes, int] = {}
        self._waiting: dict[bytes, list[tuple[Found, str, int]]] = {}
        self._numbers: dict[int, bytes] = {}
        self._number = 0
        self._forgotten: dict[bytes, int] = {}
        self._forgotten_all = 0
        self._misses = 0
        self._misses_by_address: dict[str, int] = {}
        self._now = 0

    def get(self, digest: bytes) -> Token | None:
        """A token at hand."""
        return self._known.get(digest)

    @staticmethod
    def is_well_formed(secret: bytes) -> bool:
        """Could this be a token at all?"""
        return is_token(secret)

    def is_unknown(self, digest: bytes) -> bool:
        """Did the books lately say that nobody has this digest?"""
        return self._unknown.get(digest, -1) >= self._now

    def may_look_up(self, address: str | None) -> bool:
        """Is there room for one more look-up that may find nothing?

        address: what the client's limit counts by; None = not limited (loopback, proxies).
        """
        if self._misses >= MISSES_PER_SECOND:
            return False
        by_address = 0 if address is None else self._misses_by_address.get(address, 0)
        return by_address < MISSES_PER_SECOND_PER_ADDRESS

    def fetch(self, digest: bytes, address: str | None, found: Found) -> None:
        """Ask the books. `found(token, answered)`: (None, False) = no answer was had."""
        waiting = self._waiting.get(digest)
        entry = (found, address or "", self._now)
        if waiting is not None:
            waiting.append(entry)
            return
        self._waiting[digest] = [entry]
        if not self._send(digest):
            self._answer(digest, None, answered=False)

    def answered(self, answer: TokenAnswer) -> None:
        """The books' answer."""
        digest = self._numbers.pop(answer.number, None)
        if digest is None:
            return
        newest = max(self._forgotten.get(digest, 0), self._forgotten_all)
        if answer.revision < newest:
            if not self._send(digest):
                self._answer(digest, None, answered=False)
            return
        if answer.token is None:
            self._unknown[digest] = self._now + NEGATIVE_SECONDS - 1
            self._misses += 1
            for _, address, _ in self._waiting.get(digest, ()):
                if address:
                    by_address = self._misses_by_address
                    by_address[address] = by_address.get(address, 0) + 1
            self._answer(digest, None, answered=True)
            return
        token = Token(answer.token)
        if len(self._known) >= TOKENS_MAX:
            del self._known[next(iter(self._known))]
        self._known[digest] = token
        self._answer(digest, token, answered=True)

    def forget(self, digests: tuple[bytes, ...], *, everything: bool, revision: int) -> None:
        """These tokens (or all) changed at `revision`."""
        if everything:
            for token in self._known.values():
                token.up_to_date = False
            self._known.clear()
            self._unknown.clear()
            self._forgotten_all = revision
            self._forgotten.clear()
        for digest in digests:
            forgotten = self._known.pop(digest, None)
            if forgotten is not None:
                forgotten.up_to_date = False
            self._unknown.pop(digest, None)
            # Only a look-up now on its way could still bring an old answer.
            if digest in self._waiting:
                self._forgotten[digest] = revision

    def link_down(self) -> None:
        """Nobody will answer what was asked; the calls may come again in a second."""
        self._numbers.clear()
        for digest in list(self._waiting):
            self._answer(digest, None, answered=False)

    def tick(self) -> None:
        """A second has passed."""
        self._now += 1
        self._misses = 0
        self._misses_by_address.clear()
        for digest in [d for d, until in self._unknown.items() if until < self._now]:
            del self._unknown[digest]
        late = self._now - FETCH_SECONDS
        overdue = {d for d, entries in self._waiting.items() if entries[0][2] <= late}
        if overdue:
            # What changes from now on would not be held against an answer that still comes.
            self._numbers = {n: d for n, d in self._numbers.items() if d not in overdue}
        for digest in overdue:
            self._answer(digest, None, answered=False)

    def _send(self, digest: bytes) -> bool:
        self._number += 1
        asked = self._ask(FetchToken(self._number, digest))
        if asked:
            self._numbers[self._number] = digest
        return asked

    def _answer(self, digest: bytes, token: Token | None, *, answered: bool) -> None:
        self._forgotten.pop(digest, None)
        for found, _, _ in self._waiting.pop(digest, ()):
            found(token, answered)
