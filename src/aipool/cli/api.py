"""aipool api METHOD PATH: the whole interface of a platform, from the command line.

A platform elsewhere is asked at AIPOOL_URL with an access token, from AIPOOL_ADMIN_TOKEN or from
standard input. The one that runs on this installation is asked over its own socket, by whoever may
read its data anyway: with an access token of the root account that is made for this one request
and gone after it; the trail has both, by the login name.

    0  done        1  refused, and the problem is on standard error
    2  wrong use   3  the platform could not be asked, or could not answer

Who reads what is printed may end first, as `head` does: then nothing more is printed or said.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO
from urllib.parse import urlencode, urlsplit

import typer

from aipool.cli.options import DataDir
from aipool.cli.output import say

if TYPE_CHECKING:
    from aipool.cli.session import Session

_REFUSED, _WRONG, _UNREACHABLE = 1, 2, 3

#: An export may take its time between two pieces.
_SECONDS = 120.0
_PIECE_BYTES = 1 << 16
#: The token of a request is good for no longer than it may take.
_TOKEN_MS = 10 * 60 * 1000


def api(
    method: Annotated[str, typer.Argument(help="GET, POST, PUT, PATCH or DELETE.")],
    path: Annotated[str, typer.Argument(help="As in the reference, such as /api/vendors.")],
    data: Annotated[
        str | None,
        typer.Option(help="What is sent: JSON, @FILE, or @- for standard input.", metavar="JSON"),
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option(help="A parameter; may be repeated.", metavar="NAME=VALUE")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(help="A header; may be repeated.", metavar="NAME=VALUE")
    ] = None,
    url: Annotated[
        str, typer.Option(help="Of a platform elsewhere.", envvar="AIPOOL_URL", metavar="URL")
    ] = "",
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the access token from standard input.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Asks the interface of a platform: the one that runs here, or the one at AIPOOL_URL."""
    method = method.upper()
    if method not in ("GET", "POST", "PUT", "PATCH", "DELETE") or not path.startswith("/"):
        say("aipool: write a method and a path, as in: aipool api GET /api/vendors")
        raise typer.Exit(_WRONG)
    target = path + _query(query or [], "&" if "?" in path else "?")
    headers = dict(_pair("--header", one) for one in header or [])
    body = _body(data)
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    try:
        if url:
            connection, prefix = _elsewhere(url)
            token = _token(token_stdin=token_stdin)
            status = _ask(connection, method, prefix + target, body, headers, token)
        else:
            with _here(data_dir) as (connection, token):
                status = _ask(connection, method, target, body, headers, token)
    except (OSError, http.client.HTTPException) as problem:
        say(f"aipool: the platform could not be asked: {problem}")
        raise typer.Exit(_UNREACHABLE) from None
    if status >= 500:
        raise typer.Exit(_UNREACHABLE)
    if status >= 400:
        raise typer.Exit(_REFUSED)


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | None,
    headers: dict[str, str],
    token: str,
) -> int:
    """Asks once, prints what is answered, and gives its status."""
    credential = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request(method, target, body, {**headers, **credential})
        answer = connection.getresponse()
        kind = answer.getheader("content-type", "").partition(";")[0]
        out = sys.stdout if answer.status < 400 else sys.stderr
        if kind.endswith("json"):
            parsed = json.loads(answer.read().decode())
            pieces = iter([f"{json.dumps(parsed, ensure_ascii=False, indent=2)}\n".encode()])
        else:
            pieces = iter(lambda: answer.read(_PIECE_BYTES), b"")
        _print(pieces, out)
        return answer.status
    finally:
        connection.close()


def _print(pieces: Iterator[bytes], out: TextIO) -> None:
    """Prints all of it, or as much as is read."""
    for piece in pieces:
        try:
            out.buffer.write(piece)
            out.buffer.flush()
        except BrokenPipeError:
            # Python flushes it once more at its end, and would say that it could not.
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), out.fileno())
            return


# --- whom to ask ------------------------------------------------------------------------------


def _elsewhere(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection to the host of an address, and the path that everything there begins with."""
    parts = urlsplit(url)
    kinds: dict[str, type[http.client.HTTPConnection]] = {
        "http": http.client.HTTPConnection,
        "https": http.client.HTTPSConnection,
    }
    if parts.scheme not in kinds or not parts.hostname:
        say(f"aipool: {url!r} is no address such as https://ai.example.com")
        raise typer.Exit(_WRONG)
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=_SECONDS)
    return connection, parts.path.rstrip("/")


class _Local(http.client.HTTPConnection):
    """HTTP over the control process's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connects."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(str(self._path))


@contextmanager
def _here(data_dir: Path | None) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    """The platform that runs on this installation, and a credential for one request."""
    from aipool.cli.session import open_session
    from aipool.installation import owner_of

    with open_session(data_dir) as session:
        owner = owner_of(session.settings.data_dir)
        if owner is None:
            say("aipool: nothing runs here: start it with `aipool serve`, or set AIPOOL_URL")
            raise typer.Exit(_UNREACHABLE)
        with _credential(session) as token:
            yield _Local(owner.run_directory.control_socket), token


@contextmanager
def _credential(session: Session) -> Iterator[str]:
    """An access token of the root account, for as long as the block runs."""
    from aipool.accounts import service, sessions
    from aipool.accounts.types import Role, Status
    from aipool.kit.errors import NotFound

    with session.read() as connection:
        found = service.list_users(connection)
    roots = [user for user in found if user.role is Role.ROOT and user.status is Status.ACTIVE]
    if not roots:
        raise NotFound("user_unknown", "there is no root account yet: set the platform up first")
    # Where a second factor is asked of operators, who has none gets no further.
    act, root = session.act, max(roots, key=lambda user: user.has_totp)
    with session.database.write() as tx:
        token, secret = sessions.create_access_token(
            tx,
            act,
            session.secrets.pepper,
            root,
            name=f"{act.actor} {os.urandom(4).hex()}",
            is_sensitive=True,
            expires_at_ms=act.at_ms + _TOKEN_MS,
        )
    try:
        yield secret
    finally:
        with session.database.write() as tx:
            sessions.delete_access_token(tx, act, root, token.id)


def _token(*, token_stdin: bool) -> str:
    """The access token, never from the command line, where every user of the machine reads it."""
    if token_stdin:
        return sys.stdin.readline().strip()
    return os.environ.get("AIPOOL_ADMIN_TOKEN", "")


# --- what to send -----------------------------------------------------------------------------


def _query(pairs: list[str], begin: str) -> str:
    return begin + urlencode([_pair("--query", pair) for pair in pairs]) if pairs else ""


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        say(f"aipool: {option} is NAME=VALUE, not {text!r}")
        raise typer.Exit(_WRONG)
    return name, value


def _body(data: str | None) -> bytes | None:
    """The body as it is sent, which must be JSON."""
    if data is None:
        return None
    try:
        text = _text(data)
        json.loads(text)
    except (OSError, ValueError) as problem:
        say(f"aipool: --data: {problem}")
        raise typer.Exit(_WRONG) from None
    return text.encode()


def _text(data: str) -> str:
    if not data.startswith("@"):
        return data
    return sys.stdin.read() if data == "@-" else Path(data[1:]).read_text(encoding="utf-8")
