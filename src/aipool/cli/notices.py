"""aipool alert …: who is told what, and what was told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from aipool.cli.options import DataDir, Output, OutputOption, Yes, confirm
from aipool.cli.output import say, show_record, show_rows

if TYPE_CHECKING:
    from aipool.cli.session import Session
    from aipool.notices.types import Channel, Delivery, MailServer, Notice, Secrets

CHANNEL_COLUMNS = ("id", "name", "kind", "host", "to", "events", "enabled")
COLUMNS = ("id", "at", "event", "target", "subject", "sent")

#: How long `test` waits for what became of it: longer than any try lasts.
TEST_SECONDS = 20.0
_LOOK_SECONDS = 0.2

ChannelName = Annotated[str, typer.Argument(help="The channel's name.", metavar="NAME")]
SecretsStdin = Annotated[
    bool,
    typer.Option(
        "--secrets-stdin",
        help="Read what is secret from standard input, a line each: the address and the signing "
        "secret of a webhook or bot, or the mail server's password.",
    ),
]


def list_channels(output: OutputOption = Output.TABLE, data_dir: DataDir = None) -> None:
    """Lists the channels alerts go over; of a webhook's address only the host."""
    from aipool.cli.session import open_session
    from aipool.notices import service as notices

    with open_session(data_dir) as session, session.read() as connection:
        rows = [_channel(channel) for channel in notices.list_channels(connection)]
    show_rows(rows, output, CHANNEL_COLUMNS)


