"""Cohere, called at its endpoint that is compatible with OpenAI's.

That endpoint refuses `stream_options` and lists no models.
"""

from aipool.vendors.base import OnDisconnect, Vendor
from aipool.vendors.types import Source

COHERE = Vendor(
    type="cohere",
    title="Cohere",
    base_url="https://api.cohere.ai/compatibility/v1",
    on_disconnect=OnDisconnect.CANCEL,
    supports_stream_options=False,
    models_path="",
    key_page="https://dashboard.cohere.com/api-keys",
    sources=(
        Source("Cohere documentation, Compatibility API", "2026-11-22"),
        Source("Strands documentation, Cohere", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
