"""nginx, as the vendor that answers at once and as the plain proxy to be compared with.

    with Nginx(upstream_config(port), folder) as upstream: ...

One worker each, no access log, connections kept for ever: nothing that a gateway would have to
do is done here, so what it costs is about the least that relaying a call can cost.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import trustme

from benchmarks import child, tools
from benchmarks.platform import children

START_SECONDS: Final = 10.0

#: What a vendor answers to a short question: about 500 bytes, with the usage it bills.
ANSWER: Final = json.dumps(
    {
        "id": "chatcmpl-123",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench-model",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Berlin was first written of in 1244. It became the capital of "
                    "Prussia, then of the empire, was divided for forty years, and is one again.",
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 29,
            "completion_tokens": 37,
            "total_tokens": 66,
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    },
    separators=(",", ":"),
)


class Certificate(NamedTuple):
    """A server's certificate and key, and the authority that a client must believe."""

    chain: Path
    key: Path
    authority: Path


def make_certificate(folder: Path) -> Certificate:
    """A certificate for this machine, made by an authority of its own."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    made = Certificate(folder / "server.pem", folder / "server.key", folder / "authority.pem")
    for index, blob in enumerate(server.cert_chain_pems):
        blob.write_to_path(str(made.chain), append=index > 0)
    server.private_key_pem.write_to_path(str(made.key))
    authority.cert_pem.write_to_path(str(made.authority))
    return made


class Nginx:
    """One nginx with one worker, from the servers of its configuration."""

    def __init__(self, servers: str, ports: tuple[int, ...], folder: Path) -> None:
        self._servers = servers
        self._ports = ports
        self._folder = Path(tempfile.mkdtemp(prefix="nginx-", dir=folder))
        self._master: subprocess.Popen[str] | None = None

    @property
    def worker(self) -> int:
        """The process that does the work."""
        assert self._master is not None
        return next(iter(children(self._master.pid)))

    def __enter__(self) -> Nginx:
        (self._folder / "nginx.conf").write_text(self._configuration())
        program = tools.nginx()
        self._master = child.start(
            [program, "-p", str(self._folder), "-c", "nginx.conf", "-e", "error.log"]
        )
        try:
            for port in self._ports:
                self._wait_for(port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._master is not None:
            child.stop(self._master)

    def _wait_for(self, port: int) -> None:
        assert self._master is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self._master.poll() is not None or time.monotonic() > deadline:
                    said = (self._folder / "error.log").read_text()
                    raise RuntimeError(f"nginx does not start:\n{said}") from None
                time.sleep(0.02)

    def _configuration(self) -> str:
        # Started by root, its worker would become somebody who may not enter our folders.
        user = "user root;" if os.geteuid() == 0 else ""
        paths = " ".join(
            f"{name}_temp_path {name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""
daemon off; worker_processes 1; pid nginx.pid; error_log error.log; {user}
events {{ worker_connections 8192; }}
http {{
  access_log off; tcp_nodelay on; {paths}
  keepalive_requests 1000000000; keepalive_timeout 1h;
  {self._servers}
}}
"""


def upstream_servers(port: int, tls_port: int, certificate: Certificate) -> str:
    """The vendor, at both ports, over plain TCP and over TLS."""
    answer = f"location / {{ default_type application/json; return 200 '{ANSWER}'; }}"
    return f"""
  server {{ listen 127.0.0.1:{port}; {answer} }}
  server {{ listen 127.0.0.1:{tls_port} ssl; {answer}
    ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};
    ssl_session_cache shared:tls:1m; }}
"""


def proxy_server(
    port: int, upstream_port: int, *, tls: bool = False, buffering: bool = True
) -> str:
    """A plain reverse proxy that keeps its connections. buffering: off for streams, which it
    then passes on as they come."""
    name = f"behind_{port}"
    scheme = "https" if tls else "http"
    return f"""
  upstream {name} {{ server 127.0.0.1:{upstream_port};
    keepalive 256; keepalive_requests 1000000000; keepalive_timeout 1h; }}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass {scheme}://{name}; proxy_buffering {"on" if buffering else "off"};
    proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_ssl_name localhost; proxy_ssl_server_name on; }} }}
"""
