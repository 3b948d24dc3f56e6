"""What a vendor is asked outside of calls, and what its answers say. Pure.

    test       the cheapest real call: one word, at most sixteen tokens back
    models     the vendor's own list (pool.offered reads it)
    balance    what is left on the account

A request is made here as the gateway makes those of calls: the same paths, headers, query and
fields of the body, so that a key which passes the test serves calls. Whoever carries it out
(control.asking) gives back an `Answer`; what of it may be shown to a person is decided here, where
everything that looks like a credential is taken out: vendors like to repeat the key they refuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from aipool.dialects.chat import decode_answer
from aipool.vendors import base
from aipool.vendors.failures import classify
from aipool.vendors.said import read_said
from aipool.vendors.types import KeySettings, Keyword, Money, Verdict

#: Enough for a word, and below no vendor's least cap.
TEST_OUTPUT_TOKENS = 16
SAID_CHARACTERS_MAX = 500

#: Every request has these; a key's own headers do not replace them.
_OWN_HEADERS = frozenset(
    {
        "host",
        "connection",
        "content-type",
        "content-length",
        "transfer-encoding",
        "accept",
        "accept-encoding",
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream key, with all that a request with it needs. base_url: its own, else its
    vendor's.  secret: plain, "" where the vendor needs none."""

    traits: base.Vendor
    base_url: str
    settings: KeySettings
    secret: str = field(repr=False)


class Question(NamedTuple):
    """A request. path: with the query."""

    method: str
    path: str
    body: bytes = b""


class Answer(NamedTuple):
    """What came back. failure: why there is none, in words; then status is 0."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    latency_ms: int
    failure: str = ""


class KeyTest(NamedTuple):
    """How a test went. url: what was called.  verdict: what such an answer to a call would mean.
    said: the vendor's words, or ours where it said nothing; without secrets."""

    ok: bool
    status: int
    latency_ms: int
    url: str
    model: str
    verdict: Verdict | None
    said: str


# --- requests -------------------------------------------------------------------------------


def test_question(target: Target, model: str) -> Question:
    """The cheapest real call of a model. model: the name in the route."""
    settings = target.settings
    called = settings.model_map.get(model, model)
    body: dict[str, Any] = {
        "model": called,
        "messages": [{"role": "user", "content": "ping"}],
        target.traits.max_tokens_field: TEST_OUTPUT_TOKENS,
        "stream": False,
    }
    path = base.chat_path(target.traits, target.base_url, settings, called)
    return Question("POST", path, msgspec.json.encode(body | settings.body_set))


def models_question(target: Target) -> Question | None:
    """The list of models; None when the vendor has none."""
    path = base.models_path(target.traits, target.base_url, target.settings)
    return Question("GET", path) if path else None


def balance_question(target: Target) -> Question | None:
    """What is left; None when the vendor does not tell."""
    probe = target.traits.balance
    return Question("GET", base.with_query(probe.path, target.settings.query)) if probe else None


def head_of(target: Target, question: Question) -> bytes:
    """The request's whole head."""
    own = {
        name: value
        for name, value in target.settings.headers.items()
        if name.lower() not in _OWN_HEADERS
    }
    lines = [
        f"{question.method} {question.path} HTTP/1.1",
        f"Host: {urlsplit(target.base_url).netloc.rpartition('@')[2]}",
        *(f"{name}: {value}" for name, value in own.items()),
        "Accept: application/json",
        "Accept-Encoding: identity",
    ]
    if question.method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(question.body)}"]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n"
    if target.traits.auth.header.lower() not in {name.lower() for name in own}:
        head += base.auth_headers(target.traits, target.secret)
    return head + b"\r\n"


