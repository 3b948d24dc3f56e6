"""What an operator may set: every variable, its unit, its default and where the default comes from.

A value is looked for in this order, and the first place that has it wins:

    command-line flag  >  AIPOOL_NAME in the environment  >  DATA_DIR/aipool.toml  >  the default

`Settings` is read once, at the edge (the command line), and passed down: to the processes of the
platform as text (`Settings.to_json`), to everything inside them as plain values. Nothing else
reads the environment. Every variable is written once, as a field of `Settings`; the limits of the
wire layer are the fields of `Limits`, as AIPOOL_LIMIT_<NAME> or as `[limits]` in the file.

What an operator may also set while it runs, the settings of the site, comes from AIPOOL_SITE_<NAME>
and from `[site]` as text; which there are and what they may be is checked by `site.service.Site`.

Each variable has one reader from text and one writer to text, so a flag, the environment, a file
and the pipe to a child process all go through the same check. A bad value raises `BadSetting`,
which names the variable, the value, where it stood and what is allowed.

This module is imported by every process, so it uses the standard library only.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from aipool.kit.kinds import (
    DATABASE_URL,
    FILE,
    FOLDER,
    HOST,
    LOG_LEVEL,
    NETWORKS,
    OPTIONAL_FOLDER,
    ROOM_BYTES,
    SECONDS,
    SIZE_BYTES,
    TOKENIZER,
    WEB_ORIGINS,
    Kind,
    Network,
    whole,
)
from aipool.wire.limits import Limits

FILE_NAME = "aipool.toml"
ENVIRONMENT_PREFIX = "AIPOOL_"
LIMIT_PREFIX = "AIPOOL_LIMIT_"
SITE_PREFIX = "AIPOOL_SITE_"


class BadSetting(Exception):
    """A setting that cannot be used; its text is one line for the operator."""


class Origin(StrEnum):
    """Where the value in force comes from, strongest first."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Variable:
    """One line of the table of settings.

    name: the key in the file; the environment says AIPOOL_NAME, the command line --name.
    meaning: what it does, with its unit.  source: where the default comes from.
    """

    name: str
    kind: Kind
    default: Any
    meaning: str
    source: str
    is_limit: bool = False

    @property
    def environment_name(self) -> str:
        """The name in the environment, such as AIPOOL_PORT or AIPOOL_LIMIT_BODY_BYTES."""
        return (LIMIT_PREFIX if self.is_limit else ENVIRONMENT_PREFIX) + self.name.upper()

    def read(self, text: str, place: str) -> Any:
        """The value that `text`, found in `place`, stands for; raises BadSetting."""
        try:
            return self.kind.read(text.strip())
        except ValueError:
            shown = "" if self.kind.is_private else f"={text!r}"
            raise BadSetting(
                f"{self.environment_name}{shown} ({place}): must be {self.kind.allowed}"
            ) from None


# --- the table --------------------------------------------------------------------------------


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """$XDG_DATA_HOME/aipool, else ~/.local/share/aipool.

    The home folder and not the current one, so that `aipool …` finds the same installation
    wherever it is typed.
    """
    base = environ.get("XDG_DATA_HOME", "")
    if base.startswith("/"):
        return Path(base) / "aipool"
    try:
        return Path.home() / ".local" / "share" / "aipool"
    except RuntimeError:
        raise BadSetting(
            "AIPOOL_DATA_DIR is not set and there is no home folder: say where data live"
        ) from None


