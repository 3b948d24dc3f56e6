"""What was moved in, so that a second run knows it."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, metadata

#: kind: group, channel, model, route, user, name of user, or token.  their_id: its number there; of
#: a group and a model its name; of a route the channel's number and the model's name, of a name of
#: a user the user's number and the name.  our_id: of a route the vendor's, of a name the user's.
moved_in = sa.Table(
    "moved_in",
    metadata,
    sa.Column("kind", Text, primary_key=True),
    sa.Column("their_id", Text, primary_key=True),
    sa.Column("our_id", Int64, nullable=False),
    sa.Column("at_ms", Int64, nullable=False),
)
