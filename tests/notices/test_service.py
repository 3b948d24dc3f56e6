"""Raising alerts, the channels they go over, and how deliveries end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aipool.kit.db import Transaction
from aipool.kit.errors import BusinessError
from aipool.kit.outbound import Vet
from aipool.kit.sealing import Keyring
from aipool.notices import service as notices
from aipool.notices.rules import BACKOFF_SECONDS, QUIET_MS
from aipool.notices.tables import notice_channels, notice_deliveries
from aipool.notices.types import Channel, MailServer, Secrets, State, Tls
from tests.world import World, open_world

AT_MS = 1_700_000_000_000
URL = "https://open.feishu.cn/open-apis/bot/v2/hook/0123-4567-89ab"
MAIL = MailServer("smtp.example.com", 587, Tls.STARTTLS, "me", "me@example.com", ("ops@e.com",))


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path, kind) as opened:
        yield opened


@pytest.fixture
def light(tmp_path: Path) -> Iterator[World]:
    """For what is the same on every database."""
    with open_world(tmp_path) as opened:
        yield opened


def add(world: World, tx: Transaction, name: str = "ops", **other: Any) -> Channel:
    terms: dict[str, Any] = {"kind": "feishu", "secrets": Secrets(url=URL), **other}
    keyring = world.secrets.keyring
    return notices.add_channel(tx, keyring, world.vet, name=name, at_ms=AT_MS, **terms)


def alert(tx: Transaction, at_ms: int = AT_MS, event: str = "key_invalid", **other: Any) -> bool:
    terms: dict[str, Any] = {
        "target": "key:7",
        "subject": "Key main of mm is refused",
        "text": "Its vendor answers 401.",
        "fields": {"vendor": "mm"},
        **other,
    }
    return notices.raise_alert(tx, event=event, at_ms=at_ms, **terms)


def states(tx: Transaction) -> list[str]:
    rows = tx.connection.execute(
        sa.select(notice_deliveries.c.state).order_by(notice_deliveries.c.notice_id)
    )
    return [str(row[0]) for row in rows]


def test_an_alert_goes_to_every_enabled_channel_that_wants_it(world: World) -> None:
    with world.database.write() as tx:
        every = add(world, tx, "every")
        some = add(world, tx, "some", events=["balance_low", "key_invalid", "key_invalid"])
        add(world, tx, "other", events=["balance_low"])
        off = add(world, tx, "off")
        notices.set_channel_enabled(tx, off, enabled=False)

        assert alert(tx)

        assert [event.value for event in some.events] == ["balance_low", "key_invalid"]
        assert sorted(notices.due(tx.connection, AT_MS)) == [every.id, some.id]
        assert notices.due(tx.connection, AT_MS - 1) == []
        ((notice, deliveries),) = notices.recent(tx.connection, 10)
        assert (notice.event, notice.target, notice.fields) == (
            "key_invalid",
            "key:7",
            {"vendor": "mm"},
        )
        assert len(deliveries) == 2


def test_the_same_event_of_the_same_target_is_quiet_for_ten_minutes(world: World) -> None:
    with world.database.write() as tx:
        add(world, tx)

        assert alert(tx)
        assert not alert(tx, AT_MS + QUIET_MS - 1)
        assert alert(tx, AT_MS + 1, target="key:8")
        assert alert(tx, AT_MS + 1, event="key_exceeded")
        assert states(tx) == ["pending"] * 3
        assert alert(tx, AT_MS + QUIET_MS)
        # A clock that was set back by an hour does not silence the next hour.
        assert alert(tx, AT_MS - 3_600_000)


def test_what_is_undone_is_not_told(light: World) -> None:
    with pytest.raises(ZeroDivisionError), light.database.write() as tx:
        add(light, tx)
        assert alert(tx)
        raise ZeroDivisionError

    with light.database.read() as connection:
        assert notices.recent(connection, 10) == []


def test_an_unknown_event_is_a_mistake_and_long_words_are_cut(light: World) -> None:
    with light.database.write() as tx:
        with pytest.raises(ValueError, match="no_such"):
            alert(tx, event="no_such")
        alert(tx, subject="a\r\nBcc: x" + "y" * 500, text="z" * 9000, fields={"a\n": "b\x1b[2J"})

        ((notice, _),) = notices.recent(tx.connection, 1)
        assert notice.subject.startswith("a Bcc: xy")
        assert (len(notice.subject), len(notice.text)) == (200, 2000)
        assert notice.fields == {"a": "b [2J"}


def test_a_claim_is_for_one_and_comes_back_after_a_minute(world: World) -> None:
    keyring = world.secrets.keyring
    with world.database.write() as tx:
        channel = add(world, tx)
        alert(tx)

        claimed = notices.claim(tx, keyring, channel.id, AT_MS)
        assert claimed is not None
        delivery, found, secrets = claimed
        assert (found, secrets) == (channel, Secrets(url=URL))
        assert notices.claim(tx, keyring, channel.id, AT_MS) is None
        assert notices.due(tx.connection, AT_MS + notices.CLAIM_MS - 1) == []

        again = notices.claim(tx, keyring, channel.id, AT_MS + notices.CLAIM_MS)
        assert again is not None
        assert again[0].notice == delivery.notice
        notices.delivered(tx, again[0], AT_MS + 70_000)
        assert notices.due(tx.connection, AT_MS + 10**9) == []
        ((_, (ended,)),) = notices.recent(tx.connection, 1)
        assert (ended.state, ended.tries, ended.sent_at_ms) == (State.SENT, 1, AT_MS + 70_000)


def test_a_failed_delivery_is_tried_later_and_later_and_then_given_up(world: World) -> None:
    keyring, at_ms = world.secrets.keyring, AT_MS
    with world.database.write() as tx:
        channel = add(world, tx)
        alert(tx)
        for seconds in BACKOFF_SECONDS:
            claimed = notices.claim(tx, keyring, channel.id, at_ms)
            assert claimed is not None
            assert notices.failed(tx, claimed[0], "answered 500", at_ms)
            assert notices.due(tx.connection, at_ms + seconds * 1000 - 1) == []
            at_ms += seconds * 1000
            assert notices.due(tx.connection, at_ms) == [channel.id]

        last = notices.claim(tx, keyring, channel.id, at_ms)
        assert last is not None
        assert not notices.failed(tx, last[0], "answered 502", at_ms)
        assert notices.due(tx.connection, at_ms + 10**9) == []
        ((_, (ended,)),) = notices.recent(tx.connection, 1)
        assert (ended.state, ended.tries, ended.error) == (State.FAILED, 6, "answered 502")


def test_a_disabled_channel_gives_up_what_waits_and_a_deleted_one_forgets_it(
    world: World,
) -> None:
    with world.database.write() as tx:
        channel = add(world, tx)
        alert(tx)
        assert notices.set_channel_enabled(tx, channel, enabled=False)
        off = notices.get_channel(tx.connection, "ops")
        assert states(tx) == ["failed"]
        assert not notices.set_channel_enabled(tx, off, enabled=False)

        notices.delete_channel(tx, off)
        assert (states(tx), notices.list_channels(tx.connection)) == ([], [])
        assert len(notices.recent(tx.connection, 10)) == 1


def test_a_test_goes_to_its_channel_alone_and_is_never_quiet(light: World) -> None:
    with light.database.write() as tx:
        channel = add(light, tx, events=["balance_low"])
        add(light, tx, "other")
        for _ in range(2):
            notices.send_test(tx, channel, AT_MS)

        assert notices.due(tx.connection, AT_MS) == [channel.id]
        assert states(tx) == ["pending"] * 2


def test_old_notices_are_forgotten_with_their_deliveries(world: World) -> None:
    with world.database.write() as tx:
        add(world, tx)
        alert(tx)
        alert(tx, AT_MS + QUIET_MS)

        assert notices.forget(tx, AT_MS + 1) == 1
        assert states(tx) == ["pending"]


def test_secrets_are_sealed_for_their_channel(light: World) -> None:
    keyring = light.secrets.keyring
    with light.database.write() as tx:
        first = add(light, tx, secrets=Secrets(url=URL, signing="sign with this"))
        second = add(light, tx, "second")
        rows = tx.connection.execute(sa.select(notice_channels)).mappings().all()
        stored = repr([dict(row) for row in rows])
        assert "0123-4567" not in stored + repr(first) + repr(notices.audit_fields(first))
        assert "sign with" not in stored
        assert first.host == "open.feishu.cn"
        assert repr(Secrets(URL, "b", "c")) == "Secrets()"

        swap = sa.update(notice_channels).where(notice_channels.c.id == second.id)
        tx.connection.execute(swap.values(sealed_secret=rows[0]["sealed_secret"]))
        alert(tx)
        assert notices.claim(tx, keyring, second.id, AT_MS) is None
        assert notices.claim(tx, Keyring({2: b"x" * 32}), first.id, AT_MS) is None
        ((_, deliveries),) = notices.recent(tx.connection, 1)
        assert [one.tries for one in deliveries] == [1, 1]
        assert "does not open" in deliveries[1].error
        assert "is not in the secrets folder" in deliveries[0].error


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("kind", {"kind": "pigeon"}),
    ("name", {"name": " ops"}),
    ("events", {"events": ["no_such"]}),
    ("url", {"secrets": Secrets()}),
    ("url", {"secrets": Secrets(url="http://open.feishu.cn/token-0123")}),
    ("url", {"secrets": Secrets(url="https://169.254.169.254/token-0123")}),
    ("url", {"secrets": Secrets(url="https://10.0.0.1/token-0123")}),
    ("url", {"secrets": Secrets(url="https://user:token-0123@a.example/")}),
    ("url", {"secrets": Secrets(url="https://[token-0123")}),
    ("url", {"secrets": Secrets(url="https://a.example/token-0123\r\nX: y")}),
    ("url", {"secrets": Secrets(url="file:///token-0123")}),
    ("url", {"secrets": Secrets(url="https://a.example/" + "token-0123" * 300)}),
    ("secret", {"kind": "webhook"}),
    ("secret", {"kind": "webhook", "secrets": Secrets(url=URL, signing="token-0123")}),
    ("secret", {"kind": "wecom", "secrets": Secrets(url=URL, signing="token-0123")}),
    ("secret", {"secrets": Secrets(url=URL, signing="token-0123\n")}),
    ("host", {"mail": None}),
    ("host", {"mail": replace(MAIL, host="")}),
    ("host", {"mail": replace(MAIL, host="10.0.0.1")}),
    ("host", {"mail": replace(MAIL, host="localhost")}),
    ("host", {"mail": replace(MAIL, host="a.example/b")}),
    ("host", {"mail": replace(MAIL, host="a.example", tls=Tls.NONE)}),
    ("port", {"mail": replace(MAIL, port=22)}),
    ("port", {"mail": replace(MAIL, port=70_000)}),
    ("from", {"mail": replace(MAIL, sender="me")}),
    ("from", {"mail": replace(MAIL, sender="me@example.com\nBcc: x@example.com")}),
    ("to", {"mail": replace(MAIL, to=())}),
    ("to", {"mail": replace(MAIL, to=("a@b.c, d@e.f",))}),
    ("to", {"mail": replace(MAIL, to=("a@b@c",))}),
    ("to", {"mail": replace(MAIL, to=("老@example.com",))}),
    ("user", {"mail": replace(MAIL, user="")}),
    ("password", {"mail": MAIL, "secrets": Secrets()}),
]


@pytest.mark.parametrize(("field", "terms"), WRONG)
def test_what_a_channel_cannot_be_is_refused_with_its_field_and_without_its_secret(
    light: World, field: str, terms: dict[str, Any]
) -> None:
    if "mail" in terms:
        terms = {"kind": "mail", "secrets": Secrets(password="token-0123"), **terms}
    with light.database.write() as tx:
        with pytest.raises(BusinessError) as caught:
            add(light, tx, **terms)

        assert caught.value.field == field
        assert "token-0123" not in str(caught.value)
        assert notices.list_channels(tx.connection) == []


def test_a_mail_channel_is_kept_as_it_was_given(light: World) -> None:
    with light.database.write() as tx:
        added = add(light, tx, kind="mail", mail=MAIL, secrets=Secrets(password="secret"))
        assert notices.get_channel(tx.connection, "ops") == added
        assert (added.host, added.mail) == ("smtp.example.com", MAIL)
        with pytest.raises(BusinessError, match="already"):
            add(light, tx)
        with pytest.raises(BusinessError, match="no channel"):
            notices.get_channel(tx.connection, "other")
        with pytest.raises(BusinessError, match="over TLS only"):
            inside = replace(light, vet=Vet([ip_network("10.0.0.0/8")]))
            plain = replace(MAIL, host="10.0.0.1", tls=Tls.NONE)
            add(inside, tx, "two", kind="mail", mail=plain, secrets=Secrets(password="secret"))
