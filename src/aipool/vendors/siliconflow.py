"""SiliconFlow. Outside mainland China it is `https://api.siliconflow.com/v1`, with keys of its own
and balances in dollars; the answer does not say which currency it means."""

from typing import Any

from aipool.vendors.base import BalanceProbe, Vendor, decimal_text
from aipool.vendors.types import Money, Source


def _read_balance(value: Any) -> Money | None:
    """`totalBalance`: what was paid in and what was given, together."""
    data = value.get("data") if isinstance(value, dict) else None
    amount = decimal_text(data.get("totalBalance")) if isinstance(data, dict) else ""
    return Money(amount, "") if amount else None


SILICONFLOW = Vendor(
    type="siliconflow",
    title="SiliconFlow",
    base_url="https://api.siliconflow.cn/v1",
    balance=BalanceProbe("/v1/user/info", _read_balance),
    key_page="https://cloud.siliconflow.cn/account/ak",
    sources=(Source("SiliconFlow API reference, Get user info", "2026-11-22"),),
)
