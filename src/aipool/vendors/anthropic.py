"""Anthropic, called at its chat endpoint that is compatible with OpenAI's.

That endpoint takes a cap under either name and one answer a call (`n` is 1), and ignores what
Claude does not have, such as penalties and `response_format`.
"""

from aipool.vendors.base import Dialect, OnDisconnect, Vendor
from aipool.vendors.types import Action, Reset, Rule, Source

# Developers Digest's list of Anthropic's errors, and users' reports of bodies, 2026-11-22. Most of
# these come with 400, or look like a rate limit, and are none: the organisation is on hold, or its
# money is spent. A month's limit is new on the first at 00:00 UTC: tried again every midnight.
_RULES = (
    Rule(Action.INVALID, "account_on_hold", reasons=("organization_on_hold",)),
    Rule(
        Action.INVALID,
        "account_on_hold",
        statuses=(400, 403),
        contains=("organization has been disabled",),
    ),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        reasons=("enforced_spend_limit_reached",),
        reset=Reset.UTC_MIDNIGHT,
    ),
    Rule(Action.EXCEEDED, "quota_exceeded", reasons=("contract_spend_limit_reached",)),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(400, 402, 403, 429),
        contains=("credit balance is too low",),
    ),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(400, 429),
        contains=("specified api usage limits", "specified workspace api usage limits"),
        reset=Reset.UTC_MIDNIGHT,
    ),
    # Asked of an account that may not send so much at once: no rate, and another may.
    Rule(
        Action.NEXT,
        "request_refused",
        statuses=(429,),
        contains=("required for long context requests",),
    ),
    Rule(Action.DROP_MODEL, "model_not_found", statuses=(404,), types=("not_found_error",)),
)

ANTHROPIC = Vendor(
    type="anthropic",
    title="Anthropic",
    base_url="https://api.anthropic.com/v1",
    on_disconnect=OnDisconnect.CANCEL,
    rules=_RULES,
    key_page="https://platform.claude.com/settings/keys",
    dialects=(Dialect.MESSAGES, Dialect.CHAT),
    sources=(
        Source("Claude documentation, OpenAI SDK compatibility", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