def add_channel(
    name: Annotated[str, typer.Argument(help="A name for the channel.", metavar="NAME")],
    kind: Annotated[
        str, typer.Argument(help="webhook, mail, feishu, dingtalk or wecom.", metavar="KIND")
    ],
    event: Annotated[
        list[str] | None, typer.Option(help="An event it wants; repeatable; default all.")
    ] = None,
    signed: Annotated[
        bool, typer.Option("--signed", help="Ask for the signing secret of a bot.")
    ] = False,
    secrets_stdin: SecretsStdin = False,
    host: Annotated[str, typer.Option(help="The mail server.")] = "",
    port: Annotated[int, typer.Option(help="Its port; default 587, 465 with --tls tls.")] = 0,
    tls: Annotated[str, typer.Option(help="starttls, tls or none.")] = "starttls",
    user: Annotated[str, typer.Option(help="Who logs in there; default nobody.")] = "",
    sender: Annotated[str, typer.Option("--from", help="The address mail comes from.")] = "",
    to: Annotated[list[str] | None, typer.Option(help="A recipient; repeatable.")] = None,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Adds a channel. Its address, or a mail server's password, is asked for."""
    from aipool.audit.service import record
    from aipool.cli.session import open_session
    from aipool.kit.errors import Invalid
    from aipool.notices import service as notices
    from aipool.notices.rules import checked_kind
    from aipool.notices.types import Kind, MailServer, Tls

    mail = None
    if checked_kind(kind) is Kind.MAIL:
        if tls not in list(Tls):
            raise Invalid("tls_unknown", f"--tls: give one of {', '.join(Tls)}", field="tls")
        usual = {Tls.STARTTLS: 587, Tls.TLS: 465, Tls.NONE: 25}
        mode = Tls(tls)
        mail = MailServer(host, port or usual[mode], mode, user, sender, tuple(to or ()))
    secrets = _secrets(kind, mail, signed=signed, from_stdin=secrets_stdin)
    with open_session(data_dir, make=True) as session, session.change() as tx:
        channel = notices.add_channel(
            tx,
            session.secrets.keyring,
            session.vet,
            name=name,
            kind=kind,
            secrets=secrets,
            mail=mail,
            events=event or (),
            at_ms=session.act.at_ms,
        )
        fields = notices.audit_fields(channel)
        record(tx, session.act, "channel.create", f"channel:{channel.id}", after=fields)
    show_record(_channel(channel), output)


def delete_channel(name: ChannelName, yes: Yes = False, data_dir: DataDir = None) -> None:
    """Deletes a channel for good, with what was to be sent over it."""
    from aipool.audit.service import record
    from aipool.cli.session import open_session
    from aipool.notices import service as notices

    with open_session(data_dir) as session:
        with session.read() as connection:
            notices.get_channel(connection, name)
        confirm(f"Delete the channel {name}?", yes=yes)
        with session.change() as tx:
            channel = notices.get_channel(tx.connection, name)
            notices.delete_channel(tx, channel)
            fields = notices.audit_fields(channel)
            record(tx, session.act, "channel.delete", f"channel:{channel.id}", before=fields)
    say(f"deleted {name}")


def enable_channel(name: ChannelName, data_dir: DataDir = None) -> None:
    """Tells a channel of events again."""
    _set_enabled(name, data_dir, enabled=True)


def disable_channel(name: ChannelName, data_dir: DataDir = None) -> None:
    """Tells a channel nothing; what waited for it is given up."""
    _set_enabled(name, data_dir, enabled=False)


def test_channel(name: ChannelName, data_dir: DataDir = None) -> None:
    """Sends a test over a channel, and says what became of it."""
    from aipool.cli.session import open_session
    from aipool.installation import owner_of
    from aipool.kit.errors import Conflict
    from aipool.notices import service as notices
    from aipool.notices.types import State

    with open_session(data_dir) as session:
        with session.change() as tx:
            channel = notices.get_channel(tx.connection, name)
            notice = notices.send_test(tx, channel, session.act.at_ms)
        if owner_of(session.settings.data_dir) is None:
            say("it is sent as soon as a server runs")
            return
        delivery = _ended(session, notice)
    if delivery is None:
        raise Conflict("no_answer", "nothing is known of it yet; see `aipool alert list`")
    if delivery.state is not State.SENT:
        raise Conflict("not_sent", f"{name} failed: {delivery.error}")
    say(f"sent over {name}" + (f"; {delivery.error}" if delivery.error else ""))


def list_notices(
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 20,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Lists what was told, newest first, and what became of it on each channel."""
    from aipool.cli.session import open_session
    from aipool.notices import service as notices

    with open_session(data_dir) as session, session.read() as connection:
        names = {channel.id: channel.name for channel in notices.list_channels(connection)}
        rows = [
            _notice(notice, [(names[one.channel_id], one) for one in deliveries])
            for notice, deliveries in notices.recent(connection, limit)
        ]
    show_rows(rows, output, COLUMNS)


# --- inside --------------------------------------------------------------------------------


def _secrets(kind: str, mail: MailServer | None, *, signed: bool, from_stdin: bool) -> Secrets:
    """What is asked for of this kind."""
    from aipool.cli.session import secret_from
    from aipool.notices.types import Kind, Secrets

    if mail is not None:
        asks = bool(mail.user)
        password = secret_from(from_stdin=from_stdin, prompt="Password") if asks else ""
        return Secrets(password=password)
    url = secret_from(from_stdin=from_stdin, prompt="Address of the webhook")
    asks = from_stdin or signed or kind == Kind.WEBHOOK
    signing = secret_from(from_stdin=from_stdin, prompt="Signing secret") if asks else ""
    return Secrets(url=url, signing=signing)


def _set_enabled(name: str, data_dir: DataDir, *, enabled: bool) -> None:
    from aipool.audit.service import record
    from aipool.cli.session import open_session
    from aipool.notices import service as notices

    word = "enable" if enabled else "disable"
    with open_session(data_dir) as session, session.change() as tx:
        channel = notices.get_channel(tx.connection, name)
        changed = notices.set_channel_enabled(tx, channel, enabled=enabled)
        if changed:
            change = {"before": {"enabled": not enabled}, "after": {"enabled": enabled}}
            record(tx, session.act, f"channel.{word}", f"channel:{channel.id}", **change)
    say(f"{word}d {name}" if changed else "nothing changed")


def _ended(session: Session, notice: Notice) -> Delivery | None:
    """What became of a notice's one delivery, after its first try."""
    from aipool.notices import service as notices
    from aipool.notices.types import State

    deadline = time.monotonic() + TEST_SECONDS
    while time.monotonic() < deadline:
        with session.read() as connection:
            deliveries = notices.deliveries_of(connection, notice)
        for delivery in deliveries:
            if delivery.tries or delivery.state is not State.PENDING:
                return delivery
        time.sleep(_LOOK_SECONDS)
    return None


def _channel(channel: Channel) -> dict[str, object]:
    return {
        "id": channel.id,
        "name": channel.name,
        "kind": str(channel.kind),
        "host": channel.host,
        "to": list(channel.mail.to) if channel.mail else [],
        "events": [str(event) for event in channel.events] or "all",
        "enabled": channel.enabled,
    }


def _notice(notice: Notice, deliveries: list[tuple[str, Delivery]]) -> dict[str, object]:
    from aipool.kit.clock import iso_ms

    return {
        "id": notice.id,
        "at": iso_ms(notice.at_ms),
        "event": str(notice.event),
        "target": notice.target,
        "subject": notice.subject,
        "sent": [_became(name, delivery) for name, delivery in deliveries],
    }


def _became(channel: str, delivery: Delivery) -> str:
    reason = f" ({delivery.error})" if delivery.error else ""
    return f"{channel}: {delivery.state}{reason}"
