"""What upstream keys did not take: learned by one call, so that the next need not be refused.

Most refusals of a field hang together with the rest of the request ("not with this effort", "only
with tools"), and nobody but its author knows the rest. So a field is remembered for its user only:
what one sends leaves nothing out of the calls of others. The one exception is `stream_options` in
the words in which the gateway writes it itself: whether a vendor takes that is no client's doing.
It goes for all, so only that: with it go the vendor's reports of usage.
"""

from __future__ import annotations

from collections import OrderedDict

#: Users with their fields remembered at once; who was quiet longest is forgotten first.
ENTRIES_MAX = 10_000
#: Fields remembered of one user on one key with one model.
FIELDS_MAX = 32

#: What the gateway writes itself.
STREAM_OPTIONS = "stream_options"
#: Stands for what a client has put into `stream_options` besides.
THEIR_STREAM_OPTIONS = "stream_options.*"

NOTHING: frozenset[str] = frozenset()

#: Stands for every user.
_ALL = 0


class Unwanted:
    """Fields of the body by key, model of the route, and user."""

    __slots__ = ("_fields",)

    def __init__(self) -> None:
        self._fields: OrderedDict[tuple[int, str, int], frozenset[str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._fields)

    def of(self, key_id: int, model: str, user_id: int) -> frozenset[str]:
        """What this user's calls leave out there."""
        fields = self._fields
        if not fields:
            return NOTHING
        own = fields.get((key_id, model, user_id), NOTHING)
        return own | fields.get((key_id, model, _ALL), NOTHING)

    def keep(self, key_id: int, model: str, user_id: int, field: str) -> None:
        """A call of this user went well once this field was left out."""
        fields = self._fields
        place = (key_id, model, _ALL if field == STREAM_OPTIONS else user_id)
        known = fields.get(place, NOTHING)
        if len(known) < FIELDS_MAX:
            fields[place] = known | {field}
        fields.move_to_end(place)
        if len(fields) > ENTRIES_MAX:
            fields.popitem(last=False)

    def clear(self) -> None:
        """The catalogue has changed: people may have changed what there is behind it."""
        self._fields.clear()
