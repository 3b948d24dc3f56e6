"""How the built files are handed out, on the real application without its other processes."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from aipool.accounts.types import Role
from aipool.control.console import Console, routes
from aipool.control.guard import Guard
from tests.world import World, open_world

PAGE = b"<!doctype html><title>AI-POOL</title>" + b" " * 2_000
SCRIPT = b"export const it = 1;" * 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A console as a build leaves it."""
    built = tmp_path / "console" / "dist"
    (built / "assets").mkdir(parents=True)
    (built / ".vite").mkdir()
    for name, content in (
        ("index.html", PAGE),
        ("start.js", b"// theme"),
        ("assets/index-Ab12.js", SCRIPT),
        (".vite/manifest.json", b"{}"),
    ):
        (built / name).write_bytes(content)
        (built / f"{name}.gz").write_bytes(gzip.compress(content))
    (tmp_path / "secret.txt").write_text("not of the console")
    return built


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def client(folder: Path, world: World) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(routes(Console(folder), world.database))
    app.add_middleware(Guard)
    with TestClient(app, follow_redirects=False) as asked:
        yield asked


def set_up(world: World) -> None:
    with world.database.write() as tx:
        world.user(tx, role=Role.ROOT)


@pytest.mark.parametrize("path", ["/login", "/register", "/reset", "/console", "/console/tokens"])
def test_every_page_is_the_one_page_and_is_asked_for_each_time(
    client: TestClient, path: str
) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["cache-control"] == "no-cache"
    assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_files_with_a_digest_in_their_names_are_kept_for_ever(client: TestClient) -> None:
    answer = client.get("/console/assets/index-Ab12.js")

    assert (answer.status_code, answer.content) == (200, SCRIPT)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert client.get("/console/start.js").headers["cache-control"] == "no-cache"


def test_what_is_compressed_goes_to_whom_it_is_for(client: TestClient) -> None:
    path = "/console/assets/index-Ab12.js"
    packed = client.get(path, headers={"accept-encoding": "br, gzip;q=0.8"})
    plain = client.get(path, headers={"accept-encoding": "br"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content == SCRIPT
    assert packed.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "path",
    [
        "/console/../../secret.txt",
        "/console/..%2f..%2fsecret.txt",
        "/console/%2e%2e/%2e%2e/secret.txt",
        "/console//etc/passwd",
        "/console/.vite/manifest.json",
        "/console/assets/index-Ab12.js.gz",
        "/console/assets/none.js",
    ],
)
def test_nothing_but_the_files_of_the_console_is_handed_out(client: TestClient, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404 or answer.content == PAGE


def test_the_front_page_leads_to_the_console_once_there_is_an_administrator(
    client: TestClient, world: World
) -> None:
    assert client.get("/").status_code == 200

    set_up(world)

    answer = client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (302, "/console")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"state": "building"}, "is being built"),
        ({"state": "failed", "error": "no <registry>"}, "no &lt;registry&gt;"),
        (None, "There is no console here"),
    ],
)
def test_without_a_console_the_pages_say_so(
    client: TestClient, world: World, folder: Path, state: dict[str, str] | None, said: str
) -> None:
    set_up(world)
    (folder / "index.html").unlink()
    if state is not None:
        work = folder.parent / ".build"
        work.mkdir()
        (work / "state.json").write_text(json.dumps(state))

    front, page = client.get("/"), client.get("/login")

    assert front.status_code == 200
    assert (page.status_code, page.headers["retry-after"]) == (503, "5")
    assert said in front.text
    assert said in page.text


def test_a_new_build_is_handed_out_without_a_restart(client: TestClient, folder: Path) -> None:
    assert client.get("/console/assets/later-Cd34.js").status_code == 404
    (folder / "assets" / "later-Cd34.js").write_bytes(SCRIPT)
    (folder / "index.html").write_bytes(b"newer")
    (folder / "index.html.gz").unlink()
    os.utime(folder / "index.html", ns=(1, 1))

    assert client.get("/console/assets/later-Cd34.js").status_code == 200
    assert client.get("/login").content == b"newer"
