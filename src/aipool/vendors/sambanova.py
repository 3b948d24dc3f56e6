"""SambaNova Cloud."""

from aipool.vendors.base import Dialect, Vendor
from aipool.vendors.types import Source

SAMBANOVA = Vendor(
    type="sambanova",
    title="SambaNova",
    base_url="https://api.sambanova.ai/v1",
    key_page="https://cloud.sambanova.ai/apis",
    dialects=(Dialect.CHAT, Dialect.MESSAGES),
    sources=(
        Source("SambaNova documentation, OpenAI compatibility", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
