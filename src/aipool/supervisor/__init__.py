"""`aipool serve`: starts the processes of the platform, watches them, and ends them in order.

The supervisor owns no logic. It owns four things and keeps these promises about them:

    the address   bound first, and without SO_REUSEPORT, so that a second server is refused. Then
                  N sockets share it; socket i belongs to worker i and to whoever replaces it, and
                  is never closed here: connections that wait in it survive a worker's end
    DATA_DIR      one supervisor at a time (`installation.own`)
    the children  ledger, control, worker 0 … N-1; see `aipool.process` for their side. One that
                  ends, or is silent for 5 s, or (a worker) cannot be reached by the ledger process
                  for 5 s, is replaced: within a second, but more slowly when it keeps dying
    their order   ledger before the others at start; workers, control, ledger at the end

Each place has one task that keeps it filled (`Place.keep`); a process tells of its life and death
through its heartbeat pipe, whose end of file is the news that it ended.

SIGTERM or SIGINT drains and ends; a second one does not wait for the drain. SIGHUP replaces the
workers one after the other, each new one beside the old one until it is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aipool.config import Settings
from aipool.installation import InstallationError, own
from aipool.process import LAUNCH_VARIABLE, Role
from aipool.supervisor.address import CannotListen, claim_address, share_address
from aipool.supervisor.child import Backoff, Process, Timing

Command = Callable[[Role, int], Sequence[str]]
"""The command line of a child: of its role, and of its index among the workers."""

Say = Callable[[str], None]

_TICK_SECONDS: Final = 0.25

_MODULES: Final = {
    Role.LEDGER: "aipool.books.main",
    Role.CONTROL: "aipool.control.main",
    Role.WORKER: "aipool.gateway.main",
}


class CannotServe(Exception):
    """The platform cannot start; the text is one line for the operator."""


def command_of(role: Role, index: int) -> Sequence[str]:
    """How the platform's own processes are started. -P: no module of the current folder."""
    return (sys.executable, "-P", "-m", _MODULES[role])


def serve(
    settings: Settings,
    *,
    on_ready: Callable[[str], None],
    say: Say | None = None,
    command: Command = command_of,
    timing: Timing | None = None,
) -> int:
    """Run the platform until SIGTERM or SIGINT; the exit status of `aipool serve`.

    on_ready: called once with the address (`http://127.0.0.1:8080`) when every process serves.
    say: one line for the operator; standard error unless told otherwise.
    """
    say = say or _say_on_stderr
    try:
        port = claim_address(settings.host, settings.port)
        with own(settings.data_dir):
            listeners = share_address(settings.host, port, settings.workers_effective)
            scheme = "https" if settings.tls_certificate_file else "http"
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            supervisor = Supervisor(
                settings, listeners, say=say, command=command, timing=timing or Timing()
            )
            asyncio.run(supervisor.run(lambda: on_ready(f"{scheme}://{host}:{port}")))
    except (CannotServe, CannotListen, InstallationError) as problem:
        say(f"aipool: {problem}")
        return 1
    return 0


def _say_on_stderr(line: str) -> None:
    # A log that is full must not end what it speaks of.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the operator's terminal


@dataclass(slots=True, eq=False)
class Place:
    """A role that must be filled at all times until `closing`, and who fills it."""

    role: Role
    index: int
    backoff: Backoff
    listener: socket.socket | None = None
    process: Process | None = None
    closing: bool = False
    keeper: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """`ledger`, `control`, `worker 0`."""
        return f"worker {self.index}" if self.role is Role.WORKER else self.role.value


# --- all of them ------------------------------------------------------------------------------


