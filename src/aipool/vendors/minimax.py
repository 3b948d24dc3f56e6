"""MiniMax. Outside mainland China it is `https://api.minimax.io/v1`, with keys of its own.

Its reference deprecates `max_tokens`. Hanging up does not stop its bill, so it is read to the end.
"""

import re
from typing import Any

from aipool.vendors.base import Dialect, OnDisconnect, Vendor
from aipool.vendors.types import Action, Reset, Rule, Said, Scope, Source

# MiniMax documentation, Error codes, the source of its command line tool, and users' reports,
# 2026-11-22. The tool takes 1002 and 1039 for a content filter; the documentation calls 1002 a rate
# limit, and so do these. 1028, 1030 and 2061 are the tool's, 2056 is a report's.
_RULES = (
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        codes=("2056",),
        reset=Reset.CHINA_MIDNIGHT,
    ),
    Rule(Action.EXCEEDED, "quota_exceeded", codes=("1008", "1028", "1030")),
    Rule(Action.EXCEEDED, "quota_exceeded", types=("insufficient_balance_error",)),
    Rule(
        Action.COOL,
        "rate_limited",
        codes=("1002", "1039", "1041", "2045"),
        scope=Scope.MODEL,
    ),
    Rule(Action.INVALID, "credential_refused", codes=("1004", "2049")),
    Rule(Action.PASS, "content_refused", codes=("1026", "1027")),
    Rule(Action.PASS, "request_refused", codes=("1042", "2013")),
    Rule(Action.DROP_MODEL, "model_not_found", codes=("2061",)),
    Rule(Action.NEXT, "server_error", codes=("1000", "1001", "1013", "1024", "1033")),
)

_CODE = re.compile(r"\((\d{4})\)$")


def _read_error(status: int, value: Any) -> Said | None:
    """An error object whose code is the end of its message, as in "insufficient balance (1008)"."""
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    message, kind = error["message"], error.get("type")
    found = _CODE.search(message[-10:])
    if not found:
        return None
    return Said(status, found[1], kind if isinstance(kind, str) else "", message)


MINIMAX = Vendor(
    type="minimax",
    title="MiniMax",
    base_url="https://api.minimaxi.com/v1",
    max_tokens_field="max_completion_tokens",
    on_disconnect=OnDisconnect.DRAIN,
    rules=_RULES,
    fails_beside=True,
    read_error=_read_error,
    key_page="https://platform.minimaxi.com/user-center/basic-information/interface-key",
    dialects=(Dialect.CHAT, Dialect.RESPONSES, Dialect.MESSAGES),
    sources=(
        Source("AgentScope documentation, MiniMax", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
