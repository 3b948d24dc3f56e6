"""The shapes of groups on the wire. Multipliers are decimal text, of the list price."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

from pydantic import Field

from aipool.audit.desk import Sent, Shown
from aipool.groups.rules import CALL_LIMIT_MAX, DESCRIPTION_CHARACTERS_MAX, checked_description
from aipool.groups.types import CallLimits, Group
from aipool.kit.errors import Invalid
from aipool.kit.money import MoneyError, format_multiplier, parse_multiplier
from aipool.kit.names import NAME_CHARACTERS_MAX, checked_name

_MULTIPLIER_CHARACTERS_MAX = 40
_MODEL_CHARACTERS_MAX = 300
_MODELS_MAX = 5_000

_Count = Annotated[int, Field(ge=1, le=CALL_LIMIT_MAX)] | None
_Model = Annotated[str, Field(min_length=1, max_length=_MODEL_CHARACTERS_MAX)]


class LimitsSent(Sent):
    """How many calls; what is left out, or null, does not limit."""

    rpm: _Count = Field(default=None, description="Calls in any 60 seconds.")
    tpm: _Count = Field(default=None, description="Tokens in any 60 seconds.")
    requests_per_day: _Count = Field(default=None, description="Calls in a UTC day.")
    concurrency: _Count = Field(default=None, description="Calls in flight.")

    @property
    def limits(self) -> CallLimits:
        """The same for the use cases."""
        return CallLimits(**self.model_dump())


class GroupTermsSent(Sent):
    """What a group is. What is left out stays, or is as the default says."""

    name: str = Field(default="", max_length=NAME_CHARACTERS_MAX)
    description: str = Field(default="", max_length=2 * DESCRIPTION_CHARACTERS_MAX)
    multiplier: str = Field(
        default="1",
        max_length=_MULTIPLIER_CHARACTERS_MAX,
        description='Of the list price: "0.8" is a discount.',
    )
    models: list[_Model] | None = Field(
        default=None, max_length=_MODELS_MAX, description="Names; null = every model."
    )
    limits: LimitsSent = Field(
        default=LimitsSent(), description="Of each user in the group, all tokens together."
    )
    group_limits: LimitsSent = Field(default=LimitsSent(), description="Of all users together.")


class GroupSent(GroupTermsSent):
    """A new group."""

    name: str = Field(min_length=1, max_length=NAME_CHARACTERS_MAX)


class GroupChange(GroupTermsSent):
    """What becomes other of a group; what is left out stays."""

    is_default: bool = Field(
        default=False,
        description="true = granted to everybody, in place of the one that was so before.",
    )


def group_with(sent: GroupTermsSent, base: Group) -> Group:
    """The group with what was sent of it in place of what was there. Raises Invalid, which names
    the field."""
    given = sent.model_fields_set
    return replace(
        base,
        name=checked_name(sent.name) if "name" in given else base.name,
        description=(
            checked_description(sent.description) if "description" in given else base.description
        ),
        multiplier_ppm=_ppm(sent.multiplier) if "multiplier" in given else base.multiplier_ppm,
        models=_models(sent.models) if "models" in given else base.models,
        each_user=sent.limits.limits if "limits" in given else base.each_user,
        whole=sent.group_limits.limits if "group_limits" in given else base.whole,
    )


def _ppm(text: str) -> int:
    try:
        return parse_multiplier(text)
    except MoneyError as problem:
        raise Invalid(
            "invalid_multiplier", str(problem), field="multiplier", params=problem.params
        ) from None


def _models(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(sorted(set(names)))


# --- what is shown ----------------------------------------------------------------------------


class LimitsShown(Shown):
    """How many calls; null = no such limit. rpm, tpm: calls and tokens in any 60 seconds.
    requests_per_day: in a UTC day.  concurrency: in flight."""

    rpm: int | None
    tpm: int | None
    requests_per_day: int | None
    concurrency: int | None


class ExampleShown(Shown):
    """What a call costs in this group: so many tokens of that model. Amounts in CNY; list_charge:
    at the list price.  calculation: how it comes about, as a line to read."""

    model: str
    input_tokens: int
    output_tokens: int
    list_charge: str
    charge: str
    calculation: str


class GroupShown(Shown):
    """A pricing group that the caller may choose for a token.

    multiplier: of the list price.  models: what it sells, null = every model.  models_count: how
    many models are on sale in it now.  limits: of each user's calls in it, all tokens together.
    example: null = nothing is on sale in it.
    """

    id: int
    name: str
    description: str
    multiplier: str
    is_default: bool
    models: list[str] | None
    models_count: int
    limits: LimitsShown
    example: ExampleShown | None


class GroupsShown(Shown):
    """Groups; there is one page."""

    items: list[GroupShown]
    next_cursor: str | None = None


class GroupForAdmins(Shown):
    """A pricing group. limits: of each user in it; group_limits: of all together.

    members_count: users to whom it is granted by name; the default one is granted to everybody.
    tokens_count: API tokens in it.
    """

    id: int
    name: str
    description: str
    multiplier: str
    is_default: bool
    models: list[str] | None
    limits: LimitsShown
    group_limits: LimitsShown
    members_count: int
    tokens_count: int


class GroupsForAdmins(Shown):
    """Groups; there is one page."""

    items: list[GroupForAdmins]
    next_cursor: str | None = None


class MemberShown(Shown):
    """A user to whom a group is granted by name. label: the number, the address or the id."""

    user_id: int
    label: str
    name: str
    granted_at: str
    granted_by: str


class MembersShown(Shown):
    """A page of them. next_cursor: for the next one, null = this was the last."""

    items: list[MemberShown]
    next_cursor: str | None


class GroupDeleted(Shown):
    """What was moved to the group that took its place. tokens_left: those whose owners the group
    had been taken from; they stay refused until another is chosen for them."""

    tokens_moved: int
    tokens_left: int
    users_moved: int
    routes_moved: int


def limits_shown(limits: CallLimits) -> LimitsShown:
    """Limits of calls, on the wire."""
    return LimitsShown(**asdict(limits))


def shown_to_admins(group: Group, *, members: int, tokens: int) -> GroupForAdmins:
    """A group with how many use it."""
    return GroupForAdmins(
        id=group.id,
        name=group.name,
        description=group.description,
        multiplier=format_multiplier(group.multiplier_ppm),
        is_default=group.is_default,
        models=None if group.models is None else list(group.models),
        limits=limits_shown(group.each_user),
        group_limits=limits_shown(group.whole),
        members_count=members,
        tokens_count=tokens,
    )
