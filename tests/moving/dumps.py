"""Dumps in the documented shape of new-api, made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pysqlite3

#: 48 letters and digits, as that program makes them; `sk-` is not kept.
KEYS = {number: f"{number:02}" + "aZ0xQ7" * 7 + "Kq12" for number in range(1, 8)}

Dump = dict[str, list[dict[str, Any]]]


def user(number: int, username: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "username": username,
        "password": "$2a$10$abcdefghijklmnopqrstuv",
        "display_name": username.title(),
        "role": 1,
        "status": 1,
        "email": "",
        "access_token": None,
        "quota": 0,
        "used_quota": 7,
        "group": "default",
        "deleted_at": None,
        **fields,
    }


def token(number: int, user_id: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "user_id": user_id,
        "key": KEYS[number],
        "status": 1,
        "name": "prod",
        "created_time": 1_700_000_000,
        "expired_time": -1,
        "remain_quota": 0,
        "unlimited_quota": 1,
        "model_limits_enabled": 0,
        "model_limits": "",
        "allow_ips": "",
        "used_quota": 0,
        "group": "",
        "deleted_at": None,
        **fields,
    }


def channel(number: int, kind: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "type": kind,
        "key": "sk-0123456789abcdef0123456789",
        "status": 1,
        "name": f"ch{number}",
        "base_url": "",
        "models": "gpt-4o,gpt-4o-mini",
        "group": "default",
        "model_mapping": "",
        "priority": 0,
        "channel_info": '{"is_multi_key": false, "note": "it\'s; a \\\\ test"}',
        **fields,
    }


OPTIONS: dict[str, Any] = {
    "ModelRatio": {"gpt-4o": 1.25, "gpt-4o-mini": 0.075, "text-embedding-3-small": 0.01},
    "CompletionRatio": {"gpt-4o": 4},
    "CacheRatio": {"gpt-4o": 0.5},
    "ModelPrice": {"dall-e-3": 0.04},
    "GroupRatio": {"default": 1, "vip": 0.8},
    "SystemName": "somebody's shop",
}


def small() -> Dump:
    """Two customers, an administrator and somebody who left; three tokens; three channels."""
    return {
        "users": [
            user(1, "root", role=100, email="Root@Example.com"),
            user(2, "13800138055", quota=1_250_001, group="vip"),
            user(3, "o'brien; DROP", quota=-5, status=2),
            user(4, "left", quota=9, deleted_at="2026-01-01 00:00:00"),
        ],
        "tokens": [
            token(1, 2, unlimited_quota=0, remain_quota=500_000, allow_ips="203.0.113.7\n::1"),
            token(2, 2, model_limits_enabled=1, model_limits="gpt-4o,gone", group="auto"),
            token(3, 3, status=2, expired_time=1_900_000_000),
            token(4, 4),
            token(5, 2, key="short"),
            token(6, 2, deleted_at="2026-01-01 00:00:00"),
        ],
        "channels": [
            channel(1, 1, key="sk-aaaaaaaaaaaaaaaaaaaaaaaa\nsk-bbbbbbbbbbbbbbbbbbbbbbbb"),
            channel(
                2,
                43,
                models="deepseek-chat,gpt-4o",
                model_mapping='{"gpt-4o": "deepseek-chat"}',
                group="vip",
                priority=10,
            ),
            channel(3, 50, base_url="https://kling.example", models="kling-v2-6"),
            channel(4, 8, base_url=""),
            channel(5, 1, models="dall-e-3,text-embedding-3-small", group="default,vip"),
        ],
        "options": [
            {"key": key, "value": json.dumps(value) if isinstance(value, dict) else value}
            for key, value in OPTIONS.items()
        ],
    }


def as_json(path: Path, dump: Dump) -> Path:
    path.write_text(json.dumps(dump))
    return path


def as_sqlite(path: Path, dump: Dump) -> Path:
    database = pysqlite3.connect(path)
    for table, rows in dump.items():
        columns = list(rows[0])
        names = ", ".join(f'"{column}"' for column in columns)
        database.execute(f'CREATE TABLE "{table}" ({names})')
        marks = ", ".join("?" * len(columns))
        database.executemany(
            f'INSERT INTO "{table}" VALUES ({marks})', [list(row.values()) for row in rows]
        )
    database.execute("CREATE TABLE logs (id)")
    database.commit()
    database.close()
    return path


def as_mysql(path: Path, dump: Dump) -> Path:
    """As mysqldump writes it: columns in CREATE TABLE, a backslash before what must not end."""

    def literal(value: Any) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, int | float):
            return str(value)
        text = str(value).replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return f"'{text}'"

    parts = ["-- MySQL dump 10.13; it's a comment\n/*!40101 SET NAMES utf8mb4 */;\n"]
    for table, rows in dump.items():
        columns = ",\n".join(f"  `{column}` longtext" for column in rows[0])
        parts.append(f"DROP TABLE IF EXISTS `{table}`;\n")
        parts.append(
            f"CREATE TABLE `{table}` (\n{columns},\n  PRIMARY KEY (`{next(iter(rows[0]))}`),\n"
            "  KEY `idx_x` (`id`)\n) ENGINE=InnoDB;\n"
        )
        values = ",".join(f"({','.join(map(literal, row.values()))})" for row in rows)
        parts.append(f"INSERT INTO `{table}` VALUES {values};\n")
    parts.append("INSERT INTO `logs` VALUES (1,'INSERT INTO `users` VALUES (9)');\n")
    path.write_text("".join(parts))
    return path


def as_postgres(path: Path, dump: Dump) -> Path:
    """As pg_dump --column-inserts writes it: a backslash is one."""

    def literal(value: Any) -> str:
        if value is None:
            return "NULL"
        return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"

    parts = ["--\n-- PostgreSQL database dump\n--\nSET client_encoding = 'UTF8';\n"]
    for table, rows in dump.items():
        for row in rows:
            names = ", ".join(f'"{name}"' if name in ("group", "key") else name for name in row)
            values = ", ".join(map(literal, row.values()))
            parts.append(f"INSERT INTO public.{table} ({names}) VALUES ({values});\n")
    path.write_text("".join(parts))
    return path


WRITERS = {
    "json": as_json,
    "sqlite": as_sqlite,
    "mysql": as_mysql,
    "postgres": as_postgres,
}
