"""Tells people what happened: sends the deliveries that are pending, as they become due.

Every channel that has something due gets a task, which sends one notice after the other until
nothing is left; so channels do not wait for each other, and none is spoken to twice at a time.
What is claimed and not ended, because this process died, is due again after a minute.

Logs name a channel, never its address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from aipool.config import Settings
from aipool.kit.clock import now_ms
from aipool.kit.db import Database
from aipool.kit.outbound import Vet
from aipool.kit.recurring import Recurring, outliving_mistakes
from aipool.kit.sealing import Keyring
from aipool.notices import service as notices
from aipool.notices.sending import Outcome, Sender
from aipool.notices.types import Channel, ChannelId, Delivery, Kind, Secrets

_log = structlog.get_logger()

LOOK_SECONDS = 2.0
#: Between two messages, below what bots take a minute: 20 DingTalk (then it is deaf for ten
#: minutes) and WeCom, 100 Feishu.
PAUSE_SECONDS: Mapping[Kind, float] = {Kind.DINGTALK: 3.2, Kind.WECOM: 3.2, Kind.FEISHU: 0.7}

KEPT_DAYS = 90
_DAY_MS = 24 * 60 * 60 * 1000

_Claimed = tuple[Delivery, Channel, Secrets]


class Deliveries:
    """The job. Made, started and closed in the control process's event loop."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        settings: Settings,
        *,
        sender: Sender | None = None,
        clock_ms: Callable[[], int] = now_ms,
        pause_seconds: Mapping[Kind, float] = PAUSE_SECONDS,
    ) -> None:
        vet = Vet(settings.private_upstreams)
        self._database = database
        self._keyring = keyring
        self._sender = sender or Sender(vet, settings.limits, settings.upstream_ca_file)
        self._clock_ms = clock_ms
        self._pause_seconds = pause_seconds
        self._channels: dict[ChannelId, asyncio.Task[None]] = {}
        self._looking = Recurring(
            "notices", self._look, every_seconds=LOOK_SECONDS, first_seconds=0
        )
        self._tidied_at_ms = 0

    def start(self) -> None:
        """Looks from now on."""
        self._looking.start()

    def wake(self) -> None:
        """Look now: something was raised."""
        self._looking.wake()

    async def close(self) -> None:
        """Ends everything. What is under way is repeated by the next process."""
        await self._looking.close()
        tasks = [*self._channels.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sender.close()

    # --- inside -----------------------------------------------------------------------------

    async def _look(self) -> None:
        for channel_id in await asyncio.to_thread(self._due):
            if channel_id not in self._channels:
                task = asyncio.get_running_loop().create_task(self._serve(channel_id))
                self._channels[channel_id] = task
        if self._clock_ms() - self._tidied_at_ms >= _DAY_MS:
            self._tidied_at_ms = self._clock_ms()
            await asyncio.to_thread(self._forget_old)

    async def _serve(self, channel_id: ChannelId) -> None:
        """Sends what is due on one channel, one after the other."""
        try:
            with outliving_mistakes("notices"):
                while claimed := await asyncio.to_thread(self._claim, channel_id):
                    delivery, channel, secrets = claimed
                    outcome = await self._send(delivery, channel, secrets)
                    await asyncio.to_thread(self._end, delivery, channel, outcome)
                    await asyncio.sleep(self._pause_seconds.get(channel.kind, 0.0))
                # What came due between the last claim and this moment was passed over.
                self.wake()
        finally:
            del self._channels[channel_id]

    async def _send(self, delivery: Delivery, channel: Channel, secrets: Secrets) -> Outcome:
        try:
            return await self._sender.send(channel, secrets, delivery.notice, self._clock_ms())
        except Exception as mistake:  # noqa: BLE001 - counts as a try, or it came again for ever
            # Its name alone: its text may hold what it was working on.
            _log.error("notices_failed", mistake=type(mistake).__name__)
            return Outcome(f"it could not be sent ({type(mistake).__name__})")

    # --- in threads -------------------------------------------------------------------------

    def _due(self) -> list[ChannelId]:
        with self._database.read() as connection:
            return notices.due(connection, self._clock_ms())

    def _claim(self, channel_id: ChannelId) -> _Claimed | None:
        with self._database.write() as tx:
            return notices.claim(tx, self._keyring, channel_id, self._clock_ms())

    def _end(self, delivery: Delivery, channel: Channel, outcome: Outcome) -> None:
        with self._database.write() as tx:
            if outcome.refusal is None:
                notices.delivered(tx, delivery, self._clock_ms(), outcome.remark)
                return
            again = notices.failed(tx, delivery, outcome.refusal, self._clock_ms())
        _log.warning(
            "notice_not_sent",
            channel=channel.name,
            notice=delivery.notice.id,
            reason=outcome.refusal,
            again=again,
        )

    def _forget_old(self) -> None:
        with self._database.write() as tx:
            notices.forget(tx, self._clock_ms() - KEPT_DAYS * _DAY_MS)
