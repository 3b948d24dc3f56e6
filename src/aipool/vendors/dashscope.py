"""Alibaba Cloud Model Studio (Qwen), called at its endpoint that is compatible with OpenAI's.

Outside mainland China it is `https://dashscope-intl.aliyuncs.com/compatible-mode/v1`, with keys of
its own. Hanging up does not stop its bill, so a stream is read on for its report.
"""

from aipool.vendors.base import Dialect, Vendor
from aipool.vendors.types import Action, Reset, Rule, Scope, Source

# Alibaba Cloud Model Studio documentation, Error codes, and APIYI's help on its limits, 2026-11-22.
# `insufficient_quota` is a rate here, of tokens in a minute, unlike OpenAI's: money has run out at
# `Arrearage` only. A plan's hours, weeks and months do not say when they are over, so they are
# tried again every midnight; their words stand in no document that was found.
_RULES = (
    Rule(Action.EXCEEDED, "quota_exceeded", codes=("Arrearage",)),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(400, 403),
        contains=("your account is in good standing",),
    ),
    Rule(Action.DROP_MODEL, "quota_exceeded", reasons=("FreeTierOnly",)),
    Rule(
        Action.DROP_MODEL,
        "quota_exceeded",
        statuses=(403, 429),
        contains=("free tier of the model", "free allocated quota exceeded"),
    ),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        statuses=(429,),
        contains=("hour allocated quota", "week allocated quota", "month allocated quota"),
        reset=Reset.CHINA_MIDNIGHT,
    ),
    Rule(Action.COOL, "rate_limited", statuses=(429,), scope=Scope.MODEL),
    Rule(
        Action.DROP_MODEL,
        "model_not_found",
        reasons=("AccessDenied.Unpurchased", "Model.AccessDenied", "access_denied.unpurchased"),
    ),
    Rule(
        Action.PASS,
        "content_refused",
        codes=("DataInspectionFailed", "data_inspection_failed"),
    ),
)

DASHSCOPE = Vendor(
    type="dashscope",
    title="Alibaba Cloud Model Studio",
    base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
    rules=_RULES,
    key_page="https://bailian.console.aliyun.com/?tab=model#/api-key",
    dialects=(Dialect.CHAT, Dialect.RESPONSES, Dialect.MESSAGES),
    sources=(
        Source("Model Studio documentation, OpenAI compatible Chat", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
