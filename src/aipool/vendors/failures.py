"""What a vendor's failure means: for the call, and for the key. Pure, and total: whatever bytes a
vendor answers with, there is a verdict and no exception.

Five tables are asked, the first that knows the failure decides:

    1. never again      504 and 524 may have done the work; nothing overrides that
    2. what it did not  a field, or reasoning of another account. Judged before anything that
       take             counts against the key: its message carries names the client chose
    3. the vendor's     `Vendor.rules`: precise, by status, code, type, reason and words
    4. the operator's   words in the message (`Keyword`); they override what follows
    5. everybody's      `common_failures`: names of errors that many vendors share, then words in
                        the message, then the status alone

Words are looked for in the error's message only, never in the whole body: "429" may be a token's
id, and vendors echo the prompt. Messages echo too: what stands in quotation marks is the
client's, or may be, so it is not read (`_without_echo`), except with the statuses at which a
vendor has not looked at the request yet. Otherwise a client could write the words that take a
key away from everybody.

PASS is only ever about the request. A client never learns from it that a key of ours was refused,
has no money or may not do something.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from aipool.vendors.base import Vendor
from aipool.vendors.common_failures import common_rule
from aipool.vendors.retry_after import seconds_in_words, seconds_until_reset, window_seconds
from aipool.vendors.said import read_said
from aipool.vendors.types import Action, Keyword, Rule, Said, Scope, Verdict

#: Every `why` a verdict of this file or a rule of a vendor may have, and what it tells.
WHYS: Final = {
    "rate_limited": "too many calls or tokens for now",
    "quota_exceeded": "no money, credit or quota is left",
    "credential_refused": "the key is not accepted",
    "account_on_hold": "the account behind the key is locked or deactivated",
    "region_refused": "not from this place",
    "access_refused": "refused without a word about the key or the request",
    "model_not_found": "this key does not have the model",
    "overloaded": "the vendor has too much to do",
    "server_error": "the vendor failed",
    "timeout": "the vendor gave up waiting, and may have done the work",
    "not_found": "there is nothing at this address",
    "bad_answer": "an answer that is no answer, such as a redirect",
    "busy": "the vendor asks to repeat the call",
    "request_refused": "the request is at fault",
    "content_refused": "what the request or the answer says is not allowed",
    "field_refused": "the request has a field that is not taken",
    "reasoning_refused": "the request brings reasoning of another account",
    "operator_rule": "as a keyword of the operator says",
}

#: The gateway writes these itself, so leaving them out would undo it; `stream_options` may go.
_CONTROLLED = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "stream",
        "service_tier",
    }
)
#: Without these the answer would be another one than was asked for: better none.
_MEANT = frozenset(
    {
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "response_format",
        "modalities",
        "audio",
    }
)

#: Over an hour it is not a rate any more.
_RATE_SECONDS_MAX = 3600.0

# At these a vendor has not looked at the request, so nothing of it is in the message.
_BEFORE_READING = (401, 402, 429)


def classify(
    vendor: Vendor,
    status: int,
    headers: Mapping[bytes, bytes],
    body: bytes,
    keywords: Sequence[Keyword] = (),
    *,
    unix_now: float,
) -> Verdict | None:
    """What is to be done about this answer. None = status 200, and no error in the body.

    headers: names in lower case.  keywords: the operator's, the first that fits counts.
    A body above 256 KiB is not read: status and headers decide.
    """
    said = read_said(vendor, status, headers, body, unix_now=unix_now)
    return said and _judge(vendor, said, headers, keywords, unix_now)


def classify_event(
    vendor: Vendor, value: bytes, keywords: Sequence[Keyword] = (), *, unix_now: float
) -> Verdict:
    """What an error that came as an event of a stream means. value: the event's JSON."""
    verdict = classify(vendor, 200, {}, value, keywords, unix_now=unix_now)
    return verdict or Verdict(Action.NEXT, "server_error")


