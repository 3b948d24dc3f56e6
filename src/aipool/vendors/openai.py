"""OpenAI itself. `max_tokens` is deprecated there, and its reasoning models refuse it."""

from aipool.vendors.base import Vendor

OPENAI = Vendor(
    type="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    max_tokens_field="max_completion_tokens",
)
