"""What one installation of the platform owns on a machine: its data folder and its run folder.

The data folder holds everything that must outlive the processes. Whoever holds the lock on
`DATA_DIR/owner.lock` is the one supervisor of that installation; the kernel frees the lock when
that process ends, however it ends. The holder writes into the file who it is and where its run
folder lies, so that a command typed in another session finds the running server.

The run folder holds the Unix sockets between the processes. It is short, because a socket's path
may have 107 bytes, and private (0700, ours), because whoever may connect is believed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOCKET_PATH_BYTES_MAX: Final = 107
"""sun_path of Linux has 108 bytes, one of them the closing NUL."""

_LONGEST_SOCKET_NAME: Final = "control.sock"  # as long as sandbox.sock

_LOCK_ATTEMPTS: Final = 10
_LOCK_PAUSE_SECONDS: Final = 0.02


class InstallationError(Exception):
    """The installation's folders cannot be used; the text is one line for the operator."""


class AlreadyOwned(InstallationError):
    """Another supervisor runs on the same data folder."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The folder of the sockets between the processes of one installation."""

    path: Path

    @property
    def control_socket(self) -> Path:
        """The control process serves HTTP here; the workers pass on what is not theirs."""
        return self.path / "control.sock"

    @property
    def link_socket(self) -> Path:
        """The ledger process serves the workers here, and whoever changed something."""
        return self.path / "link.sock"

    @property
    def sandbox_socket(self) -> Path:
        """The built-in sandbox vendor answers here."""
        return self.path / "sandbox.sock"


@dataclass(frozen=True, slots=True)
class Owner:
    """The supervisor that runs an installation, as it wrote itself down."""

    pid: int
    run_directory: RunDirectory


def run_directory(data_dir: Path, environ: Mapping[str, str] | None = None) -> RunDirectory:
    """The run folder of the installation in `data_dir`, made when it is missing.

    $XDG_RUNTIME_DIR, else the system's folder for temporary files, else /tmp: the first that
    exists and is short enough. Raises InstallationError.
    """
    environ = os.environ if environ is None else environ
    name = "aipool-" + hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]
    for base in (environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"):  # noqa: S108
        path = Path(base) / name
        length = len(os.fsencode(path / _LONGEST_SOCKET_NAME))
        if base.startswith("/") and length <= SOCKET_PATH_BYTES_MAX and os.access(base, os.W_OK):
            _make_private(path)
            return RunDirectory(path)
    raise InstallationError(
        "no folder for the sockets between the processes: set XDG_RUNTIME_DIR to a short path"
    )


def _make_private(path: Path) -> None:
    """Make `path` a folder only we may enter; refuse one that somebody else put there."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise InstallationError(
            f"{path} belongs to somebody else: remove it, or set XDG_RUNTIME_DIR to another folder"
        )
    if found.st_mode & 0o077:
        path.chmod(0o700)


@contextlib.contextmanager
def own(data_dir: Path, environ: Mapping[str, str] | None = None) -> Iterator[Owner]:
    """Be the one supervisor of the installation while the block runs.

    Makes the data folder (0700) when it is missing. Raises AlreadyOwned when another process has
    it, InstallationError when it cannot be used. Children do not inherit the lock.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise InstallationError(f"the data folder cannot be used: {problem}") from None
    try:
        _lock_soon(lock, data_dir)
        owner = Owner(os.getpid(), run_directory(data_dir, environ))
        record = {"pid": owner.pid, "run_directory": str(owner.run_directory.path)}
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(record).encode(), 0)
        yield owner
    finally:
        os.close(lock)


def _lock_soon(lock: int, data_dir: Path) -> None:
    """Take the lock, with a little patience: `owner_of` holds it for the moment it looks."""
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if attempt + 1 < _LOCK_ATTEMPTS:
                time.sleep(_LOCK_PAUSE_SECONDS)
    holder = _read_owner(data_dir)
    who = f" (process {holder.pid})" if holder else ""
    raise AlreadyOwned(f"another AI-POOL runs on {data_dir}{who}")


def owner_of(data_dir: Path) -> Owner | None:
    """The supervisor that runs on `data_dir` now, or None. Reads only; waits for nothing."""
    try:
        lock = os.open(data_dir / "owner.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_owner(data_dir)
    finally:
        os.close(lock)
    return None


def _read_owner(data_dir: Path) -> Owner | None:
    """Who wrote themselves into the lock file; None while its new holder is still writing."""
    try:
        record = json.loads((data_dir / "owner.lock").read_bytes())
        return Owner(int(record["pid"]), RunDirectory(Path(record["run_directory"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None
