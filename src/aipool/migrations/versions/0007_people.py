"""People sign in; settings of the site."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    _people()
    _sessions()
    _ways_in()
    _site()


# --- accounts ---------------------------------------------------------------------------------


def _people() -> None:
    """A number may be lost to its owner, so it may be missing; access tokens get a name."""
    if op.get_bind().dialect.name == "sqlite":
        _make_people_anew()
    else:
        op.alter_column("users", "phone", nullable=True)
        op.drop_constraint(op.f("ck_users_status"), "users")
        op.create_check_constraint("status", "users", _STATUS)
        for column in _new_user_columns():
            op.add_column("users", column)
        for column in _new_access_token_columns():
            op.add_column("access_tokens", column)
        op.create_unique_constraint(None, "users", ["email"])
    op.create_index(op.f("ix_access_tokens_user_id"), "access_tokens", ["user_id"])
    # There was one kind before: the root account's, for everything.
    op.execute("UPDATE access_tokens SET name = 'root', is_sensitive = TRUE")


_STATUS = "status IN ('active', 'disabled', 'pending')"


def _new_user_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("name", Text, nullable=False, server_default=""),
        sa.Column("email", Text),
        sa.Column("locale", Text, nullable=False, server_default=""),
        sa.Column("phone_verified_at_ms", Int64),
        sa.Column("email_verified_at_ms", Int64),
        sa.Column("terms_version", Text, nullable=False, server_default=""),
        sa.Column("privacy_version", Text, nullable=False, server_default=""),
        sa.Column("terms_at_ms", Int64),
        sa.Column("totp_secret", Text, nullable=False, server_default=""),
        sa.Column("totp_confirmed_at_ms", Int64),
        sa.Column("totp_step", Int64, nullable=False, server_default="0"),
        sa.Column("last_login_at_ms", Int64),
        sa.Column("low_balance_nano", Int64),
        sa.Column("note", Text, nullable=False, server_default=""),
    ]


def _new_access_token_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("name", Text, nullable=False, server_default=""),
        sa.Column("last4", Text, nullable=False, server_default=""),
        sa.Column("read_only", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("is_sensitive", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("expires_at_ms", Int64),
        sa.Column("last_used_at_ms", Int64),
    ]


def _make_people_anew() -> None:
    """SQLite changes neither what a column must have nor what a row is checked for."""
    # What refers to a person finds them again before the end.
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TEMPORARY TABLE users_before AS SELECT * FROM users")
    op.drop_table("users")
    op.create_table(
        "users",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("phone", Text, unique=True),
        sa.Column("password_hash", Text, nullable=False),
        sa.Column("role", Text, nullable=False),
        sa.Column("status", Text, nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
        *_new_user_columns(),
        sa.UniqueConstraint("email"),
        sa.CheckConstraint("role IN ('user', 'admin', 'root')", name="role"),
        sa.CheckConstraint(_STATUS, name="status"),
    )
    columns = "id, phone, password_hash, role, status, created_at_ms"
    op.execute(f"INSERT INTO users ({columns}) SELECT {columns} FROM users_before")  # noqa: S608
    op.execute("DROP TABLE users_before")
    # An access token can be deleted now, and the trail names it by a number given once.
    op.execute("CREATE TEMPORARY TABLE tokens_before AS SELECT * FROM access_tokens")
    op.drop_table("access_tokens")
    op.create_table(
        "access_tokens",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("user_id", Int64, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("created_at_ms", Int64, nullable=False),
        *_new_access_token_columns(),
        sqlite_autoincrement=True,
    )
    columns = "id, user_id, digest, created_at_ms"
    op.execute(f"INSERT INTO access_tokens ({columns}) SELECT {columns} FROM tokens_before")  # noqa: S608
    op.execute("DROP TABLE tokens_before")


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("user_id", Int64, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("created_at_ms", Int64, nullable=False),
        sa.Column("seen_at_ms", Int64, nullable=False),
        sa.Column("expires_at_ms", Int64, nullable=False),
        sa.Column("idle_ms", Int64, nullable=False),
        sa.Column("stepped_up_until_ms", Int64, nullable=False),
        sa.Column("ip", Text, nullable=False),
        sa.Column("user_agent", Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"])
    op.create_index(op.f("ix_sessions_expires_at_ms"), "sessions", ["expires_at_ms"])


def _ways_in() -> None:
    """What opens an account beside its password."""
    op.create_table(
        "recovery_codes",
        sa.Column(
            "user_id", Int64, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    )
    op.create_table(
        "reset_links",
        sa.Column(
            "user_id", Int64, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("expires_at_ms", Int64, nullable=False),
    )
    op.create_table(
        "invitations",
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
    op.create_table(
        "verification_codes",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("at_ms", Int64, nullable=False),
        sa.Column("purpose", Text, nullable=False),
        sa.Column("address", Text, nullable=False),
        sa.Column("network", Text, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("tries_left", Int64, nullable=False),
        sa.Column("sent", sa.Boolean, nullable=False),
    )
    for columns in (("at_ms",), ("address", "at_ms"), ("network", "at_ms")):
        name = f"ix_verification_codes_{'_'.join(columns)}"
        op.create_index(op.f(name), "verification_codes", list(columns))


# --- the site ---------------------------------------------------------------------------------


def _site() -> None:
    op.create_table(
        "site_settings",
        sa.Column("name", Text, primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("sealed", sa.Boolean, nullable=False),
        sa.Column("at_ms", Int64, nullable=False),
        sa.Column("actor", Text, nullable=False),
    )
