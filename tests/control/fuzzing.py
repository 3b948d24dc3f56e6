"""The interface against its own description: requests made at random from the OpenAPI document,
valid and not, and every answer held against what the document says (schemathesis).

The application is the real one, on a loopback port of this process, asked by the root account and
by a user. Nothing outside is ever asked: names are not resolved while this runs. The ids in paths
are half of the time those of records that are there, which are made anew before each operation,
because the one before may have deleted them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from aipool import config
from aipool.accounts import tables
from aipool.accounts.types import Role, User
from aipool.config import Settings
from aipool.control.access import CHANGES_MAX
from aipool.control.app import create_app
from aipool.control.asking import open_clients
from aipool.control.main import Server
from tests.control.api_rig import Api, api, key_of, vendor_of

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


#: Cases of an operation with which a user, who asks half of them, stays below what they may do.
CASES_OF_A_USER = CHANGES_MAX * 3 // 2


@dataclass
class Found:
    """What came of it. failures: by operation and what is wrong, with one example each."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)


@contextmanager
def served(folder: Path) -> Iterator[tuple[Api, str]]:
    """An installation with its root account, and the address at which it is served."""
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(api(folder))
        stack.enter_context(nothing_outside())
        settings = config.load({"data_dir": folder}, {})
        yield opened, stack.enter_context(_on_a_port(opened, settings))


@contextmanager
def _on_a_port(opened: Api, settings: Settings) -> Iterator[str]:
    world = opened.world
    started = threading.Event()
    servers: list[Server] = []

    async def serve(listener: socket.socket) -> None:
        async with open_clients(settings) as clients:
            secrets = world.secrets
            app = create_app(world.database, settings, secrets.pepper, secrets.keyring, clients)
            servers.append(Server(app, on_started=started.set))
            await servers[0].serve(sockets=[listener])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(serve(listener)))
        thread.start()
        try:
            assert started.wait(20)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            servers[0].stop()
            thread.join(20)


@contextmanager
def nothing_outside() -> Iterator[None]:
    """No name is resolved, and no address but this machine's is connected to."""
    real_names, real_connect = socket.getaddrinfo, socket.socket.connect

    def names(host: Any, *rest: Any, **named: Any) -> Any:
        if host not in ("127.0.0.1", b"127.0.0.1", "localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "no name is resolved here")
        return real_names(host, *rest, **named)

    def connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] != "127.0.0.1":
            raise ConnectionRefusedError("nothing outside is asked")
        real_connect(self, address)

    socket.getaddrinfo = names
    socket.socket.connect = connect  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        socket.getaddrinfo = real_names
        socket.socket.connect = real_connect  # type: ignore[method-assign]


class Records:
    """Who asks, and what paths may name: made anew, since what is asked may have ended them."""

    def __init__(self, opened: Api) -> None:
        self._opened = opened
        self._person: User | None = None
        self._root = opened.signed_in(Role.ROOT).user
        self._numbers = itertools.count(1)

    def callers(self, cases: int) -> dict[str, list[Api]]:
        """A program of the root account, and one of a user; of several where a user may not make
        half as many changes in a minute."""
        people = [self._opened.signed_in().user for _ in range(cases // CASES_OF_A_USER + 1)]
        self._person = people[0]
        assert self._root is not None
        with self._opened.world.database.write() as tx:
            tx.connection.execute(tables.access_tokens.delete())
            tx.connection.execute(tables.users.update().values(status="active"))
        return {
            "root": [self._opened.program(self._root)],
            "user": [self._opened.program(person) for person in people if person],
        }

    def fresh(self, root: Api) -> dict[str, Any]:
        """One of each, by the name of the path's parameter."""
        world = root.world
        assert self._person is not None
        number = next(self._numbers)
        vendor = vendor_of(root)
        with world.database.write() as tx:
            token, _ = world.token(tx, self._person, f"fresh {number}")
            world.model(tx, world.vendor(tx, f"m{number}"), f"model-{number}")
        group = {"name": f"g{number}", "multiplier": "1"}
        return {
            "vendor_id": vendor["id"],
            "key_id": key_of(root, vendor)["id"],
            "token_id": token.id,
            "name": f"model-{number}",
            "group_id": root.good("POST", "/api/admin/groups", group)["id"],
            "user_id": self._person.id,
        }


def fuzz(folder: Path, cases_each: int, *, seed: int = 0, only: str = "") -> Found:
    """Asks so often of every operation, half of it well formed, as root and as a user."""
    found = Found()
    with served(folder) as (opened, address), requests.Session() as session:
        records = Records(opened)
        document = session.get(f"{address}/api/openapi.json", timeout=30).json()
        for result in schemathesis.openapi.from_dict(document).get_all_operations():
            operation = cast(Any, result).ok()
            if only in operation.label:
                callers = records.callers(cases_each)
                known = records.fresh(callers["root"][0])
                is_for_all = operation.definition.raw["x-who"] in ("anyone", "user")
                tokens = {
                    name: itertools.cycle([one.token for one in some])
                    for name, some in callers.items()
                    if name == "root" or is_for_all
                }
                _ask_of(operation, cases_each, seed, tokens, known, session, address, found)
    return found


def _ask_of(
    operation: Any,
    count: int,
    seed: int,
    callers: Mapping[str, Iterator[str]],
    known: dict[str, Any],
    session: requests.Session,
    address: str,
    found: Found,
) -> None:
    modes = [GenerationMode.POSITIVE]
    if operation.body or operation.query or operation.path_parameters:
        modes.append(GenerationMode.NEGATIVE)

    for mode in modes:

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=max(1, count // len(modes)),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(
            case=operation.as_strategy(generation_mode=mode),
            caller=st.sampled_from(sorted(callers)),
            real=st.booleans(),
        )
        def ask(case: Any, caller: str, real: bool) -> None:
            if real and case.meta.generation.mode.is_positive:
                for name in case.path_parameters or {}:
                    case.path_parameters[name] = known.get(name, case.path_parameters[name])
            headers = {"Authorization": f"Bearer {next(callers[caller])}"}
            response = case.call(
                base_url=address, session=session, headers=headers, allow_redirects=False
            )
            found.cases += 1
            found.statuses[response.status_code] += 1
            try:
                case.validate_response(response, checks=CHECKS)
            except (Failure, FailureGroup) as problem:
                problems = getattr(problem, "exceptions", [problem])
                for one in problems:
                    what = f"{type(one).__name__} {response.status_code}"
                    told = f"{one}\n{case.as_curl_command()}\n{response.text[:500]}"
                    found.failures.setdefault((operation.label, what), told)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ask()


def told(found: Found) -> str:
    """The failures, for a person."""
    return "\n\n".join(
        f"{operation}: {what}\n{example}" for (operation, what), example in found.failures.items()
    )


def summary(found: Found) -> str:
    """One line."""
    statuses = json.dumps(dict(sorted(found.statuses.items())))
    return f"{found.cases:,} cases, {len(found.failures)} contract failures; answers {statuses}"
