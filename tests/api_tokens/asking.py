"""What tests of API tokens ask over the interface, and what they look up beside it."""

from __future__ import annotations

from typing import Any

from aipool.accounts.types import User
from aipool.books.publish import token_view
from aipool.doors.snapshot import TokenView
from aipool.groups import service as groups
from aipool.groups.types import Group
from aipool.kit.digests import digest
from tests.control.api_rig import Api


def make(person: Api, name: str = "t", **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = person.good("POST", "/api/tokens", {"name": name, **fields})
    return made


def change(person: Api, token: dict[str, Any], **fields: Any) -> dict[str, Any]:
    changed: dict[str, Any] = person.good("PATCH", f"/api/tokens/{token['id']}", fields)
    return changed


def listed(person: Api, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = person.good("GET", f"/api/tokens{query}")["items"]
    return items


def seen_by_workers(opened: Api, secret: str) -> TokenView | None:
    with opened.world.database.read() as connection:
        return token_view(connection, digest(opened.world.secrets.pepper, secret.encode()))


def group_named(opened: Api, name: str) -> Group:
    with opened.world.database.read() as connection:
        return groups.get_group(connection, name)


def granted(opened: Api, person: Api, name: str) -> Group:
    group = group_named(opened, name)
    with opened.world.database.write() as tx:
        groups.grant(tx, opened.world.act, user_of(person).id, group)
    return group


def user_of(person: Api) -> User:
    assert person.user is not None
    return person.user


def ask_self(opened: Api, secret: str, address: str = "203.0.113.9") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-For": address}
    said = opened.ask("GET", "/v1/token", headers=headers)
    return said.status, said.json
