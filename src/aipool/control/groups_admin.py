"""Groups over HTTP: what a user may choose, and for administrators what there is.

Deleting a group that is in use needs another one, which a person names: its tokens, its users and
the routes that are limited to it go there, in one transaction. Tokens of users whom the group was
taken from before stay where they are, refused until their owners choose another. Nothing else moves
a token to another price; the command line does the same (`dissolve`).

Refusals (kit.errors):
    group_in_use, group_is_default                             409
    target_is_itself, default_needed, invalid_multiplier       422
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.engine import Connection

from aipool.accounts import service as accounts
from aipool.accounts.callers import Asking
from aipool.api_tokens import service as api_tokens
from aipool.apply import lowering
from aipool.apply.lowering import Lowered
from aipool.audit.desk import LATER, Acting, AskedId, Desk, Id, Limit
from aipool.audit.types import Act
from aipool.catalog import rules as catalog_rules
from aipool.catalog import service as catalog
from aipool.catalog.types import Kind, Model
from aipool.groups import service as groups
from aipool.groups.schemas import (
    ExampleShown,
    GroupChange,
    GroupDeleted,
    GroupForAdmins,
    GroupSent,
    GroupsForAdmins,
    GroupShown,
    GroupsShown,
    MemberShown,
    MembersShown,
    group_with,
    limits_shown,
    shown_to_admins,
)
from aipool.groups.types import Group, GroupId
from aipool.kit.clock import iso_ms
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid
from aipool.kit.money import PPM, format_cny, format_multiplier
from aipool.rating.rate import rate
from aipool.rating.types import Usage

#: Of the worked example: about a page that is read, and half of one that is written.
_EXAMPLE_TOKENS = (1000, 500)

GiveBack = Callable[[Lowered], None]


@dataclass(frozen=True, slots=True)
class Moved:
    """What a deleted group left to its heir. tokens_left: those that stay behind, refused: the
    group had been taken from their owners."""

    tokens: int
    tokens_left: int
    users: int
    routes: int


def dissolve(tx: Transaction, act: Act, group: Group, heir: Group | None) -> Moved:
    """The group is gone for good; what was in it is in its heir, the one a person chose.

    heir: None = nothing is in it. Raises Conflict when something is, and for the default group.
    """
    if heir is not None and heir.id == group.id:
        raise Invalid("target_is_itself", "it cannot take its own place", field="target")
    if group.is_default:
        # Before anything is moved; the use case below says it in its own words.
        groups.delete_group(tx, act, group, heir)
    tokens = api_tokens.counts_by_group(tx.connection).get(group.id, 0)
    users = groups.member_counts(tx.connection).get(group.id, 0)
    limited = _models_limited_to(tx.connection, group.id)
    if heir is None:
        if tokens or users or limited:
            raise Conflict(
                "group_in_use",
                f"{tokens} tokens, {users} users and {len(limited)} models use it: name the group "
                "that takes its place",
                field="target",
                more={"tokens": tokens, "users": users, "models": [one.name for one in limited]},
                params={"tokens": tokens, "users": users, "models": len(limited)},
            )
        moved = 0
    else:
        moved = api_tokens.move_group(tx, act, group, heir)
        for model in limited:
            _move_routes(tx, act, model, group.id, heir.id)
    groups.delete_group(tx, act, group, heir)
    return Moved(moved, tokens - moved, users, len(limited))


def routes(desk: Desk, give_back: GiveBack) -> APIRouter:
    """The groups of the caller, and of everybody. give_back: has workers return what a lower
    limit takes away (control.collecting)."""
    router = APIRouter(prefix="/api")
    _add_own(router, desk)
    _add_lists(router, desk)
    _add_changes(router, desk, give_back)
    return router


def _add_own(router: APIRouter, desk: Desk) -> None:
    @router.get("/groups")
    def list_own_groups(caller: Asking) -> GroupsShown:
        """The groups that are granted to the caller, the default one first."""
        with desk.database.read() as connection:
            found = groups.granted_groups(connection, caller.user.id)
            on_sale = [model for model in catalog.list_models(connection) if model.enabled]
        return GroupsShown(items=[_shown(group, on_sale) for group in found])


def _add_lists(router: APIRouter, desk: Desk) -> None:
    @router.get("/admin/groups")
    def list_groups() -> GroupsForAdmins:
        """Every group, with how many use it."""
        with desk.database.read() as connection:
            return GroupsForAdmins(items=_for_admins(connection, groups.list_groups(connection)))

    @router.get("/admin/groups/{group_id}")
    def show_group(group_id: Id) -> GroupForAdmins:
        """One group."""
        with desk.database.read() as connection:
            (shown,) = _for_admins(connection, [groups.group_by_id(connection, group_id)])
        return shown

    @router.get("/admin/groups/{group_id}/members")
    def list_members(
        caller: Asking, group_id: Id, limit: Limit = 50, cursor: AskedId = None
    ) -> MembersShown:
        """The users to whom a group is granted by name."""
        with desk.database.read() as connection:
            group = groups.group_by_id(connection, group_id)
            found = groups.members(connection, group, after_user_id=cursor or 0, limit=limit + 1)
            people = accounts.users_by_ids(connection, [one.user_id for one in found])
            masked = accounts.masked_among(connection, caller.user, people)
        shown = [
            MemberShown(
                user_id=one.user_id,
                label="" if one.user_id in masked else people[one.user_id].label,
                name="" if one.user_id in masked else people[one.user_id].name,
                granted_at=iso_ms(one.granted_at_ms),
                granted_by=one.actor,
            )
            for one in found[:limit]
        ]
        more = str(shown[-1].user_id) if len(found) > limit else None
        return MembersShown(items=shown, next_cursor=more)


def _add_changes(router: APIRouter, desk: Desk, give_back: GiveBack) -> None:
    @router.post("/admin/groups", status_code=201, response_model=GroupForAdmins, responses=LATER)
    def create_group(sent: GroupSent, act: Acting) -> Response:
        """A new group; nobody may choose it before it is granted."""
        wanted = group_with(sent, Group(GroupId(0), "", PPM, None))
        with desk.database.write() as tx:
            groups.refuse_taken_name(tx.connection, wanted.name)
            catalog.check_names(tx.connection, wanted.models or ())
            group, _ = groups.put_group(
                tx,
                act,
                name=wanted.name,
                multiplier_ppm=wanted.multiplier_ppm,
                models=wanted.models,
                each_user=wanted.each_user,
                whole=wanted.whole,
                description=wanted.description,
            )
            (shown,) = _for_admins(tx.connection, [group])
        return desk.done(tx, shown, 201)

    @router.patch("/admin/groups/{group_id}", response_model=GroupForAdmins, responses=LATER)
    def change_group(group_id: Id, sent: GroupChange, act: Acting) -> Response:
        """Other terms; a call that has begun keeps those it began with."""
        with desk.database.read() as connection:
            before = groups.group_by_id(connection, group_id)
        wanted = group_with(sent, before)
        lowered = lowering.by_group(before, wanted.each_user, wanted.whole)
        give_back(lowered)
        with desk.database.write() as tx:
            before = groups.group_by_id(tx.connection, group_id)
            wanted = group_with(sent, before)
            if wanted.models != before.models:
                catalog.check_names(tx.connection, wanted.models or ())
            group, _ = groups.change_group(tx, act, before, wanted)
            if "is_default" in sent.model_fields_set:
                group = _default_as_sent(tx, act, group, is_default=sent.is_default)
            (shown,) = _for_admins(tx.connection, [group])
        give_back(lowered)
        return desk.done(tx, shown)

    @router.delete("/admin/groups/{group_id}", response_model=GroupDeleted, responses=LATER)
    def remove_group(group_id: Id, act: Acting, target: AskedId = None) -> Response:
        """A group that is in use needs a target: its tokens, users and routes go there, but for
        tokens whose owners it was taken from, which stay refused."""
        with desk.database.write() as tx:
            group = groups.group_by_id(tx.connection, group_id)
            heir = None if target is None else groups.group_by_id(tx.connection, target)
            moved = dissolve(tx, act, group, heir)
        shown = GroupDeleted(
            tokens_moved=moved.tokens,
            tokens_left=moved.tokens_left,
            users_moved=moved.users,
            routes_moved=moved.routes,
        )
        return desk.done(tx, shown)


def _default_as_sent(tx: Transaction, act: Act, group: Group, *, is_default: bool) -> Group:
    if is_default:
        return groups.make_default(tx, act, group)
    if group.is_default:
        raise Invalid(
            "default_needed",
            "one group is the default: make another one it instead",
            field="is_default",
        )
    return group


# --- what names a group -----------------------------------------------------------------------


def _models_limited_to(connection: Connection, group_id: int) -> list[Model]:
    return [
        model
        for model in catalog.list_models(connection)
        if any(group_id in route.groups for route in model.routes)
    ]


def _move_routes(tx: Transaction, act: Act, model: Model, group_id: int, heir_id: int) -> None:
    """A list that names the group names its heir: an emptied list would mean every group."""
    routed = [
        route._replace(groups=_replaced(route.groups, group_id, heir_id)) for route in model.routes
    ]
    catalog.put_routes(tx, act, model, routed)


def _replaced(ids: Collection[int], group_id: int, heir_id: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys(heir_id if one == group_id else one for one in ids))


# --- how they are shown -----------------------------------------------------------------------


def _for_admins(connection: Connection, found: Sequence[Group]) -> list[GroupForAdmins]:
    members = groups.member_counts(connection)
    tokens = api_tokens.counts_by_group(connection)
    return [
        shown_to_admins(group, members=members.get(group.id, 0), tokens=tokens.get(group.id, 0))
        for group in found
    ]


def _shown(group: Group, on_sale: Sequence[Model]) -> GroupShown:
    sold = [model for model in on_sale if _sells(group, model)]
    return GroupShown(
        id=group.id,
        name=group.name,
        description=group.description,
        multiplier=format_multiplier(group.multiplier_ppm),
        is_default=group.is_default,
        models=None if group.models is None else list(group.models),
        models_count=len(sold),
        limits=limits_shown(group.each_user),
        example=_example(group, sold),
    )


def _sells(group: Group, model: Model) -> bool:
    named = group.models is None or model.name in group.models
    return named and catalog_rules.is_routed(model, group.id)


def _example(group: Group, sold: Sequence[Model]) -> ExampleShown | None:
    """A call of the first model that chats, charged as a real one would be."""
    model = next((one for one in sold if one.kind is Kind.CHAT), None)
    if model is None:
        return None
    input_tokens, output_tokens = _EXAMPLE_TOKENS
    usage = Usage(input_tokens, 0, output_tokens, 0)
    list_charge = format_cny(rate(usage, model.price, PPM))
    charge = format_cny(rate(usage, model.price, group.multiplier_ppm))
    multiplier = format_multiplier(group.multiplier_ppm)
    return ExampleShown(
        model=model.name,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        list_charge=list_charge,
        charge=charge,
        calculation=f"¥{list_charge} × {multiplier} = ¥{charge}",
    )