def shown_url(target: Target, question: Question) -> str:
    """The address as a person may see it: what is secret in its query is not."""
    to = urlsplit(target.base_url)
    path, _, query = question.path.partition("?")
    shown = "&".join(
        f"{quote(name)}={'…' if _SECRET_NAME.search(name) else quote(value)}"
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
    address = f"{to.scheme}://{to.netloc.rpartition('@')[2]}{path}"
    return scrubbed(f"{address}?{shown}" if shown else address, target)


# --- answers --------------------------------------------------------------------------------


def read_test(
    target: Target,
    model: str,
    answer: Answer,
    keywords: Sequence[Keyword],
    *,
    unix_now: float,
) -> KeyTest:
    """How the test of a key with this model went. Only an answer is a good one: a status of 200
    alone is not. unix_now: unix seconds, for the times at which vendors say they have more."""
    question = test_question(target, model)
    verdict = None
    ok = answer.status == 200 and _is_completion(answer.body)
    if not ok and not answer.failure and not _redirects(answer):
        verdict = classify(
            target.traits, answer.status, answer.headers, answer.body, keywords, unix_now=unix_now
        )
    words = "" if ok else said(target, answer)
    url = shown_url(target, question)
    return KeyTest(ok, answer.status, answer.latency_ms, url, model, verdict, words)


def read_balance(target: Target, answer: Answer) -> Money | None:
    """What the vendor says is left; None when it does not say."""
    probe = target.traits.balance
    if probe is None or answer.status != 200:
        return None
    return probe.read(json_of(answer.body))


def said(target: Target, answer: Answer) -> str:
    """What went wrong, in the vendor's words where it has any, else in ours. Without secrets."""
    if answer.failure:
        return scrubbed(answer.failure, target)
    if _redirects(answer):
        to = _place(answer.headers.get(b"location", b"").decode("latin-1"))
        leads = f" to {to}" if to else ""
        words = f"The address redirects{leads}. Redirects are not followed; set it as base_url."
        return scrubbed(words, target)
    if answer.status == 200:
        otherwise = "The vendor's answer is none to such a request."
    else:
        otherwise = f"The vendor answered with status {answer.status} and no message."
    return scrubbed(_message(target, answer) or otherwise, target)


def json_of(body: bytes) -> Any:
    """The value of a JSON text, None for anything else."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _redirects(answer: Answer) -> bool:
    return 300 <= answer.status < 400


def _place(location: str) -> str:
    """Where a redirect leads, without what may be secret in it; "" for what is no address."""
    try:
        return urlsplit(location)._replace(query="", fragment="").geturl()
    except ValueError:
        return ""


def _is_completion(body: bytes) -> bool:
    """Does it have a message? One may be empty: sixteen tokens are soon thought away."""
    decoded = decode_answer(body)
    if decoded is None or decoded.error is not None or not decoded.choices:
        return False
    return decoded.choices[0].message is not None


def _message(target: Target, answer: Answer) -> str:
    """The sentence in an error; of a page without one, its words without their markup: proxies
    and firewalls explain themselves so. "" when there is nothing to read."""
    # When to come again is not asked here, so it does not matter what time it is.
    error = read_said(target.traits, answer.status, answer.headers, answer.body, unix_now=0.0)
    if error is not None and error.message:
        return error.message
    if answer.status == 200 or json_of(answer.body) is not None:
        return ""
    text = answer.body[:_READ_CHARACTERS_MAX].decode("utf-8", "replace")
    return re.sub(r"<[^>]*>", " ", text).strip()


# --- what may be shown ------------------------------------------------------------------------

# As vendors write them into errors: credentials, also with their middle starred out, and long runs
# that mix letters and digits and so are no words.
_CREDENTIAL = re.compile(
    r"\b(?:sk|pk|ak|rk|org|proj)[-_][A-Za-z0-9*._-]{5,}[A-Za-z0-9*_-]"
    r"|\bBearer\s+\S{6,}"
    r"|[A-Za-z0-9+/_]*\*{3,}[A-Za-z0-9+/_]*"
    r"|\b(?=[A-Za-z_]*\d)(?=\d*[A-Za-z_])[A-Za-z0-9_]{24,}"
)
_SECRET_NAME = re.compile(r"key|token|secret|sign|auth|passw|credential", re.IGNORECASE)
_RUN = re.compile(r"[A-Za-z0-9+/=._-]+")
#: That many characters in a row of a secret are a part of it and no accident.
_PART_CHARACTERS = 8
#: What is shorter is a word as likely as a secret.
_SECRET_CHARACTERS_LEAST = 4
#: More of a vendor's text is not looked at: people see the beginning of it.
_READ_CHARACTERS_MAX = 8 * SAID_CHARACTERS_MAX
_REMOVED = "[removed]"


def scrubbed(text: str, target: Target) -> str:
    """A text for people: one line, of bounded length, without this key's secrets or parts of
    them, and without whatever else looks like a credential."""
    visible = "".join(mark if mark.isprintable() else " " for mark in text[:_READ_CHARACTERS_MAX])
    line = " ".join(visible.split())
    settings = target.settings
    secrets = (
        target.secret,
        *_secret_values(settings.headers),
        *_secret_values(settings.query),
        urlsplit(settings.proxy).password or "",
    )
    for secret in secrets:
        if len(secret) >= _SECRET_CHARACTERS_LEAST:
            line = line.replace(secret, _REMOVED)
            line = _RUN.sub(partial(_without_part, secret), line)
    line = _CREDENTIAL.sub(_REMOVED, line)
    return line if len(line) <= SAID_CHARACTERS_MAX else line[:SAID_CHARACTERS_MAX] + "…"


def _secret_values(named: Mapping[str, str]) -> list[str]:
    return [value for name, value in named.items() if _SECRET_NAME.search(name)]


def _without_part(secret: str, found: re.Match[str]) -> str:
    run = found[0]
    for at in range(len(run) - _PART_CHARACTERS + 1):
        if run[at : at + _PART_CHARACTERS] in secret:
            return _REMOVED
    return run
