"""Together AI."""

from aipool.vendors.base import OnDisconnect, Vendor
from aipool.vendors.types import Action, Rule, Source

# Together documentation, Error codes, 2026-11-22: its 403 is a request that is too long.
_RULES = (
    Rule(
        Action.PASS,
        "request_refused",
        statuses=(403,),
        contains=("token count", "max_tokens", "max_new_tokens", "context length"),
    ),
)

TOGETHER = Vendor(
    type="together",
    title="Together AI",
    base_url="https://api.together.ai/v1",
    on_disconnect=OnDisconnect.CANCEL,
    rules=_RULES,
    key_page="https://api.together.ai/settings/api-keys",
    sources=(
        Source("Together documentation, OpenAI compatibility", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