def _judge(
    vendor: Vendor,
    said: Said,
    headers: Mapping[bytes, bytes],
    keywords: Sequence[Keyword],
    unix_now: float,
) -> Verdict:
    if said.status in (504, 524):
        return Verdict(Action.STOP, "timeout")
    verdict = _not_taken(said)
    if verdict is not None:
        return verdict
    words = _words_of(said)
    rules = (rule for rule in vendor.rules if not _would_tell(rule.action, said.status))
    rule = next((rule for rule in rules if _fits(rule, said, words)), None)
    rule = rule or _of_operator(vendor, said, words, keywords)
    rule = rule or common_rule(said, words)
    return _verdict(rule, said, headers, unix_now)


def _verdict(rule: Rule, said: Said, headers: Mapping[bytes, bytes], unix_now: float) -> Verdict:
    """The rule's line with the seconds that belong to it."""
    action, seconds = rule.action, None
    scope = Scope.MODEL if action is Action.DROP_MODEL else rule.scope
    if action is Action.COOL:
        seconds = said.retry_seconds
        if said.status == 429 and seconds is None:
            seconds = window_seconds(headers, unix_now)
            if seconds is None:
                seconds = seconds_in_words(said.message.lower())
        if said.status == 429 and seconds is not None and seconds > _RATE_SECONDS_MAX:
            return Verdict(Action.EXCEEDED, "quota_exceeded", scope, seconds)
    elif action is Action.EXCEEDED:
        asked = said.retry_seconds
        seconds = seconds_until_reset(rule.reset, f"{said.message} {said.reason}", unix_now)
        # Less than an hour, beside a quota that is new at a known time, is the rate's.
        if seconds is None or (asked is not None and asked > _RATE_SECONDS_MAX):
            seconds = asked
    return Verdict(action, rule.why, scope, seconds, rule.strip)


# --- 2. what it did not take ----------------------------------------------------------------------

_FIELD_CODES = ("unsupported_parameter", "unknown_parameter", "extra_forbidden")

# The first group is the name. They are anchored: a name cannot make another line of itself.
_FIELD_MESSAGES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"unrecognized request arguments? supplied: ([^\s,]+)",
        r"(?:unknown|unsupported|unrecognized) (?:parameter|argument|field)s?:? "
        r"['`\"]?([^\s'`\",:]+)",
        r"argument not supported on this model: ([^\s,]+)",
        r"(.{1,200}?): extra inputs are not permitted",
        r"invalid json payload received\. unknown name \\?\"([^\"\\]+)\\?\": cannot find field",
        r"property ['`\"]([^'`\"]+)['`\"] is unsupported",
        r"\[?\{'type': 'extra_forbidden', 'loc': \('body', '([^']+)'\)",
        r"(?:the )?(?:parameter |field )?['`\"]?((?-i:[a-z]+_[a-z0-9_]+))['`\"]? (?:parameter )?"
        r"(?:is|are) not (?:supported|permitted|allowed|recognized)\b",
    )
)
_NAME = re.compile(r"[\w-]{1,100}")
_NOT_TAKEN_WORDS = (
    "not support",
    "unsupported",
    "not permitted",
    "not allowed",
    "unrecognized",
    "unknown",
    "unexpected",
    "only be",
    "only allowed",
    "不支持",
)
#: A file or a cache that the client names, or an address that it lets the vendor fetch. Google
#: says PERMISSION_DENIED of those that are not there, which would convict the key.
_NAMED = re.compile(
    r"cached ?content"
    r"|permission to access the file|\bfile\b.{0,100}? (?:not found|(?:may|does) not exist)"
    r"|\b(?:fetch|download|retriev|load)\w*\b.{0,40}?\b(?:url|image|media|audio|video|https?:)"
)
_REASONING = re.compile(
    r"invalid .?signature.? in .?(?:redacted_)?thinking"
    r"|invalid_encrypted_content"
    r"|encrypted content .{0,100}could not be"
    r"|(?:corrupt(?:ed)?|invalid) thought.?signature"
    r"|thought.?signature.{0,20} (?:is|was) (?:not valid|invalid|corrupt)"
)


