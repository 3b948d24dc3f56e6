"""The control process: its pages, its refusals, the first administrator, the sandbox."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from aipool.accounts import sessions, setup
from aipool.accounts.types import Role
from aipool.installation import run_directory
from aipool.kit.db import Database, open_database
from aipool.kit.digests import load_pepper
from tests.control.rig import Answer, Control, ask, control_process
from tests.world import open_world

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]})


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control")
    with open_world(folder):
        return folder


@pytest.fixture(scope="module")
def control(data_dir: Path) -> Iterator[Control]:
    # What a process that was killed leaves behind must not be in the way.
    run_directory(data_dir).control_socket.touch()
    with control_process(data_dir) as started:
        yield started


@pytest.fixture
def database(data_dir: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{data_dir / 'aipool.db'}")
    yield opened
    opened.close()


def get(control: Control, target: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(control.run.control_socket, "GET", target, headers=named)


def submit(control: Control, **fields: str) -> Answer:
    return ask(control.run.control_socket, "POST", "/setup", urlencode(fields), FORM)


def test_its_sockets_are_private(control: Control) -> None:
    for path in (control.run.control_socket, control.run.sandbox_socket):
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("target", ["/", "/setup", "/setup.js", "/nothing", "/setup/"])
def test_every_answer_carries_the_security_headers(control: Control, target: str) -> None:
    headers = get(control, target).headers

    policy = headers["content-security-policy"]
    for part in ("default-src 'self'", "script-src 'self'", "frame-ancestors 'none'"):
        assert part in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "server" not in headers
    assert "strict-transport-security" not in headers


def test_transport_security_is_demanded_only_over_tls(control: Control) -> None:
    assert "strict-transport-security" in get(control, "/", X_Forwarded_Proto="https").headers


def test_the_front_page_says_how_to_call_this_very_address(control: Control) -> None:
    page = get(control, "/", Host="pool.example:8080", X_Forwarded_Proto="https")

    assert page.status == 200
    assert "curl https://pool.example:8080/v1/chat/completions" in page.body
    assert "set-up link" in page.body


def test_a_host_is_escaped_on_the_page(control: Control) -> None:
    assert "<script>" not in get(control, "/", Host="<script>alert(1)</script>").body


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/../etc/passwd", 404),
        ("DELETE", "/", 405),
        ("PUT", "/setup", 405),
    ],
)
def test_what_is_not_there_is_refused_as_problem_details(
    control: Control, method: str, target: str, status: int
) -> None:
    answer = ask(control.run.control_socket, method, target)

    problem = json.loads(answer.body)
    assert answer.status == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["title"]
    assert "Traceback" not in answer.body


def test_a_request_that_is_too_large_is_refused(control: Control) -> None:
    answer = ask(control.run.control_socket, "POST", "/setup", b"x" * 70_000, FORM)

    assert answer.status == 413
    assert json.loads(answer.body)["status"] == 413


def test_a_form_that_is_no_form_is_refused_and_nothing_dies(control: Control) -> None:
    for body, kind in (
        (b"\xff\xfe\x00", FORM["Content-Type"]),
        (b"--x", "multipart/form-data; boundary=x"),
        (b"{}", "application/json"),
        (b"", "text/plain"),
    ):
        answer = ask(control.run.control_socket, "POST", "/setup", body, {"Content-Type": kind})
        assert 400 <= answer.status < 500
    assert get(control, "/").status == 200


def test_the_script_takes_the_secret_from_the_fragment(control: Control) -> None:
    script = get(control, "/setup.js")

    assert script.headers["content-type"].startswith("text/javascript")
    assert "location.hash" in script.body
    assert '<script src="/setup.js">' in get(control, "/setup").body


def test_a_problem_keeps_what_was_typed_escaped_and_never_the_password(control: Control) -> None:
    answer = submit(control, phone='"><b>', password="a long password", token="wrong")

    assert answer.status == 403
    assert "&quot;&gt;&lt;b&gt;" in answer.body
    assert "a long password" not in answer.body


def test_the_first_administrator_is_made_once(
    control: Control, data_dir: Path, database: Database
) -> None:
    pepper = load_pepper(data_dir)
    with open_world(data_dir) as world, world.database.write() as tx:
        secret = setup.issue_link(tx, world.act, pepper)
    assert secret is not None

    weak = submit(control, phone="13800138001", password="short", token=secret)
    assert weak.status == 422
    assert "at least 12 characters" in weak.body
    assert submit(control, phone="12", password="a long password", token=secret).status == 422

    done = submit(control, phone="13800138001", password="a long password", token=f" {secret} ")
    assert done.status == 201
    (access_token,) = re.findall(r"aipool-root-[A-Za-z0-9_-]+", done.body)
    with database.read() as connection:
        caller = sessions.caller_of_access_token(connection, pepper, access_token, world.act.at_ms)
    assert caller is not None
    assert (caller.user.phone, caller.user.role) == ("+8613800138001", Role.ROOT)
    to_the_console = '<a href="/login">Log in to the console</a>'
    assert to_the_console in done.body

    again = submit(control, phone="13800138002", password="a long password", token=secret)
    assert again.status == 403
    over = get(control, "/setup")
    assert over.status == 410
    assert to_the_console in over.body
    home = get(control, "/")  # where the console is built, it is there that people go on
    assert home.status == 302 or "has an administrator" in home.body


def chat(
    control: Control, body: str, method: str = "POST", path: str = "/v1/chat/completions"
) -> Answer:
    return ask(control.run.sandbox_socket, method, path, body, {"Content-Type": "application/json"})


def test_the_sandbox_answers_whole_with_usage(control: Control) -> None:
    answer = chat(control, CHAT)

    completion = json.loads(answer.body)
    assert answer.status == 200
    assert completion["choices"][0]["message"]["content"]
    assert completion["usage"]["total_tokens"] > 0


def test_the_sandbox_streams_to_the_end(control: Control) -> None:
    asked = json.loads(CHAT) | {"stream": True, "stream_options": {"include_usage": True}}

    answer = chat(control, json.dumps(asked))

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["transfer-encoding"] == "chunked"
    events = [line.removeprefix("data: ") for line in answer.body.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/chat/completions", "{", 400),
        ("POST", "/v1/embeddings", "{}", 404),
        ("GET", "/v1/chat/completions", "", 405),
    ],
)
def test_the_sandbox_refuses_in_the_vendors_own_shape(
    control: Control, method: str, path: str, body: str, status: int
) -> None:
    answer = chat(control, body, method, path)

    assert answer.status == status
    assert json.loads(answer.body)["error"]["message"]


@pytest.mark.slow
def test_it_ends_in_order_when_told_to(tmp_path: Path) -> None:
    with open_world(tmp_path):
        pass
    with control_process(tmp_path) as started:
        assert get(started, "/").status == 200

        assert started.stop() == 0
