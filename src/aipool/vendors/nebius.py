"""Nebius Token Factory, which was called AI Studio."""

from aipool.vendors.base import Vendor
from aipool.vendors.types import Source

NEBIUS = Vendor(
    type="nebius",
    title="Nebius Token Factory",
    base_url="https://api.tokenfactory.nebius.com/v1",
    key_page="https://tokenfactory.nebius.com",
    sources=(
        Source("Nebius Token Factory documentation, API introduction", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
