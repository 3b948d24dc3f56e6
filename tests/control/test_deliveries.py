"""The job that tells people: each channel by itself, again after a failure, across restarts."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import structlog

from aipool import config
from aipool.control import deliveries
from aipool.control.deliveries import Deliveries
from aipool.kit import logging
from aipool.kit.clock import now_ms
from aipool.kit.outbound import Vet
from aipool.notices import service as notices
from aipool.notices.sending import Sender
from aipool.notices.types import Channel, Delivery, Kind, MailServer, Secrets, State, Tls
from tests.control.rig import control_process
from tests.notices.receivers import SIGNING, Receiver, Reply, mailing, receiving, run, until
from tests.world import World, open_world

AT_MS = 1_700_000_000_000
HERE = Vet([ip_network("127.0.0.0/8")])


@dataclass
class Office:
    """A world whose people are told, by a clock that the test sets."""

    world: World
    now_ms: int = AT_MS
    jobs: list[Deliveries] = field(default_factory=list)

    def add(self, receiver: Receiver, kind: Kind = Kind.WEBHOOK, **other: Any) -> Channel:
        signing = "" if kind is Kind.WECOM else SIGNING
        secrets = Secrets(url=receiver.url(), signing=signing)
        return self.put(kind=kind, secrets=secrets, **other)

    def add_mail(self, port: int, name: str = "mail") -> Channel:
        mail = MailServer("127.0.0.1", port, Tls.NONE, "", "pool@e.com", ("ops@e.com",))
        return self.put(kind=Kind.MAIL, secrets=Secrets(), mail=mail, name=name)

    def put(self, **terms: Any) -> Channel:
        terms = {"name": str(terms["kind"]), "at_ms": self.now_ms, **terms}
        with self.world.database.write() as tx:
            return notices.add_channel(tx, self.world.secrets.keyring, HERE, **terms)

    def alert(self, target: str = "key:7", event: str = "key_invalid") -> bool:
        with self.world.database.write() as tx:
            raised = notices.raise_alert(
                tx,
                event=event,
                target=target,
                subject="A key is refused",
                text="Its vendor answers 401.",
                fields={"vendor": "mm"},
                at_ms=self.now_ms,
            )
        for job in self.jobs:
            job.wake()
        return raised

    def pass_seconds(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        for job in self.jobs:
            job.wake()

    def deliveries(self) -> list[Delivery]:
        with self.world.database.read() as connection:
            found = notices.recent(connection, 1000)
        return [one for _, deliveries in reversed(found) for one in deliveries]

    def states(self) -> list[State]:
        return [one.state for one in self.deliveries()]

    async def tried(self, tries: int) -> None:
        await until(lambda: self.deliveries()[0].tries == tries)

    @asynccontextmanager
    async def at_work(
        self, *, seconds: float = 10.0, pauses: Mapping[Kind, float] | None = None
    ) -> AsyncIterator[Deliveries]:
        settings = config.load(
            {"data_dir": self.world.data_dir}, {"AIPOOL_PRIVATE_UPSTREAMS": "127.0.0.0/8"}
        )
        sender = Sender(HERE, settings.limits, post_seconds=seconds, mail_seconds=seconds)
        job = Deliveries(
            self.world.database,
            self.world.secrets.keyring,
            settings,
            sender=sender,
            clock_ms=lambda: self.now_ms,
            pause_seconds=pauses or {},
        )
        job.start()
        self.jobs.append(job)
        try:
            yield job
        finally:
            self.jobs.remove(job)
            await job.close()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with open_world(tmp_path) as world:
        yield Office(world)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    written = io.StringIO()
    logging.configure("info", written)
    # The module's own keeps to what was configured when it was first used.
    monkeypatch.setattr(deliveries, "_log", structlog.get_logger())
    yield written
    structlog.reset_defaults()


def test_every_kind_is_told_once(tmp_path: Path, kind: str) -> None:
    async def scene(office: Office) -> None:
        async with receiving() as receiver, mailing() as server, office.at_work():
            for one in (Kind.WEBHOOK, Kind.FEISHU, Kind.DINGTALK, Kind.WECOM):
                office.add(receiver, one)
            office.add_mail(server.port)
            office.alert()
            await until(lambda: office.states() == [State.SENT] * 5)
            office.pass_seconds(3600)
            await asyncio.sleep(0.05)

        assert (len(receiver.told), len(server.box)) == (4, 1)
        assert all(one.sent_at_ms == AT_MS and one.tries == 1 for one in office.deliveries())

    with open_world(tmp_path, kind) as world:
        run(scene(Office(world)))


def test_a_receiver_that_fails_twice_is_told_the_third_time(
    office: Office, log: io.StringIO
) -> None:
    async def scene() -> None:
        async with receiving() as receiver, office.at_work():
            office.add(receiver)
            receiver.will(Reply(500), Reply(302, headers="Location: http://10.0.0.1/\r\n"))
            office.alert()
            for tries, wait in ((1, 10), (2, 60)):
                await office.tried(tries)
                office.pass_seconds(wait - 1)
                await asyncio.sleep(0.03)
                assert len(receiver.told) == tries
                office.pass_seconds(1)
            await until(lambda: office.states() == [State.SENT])

            assert len({told.body for told in receiver.told}) == 1
            assert len(receiver.told) == 3

    run(scene())
    assert log.getvalue().count('"event": "notice_not_sent"') == 2
    assert '"channel": "webhook"' in log.getvalue()
    assert "token-0123456789" not in log.getvalue()
    assert "127.0.0.1" not in log.getvalue()


def test_what_stays_refused_is_given_up_with_the_reason_kept(office: Office) -> None:
    async def scene() -> None:
        async with receiving() as receiver, office.at_work():
            office.add(receiver, Kind.DINGTALK)
            wrong = b'{"errcode":310000,"errmsg":"keywords not in content"}'
            receiver.will(*[Reply(body=wrong)] * 6)
            office.alert()
            for tries in range(1, 7):
                await office.tried(tries)
                office.pass_seconds(7200)
            (ended,) = office.deliveries()
            assert ended.state is State.FAILED
            assert ended.error == "refused with 310000: keywords not in content"
            await asyncio.sleep(0.05)
            assert len(receiver.told) == 6

    run(scene())


def test_a_dead_channel_delays_no_other(office: Office) -> None:
    async def scene() -> None:
        async with receiving() as dead, receiving() as alive, mailing(hangs=True) as server:
            async with office.at_work():
                office.add(dead, name="dead")
                for number in range(8):
                    office.add_mail(server.port, f"mail{number}")
                office.add(alive, name="alive")
                dead.will(Reply(hangs=True))
                for number in range(3):
                    office.alert(f"key:{number}")
                await until(lambda: office.states().count(State.SENT) == 3)
                assert [told.json["target"] for told in alive.told] == ["key:0", "key:1", "key:2"]
                assert len(dead.told) <= 1
            # Its end is quick, however long they would hang.
            assert server.box == []

    run(scene())


def test_one_message_at_a_time_on_a_channel_and_in_order(office: Office) -> None:
    async def scene() -> None:
        async with receiving() as receiver, office.at_work():
            office.add(receiver)
            for number in range(5):
                office.alert(f"key:{number}")
            await until(lambda: office.states() == [State.SENT] * 5)

            assert receiver.most_at_once == 1
            assert [told.json["target"] for told in receiver.told] == [
                f"key:{number}" for number in range(5)
            ]

    run(scene())


def test_a_bot_that_takes_few_a_minute_is_given_pauses(office: Office) -> None:
    async def scene() -> None:
        async with receiving() as receiver, office.at_work(pauses={Kind.WECOM: 3600}):
            office.add(receiver, Kind.WECOM)
            office.alert("key:1")
            office.alert("key:2")
            await until(lambda: State.SENT in office.states())
            office.pass_seconds(1)
            await asyncio.sleep(0.05)
            assert len(receiver.told) == 1

    run(scene())


def test_a_channel_gets_only_the_events_it_wants(office: Office) -> None:
    async def scene() -> None:
        async with receiving() as receiver, office.at_work():
            office.add(receiver, events=["balance_low"])
            office.alert()
            assert office.alert("vendor:1", "balance_low")
            assert not office.alert("vendor:1", "balance_low")
            await until(lambda: office.states() == [State.SENT])
            assert [told.json["event"] for told in receiver.told] == ["balance_low"]

    run(scene())


def test_a_restart_repeats_at_most_what_was_under_way(office: Office) -> None:
    async def scene() -> None:
        async with receiving() as receiver:
            office.add(receiver)
            receiver.will(Reply(), Reply(hangs=True))
            async with office.at_work():
                for number in range(3):
                    office.alert(f"key:{number}")
                await until(lambda: len(receiver.told) == 2)
            assert office.states() == [State.SENT, State.PENDING, State.PENDING]

            async with office.at_work():
                await until(lambda: office.states()[2] is State.SENT)
                assert len(receiver.told) == 3
                office.pass_seconds(notices.CLAIM_MS / 1000)
                await until(lambda: office.states() == [State.SENT] * 3)

            ids = [told.json["id"] for told in receiver.told]
            assert [ids.count(number) for number in sorted(set(ids))] == [1, 2, 1]

    run(scene())


def test_a_mistake_counts_as_a_try_and_stops_nothing(
    office: Office, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with receiving() as receiver, office.at_work() as job:
            office.add(receiver)
            good = job._sender.send

            async def bad(*_: Any) -> Any:
                raise RuntimeError("token-0123456789")

            monkeypatch.setattr(job._sender, "send", bad)
            office.alert()
            await office.tried(1)
            assert office.deliveries()[0].error == "it could not be sent (RuntimeError)"
            monkeypatch.setattr(job._sender, "send", good)
            office.pass_seconds(10)
            await until(lambda: office.states() == [State.SENT])

    run(scene())
    assert '"mistake": "RuntimeError"' in log.getvalue()
    assert "token-0123456789" not in log.getvalue()


@pytest.mark.slow
def test_the_control_process_sends_what_another_process_raised(office: Office) -> None:
    office.now_ms = now_ms()
    settings = 'private_upstreams = ["127.0.0.0/8"]\n'
    (office.world.data_dir / config.FILE_NAME).write_text(settings)

    async def scene() -> None:
        async with receiving() as receiver:
            office.add(receiver)
            office.alert()
            entered = control_process(office.world.data_dir)
            await asyncio.to_thread(entered.__enter__)
            try:
                await until(lambda: office.states() == [State.SENT])
            finally:
                await asyncio.to_thread(entered.__exit__, None, None, None)
            assert [told.json["target"] for told in receiver.told] == ["key:7"]

    run(scene())
