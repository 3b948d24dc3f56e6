"""xAI (Grok). From Grok 4 on its models want the cap as `max_completion_tokens`."""

from aipool.vendors.base import Dialect, OnDisconnect, Vendor
from aipool.vendors.types import Source

XAI = Vendor(
    type="xai",
    title="xAI",
    base_url="https://api.x.ai/v1",
    max_tokens_field="max_completion_tokens",
    on_disconnect=OnDisconnect.CANCEL,
    key_page="https://console.x.ai",
    dialects=(Dialect.CHAT, Dialect.RESPONSES),
    sources=(
        Source("ReqLLM guides, xAI", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
