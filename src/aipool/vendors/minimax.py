"""MiniMax. Outside mainland China it is `https://api.minimax.io/v1`, with keys of its own.

Its reference deprecates `max_tokens`. Hanging up does not stop its bill, so it is read to the end.
"""

from aipool.vendors.base import OnDisconnect, Vendor

MINIMAX = Vendor(
    type="minimax",
    title="MiniMax",
    base_url="https://api.minimaxi.com/v1",
    max_tokens_field="max_completion_tokens",
    on_disconnect=OnDisconnect.DRAIN,
)
