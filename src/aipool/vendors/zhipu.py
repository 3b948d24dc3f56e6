"""Zhipu, outside mainland China Z.ai: `https://api.z.ai/api/paas/v4`, with keys of its own.

The version in its paths is v4; a coding plan is called at `/api/coding/paas/v4`.
"""

from aipool.vendors.base import Dialect, Vendor
from aipool.vendors.types import Action, Reset, Rule, Scope, Source

# Zhipu documentation, Error codes, and Z.ai's, 2026-11-22. The code decides; most come with 429,
# whatever they mean. The limits of a plan name the moment they end, in Beijing's time.
_RULES = (
    Rule(Action.EXCEEDED, "quota_exceeded", codes=("1113", "1309", "1314", "1315")),
    Rule(
        Action.EXCEEDED,
        "quota_exceeded",
        codes=("1304", "1308", "1310", "1316", "1317", "1318", "1319", "1320", "1321"),
        reset=Reset.CHINA_MIDNIGHT,
    ),
    Rule(
        Action.INVALID,
        "account_on_hold",
        codes=("1110", "1111", "1112", "1121", "1313"),
    ),
    Rule(
        Action.INVALID,
        "credential_refused",
        codes=("1000", "1001", "1002", "1003", "1004", "1005"),
    ),
    Rule(Action.COOL, "rate_limited", codes=("1302", "1303"), scope=Scope.MODEL),
    Rule(Action.COOL, "overloaded", codes=("1305", "1312"), scope=Scope.MODEL),
    Rule(
        Action.DROP_MODEL,
        "model_not_found",
        codes=("1211", "1220", "1221", "1222", "1311"),
    ),
    Rule(Action.PASS, "content_refused", codes=("1301",)),
    Rule(Action.NEXT, "server_error", codes=("1120", "1234")),
)

ZHIPU = Vendor(
    type="zhipu",
    title="Zhipu / Z.ai",
    base_url="https://open.bigmodel.cn/api/paas/v4",
    rules=_RULES,
    key_page="https://open.bigmodel.cn/usercenter/apikeys",
    dialects=(Dialect.CHAT, Dialect.MESSAGES),
    sources=(Source("Zhipu documentation, API introduction", "2026-11-22"),),
)
