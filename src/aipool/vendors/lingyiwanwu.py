"""01.AI (Yi)."""

from aipool.vendors.base import Vendor
from aipool.vendors.types import Source

LINGYIWANWU = Vendor(
    type="lingyiwanwu",
    title="01.AI",
    base_url="https://api.lingyiwanwu.com/v1",
    key_page="https://platform.lingyiwanwu.com/apikeys",
    sources=(
        Source("LobeChat source, provider ZeroOne", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
