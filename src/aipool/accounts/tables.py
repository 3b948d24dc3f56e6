"""Tables of accounts."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, metadata

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("phone", Text, unique=True),
    sa.Column("password_hash", Text, nullable=False),
    sa.Column("role", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.Column("name", Text, nullable=False, server_default=""),
    sa.Column("email", Text, unique=True),
    sa.Column("locale", Text, nullable=False, server_default=""),
    sa.Column("phone_verified_at_ms", Int64),
    sa.Column("email_verified_at_ms", Int64),
    sa.Column("terms_version", Text, nullable=False, server_default=""),
    sa.Column("privacy_version", Text, nullable=False, server_default=""),
    sa.Column("terms_at_ms", Int64),
    # Sealed; asked for at logins only once somebody confirmed that their device has it.
    sa.Column("totp_secret", Text, nullable=False, server_default=""),
    sa.Column("totp_confirmed_at_ms", Int64),
    # The step of the last code that was used: neither it nor an older one is taken again.
    sa.Column("totp_step", Int64, nullable=False, server_default="0"),
    sa.Column("last_login_at_ms", Int64),
    sa.Column("low_balance_nano", Int64),
    # The owner was told, and the balance has not been above it since.
    sa.Column("low_balance_told", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("note", Text, nullable=False, server_default=""),
    sa.CheckConstraint("role IN ('user', 'admin', 'root')", name="role"),
    sa.CheckConstraint("status IN ('active', 'disabled', 'pending')", name="status"),
)

#: People at browsers. A number is given once: what hangs on a session must not find another.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column(
        "user_id", Int64, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.Column("seen_at_ms", Int64, nullable=False),
    sa.Column("expires_at_ms", Int64, nullable=False, index=True),
    sa.Column("idle_ms", Int64, nullable=False),
    sa.Column("stepped_up_until_ms", Int64, nullable=False),
    sa.Column("ip", Text, nullable=False),
    sa.Column("user_agent", Text, nullable=False),
    # It was opened with a password that is too short for what its owner may do.
    sa.Column("password_is_short", sa.Boolean, nullable=False, server_default=sa.false()),
    sqlite_autoincrement=True,
)

#: Secrets with which programs of a person speak to the platform.
access_tokens = sa.Table(
    "access_tokens",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("user_id", Int64, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.Column("name", Text, nullable=False, server_default=""),
    sa.Column("last4", Text, nullable=False, server_default=""),
    sa.Column("read_only", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("is_sensitive", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("expires_at_ms", Int64),
    sa.Column("last_used_at_ms", Int64),
    sa.Index(None, "user_id"),
    sqlite_autoincrement=True,
)

#: Each works once in place of a code of the person's device.
recovery_codes = sa.Table(
    "recovery_codes",
    metadata,
    sa.Column("user_id", Int64, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
)

#: One-time links that administrators hand out: at most one for a person.
reset_links = sa.Table(
    "reset_links",
    metadata,
    sa.Column("user_id", Int64, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("expires_at_ms", Int64, nullable=False),
)

#: Let people register where not everybody may.
invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("last4", Text, nullable=False),
    sa.Column("note", Text, nullable=False),
    sa.Column("uses_left", Int64, nullable=False),
    sa.Column("used", Int64, nullable=False),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.Column("expires_at_ms", Int64),
    sa.CheckConstraint("uses_left >= 0", name="uses_left"),
    sqlite_autoincrement=True,
)

#: Codes that were asked for in the last day, sent or not: what is counted against the limits.
verification_codes = sa.Table(
    "verification_codes",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("at_ms", Int64, nullable=False, index=True),
    sa.Column("purpose", Text, nullable=False),
    sa.Column("address", Text, nullable=False),
    sa.Column("network", Text, nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("tries_left", Int64, nullable=False),
    sa.Column("sent", sa.Boolean, nullable=False),
    # By what only whoever asked was told; NULL = asked for before there were handles.
    sa.Column("handle_digest", sa.LargeBinary(32), unique=True, index=True),
    sa.Index(None, "address", "at_ms"),
    sa.Index(None, "network", "at_ms"),
)

#: The one-time way in while there is no administrator: at most one row.
setup_links = sa.Table(
    "setup_links",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("issued_at_ms", Int64, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)
