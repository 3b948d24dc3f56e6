"""Hands out the console: files that were built before, read from a folder, changed by nobody.

The folder is where the program brings it (`aipool/console`), in a checkout `console/dist`, or what
AIPOOL_CONSOLE_DIR says. A build may finish, or be replaced, while the server runs: what is in the
folder is looked at anew whenever its index.html is another one. Whoever builds writes beside the
folder, in `.build/state.json`, what is going on; without a console the server works all the same,
and its pages say so.

Files under assets/ carry a digest in their names and are kept by browsers for ever; index.html, and
what has a name of its own, is asked for each time. `*.gz` beside a file is the same, compressed.
"""

from __future__ import annotations

import json
import mimetypes
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from aipool.accounts import setup as first_administrator
from aipool.control import pages
from aipool.kit.db import Database

_FOR_EVER = "public, max-age=31536000, immutable"
_EACH_TIME = "no-cache"
_INDEX = "index.html"
#: What a build says went wrong is shown as far as this.
_ERROR_CHARACTERS_MAX = 4_000
#: By name, because the tables of some systems differ.
_MEDIA_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
}
#: Pages of the console outside its own folder, as the router of the console knows them.
_PAGES = ("/login", "/register", "/reset", "/console")


def default_folder() -> Path:
    """Where the console lies: in the package, else in the checkout that it is run from."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "console"
    return packaged if packaged.is_dir() else package.parents[1] / "console" / "dist"


@dataclass(slots=True)
class Console:
    """The files of a built console, as they are now."""

    folder: Path
    _seen_ns: int = field(default=0, init=False)
    _names: frozenset[str] = field(default=frozenset(), init=False)

    def is_built(self) -> bool:
        """Is there something to hand out?"""
        return (self.folder / _INDEX).is_file()

    def why_not(self) -> tuple[str, str]:
        """Whether it is "building", "failed" or "missing", and in words what went wrong."""
        try:
            said = json.loads((self.folder.parent / ".build" / "state.json").read_bytes())
            state, error = str(said["state"]), str(said.get("error", ""))
        except (OSError, ValueError, KeyError, TypeError):
            return "missing", ""
        known = state if state in ("building", "failed") else "missing"
        return known, error[-_ERROR_CHARACTERS_MAX:]

    def has(self, name: str) -> bool:
        """Is there a file of this name? Only names that were found in the folder are, so no name
        leads out of it."""
        try:
            now_ns = (self.folder / _INDEX).stat().st_mtime_ns
        except OSError:
            return False
        if now_ns != self._seen_ns:
            found = (path for path in self.folder.rglob("*") if path.is_file())
            # Hidden ones are the build's own.
            relative = (path.relative_to(self.folder) for path in found)
            self._names = frozenset(
                str(path) for path in relative if not any(p.startswith(".") for p in path.parts)
            )
            self._seen_ns = now_ns
        return name in self._names

    def answer(self, name: str, *, takes_gzip: bool) -> Response:
        """The file as a response; its name is one of those that are there."""
        headers = {
            "Cache-Control": _FOR_EVER if name.startswith("assets/") else _EACH_TIME,
            "Vary": "Accept-Encoding",
        }
        path = self.folder / name
        if takes_gzip and self.has(f"{name}.gz"):
            path = self.folder / f"{name}.gz"
            headers["Content-Encoding"] = "gzip"
        suffix = Path(name).suffix
        media_type = MappingProxyType(_MEDIA_TYPES).get(suffix) or mimetypes.guess_type(name)[0]
        return Response(path.read_bytes(), 200, headers, media_type or "application/octet-stream")


def routes(console: Console, database: Database) -> APIRouter:
    """`/`, the pages of the console, and its files."""
    router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

    @router.get("/")
    def home(request: Request) -> Response:
        with database.read() as connection:
            is_set_up = first_administrator.is_set_up(connection)
        if is_set_up and console.is_built():
            return RedirectResponse("/console", 302)
        state, error = ("", "") if console.is_built() else console.why_not()
        address = pages.base_url(request)
        return HTMLResponse(
            pages.home(address, is_set_up=is_set_up, console=pages.console_note(state, error))
        )

    def page(request: Request) -> Response:
        if console.has(_INDEX):
            return console.answer(_INDEX, takes_gzip=_takes_gzip(request))
        state, error = console.why_not()
        return HTMLResponse(pages.no_console(state, error), 503, {"Retry-After": "5"})

    for path in _PAGES:
        router.add_api_route(path, page, methods=["GET"])

    @router.get("/console/{path:path}")
    def file(path: str, request: Request) -> Response:
        if path != _INDEX and not path.endswith(".gz") and console.has(path):
            return console.answer(path, takes_gzip=_takes_gzip(request))
        if path.startswith("assets/"):
            return PlainTextResponse("There is no such file.", 404)
        # A page of the console: which ones there are, its own router knows.
        return page(request)

    return router


def _takes_gzip(request: Request) -> bool:
    asked = request.headers.get("accept-encoding", "")
    return any(part.strip().partition(";")[0] == "gzip" for part in asked.split(","))
