"""Hugging Face's router. Who answers is chosen by an ending of the model's name, `…:provider`."""

from aipool.vendors.base import Vendor
from aipool.vendors.types import Source

HUGGINGFACE = Vendor(
    type="huggingface",
    title="Hugging Face",
    base_url="https://router.huggingface.co/v1",
    key_page="https://huggingface.co/settings/tokens",
    sources=(
        Source("OpenClaw documentation, Hugging Face", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
