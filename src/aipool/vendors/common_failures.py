"""What failures mean that many vendors tell of alike: the last of the tables of `failures`. Pure.

First by the names of errors, then by the words of the message, then by the status alone. Names come
from the vendor; words may be the client's, so `failures` hands over only those that are not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from aipool.vendors.types import Action, Rule, Said, Scope


def common_rule(said: Said, words: str) -> Rule:
    """What this failure means with whoever it happens.

    words: the message in lower case, without what may be an echo of the request.
    """
    return _of_name(said, words) or _of_words(said, words) or _of_status(said, words)


# --- by name --------------------------------------------------------------------------------------

_RATE_LIMITED = Rule(Action.COOL, "rate_limited", scope=Scope.MODEL)
_OVERLOADED = Rule(Action.COOL, "overloaded", scope=Scope.MODEL)
_QUOTA_EXCEEDED = Rule(Action.EXCEEDED, "quota_exceeded")
_CREDENTIAL_REFUSED = Rule(Action.INVALID, "credential_refused")
_ACCOUNT_ON_HOLD = Rule(Action.INVALID, "account_on_hold")
_MODEL_NOT_FOUND = Rule(Action.DROP_MODEL, "model_not_found")
_CONTENT_REFUSED = Rule(Action.PASS, "content_refused")
_REQUEST_REFUSED = Rule(Action.PASS, "request_refused")
_REGION_REFUSED = Rule(Action.COOL, "region_refused")
_ACCESS_REFUSED = Rule(Action.NEXT, "access_refused")
_TOO_LARGE_FOR_KEY = Rule(Action.NEXT, "request_refused")
_NOT_FOUND = Rule(Action.NEXT, "not_found")
_BUSY = Rule(Action.NEXT, "busy")
_SERVER_ERROR = Rule(Action.NEXT, "server_error")
_BAD_ANSWER = Rule(Action.NEXT, "bad_answer")

#: Codes and types that mean the same with whoever uses them, in lower case. The exceptions are
#: Amazon Bedrock's, the long words those of gateways that others run.
_NAMES: Final = {
    name: rule
    for rule, names in (
        (
            _QUOTA_EXCEEDED,
            "insufficient_quota billing_not_active billing_hard_limit_reached billing_error "
            "insufficient_balance insufficient_credits exceeded_current_quota_error arrearage "
            "accountoverdueerror payment_required servicequotaexceededexception budget_exceeded "
            "insufficient_user_quota pre_consume_token_quota_failed credit_balance_exhausted "
            "organization_usage_limit_exceeded organization_spend_limit_exceeded "
            "project_spend_limit_exceeded",
        ),
        (
            _CREDENTIAL_REFUSED,
            "invalid_api_key invalidapikey authentication_error authenticationerror "
            "unauthenticated accessdeniedexception unrecognizedclientexception "
            "expiredtokenexception invalidsignatureexception missingauthenticationtokenexception",
        ),
        (_ACCOUNT_ON_HOLD, "account_deactivated organization_on_hold organization_restricted"),
        (
            _RATE_LIMITED,
            "rate_limit_exceeded rate_limit_error rate_limit_reached_error too_many_requests "
            "throttlingexception toomanyrequestsexception resource_exhausted",
        ),
        (
            _OVERLOADED,
            "overloaded_error engine_overloaded_error server_is_overloaded modelnotreadyexception",
        ),
        (
            _MODEL_NOT_FOUND,
            "model_not_found modelnotfound deploymentnotfound resourcenotfoundexception",
        ),
        (_CONTENT_REFUSED, "content_filter content_policy_violation"),
        (_REQUEST_REFUSED, "context_length_exceeded validationexception"),
    )
    for name in names.split()
}


def _of_name(said: Said, words: str) -> Rule | None:
    if said.status in (413, 429) and "request too large for" in words:
        return _TOO_LARGE_FOR_KEY  # for the limit of this account by the minute
    rule = _NAMES.get(said.code.lower()) or _NAMES.get(said.type.lower())
    if rule is None or (rule.action is Action.PASS and said.status in (401, 402)):
        return None
    if rule.action is Action.COOL and said.status == 402:
        return None  # Google calls a spent balance RESOURCE_EXHAUSTED too
    if rule is _MODEL_NOT_FOUND and said.status >= 500:
        return _OVERLOADED  # another gateway that has no key for it just now
    if rule is _CREDENTIAL_REFUSED and said.status == 403 and _MODEL.search(words):
        return _MODEL_NOT_FOUND  # Bedrock's AccessDeniedException is told of both
    return rule


# --- by words -------------------------------------------------------------------------------------

_BALANCE = (
    "insufficient balance",
    "insufficient account balance",
    "balance is insufficient",
    "insufficient credit",
    "insufficient fund",
    "insufficient quota",
    "balance is too low",
    "not enough credit",
    "out of credit",
    "have any credits",
    "all available credits",
    "overdue balance",
    "overdue payment",
    "arrears",
    "arrearage",
    "余额不足",
    "余额不够",
    "欠费",
    "额度不足",
    "额度已用",
    "请充值",
)
_QUOTA = (
    "quota exceeded",
    "exceeded your current quota",
    "quota has been exceeded",
    "exceeded quota",
    "quota exhausted",
    "out of quota",
    "spend limit",
    "spending limit",
    "usage limit",
    "配额已用",
    "配额不足",
    "使用上限",
)
#: Many vendors call a rate a quota.
_BY_THE_MINUTE = (
    "per minute",
    "per second",
    "per_minute",
    "perminute",
    "rate limit",
    "requests/min",
    "rpm",
    "tpm",
    "每分钟",
    "每秒",
    "频率",
    "并发",
)
_KEY_PHRASES = (
    "invalid api key",
    "invalid_api_key",
    "incorrect api key",
    "api key not valid",
    "api key is not valid",
    "api key is invalid",
    "api key expired",
    "api key has expired",
    "api key not found",
    "api key has been",
    "密钥无效",
    "密钥错误",
    "密钥不存在",
    "密钥已",
    "无效的密钥",
    "无效的令牌",
    "令牌已过期",
)
#: At 403 it is enough that the message is about the key.
_KEY = (
    "api key",
    "api-key",
    "api_key",
    "apikey",
    "access token",
    "credential",
    "密钥",
    "令牌",
)
_ACCOUNT = (
    "account is",
    "account has been",
    "account was",
    "organization has been",
    "deactivated",
    "suspended",
    "账号",
    "账户",
)
_CONTENT = (
    "moderation",
    "flagged",
    "content policy",
    "content management policy",
    "sensitive",
    "敏感",
    "违规内容",
)
_REGION = ("country", "region", "territory", "location is not supported", "地区")
_MODEL = re.compile(
    r"\bmodels?\b.{0,100}?(?:not found|not exist|no longer available|has been retired|decommission)"
    r"|(?:no such|unknown|not a valid) model"
    r"|(?:have|has|without|no) access to (?:the )?model"
    r"|not allowed to access (?:the|this) model"
    r"|模型不存在|模型未找到|未找到.{0,4}模型"
)
_NO_SUCH_PATH = (
    "not found",
    "404 not found",
    "page not found",
    "invalid url",
    "no route",
    "resource not found",
)


def _of_words(said: Said, words: str) -> Rule | None:
    """The words by which vendors of all kinds speak of money, keys and models."""
    status = said.status
    if status not in (400, 403, 404, 410, 429) or said.param not in ("", "model"):
        return None
    if status in (400, 403, 404, 410) and _MODEL.search(words):
        return _MODEL_NOT_FOUND
    if said.param or status in (404, 410):
        return None
    if _any(_BALANCE, words):
        return _QUOTA_EXCEEDED
    if _any(_QUOTA, words) and not _any(_BY_THE_MINUTE, words):
        # Who says when to come again speaks of a rate; after an hour it is a quota after all.
        return _QUOTA_EXCEEDED if said.retry_seconds is None else _RATE_LIMITED
    if status in (400, 403) and _any(_KEY_PHRASES, words):
        return _CREDENTIAL_REFUSED
    return _of_words_of_403(words) if status == 403 else None


def _of_words_of_403(words: str) -> Rule | None:
    for phrases, rule in (
        (_CONTENT, _CONTENT_REFUSED),
        (_KEY, _CREDENTIAL_REFUSED),
        (_ACCOUNT, _ACCOUNT_ON_HOLD),
        (_REGION, _REGION_REFUSED),
    ):
        if _any(phrases, words):
            return rule
    return None


def _any(phrases: Sequence[str], words: str) -> bool:
    return any(phrase in words for phrase in phrases)


# --- by status ------------------------------------------------------------------------------------

#: 403 without a word is often a firewall before the vendor, which may dislike what one tenant
#: wrote: the next key, and only several of them convict this one. 405 and 407 are of the way
#: there, a wrong address or a proxy.
_STATUSES: Final = {
    200: _SERVER_ERROR,  # an error without a name inside what looked like success
    401: _CREDENTIAL_REFUSED,
    402: _QUOTA_EXCEEDED,
    403: _ACCESS_REFUSED,
    405: _NOT_FOUND,
    407: _ACCESS_REFUSED,
    408: _BUSY,
    409: _BUSY,
    425: _BUSY,
    429: _RATE_LIMITED,
    451: _REGION_REFUSED,
    499: _BUSY,
    529: _OVERLOADED,
}


def _of_status(said: Said, words: str) -> Rule:
    status = said.status
    if status == 404 and (not (said.code or said.message) or _says_no_such_path(words)):
        return _NOT_FOUND  # a wrong base address, usually
    rule = _STATUSES.get(status)
    if rule is not None:
        return rule
    if 400 <= status < 500:
        return _REQUEST_REFUSED
    return _SERVER_ERROR if 500 <= status < 600 else _BAD_ANSWER


def _says_no_such_path(words: str) -> bool:
    return words.startswith(("invalid url", "unknown request url")) or words in _NO_SUCH_PATH
