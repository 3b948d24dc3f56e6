"""Use cases of notices.

A notice is written in the transaction of what it tells of, so it is told if and only if that
happened. Sending is another matter and another process: deliveries that are pending are looked
for, claimed, tried, and tried again later (control.deliveries). A claim moves the moment at
which a delivery is due, so that what a process did not live to see the end of is repeated by
the next one: a notice comes at least once, and its number says that it came before.

Refusals (kit.errors):
    event_unknown, kind_unknown, url_missing, url_not_allowed, secret_missing,
    secret_not_used, malformed_secret, malformed_login, malformed_address,
    host_not_allowed, port_not_allowed, tls_needed, too_many_channels      422
    channel_unknown                                                        404
    channel_exists                                                         409
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid, NotFound
from aipool.kit.names import checked_name
from aipool.kit.outbound import Vet
from aipool.kit.sealing import Keyring, Unsealable
from aipool.notices import rules, store
from aipool.notices.types import (
    Channel,
    ChannelId,
    Delivery,
    Event,
    Kind,
    MailServer,
    Notice,
    Secrets,
)

#: A delivery that was claimed and not ended is due again after this: longer than any try lasts.
CLAIM_MS = 60_000
_SEALED_FIELD = "secret"


# --- raising -------------------------------------------------------------------------------


def raise_alert(
    tx: Transaction,
    *,
    event: str,
    target: str,
    subject: str,
    text: str,
    fields: Mapping[str, str],
    at_ms: int,
) -> bool:
    """Tells people, over every enabled channel that wants the event, if the transaction commits.

    event: one of types.Event.  target: what it happened to, "key:7".  subject: one line.
    fields: more of it, by name. What is too long is cut; none of it may be a secret.
    False and nothing written: the same event of the same target was told less than ten
    minutes ago.
    """
    known = Event(event)
    # In both directions of time: a clock that was set back must not silence anything for long.
    after_ms, before_ms = at_ms - rules.QUIET_MS, at_ms + rules.QUIET_MS
    if store.raised_between(tx.connection, known, target, after_ms, before_ms):
        return False
    channels = [
        channel.id
        for channel in store.channels_to_tell(tx.connection)
        if rules.wants(channel.events, known)
    ]
    _insert(tx, known, target, subject, text, fields, channels, at_ms)
    return True


def send_test(tx: Transaction, channel: Channel, at_ms: int) -> Notice:
    """A notice for this channel alone, whatever events it wants and whether it is enabled."""
    return _insert(
        tx,
        Event.TEST,
        f"channel:{channel.id}",
        f"Test of the channel {channel.name}",
        "Alerts will come this way.",
        {},
        [channel.id],
        at_ms,
    )


def _insert(
    tx: Transaction,
    event: Event,
    target: str,
    subject: str,
    text: str,
    fields: Mapping[str, str],
    channels: Sequence[ChannelId],
    at_ms: int,
) -> Notice:
    words: dict[str, Any] = {
        "subject": rules.one_line(subject, rules.SUBJECT_CHARACTERS_MAX),
        "text": rules.lines(text),
        "fields": rules.shown_fields(fields),
    }
    notice_id = store.insert_notice(tx.connection, at_ms=at_ms, event=event, target=target, **words)
    store.insert_deliveries(tx.connection, notice_id, channels, at_ms)
    return Notice(notice_id, at_ms, event, target, **words)


# --- channels ------------------------------------------------------------------------------


def add_channel(
    tx: Transaction,
    keyring: Keyring,
    vet: Vet,
    *,
    name: str,
    kind: str,
    secrets: Secrets,
    mail: MailServer | None = None,
    events: Sequence[str] = (),
    at_ms: int,
) -> Channel:
    """A new channel, enabled. mail: of a mail channel only. events: empty = all."""
    checked_name(name)
    of_kind = rules.checked_kind(kind)
    config = _checked_config(of_kind, secrets, mail, vet)
    wanted = rules.checked_events(events)
    if store.channel_by_name(tx.connection, name) is not None:
        raise Conflict(
            "channel_exists",
            f"there is a channel {name!r} already",
            field="name",
            params={"name": name},
        )
    if len(store.list_channels(tx.connection)) >= rules.CHANNELS_MAX:
        raise Invalid(
            "too_many_channels",
            f"there are {rules.CHANNELS_MAX} channels already",
            params={"most": rules.CHANNELS_MAX},
        )
    channel = store.insert_channel(
        tx.connection, name=name, kind=of_kind, config=config, events=wanted, at_ms=at_ms
    )
    plain = msgspec.json.encode(asdict(secrets)).decode()
    sealed = keyring.seal(plain, _record(channel.id), _SEALED_FIELD)
    store.update_secret(tx.connection, channel.id, sealed)
    return channel


def set_channel_enabled(tx: Transaction, channel: Channel, *, enabled: bool) -> bool:
    """Tells a channel of things, or not; what waits for one that is disabled is given up.
    True = changed."""
    if channel.enabled == enabled:
        return False
    store.update_enabled(tx.connection, channel.id, enabled=enabled)
    if not enabled:
        store.give_up(tx.connection, channel.id, "the channel was disabled")
    return True


def delete_channel(tx: Transaction, channel: Channel) -> None:
    """Forgets a channel, its secrets, and what was or was to be sent over it."""
    store.delete_channel(tx.connection, channel.id)


def get_channel(connection: Connection, name: str) -> Channel:
    """The channel of this name; raises NotFound when there is none."""
    channel = store.channel_by_name(connection, name)
    if channel is None:
        raise NotFound(
            "channel_unknown",
            f"there is no channel {name!r}",
            field="channel",
            params={"channel": name},
        )
    return channel


def list_channels(connection: Connection) -> list[Channel]:
    """Every channel, in the order they were made; never their secrets."""
    return store.list_channels(connection)


def audit_fields(channel: Channel) -> dict[str, object]:
    """A channel for the trail of changes."""
    fields = asdict(channel)
    return {name: fields[name] for name in ("name", "kind", "host", "mail", "events", "enabled")}


def _checked_config(
    kind: Kind, secrets: Secrets, mail: MailServer | None, vet: Vet
) -> dict[str, Any]:
    """What of the channel may be shown, as it is stored."""
    if kind is Kind.MAIL:
        if mail is None:
            raise Invalid("host_not_allowed", "the mail server is missing", field="host")
        rules.check_mail(mail, secrets.password, vet)
        fields = asdict(replace(mail, host=mail.host.lower()))
        return fields | {"from": fields.pop("sender"), "to": list(mail.to)}
    if mail is not None:
        raise Invalid(
            "kind_unknown",
            f"a channel of kind {kind} has no mail server",
            field="kind",
            params={"kind": kind},
        )
    rules.check_signing(kind, secrets.signing)
    return {"host": rules.checked_url(secrets.url, vet).host}


# --- delivering ----------------------------------------------------------------------------


def due(connection: Connection, at_ms: int, limit: int = rules.CHANNELS_MAX) -> list[ChannelId]:
    """The channels on which something is due."""
    return store.due_channels(connection, at_ms, limit)


def claim(
    tx: Transaction, keyring: Keyring, channel_id: ChannelId, at_ms: int
) -> tuple[Delivery, Channel, Secrets] | None:
    """The oldest notice that is due on this channel, now in the hands of the caller, who ends
    with `delivered` or `failed`. None = there is none.

    A delivery whose channel's secrets do not open has failed.
    """
    channel = store.channel_by_id(tx.connection, channel_id)
    delivery = store.first_due(tx.connection, channel_id, at_ms)
    if channel is None or delivery is None:
        return None
    if not store.claim(tx.connection, delivery, at_ms + CLAIM_MS):
        return None
    sealed = store.sealed_secret(tx.connection, channel_id)
    try:
        plain = keyring.open(sealed, _record(channel_id), _SEALED_FIELD)
    except Unsealable as problem:
        failed(tx, delivery, str(problem), at_ms)
        return None
    return delivery, channel, msgspec.json.decode(plain, type=Secrets)


def delivered(tx: Transaction, delivery: Delivery, at_ms: int, remark: str = "") -> None:
    """It arrived. remark: what was not quite right with it."""
    store.update_sent(tx.connection, delivery, at_ms, remark)


def failed(tx: Transaction, delivery: Delivery, reason: str, at_ms: int) -> bool:
    """It did not arrive, for a reason without secrets. True = it is tried again later."""
    next_at_ms = rules.next_try_ms(delivery.tries + 1, at_ms)
    store.update_failed(tx.connection, delivery, reason, next_at_ms)
    return next_at_ms is not None


def forget(tx: Transaction, before_ms: int) -> int:
    """Forgets what was told before this moment. Gives how many notices that were."""
    return store.delete_notices(tx.connection, before_ms)


def recent(connection: Connection, limit: int) -> list[tuple[Notice, list[Delivery]]]:
    """The newest notices first, each with its deliveries."""
    found = store.newest_notices(connection, limit)
    deliveries = store.deliveries_of(connection, [notice.id for notice in found])
    return [
        (notice, [delivery for delivery in deliveries if delivery.notice.id == notice.id])
        for notice in found
    ]


def deliveries_of(connection: Connection, notice: Notice) -> list[Delivery]:
    """What became of a notice on each channel it goes to."""
    return store.deliveries_of(connection, [notice.id])


def _record(channel_id: int) -> str:
    return f"notice_channel:{channel_id}"
