"""OpenRouter. Sends comments (`: OPENROUTER PROCESSING`) while it waits, and tells of a failure
that came late inside an answer with status 200.

Whether hanging up stops the bill depends on who answers behind it, so a stream is read on. What is
left of its credits is told to management keys only.
"""

from decimal import Decimal
from typing import Any

from aipool.vendors.base import BalanceProbe, Dialect, Vendor, decimal_text
from aipool.vendors.types import Action, Money, Reset, Rule, Said, Scope, Source


def _read_balance(value: Any) -> Money | None:
    """What was bought, less what was used."""
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, dict):
        return None
    bought, used = decimal_text(data.get("total_credits")), decimal_text(data.get("total_usage"))
    if not (bought and used):
        return None
    return Money(f"{Decimal(bought) - Decimal(used):f}", "USD")


# OpenRouter documentation, Errors and Limits, and Developers Digest's list of its errors,
# 2026-11-22. Of 402, two do not show that nothing is left: too many calls under way, and one call
# that is too large for what is left. A budget that is spent comes with 403 and names its end.
_RULES = (
    Rule(
        Action.COOL,
        "rate_limited",
        statuses=(402,),
        reasons=("openrouter_in_flight_budget", "in_flight_budget_exhausted"),
    ),
    Rule(
        Action.COOL,
        "quota_exceeded",
        statuses=(402,),
        reasons=("weight_exceeds_budget",),
        scope=Scope.MODEL,
    ),
    Rule(
        Action.COOL,
        "quota_exceeded",
        statuses=(402,),
        contains=("fewer max_tokens", "can only afford"),
        scope=Scope.MODEL,
    ),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(402, 403),
        contains=("key limit exceeded (daily",),
        reset=Reset.UTC_MIDNIGHT,
    ),
    Rule(Action.EXCEEDED, "quota_exceeded", statuses=(402, 403), contains=("key limit exceeded",)),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(403,),
        reasons=("guardrail_budget", "workspace_budget", "key_limit"),
        reset=Reset.UTC_MIDNIGHT,
    ),
    Rule(Action.PASS, "content_refused", statuses=(403,), reasons=("moderation",)),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(429,),
        contains=("free-models-per-day",),
        scope=Scope.MODEL,
        reset=Reset.UTC_MIDNIGHT,
    ),
    Rule(
        Action.DROP_MODEL,
        "model_not_found",
        statuses=(400, 404),
        contains=("is not a valid model id", "no endpoints found for"),
    ),
    # None that has what the request asks for, such as tools.
    Rule(Action.PASS, "request_refused", statuses=(404,), contains=("no endpoints found that",)),
    Rule(Action.NEXT, "not_found", statuses=(404,), contains=("no endpoints available",)),
)


def _read_error(status: int, value: Any) -> Said | None:
    """The error object with what its metadata adds; also one that stands in an empty choice."""
    error = value.get("error") if isinstance(value, dict) else None
    if error is None and status == 200 and isinstance(value, dict):
        error = _error_of_choice(value.get("choices"))
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    code, metadata = error.get("code"), error.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    if status == 200 and isinstance(code, int) and 400 <= code < 600:
        status = code
    words = [metadata.get(name) for name in ("limit_source", "error_type", "resets_at")]
    if metadata.get("flagged_input") is not None or isinstance(metadata.get("reasons"), list):
        words.append("moderation")
    seconds = metadata.get("retry_after_seconds")
    return Said(
        status,
        str(code) if isinstance(code, int | str) else "",
        "",
        error["message"],
        " ".join(word for word in words if isinstance(word, str)),
        "",
        float(seconds) if isinstance(seconds, int | float) else None,
    )


def _error_of_choice(choices: Any) -> Any:
    """A failure while the answer was made. With words before it, it is an answer, cut short."""
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return None
    message = choice.get("message") or choice.get("delta")
    said = isinstance(message, dict) and (message.get("content") or message.get("tool_calls"))
    return None if said else choice.get("error")


OPENROUTER = Vendor(
    type="openrouter",
    title="OpenRouter",
    base_url="https://openrouter.ai/api/v1",
    balance=BalanceProbe("/api/v1/credits", _read_balance),
    rules=_RULES,
    read_error=_read_error,
    key_page="https://openrouter.ai/settings/keys",
    dialects=(Dialect.CHAT, Dialect.RESPONSES, Dialect.MESSAGES),
    sources=(
        Source("OpenRouter API reference, Get remaining credits", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
