"""Volcengine Ark (Doubao). A model is called by its name or by an endpoint's id, `ep-…`, which
model_map can stand in for."""

from aipool.vendors.base import Dialect, Vendor
from aipool.vendors.types import Action, Reset, Rule, Scope, Source

# Volcengine Ark documentation, Error codes, and users' reports of its plans, 2026-11-22. An
# endpoint stands for a model, and so does the free trial or the limit that the account's owner has
# set for one.
_RULES = (
    Rule(Action.EXCEEDED, "quota_exceeded", codes=("AccountOverdueError", "AccountOverdue")),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        codes=("AccountQuotaExceeded",),
        reset=Reset.CHINA_MIDNIGHT,
    ),
    Rule(Action.DROP_MODEL, "quota_exceeded", codes=("SetLimitExceeded",)),
    Rule(
        Action.DROP_MODEL,
        "quota_exceeded",
        codes=("QuotaExceeded",),
        contains=("free trial quota",),
    ),
    Rule(Action.EXCEEDED, "quota_exceeded", codes=("QuotaExceeded",)),
    Rule(Action.COOL, "rate_limited", codes=("AccountRateLimitExceeded",)),
    Rule(Action.COOL, "overloaded", codes=("ServerOverloaded",), scope=Scope.MODEL),
    Rule(Action.COOL, "rate_limited", statuses=(429,), scope=Scope.MODEL),
    Rule(Action.PASS, "content_refused", reasons=("SensitiveContentDetected",)),
    Rule(
        Action.DROP_MODEL,
        "model_not_found",
        statuses=(400, 404),
        reasons=("InvalidEndpoint", "ModelNotOpen", "UnsupportedModel", "NotFound"),
    ),
    Rule(Action.DROP_MODEL, "model_not_found", statuses=(403,), codes=("AccessDenied",)),
)

ARK = Vendor(
    type="ark",
    title="Volcengine Ark",
    base_url="https://ark.cn-beijing.volces.com/api/v3",
    rules=_RULES,
    key_page="https://console.volcengine.com/ark",
    dialects=(Dialect.CHAT, Dialect.RESPONSES),
    sources=(Source("Eino documentation, ChatModel ARK", "2026-11-22"),),
)
