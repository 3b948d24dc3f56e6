"""What the scripts do before anything is installed; the package registry is the only fake."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest

from benchmarks import PROOFS

ROOT = Path(__file__).resolve().parent.parent


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bootstrap = script("_bootstrap")
tidy = script("tidy")


class Checkout:
    """A project folder with locks, and a package registry that remembers what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.venv = folder / "venv"
        self.commands: list[str] = []
        self.failing = ""
        self.says = ""
        (self.root / "requirements").mkdir(parents=True)
        (self.root / "pyproject.toml").write_text("[project]\n")
        for name in ("runtime", "test", "prove", "model"):
            self.lock(name, f"{name}-1")

    def lock(self, name: str, text: str) -> None:
        (self.root / "requirements" / f"{name}.txt").write_text(text)

    def run(self, command: Sequence[str], log: Path) -> int:
        line = " ".join(command)
        time.sleep(0.02)
        if self.failing and self.failing in line:
            log.write_text(self.says)
            return 1
        if "-m venv" in line:
            (self.venv / "bin").mkdir(parents=True, exist_ok=True)
            (self.venv / "bin" / "python").touch()
        self.commands.append(line.partition(" -m ")[2])
        return 0

    def set_up(self, wanted: str) -> list[str]:
        """What a run of a script makes happen, in short."""
        del self.commands[:]
        bootstrap.set_up(self.root, self.venv, wanted, self.run)
        return [
            "venv" if command.startswith("venv") else Path(command.rpartition(" ")[2]).stem
            for command in self.commands
        ]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_first_run_installs_everything_by_hash_and_a_second_nothing(checkout: Checkout) -> None:
    assert checkout.set_up("runtime") == ["venv", "runtime", "project"]
    assert "--require-hashes" in checkout.commands[1]
    assert "--no-deps" in checkout.commands[2] and "--no-build-isolation" in checkout.commands[2]

    assert checkout.set_up("runtime") == []


def test_the_lock_of_the_tests_brings_that_of_the_program(checkout: Checkout) -> None:
    checkout.set_up("test")

    assert checkout.set_up("runtime") == []


