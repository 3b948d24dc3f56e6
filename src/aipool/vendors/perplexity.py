"""Perplexity. Its paths name no version, so its address ends in the resource.

It bills searches besides tokens, and lists no models. Its own documents still tell of chat
completions; those of others say that it ended them in September 2026 in favour of Responses.
"""

from aipool.vendors.base import Dialect, Vendor
from aipool.vendors.types import Source

PERPLEXITY = Vendor(
    type="perplexity",
    title="Perplexity",
    base_url="https://api.perplexity.ai/chat/completions",
    models_path="",
    key_page="https://www.perplexity.ai/account/api/keys",
    dialects=(Dialect.CHAT, Dialect.RESPONSES),
    sources=(
        Source("Perplexity documentation, OpenAI SDK compatibility", "2026-11-22"),
        Source("Stigg documentation, Perplexity", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
