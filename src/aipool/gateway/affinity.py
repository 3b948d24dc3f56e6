"""Which upstream key served a session last: there its prompt cache is, and its reasoning is read.

A preference, never a trap: a key that may not be called now is passed over, and the one that
answers instead is the session's from then on. A worker remembers what it saw itself; clients keep
their connections, and so mostly their worker.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

#: Sessions remembered at once, about 30 MB; the one that was quiet longest is forgotten first.
SESSIONS_MAX = 100_000

#: Where clients say which session a call belongs to, the first that is there counts; then comes
#: the body's `prompt_cache_key`.
SESSION_HEADERS = (b"x-claude-code-session-id", b"session-id", b"x-session-affinity")

#: Longer names are cut: what tells sessions apart stands at the front of all that are known.
_NAME_BYTES_MAX = 200


class Session(NamedTuple):
    """A session of one user with one model."""

    user_id: int
    model: str
    name: bytes


class Affinity:
    """The sessions of one worker. seconds: how long one is remembered after its last call."""

    __slots__ = ("_seconds", "_sessions")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sessions: OrderedDict[Session, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def preferred(self, session: Session, now: float) -> int:
        """The id of the key that served this session last; 0 = none that is remembered."""
        found = self._sessions.get(session)
        return found[0] if found is not None and now < found[1] else 0

    def served(self, session: Session, key_id: int, now: float) -> None:
        """This key has answered the session."""
        sessions = self._sessions
        sessions[session] = (key_id, now + self._seconds)
        sessions.move_to_end(session)
        if len(sessions) > SESSIONS_MAX:
            sessions.popitem(last=False)


def session_of(user_id: int, model: str, name: bytes) -> Session:
    """The session of this name. name: what the client calls it, of any length."""
    return Session(user_id, model, name[:_NAME_BYTES_MAX])
