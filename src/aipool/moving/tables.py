"""What was moved in, so that a second run knows it."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, metadata

#: kind: group, channel, user, token, or name of user.  their_id: its number there, of a group its
#: name, of a name of a user the number and the name.
moved_in = sa.Table(
    "moved_in",
    metadata,
    sa.Column("kind", Text, primary_key=True),
    sa.Column("their_id", Text, primary_key=True),
    sa.Column("our_id", Int64, nullable=False),
    sa.Column("at_ms", Int64, nullable=False),
)
