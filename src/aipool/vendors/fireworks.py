"""Fireworks AI. Models are called by a path, `accounts/fireworks/models/…`."""

from aipool.vendors.base import OnDisconnect, Vendor
from aipool.vendors.types import Source

FIREWORKS = Vendor(
    type="fireworks",
    title="Fireworks AI",
    base_url="https://api.fireworks.ai/inference/v1",
    on_disconnect=OnDisconnect.CANCEL,
    key_page="https://app.fireworks.ai/settings/users/api-keys",
    sources=(
        Source("Pipecat documentation, Fireworks", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
