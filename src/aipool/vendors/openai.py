"""OpenAI itself. `max_tokens` is deprecated there, and its reasoning models refuse it.

From GPT-4o on its models cut text by o200k_base, those before it by cl100k_base.
"""

from aipool.vendors.base import Vendor

OPENAI = Vendor(
    type="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    max_tokens_field="max_completion_tokens",
    vocabularies=(
        ("gpt-4o", "o200k_base"),
        ("gpt-4.", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-3.5", "cl100k_base"),
        ("", "o200k_base"),
    ),
)
