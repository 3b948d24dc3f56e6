"""Novita AI."""

from aipool.vendors.base import OnDisconnect, Vendor
from aipool.vendors.types import Source

NOVITA = Vendor(
    type="novita",
    title="Novita AI",
    base_url="https://api.novita.ai/openai/v1",
    on_disconnect=OnDisconnect.CANCEL,
    key_page="https://novita.ai/settings/key-management",
    sources=(
        Source("Novita documentation, Introduction", "2026-11-22"),
        Source("promptfoo documentation, Novita", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