def test_what_not_every_machine_can_have_does_not_stop_the_tests(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.failing = "model.txt"

    assert checkout.set_up("test") == ["venv", "test", "project"]
    assert "its tests are skipped" in capsys.readouterr().err
    checkout.failing = ""
    checkout.lock("model", "model-2")
    assert checkout.set_up("test") == ["test", "model", "project"]
    assert "--no-deps" in checkout.commands[1] and "--require-hashes" in checkout.commands[1]


def test_the_proofs_are_installed_only_when_asked_for(checkout: Checkout) -> None:
    assert "prove" not in checkout.set_up("test")
    assert checkout.set_up("prove") == ["prove", "project"]
    assert checkout.set_up("test") == []


def test_a_changed_lock_is_installed_into_the_same_environment(checkout: Checkout) -> None:
    checkout.set_up("runtime")
    checkout.lock("runtime", "runtime-2")

    assert checkout.set_up("runtime") == ["runtime", "project"]


def test_a_changed_project_file_installs_the_project_anew(checkout: Checkout) -> None:
    checkout.set_up("runtime")
    (checkout.root / "pyproject.toml").write_text("[project]\nname = 'x'\n")

    assert checkout.set_up("runtime") == ["project"]


def test_another_python_gets_a_new_environment(checkout: Checkout) -> None:
    checkout.set_up("runtime")
    stamp = checkout.venv / "aipool-stamp.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "python": "another"}))

    assert checkout.set_up("runtime") == ["venv", "runtime", "project"]


def test_a_broken_set_up_is_begun_again(checkout: Checkout) -> None:
    checkout.failing = "--require-hashes"
    with pytest.raises(bootstrap.CannotSetUp):
        checkout.set_up("runtime")
    checkout.failing = ""

    assert checkout.set_up("runtime") == ["venv", "runtime", "project"]


@pytest.mark.parametrize(
    ("failing", "says", "reason"),
    [
        ("-m venv", "", "the virtual environment could not be made"),
        (
            "--require-hashes",
            "WARNING: Retrying after NewConnectionError\nERROR: No matching distribution",
            "pip cannot get the packages from its package registry",
        ),
        (
            "--require-hashes",
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "a package is not the one that was pinned",
        ),
        ("--editable", "", "the project itself could not be installed"),
    ],
)
def test_a_failure_is_one_readable_line(
    checkout: Checkout, failing: str, says: str, reason: str
) -> None:
    checkout.failing, checkout.says = failing, says

    with pytest.raises(bootstrap.CannotSetUp, match=reason) as problem:
        checkout.set_up("runtime")

    assert "\n" not in str(problem.value) and f"{checkout.venv}.log" in str(problem.value)


def test_a_python_without_venv_says_what_to_install(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(bootstrap.CannotSetUp, match=r"apt-get install python3\.\d+-venv"):
        checkout.set_up("runtime")


def test_too_old_a_python_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None)

    status = bootstrap.main(["runtime"])

    said = capsys.readouterr().err
    assert status == 1
    assert said.startswith("aipool: this is Python 3.9, and AI-POOL needs 3.11 or newer")
    assert said.count("\n") == 1


def test_parallel_runs_share_one_set_up(checkout: Checkout) -> None:
    runs = [
        threading.Thread(
            target=bootstrap.set_up, args=(checkout.root, checkout.venv, "test", checkout.run)
        )
        for _ in range(4)
    ]

    for run in runs:
        run.start()
    for run in runs:
        run.join()

    assert len(checkout.commands) == 4


# --- proofs ---------------------------------------------------------------------------------------


def prove(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_how_the_tests_are_run_is_said_before_anything_is_set_up() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "test", "--help"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": "/nothing/there"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "--fast leaves out the tests that are marked slow." in done.stdout


def test_without_a_name_the_proofs_are_listed() -> None:
    listed = prove()

    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [p.name for p in PROOFS]


def test_an_unknown_proof_is_refused_in_one_line() -> None:
    refused = prove("no-such-thing")

    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


# --- tidiness -------------------------------------------------------------------------------------

MONEY = "src/aipool/rating/x.py"


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        ("docs/x.md", "see https://" + "pypi" + ".org/x", "names a package registry"),
        ("requirements/x.txt", "--index" + "-url https://x", "names a package registry"),
        ("console/package-lock.json", '"resolved": "https://x"', "names a package registry"),
        ("docs/x.md", "cd /ho" + "me/somebody", "names a path of one machine"),
        ("src/aipool/x.py", "# TO" + "DO: later", "a remark about work that is left"),
        ("src/aipool/x.py", "x = 1\n" * 601, "601 lines, more than 600"),
        (MONEY, "x = 1.5", "a float literal"),
        (MONEY, "x = 3 / 2", "a true division"),
        (MONEY, "x = 3\nx /= 2", "a true division"),
        (MONEY, "def f(x: float) -> None: ...", "float where money"),
        ("src/aipool/ledger/core.py", "x = 1e9", "a float literal"),
        ("src/aipool/calls/x.py", "from aipool.ledger import store", "the store of ledger"),
        ("src/aipool/calls/x.py", "import aipool.ledger.store", "the store of ledger"),
        ("src/aipool/calls/x.py", "from aipool.ledger.store import f", "the store of ledger"),
    ],
)
def test_what_is_untidy_is_found(path: str, text: str, problem: str) -> None:
    found = [line for rule in tidy.RULES for line in rule(PurePosixPath(path), text)]

    assert len(found) == 1 and problem in found[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (MONEY, "x = 3 // 2"),
        ("src/aipool/wire/x.py", "x = 1.5"),
        ("src/aipool/calls/x.py", "from aipool.calls import store"),
        ("docs/x.md", "the folder https://example.com/home/x"),
    ],
)
def test_what_is_tidy_is_left_alone(path: str, text: str) -> None:
    assert [line for rule in tidy.RULES for line in rule(PurePosixPath(path), text)] == []
