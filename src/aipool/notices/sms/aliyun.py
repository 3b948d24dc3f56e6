"""Aliyun (Alibaba Cloud) SMS: action SendSms of 2017-05-25, signed by ACS3-HMAC-SHA256.

    signature   HMAC-SHA256(secret, "ACS3-HMAC-SHA256\\n" + hex SHA-256 of the canonical request)
    canonical   method, path, query by name, signed headers by name as "name:value\\n",
    request     their names with semicolons, hex SHA-256 of the body; line feeds between

After "V3 request structure and signature" and "SendSms" (help.aliyun.com) as of 2026-11-22. All of
what is asked stands in the query, the body is empty. It answers 200 with `Code` "OK", or with a
word for what is wrong such as isv.BUSINESS_LIMIT_CONTROL (one message a minute, five an hour and
ten a day to one number); a request that is not signed well is answered 4xx with a `Code` too.

Text and signature of a message are approved beforehand, as a template with variables: so a code
alone is sent, in the language of the template.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from aipool.kit.errors import Invalid
from aipool.kit.outbound import BaseUrl, Vet
from aipool.notices.codes import CodeSent, Purpose, scrubbed
from aipool.notices.rendering import Post
from aipool.notices.rules import checked_url
from aipool.notices.sending import Outcome, Sender

ALGORITHM = "ACS3-HMAC-SHA256"
_ACTION = "SendSms"
_VERSION = "2017-05-25"


@dataclass(frozen=True, slots=True)
class Account:
    """Who sends, and how the messages look. templates: one a purpose; their variable is code."""

    endpoint: str
    access_key_id: str
    access_key_secret: str = field(repr=False)
    sign_name: str
    templates: Mapping[Purpose, str]


@dataclass(frozen=True, slots=True)
class Aliyun:
    """Sends codes by one account."""

    sender: Sender
    vet: Vet
    account: Account

    async def send(self, sent: CodeSent, now_ms: int) -> Outcome:
        """Asks Aliyun to send one."""
        account = self.account
        try:
            url = checked_url(account.endpoint, self.vet)
        except Invalid as problem:
            return Outcome(problem.message)
        query = {
            "PhoneNumbers": _number(sent.phone),
            "SignName": account.sign_name,
            "TemplateCode": account.templates[sent.purpose],
            "TemplateParam": msgspec.json.encode({"code": sent.code}).decode(),
        }
        answer = await self.sender.request(
            url, _request(account, host_of(url), query, now_ms, secrets.token_hex(16))
        )
        if isinstance(answer, str):
            return Outcome(answer)
        refusal = _refusal(*answer)
        if refusal is None:
            return Outcome(None)
        return Outcome(scrubbed(refusal, account.access_key_secret, account.access_key_id))


def signature(
    secret: str, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> tuple[str, str]:
    """The names of the headers that are signed, and the signature.

    query: canonical.  headers: every one that is signed, in small letters.
    """
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
    canonical = "\n".join((method, path, query, lines, names, _sha256(body)))
    to_sign = f"{ALGORITHM}\n{_sha256(canonical.encode())}"
    return names, hmac.digest(secret.encode(), to_sign.encode(), hashlib.sha256).hex()


def canonical_query(query: Mapping[str, str]) -> str:
    """By name, everything quoted that RFC 3986 reserves."""
    quoted = ((quote(name, safe="~"), quote(query[name], safe="~")) for name in sorted(query))
    return "&".join(f"{name}={value}" for name, value in quoted)


def host_of(url: BaseUrl) -> str:
    """The header Host, as the sender writes it: it is signed."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return host if url.port == (443 if url.tls else 80) else f"{host}:{url.port}"


def _request(
    account: Account, host: str, query: Mapping[str, str], now_ms: int, nonce: str
) -> Post:
    at = datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    asked = canonical_query(query)
    headers = {
        "x-acs-action": _ACTION,
        "x-acs-version": _VERSION,
        "x-acs-date": at,
        "x-acs-signature-nonce": nonce,
        "x-acs-content-sha256": _sha256(b""),
    }
    names, signed = signature(
        account.access_key_secret, "POST", "/", asked, {**headers, "host": host}, b""
    )
    credential = f"Credential={account.access_key_id}"
    authorization = f"{ALGORITHM} {credential},SignedHeaders={names},Signature={signed}"
    return Post(f"/?{asked}", {**headers, "Authorization": authorization}, b"")


def _number(phone: str) -> str:
    """A number of mainland China without its calling code, others with it and without the +."""
    return phone.removeprefix("+86") if phone.startswith("+86") else phone.removeprefix("+")


class _Answer(msgspec.Struct):
    code: str = msgspec.field(name="Code", default="")
    message: str = msgspec.field(name="Message", default="")


def _refusal(status: int, body: bytes) -> str | None:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.MsgspecError:
        return f"answered {status} without saying whether it took it"
    if status == 200 and answer.code == "OK":
        return None
    return f"answered {status} {answer.code}: {answer.message}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
