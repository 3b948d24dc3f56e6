"""Sets the project up in .venv and prints the folder of its programs.

    python3 scripts/_bootstrap.py runtime|test|prove

The locks in requirements/ name every package by version and hash, and no registry: pip asks the
one it is configured for. A stamp in .venv says what is installed, so that a second run costs
nothing; a file lock lets parallel runs share one set-up. AIPOOL_VENV puts .venv elsewhere.

This file must be readable for old Pythons too, because it is the one that tells them they are old.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent

# What each lock brings besides itself: the test lock was resolved on top of the runtime lock, so
# whoever has installed it has the other one too.
INCLUDES = {"runtime": ("runtime",), "test": ("runtime", "test"), "prove": ("runtime", "prove")}

# Packages without what they depend on, because only the files in them are used, and which not every
# machine can have: the server and the weights of a real small model. Tests do without them.
BESIDES = {"test": "model"}


class CannotSetUp(Exception):
    """Why there is no environment, in one line, with what to do about it."""


def main(arguments):
    """Set up for the set of packages that is asked for; print where its programs are."""
    wanted = arguments[0] if len(arguments) == 1 else ""
    if wanted not in INCLUDES:
        print("usage: _bootstrap.py " + "|".join(INCLUDES), file=sys.stderr)
        return 2
    if sys.version_info < OLDEST:
        return run_with_newer_python(arguments)
    venv = Path(os.environ.get("AIPOOL_VENV") or ROOT / ".venv").absolute()
    try:
        set_up(ROOT, venv, wanted)
    except CannotSetUp as problem:
        print(f"aipool: {problem}", file=sys.stderr)
        return 1
    print(venv / "bin")
    return 0


def run_with_newer_python(arguments):
    """Start again with the newest Python on the PATH, when this one is too old."""
    for minor in (14, 13, 12, 11):
        python = shutil.which(f"python3.{minor}")
        if python:
            os.execv(python, [python, __file__, *arguments])
    print(
        f"aipool: this is Python {version_of(sys.version_info)}, and AI-POOL needs "
        f"{version_of(OLDEST)} or newer: install one, for example with "
        f"`apt-get install python{version_of(OLDEST)} python{version_of(OLDEST)}-venv`",
        file=sys.stderr,
    )
    return 1


def set_up(root, venv, wanted, run=None):
    """Have `venv` hold what the lock `wanted` names; raises CannotSetUp.

    run: how a command is run; gives its exit status, and writes what it says to a log file.
    """
    run = run or run_logged
    if is_installed(root, venv, wanted):
        return
    venv.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{venv}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another set-up is running, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_installed(root, venv, wanted):
            install(root, venv, wanted, run)


def is_installed(root, venv, wanted):
    """Whether the stamp says that this lock, this project and this Python are what is there."""
    stamp = read_stamp(venv)
    fresh = fingerprints(root)
    return (
        stamp.get("python") == python_id()
        and stamp.get("project") == fresh["project"]
        and stamp.get("root") == str(root)
        and stamp.get(wanted) == fresh[wanted]
        and (venv / "bin" / "python").exists()
    )


def install(root, venv, wanted, run):
    """Make the environment when there is none for this Python, then install into it."""
    log = Path(f"{venv}.log")
    log.write_text("")
    stamp = read_stamp(venv)
    if stamp.get("python") != python_id():
        stamp = {"python": python_id()}
        make_venv(venv, run, log)
    fresh = fingerprints(root)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--no-input", "--disable-pip-version-check"]
    if stamp.get(wanted) != fresh[wanted]:
        tell(f"installing the pinned packages ({wanted}), this takes a minute the first time")
        lock = root / "requirements" / f"{wanted}.txt"
        if run([*pip, "install", "--require-hashes", "-r", str(lock)], log) != 0:
            raise CannotSetUp(why_packages_failed(log))
        if wanted in BESIDES:
            besides = root / "requirements" / f"{BESIDES[wanted]}.txt"
            alone = ["install", "--require-hashes", "--no-deps", "-r", str(besides)]
            if run([*pip, *alone], log) != 0:
                tell(f"{besides.name}: not for this machine, its tests are skipped, see {log}")
        for name in INCLUDES[wanted]:
            stamp[name] = fresh[name]
    own = [*pip, "install", "--no-build-isolation", "--no-deps", "--editable", str(root)]
    if run(own, log) != 0:
        raise CannotSetUp(f"the project itself could not be installed, see {log}")
    stamp.update(project=fresh["project"], root=str(root))
    write_stamp(venv, stamp)


def make_venv(venv, run, log):
    """An empty environment of this Python, with pip in it."""
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise CannotSetUp(
            "this Python cannot make virtual environments: on Debian and Ubuntu, "
            f"`apt-get install python{version_of(sys.version_info)}-venv`"
        )
    tell(f"making {venv}")
    if run([sys.executable, "-m", "venv", "--clear", str(venv)], log) != 0:
        raise CannotSetUp(f"the virtual environment could not be made, see {log}")


def why_packages_failed(log):
    """One line from what pip said."""
    said = log.read_text(errors="replace")
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in said:
        return f"a package is not the one that was pinned; nothing was installed, see {log}"
    signs = ("NewConnectionError", "Connection", "Temporary failure", "timed out", "No matching")
    if any(sign in said for sign in signs):
        return f"pip cannot get the packages from its package registry, see {log}"
    return f"pip failed, see {log}"


def run_logged(command, log):
    """Run a command with its output at the end of the log; its exit status."""
    with log.open("ab") as file:
        return subprocess.call(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)


def fingerprints(root):
    """What the project asks for now: one digest for each lock, one for pyproject.toml."""
    files = {name: [root / "requirements" / f"{name}.txt"] for name in INCLUDES}
    for name, besides in BESIDES.items():
        files[name].append(root / "requirements" / f"{besides}.txt")
    files["project"] = [root / "pyproject.toml"]
    return {
        name: hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
        for name, paths in files.items()
    }


def python_id():
    """Which Python the environment is for: another one, or another version, needs a new one."""
    return f"{Path(sys.executable).resolve()} {sys.version}"


def version_of(numbers):
    """The version as people write it, such as 3.11."""
    return f"{numbers[0]}.{numbers[1]}"


def read_stamp(venv):
    """What is installed in the environment; {} when that is not known."""
    try:
        return dict(json.loads((venv / "aipool-stamp.json").read_text()))
    except (OSError, ValueError):
        return {}


def write_stamp(venv, stamp):
    """Say what is installed: written last and whole, so that a broken set-up is begun again."""
    new = venv / "aipool-stamp.json.new"
    new.write_text(json.dumps(stamp))
    new.replace(venv / "aipool-stamp.json")


def tell(line):
    """Progress, on standard error: standard output carries the result."""
    print(f"aipool: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