def _not_taken(said: Said) -> Verdict | None:
    """A field of the request, its reasoning, or something that it names is not taken."""
    if said.status not in (400, 403, 404, 422):
        return None
    lower = said.message.lower()
    if _NAMED.search(lower):
        return Verdict(Action.PASS, "request_refused")
    if said.status not in (400, 422):
        return None
    if said.code.lower() == "invalid_encrypted_content" or _REASONING.search(lower):
        return Verdict(Action.STRIP, "reasoning_refused", strip="reasoning")
    path = _refused_field(said)
    if path.startswith("stream_options") or (
        "stream_options" in lower and any(word in lower for word in _NOT_TAKEN_WORDS)
    ):
        path = "stream_options"
    if not path:
        return None
    # Only a field of the top level can be left out without looking into what it holds.
    if _NAME.fullmatch(path) and path not in _CONTROLLED and path not in _MEANT:
        return Verdict(Action.STRIP, "field_refused", strip=path)
    return Verdict(Action.PASS, "field_refused")


def _refused_field(said: Said) -> str:
    """The path of the field that the vendor does not know or take; "" when it is not about one."""
    if said.param and said.code.lower() in _FIELD_CODES:
        return said.param
    for pattern in _FIELD_MESSAGES:
        found = pattern.match(said.message)
        if found:
            return found[1].strip("'`\".")
    return ""


# --- 3. and 4. the vendor's and the operator's ----------------------------------------------------


def _fits(rule: Rule, said: Said, words: str) -> bool:
    """Does every condition hold? A reason may also be a part of the code."""
    if rule.statuses and said.status not in rule.statuses:
        return False
    if rule.codes and said.code.lower() not in map(str.lower, rule.codes):
        return False
    if rule.types and said.type.lower() not in map(str.lower, rule.types):
        return False
    if rule.reasons:
        reason = f"{said.reason} {said.code}".lower()
        if not any(part.lower() in reason for part in rule.reasons):
            return False
    return not rule.contains or any(part in words for part in rule.contains)


def _would_tell(action: Action, status: int) -> bool:
    """Would a client be told what is between the vendor and us? 401 and 402 are about our key,
    whatever else is said."""
    return action is Action.PASS and status in (401, 402)


def _of_operator(
    vendor: Vendor, said: Said, words: str, keywords: Sequence[Keyword]
) -> Rule | None:
    for keyword in keywords:
        action = keyword.action
        if keyword.vendor_type not in ("", vendor.type) or keyword.phrase not in words:
            continue
        if _would_tell(action, said.status):
            continue
        if not keyword.phrase or action is Action.STRIP:
            continue  # a phrase does not say what to leave out
        scope = Scope.MODEL if action is Action.COOL else Scope.KEY
        return Rule(action, "operator_rule", scope=scope)
    return None


# --- words ----------------------------------------------------------------------------------------

_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'`]+")
# An apostrophe between two letters is none.
_QUOTATION_MARK = re.compile(r"[\"`“”‘’«»「」『』]|(?<![^\W\d_])'|'(?![^\W\d_])")


def _words_of(said: Said) -> str:
    """The message in lower case, as far as the vendor wrote it."""
    lower = said.message.lower()
    return lower if said.status in _BEFORE_READING else _without_echo(lower)


def _without_echo(message: str) -> str:
    """The message without addresses, and without all from the first quotation mark to the last.

    From the first to the last, and not each pair: what is echoed may contain such marks itself.
    """
    message = _ADDRESS.sub(" ", message)
    marks = [found.start() for found in _QUOTATION_MARK.finditer(message)]
    if not marks:
        return message
    end = marks[-1] + 1 if len(marks) > 1 else len(message)
    return f"{message[: marks[0]]} {message[end:]}"
