"""OpenAI itself. `max_tokens` is deprecated there, and its reasoning models refuse it.

From GPT-4o on its models cut text by o200k_base, those before it by cl100k_base. A key that
belongs to several organisations or projects names one in the headers OpenAI-Organization and
OpenAI-Project.
"""

from aipool.vendors.base import Dialect, OnDisconnect, Vendor
from aipool.vendors.types import Action, Rule, Source

# What is peculiar to it; its other codes are known to everybody (`common_failures`). OpenAI help,
# Troubleshooting API rate limits and 429 errors, and Developers Digest's list of its errors,
# 2026-11-22.
_RULES = (
    Rule(
        Action.INVALID,
        "region_refused",
        statuses=(403,),
        codes=("unsupported_country_region_territory",),
    ),
    Rule(
        Action.INVALID,
        "credential_refused",
        statuses=(403,),
        contains=("insufficient permissions for this operation", "missing scopes"),
    ),
    Rule(
        Action.DROP_MODEL,
        "model_not_found",
        statuses=(400, 403, 404),
        contains=("not allowed to sample from this model", "organization must be verified to"),
    ),
)

OPENAI = Vendor(
    type="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    max_tokens_field="max_completion_tokens",
    on_disconnect=OnDisconnect.CANCEL,
    vocabularies=(
        ("gpt-4o", "o200k_base"),
        ("gpt-4.", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-3.5", "cl100k_base"),
        ("", "o200k_base"),
    ),
    rules=_RULES,
    key_page="https://platform.openai.com/api-keys",
    dialects=(Dialect.CHAT, Dialect.RESPONSES),
    sources=(
        Source(
            "OpenAI community: Why was max_tokens changed to max_completion_tokens?", "2026-11-22"
        ),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
