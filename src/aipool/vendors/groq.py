"""Groq. Its reference deprecates `max_tokens`. Hanging up does not stop its bill."""

from aipool.vendors.base import Dialect, Vendor
from aipool.vendors.types import Source

GROQ = Vendor(
    type="groq",
    title="Groq",
    base_url="https://api.groq.com/openai/v1",
    max_tokens_field="max_completion_tokens",
    key_page="https://console.groq.com/keys",
    dialects=(Dialect.CHAT, Dialect.RESPONSES),
    sources=(
        Source("Groq API reference", "2026-11-22"),
        Source("groq-python, pull request 175", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
