"""Process entry of a gateway worker; started by the supervisor."""

from __future__ import annotations

import asyncio
import gc
import signal

import uvloop

from aipool.gateway.worker import Worker
from aipool.installation import run_directory
from aipool.process import Child


async def _main(child: Child) -> None:
    loop = asyncio.get_running_loop()
    child.start_heartbeat(loop)
    worker = Worker(child.settings, run_directory(child.settings.data_dir), child.index)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    child.on_orphaned(loop, worker.stop)
    assert child.listen_socket is not None
    # What was built at the start lives for ever: the collector need not look at it again,
    # and calls make few cycles, so it need not look often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    await worker.serve(child.listen_socket, child.ready)


def main() -> None:
    """Run one worker until it is told to stop."""
    uvloop.run(_main(Child.from_environment()))


if __name__ == "__main__":
    main()
