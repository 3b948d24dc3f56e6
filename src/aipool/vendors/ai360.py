"""360 AI (Zhinao)."""

from aipool.vendors.base import Vendor
from aipool.vendors.types import Source

AI360 = Vendor(
    type="ai360",
    title="360 AI",
    base_url="https://api.360.cn/v1",
    key_page="https://ai.360.com/platform/keys",
    sources=(Source("zhinao-go source, client", "2026-11-22"),),
)
