"""Who had tokens before groups were granted goes on calling with them."""

from __future__ import annotations

from pathlib import Path

from aipool import migrate
from aipool.groups import service as groups
from aipool.kit.db import open_database
from tests.migrations.test_migrations import upgrade
from tests.postgres import place

_TOKEN = (
    "INSERT INTO api_tokens (id, user_id, group_id, name, digest, last4, ips, expires_at, enabled,"
    " created_at_ms, deleted_at_ms) VALUES"
)


def test_users_are_granted_the_groups_their_live_tokens_use(tmp_path: Path, kind: str) -> None:
    with place(kind, lambda _: None) as url:
        database = open_database(url or f"sqlite:///{tmp_path / 'a.db'}")
        upgrade(database, "0006")
        with database.write() as tx:
            binary = "X'0{0}'" if kind == "sqlite" else "'\\x0{0}'::bytea"
            for statement in (
                *(
                    "INSERT INTO users (id, phone, password_hash, role, status, created_at_ms)"
                    f" VALUES ({number}, '+{number}', 'x', 'user', 'active', 1)"
                    for number in (1, 2)
                ),
                *(
                    "INSERT INTO groups (id, name, multiplier_ppm, created_at_ms, rpm)"
                    f" VALUES ({number}, '{name}', 800000, 1, 7)"
                    for number, name in ((3, "default"), (4, "vip"), (5, "gone"))
                ),
                f"{_TOKEN} (1, 1, 4, 'a', {binary.format(1)}, 'x', '[]', 0, TRUE, 9, NULL)",
                f"{_TOKEN} (2, 1, 4, 'b', {binary.format(2)}, 'x', '[]', 0, TRUE, 5, NULL)",
                f"{_TOKEN} (3, 2, 5, 'c', NULL, 'x', '[]', 0, FALSE, 5, 6)",
            ):
                tx.connection.exec_driver_sql(statement)

        migrate.migrate(database)

        with database.read() as connection:
            found = {group.name: group for group in groups.list_groups(connection)}
            assert groups.granted_ids(connection, 1) == {3, 4}
            assert groups.granted_ids(connection, 2) == {3}
            (member,) = groups.members(connection, found["vip"])
        assert (member.user_id, member.granted_at_ms) == (1, 5)
        assert found["default"].is_default
        assert not found["vip"].is_default
        assert (found["vip"].multiplier_ppm, found["vip"].each_user.rpm) == (800_000, 7)
        database.close()
