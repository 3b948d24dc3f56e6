"""Cloudflare Workers AI. The path names the account, which is the key's `project`.

Models are called `@cf/…`. Their list has a shape of Cloudflare's own and is not asked.
"""

from urllib.parse import quote

from aipool.vendors.base import CHAT_RESOURCE, Dialect, OnDisconnect, Vendor, joined
from aipool.vendors.types import Action, KeySettings, Reset, Rule, Source


def _chat_path(base_url: str, settings: KeySettings, _model: str) -> str:
    resource = f"/accounts/{quote(settings.project, safe='')}/ai/v1{CHAT_RESOURCE}"
    return joined(base_url, resource)


# Cloudflare Workers AI documentation, Errors and Pricing, 2026-11-22.
_RULES = (
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(429,),
        contains=("daily free allocation",),
        reset=Reset.UTC_MIDNIGHT,
    ),
)

CLOUDFLARE = Vendor(
    type="cloudflare",
    title="Cloudflare Workers AI",
    base_url="https://api.cloudflare.com/client/v4",
    on_disconnect=OnDisconnect.CANCEL,
    fields=("project",),
    required=("project",),
    chat_path=_chat_path,
    models_path="",
    rules=_RULES,
    key_page="https://dash.cloudflare.com/profile/api-tokens",
    dialects=(Dialect.CHAT, Dialect.RESPONSES),
    sources=(
        Source("Cloudflare documentation, OpenAI compatible API endpoints", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
