"""DeepInfra."""

from aipool.vendors.base import OnDisconnect, Vendor
from aipool.vendors.types import Source

DEEPINFRA = Vendor(
    type="deepinfra",
    title="DeepInfra",
    base_url="https://api.deepinfra.com/v1/openai",
    on_disconnect=OnDisconnect.CANCEL,
    key_page="https://deepinfra.com/dash/api_keys",
    sources=(
        Source("DeepInfra documentation, OpenAI API", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