def _setting(default: Any, kind: Kind, meaning: str, source: str) -> Any:
    return field(default=default, metadata={"kind": kind, "meaning": meaning, "source": source})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings in force. Immutable; made by `load`, or from the text a parent process wrote."""

    data_dir: Path = field(
        metadata={
            "kind": FOLDER,
            "meaning": "where everything lives: database, keys, journals, aipool.toml",
            "source": "the XDG rule for a program's data",
        }
    )
    host: str = _setting(
        "127.0.0.1", HOST, "address to listen on", "nobody but this machine, until told otherwise"
    )
    port: int = _setting(
        8080, whole(0, 65_535), "port to listen on; 0 lets the system choose", "custom"
    )
    workers: int = _setting(
        0, whole(0, 1_024), "gateway workers; 0 is one per core", "one event loop fills one core"
    )
    database_url: str = _setting(
        "",
        DATABASE_URL,
        "where the books are, postgresql://user@host/name; empty is SQLite in DATA_DIR/aipool.db",
        "a first start needs no database server",
    )
    metrics_port: int = _setting(
        9464,
        whole(0, 65_535),
        "port of /metrics on the loopback address; 0 turns it off",
        "the customary port of Prometheus exporters in OpenTelemetry",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (),
        NETWORKS,
        "peers whose X-Forwarded-For is believed",
        "a header anybody can send is believed from nobody",
    )
    private_upstreams: tuple[Network, ...] = _setting(
        (),
        NETWORKS,
        "private addresses that a vendor may live at, also over plain HTTP",
        "a vendor's address must not reach into the operator's own network",
    )
    cors_origins: tuple[str, ...] = _setting(
        ("*",),
        WEB_ORIGINS,
        "web origins whose pages may call /v1",
        "/v1 uses no cookies, so any page may call it with a key of its own",
    )
    tls_certificate_file: Path | None = _setting(
        None, FILE, "certificate chain (PEM) of the listener", "plain HTTP on loopback"
    )
    tls_key_file: Path | None = _setting(
        None, FILE, "private key (PEM) of the listener", "plain HTTP on loopback"
    )
    upstream_ca_file: Path | None = _setting(
        None,
        FILE,
        "certificates (PEM) believed for vendors besides the system's",
        "the system's own list",
    )
    console_dir: Path | None = _setting(
        None,
        OPTIONAL_FOLDER,
        "the built console; without it, what came with the program, or console/dist of a checkout",
        "one folder is enough for everybody who did not build their own",
    )
    log_level: str = _setting("info", LOG_LEVEL, "least severe line that is written", "custom")
    slice_max_nano: int = _setting(
        2_000_000_000,
        whole(1, 10**18, "of nano-yuan"),
        "the most of one balance that one worker holds at once",
        "¥2: what is stuck for minutes when a whole node is lost",
    )
    journal_bytes_max: int = _setting(
        256 << 20,
        SIZE_BYTES,
        "journal a worker may keep unshipped before it admits no more calls",
        "several minutes of full traffic without a ledger process",
    )
    ballast_bytes: int = _setting(
        64 << 20,
        ROOM_BYTES,
        "room kept in DATA_DIR, given up when the disk is full so that calls can end; 0 is none",
        "several minutes of records",
    )
    key_failures: int = _setting(
        5,
        whole(1, 10_000),
        "failures within AIPOOL_KEY_FAILURE_SECONDS that make an upstream key rest",
        "one or two failures in a row happen to healthy vendors",
    )
    key_failure_seconds: float = _setting(
        30.0, SECONDS, "time in which failures of an upstream key are counted", "custom"
    )
    key_cooldown_seconds: float = _setting(
        10.0,
        SECONDS,
        "how long an upstream key rests whose vendor does not say how long",
        "a probe every ten seconds costs nobody anything",
    )
    affinity_seconds: float = _setting(
        3600.0,
        SECONDS,
        "how long a session prefers the upstream key that served it last",
        "the longest prompt cache that vendors keep by default",
    )
    tokenizer: str = _setting(
        "estimate",
        TOKENIZER,
        "how tokens are counted that no vendor reported: estimate, or exact (needs aipool[exact])",
        "nearly every vendor reports, and most publish no vocabulary",
    )
    limits: Limits = field(default_factory=Limits)
    #: By environment name, as text; some of it is secret.
    site: Mapping[str, str] = field(default_factory=dict, repr=False)
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False)

    @property
    def workers_effective(self) -> int:
        """The number of workers: as set, or one per core this process may use."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def ballast_path(self) -> Path:
        """The file that keeps room on the disk of the data folder."""
        return self.data_dir / "ballast"

    @property
    def database_url_effective(self) -> str:
        """The database's URL: as set, or SQLite in the data folder."""
        return self.database_url or f"sqlite:///{self.data_dir / 'aipool.db'}"

    def to_json(self) -> str:
        """Everything as text, for a child process; `from_json` is its inverse."""
        texts = {
            variable.environment_name: variable.kind.write(_value_of(self, variable))
            for variable in variables()
        }
        return json.dumps({"values": texts, "origins": dict(self.origins), "site": dict(self.site)})

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The settings that `to_json` wrote."""
        record = json.loads(text)
        origins = {name: Origin(origin) for name, origin in record["origins"].items()}
        values = {
            variable.environment_name: variable.read(
                record["values"][variable.environment_name], "from the supervisor"
            )
            for variable in variables()
        }
        return _build(values, origins, record["site"])


def variables() -> tuple[Variable, ...]:
    """The whole table: first the fields of Settings, then the limits of the wire layer."""
    return _VARIABLES


def in_force(settings: Settings) -> Iterator[tuple[Variable, Any]]:
    """Every variable with its value."""
    return ((variable, _value_of(settings, variable)) for variable in variables())


def _own_variables() -> Iterator[Variable]:
    for spec in dataclasses.fields(Settings):
        if spec.metadata:
            yield Variable(
                spec.name,
                spec.metadata["kind"],
                None if spec.default is dataclasses.MISSING else spec.default,
                spec.metadata["meaning"],
                spec.metadata["source"],
            )


def _limit_variables() -> Iterator[Variable]:
    defaults = Limits()
    for spec in dataclasses.fields(Limits):
        default = getattr(defaults, spec.name)
        yield Variable(
            spec.name,
            _kind_of_limit(spec.name, default),
            default,
            "see the table of limits",
            "the table of limits",
            is_limit=True,
        )


def _kind_of_limit(name: str, default: object) -> Kind:
    if isinstance(default, float):
        return SECONDS
    if "bytes" in name:
        return SIZE_BYTES
    return whole(1, 10**9)


_VARIABLES = (*_own_variables(), *_limit_variables())


# --- reading ----------------------------------------------------------------------------------


def load(
    flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """The settings in force; raises BadSetting.

    flags: by the name of the field; None means "not given".  environ: default os.environ.
    """
    environ = os.environ if environ is None else environ
    given = {name: _text_of(value) for name, value in (flags or {}).items() if value is not None}
    data_dir = _data_dir(given, environ)
    filed = _read_toml(data_dir / FILE_NAME)
    _refuse_unknown_limits(environ)
    site = {name: text for name, text in filed.items() if name.startswith(SITE_PREFIX)}
    origins = dict.fromkeys(site, Origin.FILE)
    for name, text in environ.items():
        if name.startswith(SITE_PREFIX):
            site[name], origins[name] = text, Origin.ENVIRONMENT

    values: dict[str, Any] = {}
    for variable in variables():
        name = variable.environment_name
        if not variable.is_limit and variable.name in given:
            text, origin, place = given[variable.name], Origin.FLAG, "from the command line"
        elif name in environ:
            text, origin, place = environ[name], Origin.ENVIRONMENT, "from the environment"
        elif name in filed:
            text, origin, place = filed[name], Origin.FILE, f"from {data_dir / FILE_NAME}"
        else:
            values[name], origins[name] = variable.default, Origin.DEFAULT
            continue
        values[name], origins[name] = variable.read(text, place), origin
    values["AIPOOL_DATA_DIR"] = data_dir
    settings = _build(values, origins, site)
    if (settings.tls_certificate_file is None) != (settings.tls_key_file is None):
        raise BadSetting("AIPOOL_TLS_CERTIFICATE_FILE and AIPOOL_TLS_KEY_FILE go together")
    return settings


def _data_dir(given: Mapping[str, str], environ: Mapping[str, str]) -> Path:
    if "data_dir" in given:
        return _read_data_dir(given["data_dir"], "from the command line")
    if "AIPOOL_DATA_DIR" in environ:
        return _read_data_dir(environ["AIPOOL_DATA_DIR"], "from the environment")
    return default_data_dir(environ)


def _read_data_dir(text: str, place: str) -> Path:
    folder: Path = _VARIABLES[0].read(text, place)
    return folder


def _read_toml(path: Path) -> dict[str, str]:
    """The file's values as text, by environment name; {} without a file."""
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError) as problem:
        raise BadSetting(f"{path}: {problem}") from None

    limits, site = document.pop("limits", {}), document.pop("site", {})
    known = {
        variable.environment_name: variable
        for variable in variables()
        if variable.name != "data_dir"  # the file lies in it
    }
    found: dict[str, str] = {}
    for prefix, table in ((ENVIRONMENT_PREFIX, document), (LIMIT_PREFIX, limits)):
        for key, value in table.items():
            name = prefix + key.upper()
            if name not in known or key != key.lower():
                raise BadSetting(f"{path}: there is no setting {key!r}")
            found[name] = _text_of(value)
    if not isinstance(site, dict):
        raise BadSetting(f"{path}: there is no setting 'site', but a table [site]")
    for key, value in site.items():
        # Whether there is such a one is known above this module.
        if key != key.lower() or isinstance(value, dict):
            raise BadSetting(f"{path}: there is no setting 'site.{key}'")
        found[SITE_PREFIX + key.upper()] = _text_of(value)
    return found


def _refuse_unknown_limits(environ: Mapping[str, str]) -> None:
    known = {variable.environment_name for variable in variables()}
    for name in environ:
        if name.startswith(LIMIT_PREFIX) and name not in known:
            raise BadSetting(f"{name}: there is no such limit")


def _text_of(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return str(value)


def _value_of(settings: Settings, variable: Variable) -> Any:
    return getattr(settings.limits if variable.is_limit else settings, variable.name)


def _build(
    values: Mapping[str, Any], origins: Mapping[str, Origin], site: Mapping[str, str]
) -> Settings:
    own = {v.name: values[v.environment_name] for v in variables() if not v.is_limit}
    limits = {v.name: values[v.environment_name] for v in variables() if v.is_limit}
    return Settings(**own, limits=Limits(**limits), site=site, origins=origins)
