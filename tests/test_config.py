"""Where settings come from, what is refused, and that a child sees what its parent saw."""

from __future__ import annotations

import dataclasses
import ipaddress
import subprocess
import sys
from pathlib import Path

import pytest

from aipool.config import BadSetting, Origin, Settings, load, variables
from aipool.wire.limits import Limits


def load_in(folder: Path, environ: dict[str, str] | None = None, **flags: object) -> Settings:
    return load({"data_dir": str(folder), **flags}, environ or {})


def test_without_a_word_it_serves_loopback_from_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    settings = load({}, {})

    assert settings.data_dir == tmp_path / ".local" / "share" / "aipool"
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.workers_effective >= 1
    assert settings.database_url_effective == f"sqlite:///{settings.data_dir}/aipool.db"
    assert settings.limits == Limits()
    assert settings.trusted_proxies == settings.private_upstreams == ()
    assert set(settings.origins.values()) == {Origin.DEFAULT}


def test_xdg_data_home_moves_the_default(tmp_path: Path) -> None:
    assert load({}, {"XDG_DATA_HOME": str(tmp_path)}).data_dir == tmp_path / "aipool"


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    (tmp_path / "aipool.toml").write_text('port = 1\nworkers = 1\nhost = "::1"\n')
    environ = {"AIPOOL_PORT": "2", "AIPOOL_WORKERS": "2"}

    settings = load_in(tmp_path, environ, port=3, workers=None)

    assert (settings.port, settings.workers, settings.host) == (3, 2, "::1")
    assert settings.metrics_port == 9464
    assert {name: settings.origins[f"AIPOOL_{name}"] for name in ("PORT", "WORKERS", "HOST")} == {
        "PORT": Origin.FLAG,
        "WORKERS": Origin.ENVIRONMENT,
        "HOST": Origin.FILE,
    }


def test_the_environment_says_where_the_file_lies(tmp_path: Path) -> None:
    (tmp_path / "aipool.toml").write_text("port = 9\n")

    assert load({}, {"AIPOOL_DATA_DIR": str(tmp_path)}).port == 9


def test_every_limit_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "aipool.toml").write_text("[limits]\nkeep_alive_seconds = 5\nbacklog = 7\n")
    environ = {"AIPOOL_LIMIT_BODY_BYTES": "2MiB", "AIPOOL_LIMIT_DRAIN_SECONDS": "0.5"}

    limits = load_in(tmp_path, environ).limits

    assert limits == dataclasses.replace(
        Limits(), keep_alive_seconds=5.0, backlog=7, body_bytes=2 << 20, drain_seconds=0.5
    )


def test_lists_come_as_text_or_as_lists(tmp_path: Path) -> None:
    (tmp_path / "aipool.toml").write_text('trusted_proxies = ["10.0.0.0/8", "::1"]\n')

    settings = load_in(tmp_path, {"AIPOOL_CORS_ORIGINS": "https://a.example, http://b:1"})

    assert settings.trusted_proxies == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )
    assert settings.cors_origins == ("https://a.example", "http://b:1")


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("AIPOOL_PORT", "eighty", "a whole number from 0 to 65535"),
        ("AIPOOL_PORT", "65536", "a whole number from 0 to 65535"),
        ("AIPOOL_PORT", "80.0", "a whole number from 0 to 65535"),
        ("AIPOOL_WORKERS", "-1", "a whole number from 0 to 1024"),
        ("AIPOOL_HOST", "a b", "a host name or an IP address"),
        ("AIPOOL_HOST", "", "a host name or an IP address"),
        ("AIPOOL_TRUSTED_PROXIES", "10.0.0.1/8", "addresses or networks such as 10.0.0.0/8"),
        ("AIPOOL_PRIVATE_UPSTREAMS", "localhost", "addresses or networks such as 10.0.0.0/8"),
        ("AIPOOL_CORS_ORIGINS", "example.com", "* or web origins"),
        ("AIPOOL_CORS_ORIGINS", "https://example.com/path", "* or web origins"),
        ("AIPOOL_TLS_KEY_FILE", "/no/such/file", "the path of a file that exists"),
        ("AIPOOL_LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("AIPOOL_SLICE_MAX_NANO", "1.5", "a whole number of nano-yuan from 1"),
        ("AIPOOL_JOURNAL_BYTES_MAX", "0", "a size in bytes"),
        ("AIPOOL_LIMIT_BODY_BYTES", "64 MB", "a size in bytes, or such as 64MiB"),
        ("AIPOOL_LIMIT_DRAIN_SECONDS", "inf", "a number of seconds above 0"),
        ("AIPOOL_LIMIT_DRAIN_SECONDS", "nan", "a number of seconds above 0"),
        ("AIPOOL_LIMIT_DRAIN_SECONDS", "0", "a number of seconds above 0"),
        ("AIPOOL_LIMIT_BACKLOG", "many", "a whole number from 1"),
        ("AIPOOL_DATA_DIR", "", "the path of a folder"),
    ],
)
def test_a_bad_value_names_the_variable_the_value_and_what_is_allowed(
    tmp_path: Path, name: str, text: str, allowed: str
) -> None:
    with pytest.raises(BadSetting) as problem:
        load({}, {"AIPOOL_DATA_DIR": str(tmp_path), name: text})

    assert str(problem.value).startswith(f"{name}={text!r} (from the environment): must be ")
    assert allowed in str(problem.value) and "\n" not in str(problem.value)


