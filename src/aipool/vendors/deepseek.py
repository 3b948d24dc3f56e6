"""DeepSeek. Pads with blank lines and `: keep-alive` comments while a call waits its turn."""

from aipool.vendors.base import Vendor

DEEPSEEK = Vendor(
    type="deepseek",
    title="DeepSeek",
    base_url="https://api.deepseek.com/v1",
)