class Supervisor:
    """Keeps every place filled; one instance a run."""

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[socket.socket],
        *,
        say: Say,
        command: Command,
        timing: Timing,
    ) -> None:
        self._settings_json = settings.to_json()
        self._drain_seconds = settings.limits.drain_seconds + timing.drain_margin
        self._say = say
        self._command = command
        self._timing = timing
        self._ledger = Place(Role.LEDGER, 0, Backoff(timing))
        self._control = Place(Role.CONTROL, 0, Backoff(timing))
        self._workers = [
            Place(Role.WORKER, index, Backoff(timing), listener)
            for index, listener in enumerate(listeners)
        ]
        self._processes: set[Process] = set()  # running, those that drain after a roll included
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._rolling: asyncio.Task[None] | None = None
        # Nobody writes to it: children see its end of file when this process is gone.
        self._lifeline, self._lifeline_end = os.pipe()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Start, watch until told to stop, end in order. Raises CannotServe."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal)
        loop.add_signal_handler(signal.SIGHUP, self._on_roll_signal)
        watch = loop.create_task(self._watch())
        try:
            if await self._start():
                on_ready()
                await self._stop.wait()
        finally:
            await self._end()
            watch.cancel()

    # Start ------------------------------------------------------------------------------------

    async def _start(self) -> bool:
        """Start everything; False when told to stop meanwhile."""
        starting = asyncio.ensure_future(self._start_all())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            return False
        starting.result()
        return True

    async def _start_all(self) -> None:
        await self._start_place(self._ledger)
        async with asyncio.TaskGroup() as group:
            starts = [
                group.create_task(self._try_start(place))
                for place in (self._control, *self._workers)
            ]
        for start in starts:
            problem = start.result()
            if problem is not None:
                raise CannotServe(problem)

    async def _start_place(self, place: Place) -> None:
        problem = await self._try_start(place)
        if problem is not None:
            raise CannotServe(problem)

    async def _try_start(self, place: Place) -> str | None:
        """Fill the place for the first time; why that failed, or None."""
        try:
            process = place.process = self._spawn(place)
        except OSError as problem:
            return f"the {place.name} process cannot be started: {problem}"
        if not await process.wait_ready():
            return f"the {place.name} process {process.how_it_ended} before it was ready"
        place.keeper = asyncio.get_running_loop().create_task(self._keep(place, process))
        return None

    # Watch ------------------------------------------------------------------------------------

    async def _keep(self, place: Place, process: Process) -> None:
        """Fill the place again whenever its process ends, until the place closes."""
        loop = asyncio.get_running_loop()
        while not await self._ended_for_good(place, process):
            pause = place.backoff.died(started_at=process.started_at, now=loop.time())
            after = f" in {pause:g} s" if pause else ""
            self._say(f"aipool: {process.title} {process.how_it_ended}; starting it again{after}")
            await asyncio.sleep(pause)
            if place.closing:
                return
            process = place.process = await self._spawn_at_last(place)

    async def _ended_for_good(self, place: Place, process: Process) -> bool:
        await process.ended.wait()
        return place.closing

    async def _spawn_at_last(self, place: Place) -> Process:
        """Start a process, trying again while the system has no room for one more."""
        while True:
            try:
                return self._spawn(place)
            except OSError as problem:
                self._say(f"aipool: {place.name} cannot be started: {problem}")
                await asyncio.sleep(self._timing.pauses[0])

    async def _watch(self) -> None:
        """Kill whoever has been silent too long."""
        loop = asyncio.get_running_loop()
        last_tick = loop.time()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = loop.time()
            if now - last_tick > 1.0:
                # It is this process that was stopped: what the others say is still unread.
                for process in self._processes:
                    process.last_heard = now
            last_tick = now
            for process in tuple(self._processes):
                problem = self._timing.problem(process, now)
                if problem and not process.condemned:
                    self._say(f"aipool: {process.title} {problem}: ending it")
                    process.condemned = True
                    process.send(signal.SIGKILL)

    # One child --------------------------------------------------------------------------------

    def _spawn(self, place: Place) -> Process:
        """Start a process for the place and listen to its heartbeat."""
        heartbeat, heartbeat_end = os.pipe()
        launch, launch_end = os.pipe()
        listener = None if place.listener is None else place.listener.fileno()
        record = {
            "role": place.role,
            "index": place.index,
            "parent": os.getpid(),
            "settings": self._settings_json,
            "heartbeat": heartbeat_end,
            "lifeline": self._lifeline,
            "listener": listener,
        }
        os.write(launch_end, json.dumps(record).encode())  # far below what a pipe takes at once
        os.close(launch_end)
        passed = [launch, heartbeat_end, self._lifeline]
        try:
            popen = subprocess.Popen(
                list(self._command(place.role, place.index)),
                stdin=subprocess.DEVNULL,
                pass_fds=passed if listener is None else [*passed, listener],
                env={**os.environ, LAUNCH_VARIABLE: str(launch)},
                process_group=0,  # Ctrl-C reaches the supervisor alone, which knows the order
            )
        except OSError:
            os.close(heartbeat)
            raise
        finally:
            os.close(launch)
            os.close(heartbeat_end)
        loop = asyncio.get_running_loop()
        now = loop.time()
        process = Process(place.name, popen, started_at=now, last_heard=now)
        self._processes.add(process)
        os.set_blocking(heartbeat, False)
        loop.add_reader(heartbeat, self._on_heartbeat, process, heartbeat, bytearray())
        return process

    def _on_heartbeat(self, process: Process, descriptor: int, rest: bytearray) -> None:
        """Words from a child; the end of the pipe is the end of the child."""
        chunk = os.read(descriptor, 4096)
        if not chunk:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
            self._bury(process)
            return
        process.last_heard = asyncio.get_running_loop().time()
        rest += chunk
        *lines, tail = rest.split(b"\n")
        rest[:] = tail
        for line in lines:
            word, _, argument = line.partition(b" ")
            if word == b"ready":
                process.is_ready.set()
            elif word == b"unreachable" and process.name == Role.LEDGER and argument.isdigit():
                self._end_unreachable(int(argument))

    def _bury(self, process: Process) -> None:
        """Collect a process that closed its heartbeat: it is ending, or as good as dead."""
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()
        self._processes.discard(process)
        process.ended.set()

    def _end_unreachable(self, pid: int) -> None:
        """Kill a worker, and nothing else, on the word of the ledger process."""
        for process in self._processes:
            if process.pid == pid and process.name.startswith(Role.WORKER):
                self._say(f"aipool: the ledger cannot reach {process.title}: ending it")
                process.send(signal.SIGKILL)

    # Signals ----------------------------------------------------------------------------------

    def _on_stop_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _on_roll_signal(self) -> None:
        if self._stop.is_set() or (self._rolling is not None and not self._rolling.done()):
            return
        self._rolling = asyncio.get_running_loop().create_task(self._roll())

    async def _roll(self) -> None:
        """Replace the workers one at a time; both accept from the same socket for a moment."""
        loop = asyncio.get_running_loop()
        for place in self._workers:
            old = place.process
            if old is None or place.keeper is None:
                continue
            new = await self._spawn_at_last(place)
            if not await new.wait_ready():
                self._say(
                    f"aipool: the new {place.name} {new.how_it_ended} before it was ready; "
                    "the old workers stay"
                )
                return
            if place.process is not old:  # it ended meanwhile, and its keeper was faster
                new.send(signal.SIGTERM)
                continue
            place.keeper.cancel()
            place.process = new
            place.keeper = loop.create_task(self._keep(place, new))
            old.send(signal.SIGTERM)
            loop.call_later(self._drain_seconds, old.send, signal.SIGKILL)
        self._say("aipool: every worker has been replaced")

    # The end ----------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Workers first, with time to drain; then control; then the ledger, which they need."""
        if self._rolling is not None:
            self._rolling.cancel()
        for place in self._workers:
            place.closing = True
        await self._end_processes(
            [process for process in self._processes if process.name.startswith(Role.WORKER)],
            self._drain_seconds,
            until=self._hurry,
        )
        for place in (self._control, self._ledger):
            place.closing = True
            if place.process is not None:
                await self._end_processes([place.process], self._timing.stopping)
        for place in (self._ledger, self._control, *self._workers):
            if place.keeper is not None:
                place.keeper.cancel()

    async def _end_processes(
        self, processes: Sequence[Process], seconds: float, until: asyncio.Event | None = None
    ) -> None:
        """SIGTERM, then SIGKILL after `seconds`, or at once when `until` is set."""
        for process in processes:
            process.send(signal.SIGTERM)
        gone = asyncio.gather(*(process.ended.wait() for process in processes))
        hurry = asyncio.ensure_future((until or asyncio.Event()).wait())
        await asyncio.wait((gone, hurry), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        for process in processes:
            if not process.ended.is_set():
                self._say(f"aipool: {process.title} took too long to end")
                process.send(signal.SIGKILL)
        await gone
