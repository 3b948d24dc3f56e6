"""What lies in deploy/ has the form that its readers ask for, and agrees with the program."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from aipool.config import variables
from aipool.gateway.endpoints import health
from aipool.supervisor.child import Timing
from aipool.wire.limits import Limits

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def program(name: str) -> str:
    """A program beside this Python, or on the PATH; without it the test is skipped."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here (it has no wheel for this machine)")
    return found


def run(*command: str) -> str:
    """What a program says that must be content."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


# --- systemd ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unit() -> dict[str, str]:
    """The part about the service; of what stands several times, all values with blanks between."""

    class Several(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            if isinstance(value, list) and isinstance(self.get(key), list):
                value = [*self[key], *value]
            super().__setitem__(key, value)

    parser = configparser.RawConfigParser(strict=False, dict_type=Several)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "aipool.service")
    return {name: " ".join(value.split()) for name, value in parser["Service"].items()}


def test_the_service_gives_a_drain_its_time(unit: dict[str, str]) -> None:
    timing, limits = Timing(), Limits()
    longest = limits.drain_seconds + timing.drain_margin + 2 * timing.stopping

    assert int(unit["TimeoutStopSec"]) > longest
    # SIGTERM goes to the supervisor alone, which ends the others in order.
    assert (unit["KillMode"], unit["KillSignal"]) == ("mixed", "SIGTERM")


def test_the_service_comes_back_and_leaves_workers_to_their_supervisor(
    unit: dict[str, str],
) -> None:
    assert unit["Restart"] == "always"
    assert unit["OOMPolicy"] == "continue"
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_the_service_leaves_no_memory_on_a_disk_and_may_little(unit: dict[str, str]) -> None:
    assert unit["LimitCORE"] == "0"
    assert unit["User"] == "aipool" and unit["NoNewPrivileges"] == "yes"
    assert unit["CapabilityBoundingSet"] == "" and unit["ProtectSystem"] == "strict"
    assert unit["StateDirectoryMode"] == unit["RuntimeDirectoryMode"] == "0700"
    environment = dict(part.split("=") for part in unit["Environment"].split())
    assert environment["AIPOOL_DATA_DIR"] == f"/var/lib/{unit['StateDirectory']}"
    assert environment["XDG_RUNTIME_DIR"] == f"/run/{unit['RuntimeDirectory']}"


@pytest.mark.slow
def test_systemd_understands_every_line_of_the_service(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed here")
    text = (DEPLOY / "aipool.service").read_text()
    copy = tmp_path / "aipool.service"
    # Whether the program is there is no question of form.
    copy.write_text(text.replace("/opt/aipool/bin/aipool", "/bin/true"))

    assert run(analyze, "verify", str(copy)) == ""
    judged = run(analyze, "security", "--offline=yes", str(copy))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged)
    assert found is not None and float(found[1]) <= 2.0, judged


# --- containers -------------------------------------------------------------------------------


def test_the_dockerfile_passes_its_linter() -> None:
    assert run(program("hadolint"), str(DEPLOY / "Dockerfile")) == ""


def test_the_image_is_asked_for_its_health_where_it_answers() -> None:
    assert f":8080{health.READY.path}'" in (DEPLOY / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


@pytest.mark.slow
def test_the_compose_file_has_the_form_of_one() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    run(program("check-jsonschema"), *schema, str(DEPLOY / "compose.yaml"))


def test_only_the_proxy_is_reached_from_outside_and_only_it_is_believed(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    address = services["proxy"]["networks"]["front"]["ipv4_address"]

    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert services["aipool"]["environment"]["AIPOOL_TRUSTED_PROXIES"] == address
    assert services["database"]["networks"] == ["back"]
    assert compose["networks"]["back"]["internal"] is True


def test_a_container_is_given_the_time_of_a_drain(compose: dict[str, Any]) -> None:
    minutes = re.fullmatch(r"(\d+)m", compose["services"]["aipool"]["stop_grace_period"])

    assert minutes is not None
    assert int(minutes[1]) * 60 > Limits().drain_seconds + Timing().drain_margin


def test_no_default_password_stands_in_a_sample(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or "://" in value:
                assert "${POSTGRES_PASSWORD:?" in value, name


def test_every_variable_of_a_sample_exists() -> None:
    known = {variable.environment_name for variable in variables()}
    for path in DEPLOY.iterdir():
        named = set(re.findall(r"\bAIPOOL_[A-Z_]+\b", path.read_text()))
        assert named <= known, path.name
