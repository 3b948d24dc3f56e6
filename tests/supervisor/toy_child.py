"""A toy process of the platform: real in how it starts, beats and ends; it serves only its pid.

What it is told to do lies in the folder TOYS: an empty file named `die.worker0` or `stuck.control`
and so on. What happened to it goes into TOYS/events, one line each.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from aipool.process import Child

TOYS = Path(os.environ["TOYS"])


def main() -> None:
    child = Child.from_environment()
    name = f"{child.role}{child.index}" if child.listen_socket else str(child.role)
    descriptor = os.open(TOYS / "events", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(event: str) -> None:
        os.write(descriptor, f"{name} {os.getpid()} {event}\n".encode())

    def told(order: str) -> bool:
        return (TOYS / f"{order}.{name}").exists()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(f"{os.getpid()}\n".encode())
        writer.close()

    async def live() -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        note("started")
        if told("mute"):
            await ended.wait()
        child.start_heartbeat(loop)
        if told("die"):
            sys.exit(3)
        if told("starve"):
            await ended.wait()
        server = None
        if child.listen_socket is not None:
            server = await asyncio.start_server(answer, sock=child.listen_socket, backlog=128)
        note("ready")
        child.ready()
        while not ended.is_set():
            if told("stuck"):
                note("stuck")
                time.sleep(60)
            for order in TOYS.glob("unreachable.*"):
                if name == "ledger":
                    child.report_unreachable(int(order.suffix[1:]))
                    order.unlink()
            await asyncio.sleep(0.02)
        note("draining")
        if server is not None:
            server.close()
        if told("slow"):
            await asyncio.sleep(60)
        await asyncio.sleep(0.1)
        note("ended")

    asyncio.run(live())


main()
