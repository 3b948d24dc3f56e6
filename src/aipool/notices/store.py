"""The statements of notices, one function each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.notices.tables import notice_channels, notice_deliveries, notices
from aipool.notices.types import (
    Channel,
    ChannelId,
    Delivery,
    Event,
    Kind,
    MailServer,
    Notice,
    NoticeId,
    State,
    Tls,
)

_CHANNEL = (
    notice_channels.c.id,
    notice_channels.c.name,
    notice_channels.c.kind,
    notice_channels.c.config,
    notice_channels.c.events,
    notice_channels.c.enabled,
)
_NOTICE = tuple(notices.c)
_DELIVERY = (
    *_NOTICE,
    notice_deliveries.c.channel_id,
    notice_deliveries.c.state,
    notice_deliveries.c.tries,
    notice_deliveries.c.next_at_ms,
    notice_deliveries.c.last_error,
    notice_deliveries.c.sent_at_ms,
)


# --- channels ------------------------------------------------------------------------------


def insert_channel(
    connection: Connection,
    *,
    name: str,
    kind: Kind,
    config: Mapping[str, Any],
    events: Sequence[Event],
    at_ms: int,
) -> Channel:
    """A new channel, enabled, whose secret is still to be sealed."""
    row = connection.execute(
        sa.insert(notice_channels)
        .values(
            name=name,
            kind=str(kind),
            config=dict(config),
            sealed_secret="",
            events=[str(event) for event in events],
            enabled=True,
            created_at_ms=at_ms,
        )
        .returning(*_CHANNEL)
    ).one()
    return _channel(row)


def update_secret(connection: Connection, channel_id: int, sealed_secret: str) -> None:
    """The sealed secrets of a channel."""
    _update_channel(connection, channel_id, sealed_secret=sealed_secret)


def update_enabled(connection: Connection, channel_id: int, *, enabled: bool) -> None:
    """Whether a channel is told anything."""
    _update_channel(connection, channel_id, enabled=enabled)


def delete_channel(connection: Connection, channel_id: int) -> None:
    """Forgets a channel and its deliveries."""
    connection.execute(sa.delete(notice_channels).where(notice_channels.c.id == channel_id))


def list_channels(connection: Connection) -> list[Channel]:
    """Every channel, in the order they were made."""
    rows = connection.execute(sa.select(*_CHANNEL).order_by(notice_channels.c.id))
    return [_channel(row) for row in rows]


def channels_to_tell(connection: Connection) -> list[Channel]:
    """The enabled channels, none of which can be deleted until this transaction ends."""
    query = sa.select(*_CHANNEL).where(notice_channels.c.enabled).order_by(notice_channels.c.id)
    rows = connection.execute(query.with_for_update(read=True, key_share=True))
    return [_channel(row) for row in rows]


def channel_by_id(connection: Connection, channel_id: int) -> Channel | None:
    """The channel of this id."""
    query = sa.select(*_CHANNEL).where(notice_channels.c.id == channel_id)
    row = connection.execute(query).one_or_none()
    return _channel(row) if row else None


def channel_by_name(connection: Connection, name: str) -> Channel | None:
    """The channel of this name."""
    query = sa.select(*_CHANNEL).where(notice_channels.c.name == name)
    row = connection.execute(query).one_or_none()
    return _channel(row) if row else None


def sealed_secret(connection: Connection, channel_id: int) -> str:
    """The sealed secrets of a channel."""
    column = notice_channels.c.sealed_secret
    query = sa.select(column).where(notice_channels.c.id == channel_id)
    return str(connection.execute(query).scalar_one())


# --- notices -------------------------------------------------------------------------------


def raised_between(
    connection: Connection, event: Event, target: str, after_ms: int, before_ms: int
) -> bool:
    """Is there a notice of this event of this target between two moments, without these?"""
    query = (
        sa.select(notices.c.id)
        .where(notices.c.target == target, notices.c.event == str(event))
        .where(notices.c.at_ms > after_ms, notices.c.at_ms < before_ms)
        .limit(1)
    )
    return connection.execute(query).first() is not None


def insert_notice(
    connection: Connection,
    *,
    at_ms: int,
    event: Event,
    target: str,
    subject: str,
    text: str,
    fields: Mapping[str, str],
) -> NoticeId:
    """A new notice."""
    number = connection.execute(
        sa.insert(notices)
        .values(
            at_ms=at_ms,
            event=str(event),
            target=target,
            subject=subject,
            text=text,
            fields=dict(fields),
        )
        .returning(notices.c.id)
    ).scalar_one()
    return NoticeId(number)


def delete_notices(connection: Connection, before_ms: int) -> int:
    """Forgets notices of before this moment and their deliveries. Gives how many."""
    return connection.execute(sa.delete(notices).where(notices.c.at_ms < before_ms)).rowcount


# --- deliveries ----------------------------------------------------------------------------


def insert_deliveries(
    connection: Connection, notice_id: NoticeId, channel_ids: Sequence[ChannelId], at_ms: int
) -> None:
    """A notice is to go to these channels, now."""
    if channel_ids:
        connection.execute(
            sa.insert(notice_deliveries),
            [
                {
                    "notice_id": notice_id,
                    "channel_id": channel_id,
                    "state": str(State.PENDING),
                    "tries": 0,
                    "next_at_ms": at_ms,
                    "last_error": "",
                    "sent_at_ms": None,
                }
                for channel_id in channel_ids
            ],
        )


def due_channels(connection: Connection, at_ms: int, limit: int) -> list[ChannelId]:
    """The channels for which a delivery is due, the one that waits longest first."""
    table = notice_deliveries
    query = (
        sa.select(table.c.channel_id)
        .where(table.c.state == str(State.PENDING), table.c.next_at_ms <= at_ms)
        .group_by(table.c.channel_id)
        .order_by(sa.func.min(table.c.next_at_ms), table.c.channel_id)
        .limit(limit)
    )
    return [ChannelId(row[0]) for row in connection.execute(query)]


def first_due(connection: Connection, channel_id: ChannelId, at_ms: int) -> Delivery | None:
    """The oldest notice that is due on this channel."""
    table = notice_deliveries
    query = (
        _deliveries()
        .where(table.c.channel_id == channel_id, table.c.state == str(State.PENDING))
        .where(table.c.next_at_ms <= at_ms)
        .order_by(table.c.notice_id)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return _delivery(row) if row else None


def claim(connection: Connection, delivery: Delivery, next_at_ms: int) -> bool:
    """Makes a delivery due at another moment, unless somebody else has done so."""
    return _update_delivery(
        connection,
        delivery,
        notice_deliveries.c.next_at_ms == delivery.next_at_ms,
        next_at_ms=next_at_ms,
    )


def update_sent(connection: Connection, delivery: Delivery, at_ms: int, remark: str) -> bool:
    """It arrived."""
    return _update_delivery(
        connection,
        delivery,
        state=str(State.SENT),
        tries=delivery.tries + 1,
        sent_at_ms=at_ms,
        last_error=remark,
    )


def update_failed(
    connection: Connection, delivery: Delivery, reason: str, next_at_ms: int | None
) -> bool:
    """It did not arrive; None = and is not tried again."""
    values: dict[str, Any] = {"tries": delivery.tries + 1, "last_error": reason}
    if next_at_ms is None:
        values["state"] = str(State.FAILED)
    else:
        values["next_at_ms"] = next_at_ms
    return _update_delivery(connection, delivery, **values)


def give_up(connection: Connection, channel_id: ChannelId, reason: str) -> None:
    """What waits for this channel is not sent any more."""
    connection.execute(
        sa.update(notice_deliveries)
        .where(notice_deliveries.c.channel_id == channel_id)
        .where(notice_deliveries.c.state == str(State.PENDING))
        .values(state=str(State.FAILED), last_error=reason)
    )


def newest_notices(connection: Connection, limit: int) -> list[Notice]:
    """The newest notices first."""
    query = sa.select(*_NOTICE).order_by(notices.c.id.desc()).limit(limit)
    return [_notice(row) for row in connection.execute(query)]


def deliveries_of(connection: Connection, notice_ids: Sequence[NoticeId]) -> list[Delivery]:
    """The deliveries of these notices."""
    query = (
        _deliveries()
        .where(notice_deliveries.c.notice_id.in_(notice_ids))
        .order_by(notice_deliveries.c.notice_id, notice_deliveries.c.channel_id)
    )
    return [_delivery(row) for row in connection.execute(query)]


# --- inside --------------------------------------------------------------------------------


def _deliveries() -> sa.Select[Any]:
    return sa.select(*_DELIVERY).join_from(
        notice_deliveries, notices, notices.c.id == notice_deliveries.c.notice_id
    )


def _update_channel(connection: Connection, channel_id: int, **values: object) -> None:
    table = notice_channels
    connection.execute(sa.update(table).where(table.c.id == channel_id).values(**values))


def _update_delivery(
    connection: Connection,
    delivery: Delivery,
    *conditions: sa.ColumnElement[bool],
    **values: object,
) -> bool:
    """Changes a delivery that is still pending. False = it is not, or is no more."""
    table = notice_deliveries
    changed = connection.execute(
        sa.update(table)
        .where(table.c.notice_id == delivery.notice.id)
        .where(table.c.channel_id == delivery.channel_id)
        .where(table.c.state == str(State.PENDING), *conditions)
        .values(**values)
    )
    return changed.rowcount == 1


def _channel(row: Any) -> Channel:
    channel_id, name, kind, config, events, enabled = row
    mail = None
    if Kind(kind) is Kind.MAIL:
        mail = MailServer(
            config["host"],
            config["port"],
            Tls(config["tls"]),
            config["user"],
            config["from"],
            tuple(config["to"]),
        )
    return Channel(
        ChannelId(channel_id),
        name,
        Kind(kind),
        config["host"],
        mail,
        tuple(Event(event) for event in events),
        bool(enabled),
    )


def _notice(row: Any) -> Notice:
    notice_id, at_ms, event, target, subject, text, fields = row
    return Notice(NoticeId(notice_id), at_ms, Event(event), target, subject, text, fields)


def _delivery(row: Any) -> Delivery:
    channel_id, state, tries, next_at_ms, error, sent_at_ms = row[len(_NOTICE) :]
    return Delivery(
        _notice(row[: len(_NOTICE)]),
        ChannelId(channel_id),
        State(state),
        tries,
        next_at_ms,
        error,
        sent_at_ms,
    )
