"""Kinds of values as an operator writes them: each is read from text, checked, and written back.

What `write` gives, `read` accepts, so a value may travel through the environment, a file or a pipe
and is checked the same way each time.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Kind:
    """How a value of one sort is read from text and written back.

    `read` raises ValueError on text it does not accept; `allowed` completes "must be …".
    is_private: what was written may hold a password, and is not shown when it is refused.
    """

    read: Callable[[str], Any]
    allowed: str
    write: Callable[[Any], str] = str
    is_private: bool = False


def whole(low: int, high: int, unit: str = "") -> Kind:
    """A whole number from low to high, both included."""

    def read(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    unit = f" {unit}" if unit else ""
    return Kind(read, f"a whole number{unit} from {low} to {high}")


_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?", re.ASCII)
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def _read_size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError(text)
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _read_room(text: str) -> int:
    return 0 if text == "0" else _read_size(text)


def _read_seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(text)
    return value


def _read_network_list(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part) for part in _parts(text))


_WEB_ORIGIN = re.compile(r"https?://[^/\s,]+|\*")


def _read_web_origins(text: str) -> tuple[str, ...]:
    parts = _parts(text)
    if not all(_WEB_ORIGIN.fullmatch(part) for part in parts):
        raise ValueError(text)
    return tuple(parts)


def _read_file(text: str) -> Path | None:
    if not text:
        return None
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(text)
    return path.resolve()


def _read_folder(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError(text)
    return Path(text).expanduser().resolve()


def _read_optional_folder(text: str) -> Path | None:
    return _read_folder(text) if text else None


def _read_host(text: str) -> str:
    if not text or any(character.isspace() or character in "/@" for character in text):
        raise ValueError(text)
    return text.strip("[]")


def _read_database_url(text: str) -> str:
    scheme = text.partition("://")[0].partition("+")[0]
    if text and ("://" not in text or scheme not in {"sqlite", "postgresql"}):
        raise ValueError(text)
    return text


def _read_log_level(text: str) -> str:
    level = text.lower()
    if level not in {"debug", "info", "warning", "error"}:
        raise ValueError(text)
    return level


def _read_tokenizer(text: str) -> str:
    if text not in {"estimate", "exact"}:
        raise ValueError(text)
    return text


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _write_list(values: tuple[object, ...]) -> str:
    return ",".join(str(value) for value in values)


def _write_path(value: Path | None) -> str:
    return "" if value is None else str(value)


FOLDER = Kind(_read_folder, "the path of a folder", _write_path)
OPTIONAL_FOLDER = Kind(_read_optional_folder, FOLDER.allowed, _write_path)
FILE = Kind(_read_file, "the path of a file that exists", _write_path)
HOST = Kind(_read_host, "a host name or an IP address")
NETWORKS = Kind(
    _read_network_list, "addresses or networks such as 10.0.0.0/8, with commas between", _write_list
)
WEB_ORIGINS = Kind(
    _read_web_origins, "* or web origins such as https://example.com, with commas", _write_list
)
DATABASE_URL = Kind(
    _read_database_url, "a URL that starts with sqlite:// or postgresql://", is_private=True
)
LOG_LEVEL = Kind(_read_log_level, "debug, info, warning or error")
TOKENIZER = Kind(_read_tokenizer, "estimate or exact")
SIZE_BYTES = Kind(_read_size, "a size in bytes, or such as 64MiB, above 0")
ROOM_BYTES = Kind(_read_room, "a size in bytes, or such as 64MiB, or 0")
SECONDS = Kind(_read_seconds, "a number of seconds above 0")
