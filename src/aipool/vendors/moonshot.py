"""Moonshot AI (Kimi). Outside mainland China it is `https://api.moonshot.ai/v1`, with keys of its
own. A balance there is in dollars, here in yuan, and the answer does not say which."""

from typing import Any

from aipool.vendors.base import BalanceProbe, Dialect, Vendor, decimal_text
from aipool.vendors.types import Action, Money, Rule, Scope, Source


def _read_balance(value: Any) -> Money | None:
    data = value.get("data") if isinstance(value, dict) else None
    amount = decimal_text(data.get("available_balance")) if isinstance(data, dict) else ""
    return Money(amount, "") if amount else None


# Moonshot AI documentation, Error codes, and the source of kimi-code, 2026-11-22. Both 403 and 429
# are told of for an empty balance, so its type decides, and the words.
_RULES = (
    Rule(Action.EXCEEDED, "quota_exceeded", types=("exceeded_current_quota_error",)),
    Rule(
        Action.COOL,
        "overloaded",
        statuses=(429,),
        contains=("currently overloaded",),
        scope=Scope.MODEL,
    ),
    Rule(
        Action.DROP_MODEL, "model_not_found", statuses=(404,), types=("resource_not_found_error",)
    ),
)

MOONSHOT = Vendor(
    type="moonshot",
    title="Moonshot AI (Kimi)",
    base_url="https://api.moonshot.cn/v1",
    balance=BalanceProbe("/v1/users/me/balance", _read_balance),
    rules=_RULES,
    key_page="https://platform.moonshot.cn/console/api-keys",
    dialects=(Dialect.CHAT, Dialect.MESSAGES),
    sources=(
        Source("Moonshot documentation, Chat", "2026-11-22"),
        Source("Moonshot documentation, Balance", "2026-11-22"),
    ),
)
