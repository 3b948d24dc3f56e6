"""Google Gemini, called at its chat endpoint that is compatible with OpenAI's.

Hanging up does not stop its bill, so a stream is read on for its report.
"""

from aipool.vendors.base import Dialect, Vendor
from aipool.vendors.types import Action, Reset, Rule, Scope, Source

# Gemini API documentation, Rate limits, and users' reports of bodies, 2026-11-22. A day's quota is
# new at midnight in California; one report has it at 00:00 UTC, with a delay of hours told. A delay
# of seconds beside it is the minute's, so it does not count. FAILED_PRECONDITION may also be about
# a file of the request.
_RULES = (
    Rule(Action.INVALID, "account_on_hold", reasons=("CONSUMER_SUSPENDED",)),
    Rule(Action.INVALID, "credential_refused", reasons=("API_KEY_", "SERVICE_DISABLED")),
    Rule(
        Action.INVALID,
        "credential_refused",
        statuses=(400,),
        contains=("api key not valid", "api key expired", "pass a valid api key"),
    ),
    Rule(Action.INVALID, "credential_refused", statuses=(403,), types=("PERMISSION_DENIED",)),
    Rule(
        Action.EXCEEDED,
        "region_refused",
        statuses=(400,),
        types=("FAILED_PRECONDITION",),
        contains=("location is not supported", "not available in your country"),
    ),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(400,),
        types=("FAILED_PRECONDITION",),
        contains=("billing",),
    ),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(429,),
        contains=("credits are depleted", "spending cap", "spend cap"),
    ),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(429,),
        reasons=("PerDayPerProjectPerModel", "PerModelPerDay"),
        scope=Scope.MODEL,
        reset=Reset.PACIFIC_MIDNIGHT,
    ),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(429,),
        reasons=("PerDay",),
        reset=Reset.PACIFIC_MIDNIGHT,
    ),
    Rule(Action.COOL, "rate_limited", statuses=(429,), scope=Scope.MODEL),
)

GEMINI = Vendor(
    type="gemini",
    title="Google Gemini",
    base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    rules=_RULES,
    key_page="https://aistudio.google.com/apikey",
    dialects=(Dialect.GEMINI, Dialect.CHAT),
    sources=(
        Source("Gemini API reference, OpenAI compatibility", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
