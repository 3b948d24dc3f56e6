"""Alerts over HTTP: the channels over which people are told, and what they were told. For
operators (control.access).

A channel's address, signing secret and password come in and never go out.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field
from sqlalchemy.engine import Connection

from aipool.audit.desk import Acting, Desk, Id, Limit, Sent, Shown
from aipool.audit.service import record
from aipool.kit.clock import iso_ms
from aipool.kit.errors import Invalid, NotFound
from aipool.kit.outbound import Vet
from aipool.kit.sealing import Keyring
from aipool.notices import service as notices
from aipool.notices.types import Channel, Delivery, MailServer, Notice, Secrets, Tls

_CHARACTERS_MAX = 4096


class ChannelSent(Sent):
    """A new channel. url, secret: of a webhook or bot.  host, port, tls, user, password, from,
    to: of a mail server.  events: none = all."""

    name: str = Field(max_length=_CHARACTERS_MAX)
    kind: str = Field(max_length=_CHARACTERS_MAX)
    events: list[str] = []
    url: str = ""
    secret: str = ""
    host: str = Field(default="", max_length=_CHARACTERS_MAX)
    port: int = 587
    tls: str = Field(default="starttls", max_length=_CHARACTERS_MAX)
    user: str = Field(default="", max_length=_CHARACTERS_MAX)
    password: str = ""
    sender: str = Field(default="", alias="from", max_length=_CHARACTERS_MAX)
    to: list[str] = []


class ChannelShown(Shown):
    """A channel, without its secrets; the fields of a mail server are null for any other."""

    id: int
    name: str
    kind: str
    host: str
    events: list[str] = Field(description="Empty: all.")
    enabled: bool
    port: int | None = None
    tls: str | None = None
    user: str | None = None
    sender: str | None = Field(default=None, alias="from")
    to: list[str] | None = None


class ChannelsShown(Shown):
    """Every channel."""

    channels: list[ChannelShown]


class DeliveryShown(Shown):
    """What became of an alert on one channel."""

    channel_id: int
    state: str
    tries: int
    error: str
    sent_at: str | None


class AlertShown(Shown):
    """What people were told."""

    id: int
    at: str
    event: str
    target: str
    subject: str
    text: str
    fields: dict[str, str]
    deliveries: list[DeliveryShown]


class AlertsShown(Shown):
    """The newest alerts, newest first."""

    alerts: list[AlertShown]


class TestSentShown(Shown):
    """The alert that a test makes."""

    __test__ = False

    alert: int


def routes(desk: Desk, keyring: Keyring, vet: Vet) -> APIRouter:
    """Channels, and the alerts that were told."""
    router = APIRouter(prefix="/api/alerts")

    @router.get("")
    def list_alerts(limit: Limit = 50) -> AlertsShown:
        """The newest alerts, and what became of them on each channel."""
        with desk.database.read() as connection:
            found = notices.recent(connection, limit)
        return AlertsShown(alerts=[_alert_shown(notice, sent) for notice, sent in found])

    @router.get("/channels")
    def list_channels() -> ChannelsShown:
        """Over which people are told."""
        with desk.database.read() as connection:
            found = notices.list_channels(connection)
        return ChannelsShown(channels=list(map(_channel_shown, found)))

    @router.post("/channels", status_code=201, response_model=ChannelShown)
    def add_channel(sent: ChannelSent, act: Acting) -> Response:
        """Adds a channel: a webhook, a bot, or a mail server."""
        secrets = Secrets(url=sent.url, signing=sent.secret, password=sent.password)
        with desk.database.write() as tx:
            channel = notices.add_channel(
                tx,
                keyring,
                vet,
                name=sent.name,
                kind=sent.kind,
                secrets=secrets,
                mail=_mail(sent),
                events=sent.events,
                at_ms=act.at_ms,
            )
            target, after = f"channel:{channel.id}", notices.audit_fields(channel)
            record(tx, act, "channel.create", target, after=after)
        return desk.done(tx, _channel_shown(channel), 201)

    @router.delete("/channels/{channel_id}", status_code=204)
    def delete_channel(channel_id: Id, act: Acting) -> Response:
        """Deletes a channel, with what was to be sent over it."""
        with desk.database.write() as tx:
            channel = _channel(tx.connection, channel_id)
            notices.delete_channel(tx, channel)
            target, before = f"channel:{channel.id}", notices.audit_fields(channel)
            record(tx, act, "channel.delete", target, before=before)
        return desk.done(tx)

    @router.post("/channels/{channel_id}/test", response_model=TestSentShown)
    def test_channel(channel_id: Id, act: Acting) -> Response:
        """Sends a test over a channel."""
        with desk.database.write() as tx:
            channel = _channel(tx.connection, channel_id)
            notice = notices.send_test(tx, channel, act.at_ms)
            record(tx, act, "channel.test", f"channel:{channel.id}")
        return desk.done(tx, TestSentShown(alert=notice.id))

    return router


def _channel(connection: Connection, channel_id: int) -> Channel:
    for channel in notices.list_channels(connection):
        if channel.id == channel_id:
            return channel
    raise NotFound(
        "channel_unknown",
        f"there is no channel {channel_id}",
        field="channel_id",
        params={"channel": channel_id},
    )


def _mail(sent: ChannelSent) -> MailServer | None:
    """The mail server, when something is said of one. Raises Invalid."""
    if not (sent.host or sent.sender or sent.to):
        return None
    try:
        tls = Tls(sent.tls)
    except ValueError:
        raise Invalid(
            "tls_needed",
            f"it is one of {', '.join(Tls)}",
            field="tls",
            params={"allowed": ", ".join(Tls)},
        ) from None
    return MailServer(sent.host, sent.port, tls, sent.user, sent.sender, tuple(sent.to))


def _channel_shown(channel: Channel) -> ChannelShown:
    mail = channel.mail
    return ChannelShown.model_validate(
        {
            "id": channel.id,
            "name": channel.name,
            "kind": channel.kind.value,
            "host": channel.host,
            "events": [event.value for event in channel.events],
            "enabled": channel.enabled,
            "port": mail.port if mail else None,
            "tls": mail.tls.value if mail else None,
            "user": mail.user if mail else None,
            "from": mail.sender if mail else None,
            "to": list(mail.to) if mail else None,
        }
    )


def _alert_shown(notice: Notice, deliveries: list[Delivery]) -> AlertShown:
    return AlertShown(
        id=notice.id,
        at=iso_ms(notice.at_ms),
        event=notice.event.value,
        target=notice.target,
        subject=notice.subject,
        text=notice.text,
        fields=dict(notice.fields),
        deliveries=[
            DeliveryShown(
                channel_id=one.channel_id,
                state=one.state.value,
                tries=one.tries,
                error=one.error,
                sent_at=None if one.sent_at_ms is None else iso_ms(one.sent_at_ms),
            )
            for one in deliveries
        ],
    )
