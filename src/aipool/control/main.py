"""The control process. Started by the supervisor as `python -m aipool.control.main`.

Serves HTTP on control.sock for the workers, who pass on what is not theirs, and the
sandbox vendor on sandbox.sock. Both are private to this user (0600 in a folder of 0700). Beside
that it sends what people are to be told, and looks after balances at vendors.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
import uvloop
from fastapi import FastAPI

from aipool.accounts.failed_logins import FailedLogins
from aipool.calls.jobs import LettingGo
from aipool.calls.weeks import WeeklySums
from aipool.config import Settings
from aipool.control.app import create_app
from aipool.control.asking import open_clients
from aipool.control.balances import Balances
from aipool.control.contents import ContentKeeper
from aipool.control.deliveries import Deliveries
from aipool.control.login_warnings import LoginWarnings
from aipool.control.low_balances import LowBalances
from aipool.control.sandbox import start_sandbox
from aipool.doors.contents import SOCKET_NAME
from aipool.installation import run_directory
from aipool.kit import logging
from aipool.kit.db import Database, open_database
from aipool.kit.digests import load_pepper
from aipool.kit.recurring import Recurring
from aipool.kit.sealing import Keyring, load_keyring
from aipool.process import Child
from aipool.site.messages import Messenger
from aipool.site.service import Site
from aipool.site.types import CALL_RETENTION_DAYS

#: Pages are quick; at the end they get this long before they are cut.
_STOP_SECONDS = 5
_BACKLOG = 512


_NICENESS = 10


def main() -> None:
    """The life of the process."""
    child = Child.from_environment()
    # A person can wait for a core; a call waits for the ledger process and a worker.
    os.nice(_NICENESS)
    logging.configure(child.settings.log_level)
    uvloop.run(_serve(child))


async def _serve(child: Child) -> None:
    settings = child.settings
    loop = asyncio.get_running_loop()
    child.start_heartbeat(loop)
    run = run_directory(settings.data_dir)

    database = open_database(settings.database_url_effective)
    pepper, keyring = load_pepper(settings.data_dir), load_keyring(settings.data_dir)
    async with open_clients(settings) as clients:
        app = create_app(database, settings, pepper, keyring, clients)
        deliveries = Deliveries(database, keyring, settings)
        deliveries.start()
        running = jobs(database, keyring, settings, app.state.messenger, app.state.failed_logins)
        for job in running:
            job.start()
        contents = ContentKeeper(database, keyring)
        await contents.start(private_socket(run.path / SOCKET_NAME))
        sandbox = await start_sandbox(private_socket(run.sandbox_socket), settings.limits)
        server = Server(app, on_started=child.ready)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        child.on_orphaned(loop, server.stop)
        try:
            await server.serve(sockets=[private_socket(run.control_socket)])
        finally:
            await contents.close()
            for job in running:
                await job.close()
            await deliveries.close()
            await app.state.messenger.close()
            await sandbox.drain(_STOP_SECONDS)
            await sandbox.close()
            database.close()


def jobs(
    database: Database,
    keyring: Keyring,
    settings: Settings,
    messenger: Messenger,
    failed_logins: FailedLogins,
) -> list[Recurring]:
    """What is done now and then, beside the pages."""
    site = Site(settings, keyring)
    return [
        Balances(database, keyring, settings).job,
        LettingGo(database, lambda now: site.value(now, CALL_RETENTION_DAYS)).job,
        WeeklySums(database).job,
        LowBalances(database, site, messenger).job,
        LoginWarnings(database, site, messenger, failed_logins).job,
    ]


class Server(uvicorn.Server):
    """uvicorn on a socket that is handed to it, told by us when to stop."""

    def __init__(self, app: FastAPI, on_started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                loop="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )
        self._on_started = on_started

    def stop(self) -> None:
        """Answer what is being asked, then end."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves from here on."""
        await super().startup(sockets=sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the business of `main`, which ends more than this server."""
        yield


def private_socket(path: Path) -> socket.socket:
    """A listening Unix socket that only this user may connect to, in place of an old one."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(_BACKLOG)
    return listener


if __name__ == "__main__":
    main()
