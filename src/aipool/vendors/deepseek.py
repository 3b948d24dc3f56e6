"""DeepSeek. Pads with blank lines and `: keep-alive` comments while a call waits its turn."""

from typing import Any

from aipool.vendors.base import BalanceProbe, Dialect, OnDisconnect, Vendor, decimal_text
from aipool.vendors.types import Action, Money, Rule, Scope, Source


def _read_balance(value: Any) -> Money | None:
    """The first purse that holds something, else the first: one may be yuan, one dollars."""
    purses = value.get("balance_infos") if isinstance(value, dict) else None
    found: list[Money] = []
    for purse in purses if isinstance(purses, list) else ():
        if not isinstance(purse, dict):
            continue
        amount, currency = decimal_text(purse.get("total_balance")), purse.get("currency")
        if amount and isinstance(currency, str):
            found.append(Money(amount, currency))
    holding = [purse for purse in found if purse.amount.strip("-0.")]
    return next(iter(holding or found), None)


# DeepSeek API documentation, Error codes, 2026-11-22: 503 is high traffic.
_RULES = (Rule(Action.COOL, "overloaded", statuses=(503,), scope=Scope.MODEL),)

DEEPSEEK = Vendor(
    type="deepseek",
    title="DeepSeek",
    base_url="https://api.deepseek.com/v1",
    on_disconnect=OnDisconnect.CANCEL,
    balance=BalanceProbe("/user/balance", _read_balance),
    rules=_RULES,
    key_page="https://platform.deepseek.com/api_keys",
    dialects=(Dialect.CHAT, Dialect.MESSAGES),
    sources=(
        Source("DeepSeek API documentation, Get User Balance", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
