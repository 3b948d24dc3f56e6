"""Logging: one JSON object a line on stderr, and no secrets in it.

What is logged is chosen word by word where it is logged; the processor here is the
second net. Text under a name that speaks of keys, tokens, secrets or signatures is
replaced, and so is anything that looks like a credential inside other text. Numbers and
ids pass: a count of tokens is no secret.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

HIDDEN = "[hidden]"

_SECRET_NAMES = re.compile(
    r"key|token|secret|sign|passw|pepper|authori[sz]ation|cookie|credential", re.IGNORECASE
)
_HARMLESS_NAMES = re.compile(r"(_id|_name|_count|^path)$")
#: Of what begins with the product's own name, only what is as long as chance is: secrets of access
#: tokens, invitations and links (kit.digests), and the cookies.
_CREDENTIALS = re.compile(
    r"(?:sk|aipool-root|aipool-setup)-[A-Za-z0-9_-]{8,}"
    r"|aipool[-=][A-Za-z0-9_-]{43,}|Bearer\s+\S+"
)

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class LossyStream:
    """A stream where a write never fails: a log that cannot be written costs its lines, not
    the work it speaks of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes what can be written."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes what can be flushed."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Sets up logging for this process. Called once, at its entry."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(
            file=cast(TextIO, LossyStream(stream or sys.stderr))
        ),
        cache_logger_on_first_use=True,
    )


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the event without credentials, nested ones included."""
    for name, value in event.items():
        event[name] = _redacted(name, value)
    return event


def _redacted(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {str(inner): _redacted(str(inner), part) for inner, part in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(name, part) for part in value]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return value
    if _SECRET_NAMES.search(name) and not _HARMLESS_NAMES.search(name):
        return HIDDEN
    return _CREDENTIALS.sub(HIDDEN, value)
