"""scripts/_console.py: when it builds, with what, and what it says when it cannot.

Node.js is the only fake: a program that does what `npm` is asked for with two files.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType

import pytest

from tests.console.browser import ROOT

_NODE = """#!/bin/sh
if [ "$1" = "--version" ]; then echo {version}; exit 0; fi
echo "$2 $3" >> {log}
case "$2 $3" in
  "run build") mkdir -p dist.new && echo '<title>it</title>' > dist.new/index.html ;;
  "run types") {types} ;;
esac
"""


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_console", ROOT / "scripts" / "_console.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


console = load()


class Checkout:
    """A folder with a console to build, and a Node.js on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "console"
        self.lock = folder / "console.txt"
        self.node = folder / "node" / "bin" / "node"
        self.log = folder / "asked"
        npm = folder / "node" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        for place in (self.source / "src", self.source / "node_modules", npm.parent):
            place.mkdir(parents=True)
        (self.source / "package-lock.json").write_text("{}")
        (self.source / "src" / "main.tsx").write_text("it")
        npm.touch()
        self.node.parent.mkdir()
        self.install("v24.19.0")

    def install(self, version: str, types: str = "true") -> None:
        self.node.write_text(_NODE.format(version=version, log=self.log, types=types))
        self.node.chmod(0o755)

    def build(self) -> list[str]:
        """What npm is asked for by it."""
        self.log.write_text("")
        console.build(self.source, self.lock)
        return [line.strip() for line in self.log.read_text().splitlines()]

    def state(self) -> dict[str, str]:
        said: dict[str, str] = json.loads((self.source / ".build" / "state.json").read_text())
        return said


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    made = Checkout(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join((str(made.node.parent), "/usr/bin", "/bin")))
    return made


def test_a_first_run_builds_and_a_second_does_nothing(checkout: Checkout) -> None:
    assert checkout.build() == ["ci", "run types", "run build"]
    assert checkout.state() == {"state": "built", "error": ""}
    assert (checkout.source / "dist" / "index.html").is_file()

    assert checkout.build() == []


def test_a_change_is_built_without_new_packages(checkout: Checkout) -> None:
    checkout.build()
    (checkout.source / "src" / "main.tsx").write_text("other")

    assert checkout.build() == ["run types", "run build"]


def test_what_nobody_builds_from_changes_nothing(checkout: Checkout) -> None:
    checkout.build()
    (checkout.source / "node_modules" / "it.js").write_text("a package")
    (checkout.source / "src" / "schema.gen.ts").write_text("made by the build")

    assert checkout.build() == []


def test_other_packages_are_installed(checkout: Checkout) -> None:
    checkout.build()
    (checkout.source / "package-lock.json").write_text('{"other": true}')

    assert checkout.build()[0] == "ci"


def test_a_build_that_fails_says_why_and_leaves_the_one_before(checkout: Checkout) -> None:
    checkout.build()
    (checkout.source / "src" / "main.tsx").write_text("wrong")
    checkout.install("v24.19.0", types="echo 'a type is wrong'; exit 1")

    with pytest.raises(console.CannotBuild, match="a type is wrong"):
        checkout.build()

    assert checkout.state()["state"] == "failed"
    assert "a type is wrong" in checkout.state()["error"]
    assert (checkout.source / "dist" / "index.html").is_file()


def test_a_node_that_is_too_old_is_not_used(checkout: Checkout) -> None:
    assert console.is_new_enough(str(checkout.node))
    checkout.install("v22.11.0")
    assert not console.is_new_enough(str(checkout.node))
    checkout.install("v22.12.0")
    assert console.is_new_enough(str(checkout.node))
