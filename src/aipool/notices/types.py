"""The words of notices.

notice     something happened that a person should know; written once, where it happened
channel    a way to reach people: a webhook, a mail server, a group's bot
delivery   one notice on one channel: pending until it is sent, or given up
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

ChannelId = NewType("ChannelId", int)
NoticeId = NewType("NoticeId", int)


class Event(StrEnum):
    """What can be told of."""

    KEY_EXCEEDED = "key_exceeded"
    KEY_INVALID = "key_invalid"
    MODEL_WITHOUT_KEY = "model_without_key"
    BALANCE_LOW = "balance_low"
    TEST = "test"


#: A sentence about each event, for those who choose among them.
EVENTS: Mapping[Event, str] = {
    Event.KEY_EXCEEDED: "An upstream key has used up what its vendor allows it.",
    Event.KEY_INVALID: "A vendor refuses an upstream key.",
    Event.MODEL_WITHOUT_KEY: "No upstream key that could answer for a model is left.",
    Event.BALANCE_LOW: "A vendor's balance fell below what was set.",
    Event.TEST: "Somebody tries out a channel.",
}


class Kind(StrEnum):
    """What a channel speaks."""

    WEBHOOK = "webhook"
    MAIL = "mail"
    FEISHU = "feishu"
    DINGTALK = "dingtalk"
    WECOM = "wecom"


class Tls(StrEnum):
    """How a mail server is spoken to."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in, from whom it comes and to whom it goes. The password is not here."""

    host: str
    port: int
    tls: Tls
    user: str
    sender: str
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to reach people, as it is shown: without its secrets.

    host: of a webhook or bot, whose whole address is a secret, or of the mail server.
    mail: of a mail channel only.  events: what it wants, empty = all.
    """

    id: ChannelId
    name: str
    kind: Kind
    host: str
    mail: MailServer | None
    events: tuple[Event, ...]
    enabled: bool


@dataclass(frozen=True, slots=True)
class Secrets:
    """What of a channel nobody is shown.

    url: of a webhook or bot; it carries the token.  signing: what messages are signed with,
    "" = not signed.  password: of the mail server.
    """

    url: str = field(default="", repr=False)
    signing: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened. target: what it happened to, "key:7".  fields: more of it."""

    id: NoticeId
    at_ms: int
    event: Event
    target: str
    subject: str
    text: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notice on one channel. next_at_ms: when it is due, while it is pending.
    error: why the last try failed, "" when it did not."""

    notice: Notice
    channel_id: ChannelId
    state: State
    tries: int
    next_at_ms: int
    error: str
    sent_at_ms: int | None