def test_a_bad_value_in_the_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "aipool.toml").write_text("port = true\n")

    with pytest.raises(BadSetting, match=rf"from {tmp_path}/aipool.toml"):
        load_in(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("prot = 1", "there is no setting 'prot'"),
        ("PORT = 1", "there is no setting 'PORT'"),
        ("data_dir = '/x'", "there is no setting 'data_dir'"),
        ("[limits]\nbody = 1", "there is no setting 'body'"),
        ("port = \nworkers = 1", "line 1"),
    ],
)
def test_a_file_with_a_slip_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "aipool.toml").write_text(content)

    with pytest.raises(BadSetting, match=problem):
        load_in(tmp_path)


def test_an_unknown_limit_in_the_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="AIPOOL_LIMIT_BODY: there is no such limit"):
        load_in(tmp_path, {"AIPOOL_LIMIT_BODY": "1"})


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    certificate = tmp_path / "c.pem"
    certificate.touch()

    with pytest.raises(BadSetting, match="go together"):
        load_in(tmp_path, tls_certificate_file=str(certificate))


def test_a_child_reads_what_its_parent_had(tmp_path: Path) -> None:
    certificate = tmp_path / "c.pem"
    certificate.touch()
    settings = load_in(
        tmp_path,
        {
            "AIPOOL_TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8",
            "AIPOOL_LIMIT_CONNECT_SECONDS": "0.1",
            "AIPOOL_UPSTREAM_CA_FILE": str(certificate),
            "AIPOOL_DATABASE_URL": "postgresql://u:p@h/d",
        },
        workers=3,
    )

    copy = Settings.from_json(settings.to_json())

    assert copy == settings
    assert copy.origins == settings.origins


def test_every_variable_says_what_it_does_and_why_it_is_so() -> None:
    assert all(v.meaning and v.source for v in variables())
    assert len({v.environment_name for v in variables()}) == len(variables())


def test_every_default_survives_its_own_text() -> None:
    for variable in variables():
        if variable.name != "data_dir":
            text = variable.kind.write(variable.default)
            assert variable.read(text, "") == variable.default, variable.name


def test_the_settings_are_light_enough_for_every_process() -> None:
    heavy = "pydantic", "sqlalchemy", "fastapi", "asyncio"
    code = f"import sys, aipool.config; print([m for m in {heavy} if m in sys.modules])"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert loaded.strip() == "[]"


def test_a_database_url_that_is_refused_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(BadSetting) as caught:
        load({"data_dir": str(tmp_path)}, {"AIPOOL_DATABASE_URL": "mysql://me:hunter2@x/y"})

    assert str(caught.value) == (
        "AIPOOL_DATABASE_URL (from the environment): "
        "must be a URL that starts with sqlite:// or postgresql://"
    )
