"""Tells every live worker what changed, and tells the writer when they all act on it.

`told` is the revision up to which everything that changed was sent. A writer's Changed
that follows on it is passed on as it is. One that leaves a gap (a writer died between its
commit and its message, or two messages crossed) sends everything: a new snapshot, and all
tokens are forgotten; so does a revision in the database that nobody told of for a moment.
A Changed at or below `told` was covered by such a sending.

A worker that connects gets everything, unless it already acts on the newest revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import structlog
from sqlalchemy.engine import Connection

from aipool.books.access import Access
from aipool.books.workers import Worker, Workers
from aipool.doors.frames import Acknowledged, Changed, Publish, TokenAnswer, pack
from aipool.doors.snapshot import Snapshot, TokenView

if TYPE_CHECKING:
    from aipool.books.link import Link

log = structlog.get_logger()

#: How long a writer waits for the workers.
ACKNOWLEDGE_SECONDS = 1.0
#: When a worker is greeted again whom nothing could be read for.
GREET_AGAIN_SECONDS = 0.5
#: Tokens looked up in one turn of the loop.
LOOKUPS_MAX = 32


class Catalogue(Protocol):
    """What the slices say to the workers."""

    def current_revision(self, connection: Connection) -> int:
        """The newest committed revision."""
        ...

    def snapshot(self, connection: Connection) -> Snapshot:
        """Everything but the tokens."""
        ...

    def token(self, connection: Connection, digest: bytes) -> TokenView | None:
        """Who has this digest."""
        ...


class _Waiting:
    """A writer that waits until all live workers act on its revision."""

    __slots__ = ("link", "revision", "timer")

    def __init__(self, revision: int, link: Link) -> None:
        self.revision = revision
        self.link = link
        self.timer: asyncio.TimerHandle | None = None


class Broadcast:
    """DOOR down, as the workers see it.

    told: the newest revision at the start; who connects from then on is told all of it.
    published: hears of every snapshot that is sent.
    """

    def __init__(
        self,
        access: Access,
        catalogue: Catalogue,
        workers: Workers,
        *,
        told: int,
        published: Callable[[Snapshot], None],
    ) -> None:
        self._access = access
        self.told = told
        self._catalogue = catalogue
        self._workers = workers
        self._published = published
        self._waiting: list[_Waiting] = []
        self._lookups: list[tuple[Link, int, bytes]] = []
        self._snapshot: Snapshot | None = None
        self._untold_since_poll = False
        # What was to be told could not be read.
        self._missed = False

    # --- workers ----------------------------------------------------------------------------

    def greet(self, worker: Worker, applied: int) -> None:
        """Sends a worker that has just connected all that it lacks."""
        assert worker.link is not None
        link = worker.link
        worker.applied = applied

        def look(connection: Connection) -> Publish:
            revision = self._catalogue.current_revision(connection)
            behind = applied == 0 or applied != revision
            snapshot = self._newest(connection, revision) if behind else None
            return Publish(revision, snapshot, (), everything=behind)

        def again() -> None:
            if worker.link is link:
                self.greet(worker, applied)

        def later() -> None:
            asyncio.get_running_loop().call_later(GREET_AGAIN_SECONDS, again)

        def send(publish: Publish) -> None:
            if publish.snapshot is not None:
                self._published(publish.snapshot)
            link.send(pack(publish))

        self._access.read(look, send, later)

    def applied(self, worker: Worker, revision: int) -> None:
        """A worker acts on a revision."""
        worker.applied = max(worker.applied, revision)
        self.recheck()

    def look_up(self, link: Link, number: int, digest: bytes) -> None:
        """Answers with the token of a digest, soon; all of one turn share one read."""
        if not self._lookups:
            asyncio.get_running_loop().call_soon(self._answer_lookups)
        self._lookups.append((link, number, digest))

    def _answer_lookups(self) -> None:
        now, self._lookups = self._lookups[:LOOKUPS_MAX], self._lookups[LOOKUPS_MAX:]
        if self._lookups:
            asyncio.get_running_loop().call_soon(self._answer_lookups)

        def look(connection: Connection) -> list[tuple[Link, TokenAnswer]]:
            revision = self._catalogue.current_revision(connection)
            return [
                (link, TokenAnswer(number, revision, self._catalogue.token(connection, digest)))
                for link, number, digest in now
            ]

        def answer(answers: list[tuple[Link, TokenAnswer]]) -> None:
            for link, found in answers:
                link.send(pack(found))

        # Who asked in vain stops waiting by itself.
        self._access.read(look, answer, _nothing)

    # --- writers ----------------------------------------------------------------------------

    def changed(self, message: Changed, link: Link) -> None:
        """A writer committed a change; `link` hears when all live workers act on it."""
        if message.revision == self.told + 1:
            self._send(
                message.revision, message.catalogue, message.digests, everything=message.everything
            )
        elif message.revision > self.told:
            self._send(message.revision, catalogue=True, digests=(), everything=True)
        waiting = _Waiting(message.revision, link)
        self._waiting.append(waiting)
        waiting.timer = asyncio.get_running_loop().call_later(
            ACKNOWLEDGE_SECONDS, self._give_up, waiting
        )
        self.recheck()

    def poll(self) -> None:
        """Looks for a revision that nobody told of.

        A writer tells a moment after its commit; what is untold at two polls in a row is
        of one that died in between.
        """
        self._access.read(self._catalogue.current_revision, self._polled, _nothing)

    def _polled(self, revision: int) -> None:
        if revision <= self.told and not self._missed:
            self._untold_since_poll = False
        elif self._untold_since_poll or self._missed:
            log.warning("change_was_not_announced", revision=revision)
            self._missed = self._untold_since_poll = False
            self._send(revision, catalogue=True, digests=(), everything=True)
        else:
            self._untold_since_poll = True

    def recheck(self) -> None:
        """Tells the writers whose revision every live worker now acts on."""
        done = [w for w in self._waiting if not self._missing(w.revision)]
        for waiting in done:
            self._finish(waiting, ())

    def forget(self, link: Link) -> None:
        """A writer has left."""
        for waiting in [w for w in self._waiting if w.link is link]:
            self._waiting.remove(waiting)
            if waiting.timer is not None:
                waiting.timer.cancel()
        self._lookups = [lookup for lookup in self._lookups if lookup[0] is not link]

    def _give_up(self, waiting: _Waiting) -> None:
        if waiting in self._waiting:
            missing = self._missing(waiting.revision)
            self._finish(waiting, tuple(worker.name for worker in missing))

    def _finish(self, waiting: _Waiting, missing: tuple[str, ...]) -> None:
        self._waiting.remove(waiting)
        if waiting.timer is not None:
            waiting.timer.cancel()
        waiting.link.send(pack(Acknowledged(waiting.revision, missing)))

    def _missing(self, revision: int) -> list[Worker]:
        return [worker for worker in self._workers if worker.applied < revision]

    # --- both -------------------------------------------------------------------------------

    def _send(
        self, revision: int, catalogue: bool, digests: tuple[bytes, ...], *, everything: bool
    ) -> None:
        self.told = revision

        def look(connection: Connection) -> Snapshot:
            newest = self._catalogue.current_revision(connection)
            return self._newest(connection, newest)

        def tell(snapshot: Snapshot | None) -> None:
            if snapshot is not None:
                self._published(snapshot)
            message = pack(Publish(revision, snapshot, digests, everything))
            for worker in self._workers:
                if worker.link is not None:
                    worker.link.send(message)

        def missed() -> None:
            self._missed = True

        if catalogue:
            self._access.read(look, tell, missed)
        else:
            self._access.in_turn(lambda: tell(None))

    def _newest(self, connection: Connection, revision: int) -> Snapshot:
        if self._snapshot is None or self._snapshot.revision != revision:
            self._snapshot = self._catalogue.snapshot(connection)
        return self._snapshot


def _nothing() -> None:
    """There is nothing to be done about it."""
