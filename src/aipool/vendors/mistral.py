"""Mistral AI. Its fill-in-the-middle and its OCR are ways of its own and are not called."""

from aipool.vendors.base import Vendor
from aipool.vendors.types import Source

MISTRAL = Vendor(
    type="mistral",
    title="Mistral AI",
    base_url="https://api.mistral.ai/v1",
    key_page="https://console.mistral.ai/api-keys",
    sources=(
        Source("LibreChat documentation, Mistral", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
