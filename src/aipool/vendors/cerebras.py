"""Cerebras. The cap on an answer is called `max_completion_tokens`."""

from aipool.vendors.base import Vendor
from aipool.vendors.types import Source

CEREBRAS = Vendor(
    type="cerebras",
    title="Cerebras",
    base_url="https://api.cerebras.ai/v1",
    max_tokens_field="max_completion_tokens",
    key_page="https://cloud.cerebras.ai",
    sources=(Source("promptfoo documentation, Cerebras", "2026-11-22"),),
)
