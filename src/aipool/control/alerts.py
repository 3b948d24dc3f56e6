"""Alerts over HTTP: the channels over which people are told, and what they were told. For
operators (control.access).

A channel's address, signing secret and password come in and never go out.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field
from sqlalchemy.engine import Connection

from aipool.audit.desk import Acting, Desk, Id, Limit, Sent
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


def routes(desk: Desk, keyring: Keyring, vet: Vet) -> APIRouter:
    """Channels, and the alerts that were told."""
    router = APIRouter(prefix="/api/alerts")

    @router.get("")
    def list_alerts(limit: Limit = 50) -> dict[str, Any]:
        with desk.database.read() as connection:
            found = notices.recent(connection, limit)
        return {"alerts": [_alert_shown(notice, sent) for notice, sent in found]}

    @router.get("/channels")
    def list_channels() -> dict[str, Any]:
        with desk.database.read() as connection:
            found = notices.list_channels(connection)
        return {"channels": [_channel_shown(channel) for channel in found]}

    @router.post("/channels")
    def add_channel(sent: ChannelSent, act: Acting) -> Response:
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

    @router.delete("/channels/{channel_id}")
    def delete_channel(channel_id: Id, act: Acting) -> Response:
        with desk.database.write() as tx:
            channel = _channel(tx.connection, channel_id)
            notices.delete_channel(tx, channel)
            target, before = f"channel:{channel.id}", notices.audit_fields(channel)
            record(tx, act, "channel.delete", target, before=before)
        return desk.done(tx)

    @router.post("/channels/{channel_id}/test")
    def test_channel(channel_id: Id, act: Acting) -> Response:
        with desk.database.write() as tx:
            channel = _channel(tx.connection, channel_id)
            notice = notices.send_test(tx, channel, act.at_ms)
            record(tx, act, "channel.test", f"channel:{channel.id}")
        return desk.done(tx, {"alert": notice.id})

    return router


def _channel(connection: Connection, channel_id: int) -> Channel:
    for channel in notices.list_channels(connection):
        if channel.id == channel_id:
            return channel
    raise NotFound("channel_unknown", f"there is no channel {channel_id}", field="channel_id")


def _mail(sent: ChannelSent) -> MailServer | None:
    """The mail server, when something is said of one. Raises Invalid."""
    if not (sent.host or sent.sender or sent.to):
        return None
    try:
        tls = Tls(sent.tls)
    except ValueError:
        raise Invalid("tls_needed", f"it is one of {', '.join(Tls)}", field="tls") from None
    return MailServer(sent.host, sent.port, tls, sent.user, sent.sender, tuple(sent.to))


def _channel_shown(channel: Channel) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": channel.id,
        "name": channel.name,
        "kind": channel.kind.value,
        "host": channel.host,
        "events": [event.value for event in channel.events],
        "enabled": channel.enabled,
    }
    if channel.mail is not None:
        mail = channel.mail
        shown |= {
            "port": mail.port,
            "tls": mail.tls.value,
            "user": mail.user,
            "from": mail.sender,
            "to": list(mail.to),
        }
    return shown


def _alert_shown(notice: Notice, deliveries: list[Delivery]) -> dict[str, Any]:
    return {
        "id": notice.id,
        "at": iso_ms(notice.at_ms),
        "event": notice.event.value,
        "target": notice.target,
        "subject": notice.subject,
        "text": notice.text,
        "fields": dict(notice.fields),
        "deliveries": [
            {
                "channel_id": one.channel_id,
                "state": one.state.value,
                "tries": one.tries,
                "error": one.error,
                "sent_at": None if one.sent_at_ms is None else iso_ms(one.sent_at_ms),
            }
            for one in deliveries
        ],
    }
