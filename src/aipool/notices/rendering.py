"""What a notice looks like on each kind of channel, and what its receiver's answer means. Pure.

    kind       body                            signed by
    webhook    JSON of the notice              a header: t=<unix>,v1=<hex HMAC-SHA256 of
                                               "<unix>.<body>">
    feishu     text message                    timestamp and sign in the body
    dingtalk   Markdown                        timestamp and sign in the query
    wecom      Markdown, at most 4,096 bytes   nothing; the address is the secret
    mail       plain text                      nothing; the login is the secret

After the vendors' descriptions as of 2026-11-22: "Custom bot usage guide" (open.feishu.cn),
"Custom robot access" (open.dingtalk.com), document 91770 (developer.work.weixin.qq.com). Bots
refuse with HTTP 200 and a number in the answer, for example Feishu 19021 and DingTalk 310000 (a
wrong signature), WeCom 40058 (too long): a number that is not 0, and an answer without one, is a
failure.

What is told comes in part from vendors' answers. Marks that would make it a link, a mention or
a picture in somebody's chat are replaced by their wide forms.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from urllib.parse import quote_plus, urlsplit

import msgspec

from aipool.kit.clock import iso_ms
from aipool.notices.codes import Letter
from aipool.notices.types import Kind, MailServer, Notice, Secrets

SIGNATURE_HEADER = "X-AIPOOL-Signature"

_WECOM_BYTES_MAX = 4096
_WIDE = str.maketrans("<>[]*`", "＜＞［］＊｀")
_JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Post:
    """A request to send. target: path and query."""

    target: str = field(repr=False)
    headers: Mapping[str, str]
    body: bytes


def post(kind: Kind, secrets: Secrets, notice: Notice, now_ms: int) -> Post:
    """The request that tells a notice; now_ms goes into its signature."""
    match kind:
        case Kind.FEISHU:
            return _feishu(secrets, notice, now_ms)
        case Kind.DINGTALK:
            return _dingtalk(secrets, notice, now_ms)
        case Kind.WECOM:
            content = _cut_bytes(_markdown(notice), _WECOM_BYTES_MAX)
            return _post(secrets, {"msgtype": "markdown", "markdown": {"content": content}})
        case _:
            return _webhook(secrets, notice, now_ms)


def posted(url: str, message: Mapping[str, object]) -> Post:
    """A request that carries JSON to an address."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Post(target, {"Content-Type": _JSON}, msgspec.json.encode(message))


def signed(plain: Post, signing: str, now_ms: int) -> Post:
    """The request of a webhook with its signature, which says when it was made: a receiver
    refuses what is older than a few minutes."""
    unix = str(now_ms // 1000)
    signature = _hmac(signing, unix.encode() + b"." + plain.body).hex()
    headers = {**plain.headers, SIGNATURE_HEADER: f"t={unix},v1={signature}"}
    return Post(plain.target, headers, plain.body)


def letter(server: MailServer, written: Letter, at_ms: int, number: str) -> EmailMessage:
    """A mail to one person. number: of this mail alone."""
    text = written.text.rstrip() + "\n"
    return _mail(server, written.subject, text, at_ms, f"letter-{number}")


def mail(server: MailServer, notice: Notice) -> EmailMessage:
    """The mail that tells a notice. A repeated one has the same Message-ID."""
    text = "\n".join([notice.text, "", *_facts(notice)]) + "\n"
    number = f"notice-{notice.id}-{notice.at_ms}"
    return _mail(server, f"[AI-POOL] {notice.subject}", text, notice.at_ms, number)


def refusal(kind: Kind, status: int, answer: bytes) -> str | None:
    """Why the receiver did not take it, in its own words; None = it did."""
    if 300 <= status < 400:
        return f"answered {status}: redirects are not followed"
    if not 200 <= status < 300:
        return f"answered {status}"
    match kind:
        case Kind.FEISHU:
            return _refusal_of_bot(answer, ("code", "StatusCode"), ("msg", "StatusMessage"))
        case Kind.DINGTALK | Kind.WECOM:
            return _refusal_of_bot(answer, ("errcode",), ("errmsg",))
        case _:
            return None


def _mail(server: MailServer, subject: str, text: str, at_ms: int, number: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = server.sender
    message["To"] = ", ".join(server.to)
    message["Date"] = formatdate(at_ms / 1000)
    message["Message-ID"] = f"<aipool-{number}@{server.sender.rpartition('@')[2]}>"
    # Mail servers send no word of absence in answer to it (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text, cte="quoted-printable")
    return message


# --- one function a kind ---------------------------------------------------------------------


def _webhook(secrets: Secrets, notice: Notice, now_ms: int) -> Post:
    plain = _post(
        secrets,
        {
            "id": notice.id,
            "event": notice.event,
            "target": notice.target,
            "subject": notice.subject,
            "text": notice.text,
            "fields": dict(notice.fields),
            "at": iso_ms(notice.at_ms),
        },
    )
    return signed(plain, secrets.signing, now_ms)


def _feishu(secrets: Secrets, notice: Notice, now_ms: int) -> Post:
    text = "\n".join([notice.subject, notice.text, *_facts(notice)]).translate(_WIDE)
    message: dict[str, object] = {"msg_type": "text", "content": {"text": text}}
    if secrets.signing:
        # The text to sign is the key here, and what is signed is empty.
        unix = str(now_ms // 1000)
        signed = _hmac(f"{unix}\n{secrets.signing}", b"")
        message |= {"timestamp": unix, "sign": base64.b64encode(signed).decode()}
    return _post(secrets, message)


def _dingtalk(secrets: Secrets, notice: Notice, now_ms: int) -> Post:
    markdown = {"title": notice.subject, "text": _markdown(notice)}
    plain = _post(secrets, {"msgtype": "markdown", "markdown": markdown})
    if not secrets.signing:
        return plain
    signed = _hmac(secrets.signing, f"{now_ms}\n{secrets.signing}".encode())
    sign = quote_plus(base64.b64encode(signed))
    mark = "&" if "?" in plain.target else "?"
    return Post(f"{plain.target}{mark}timestamp={now_ms}&sign={sign}", plain.headers, plain.body)


# --- parts -----------------------------------------------------------------------------------


def _post(secrets: Secrets, message: Mapping[str, object]) -> Post:
    return posted(secrets.url, message)


def _markdown(notice: Notice) -> str:
    facts = [f"> {line.translate(_WIDE)}" for line in _facts(notice)]
    texts = [line.translate(_WIDE) for line in notice.text.splitlines()]
    # A blank line between: a line feed alone is a blank for DingTalk.
    return "\n\n".join([f"**{notice.subject.translate(_WIDE)}**", *texts, *facts])


def _facts(notice: Notice) -> list[str]:
    """What a program would read, a line each; the number tells a repeated notice."""
    return [
        *(f"{name}: {value}" for name, value in notice.fields.items()),
        f"event: {notice.event}",
        f"target: {notice.target}",
        f"at: {iso_ms(notice.at_ms)}",
        f"notice: {notice.id}",
    ]


def _refusal_of_bot(
    answer: bytes, numbers: tuple[str, ...], reasons: tuple[str, ...]
) -> str | None:
    try:
        said = msgspec.json.decode(answer, type=dict[str, object])
    except msgspec.DecodeError:
        return "answered something that is not JSON"
    number = next((said[name] for name in numbers if name in said), None)
    if number == 0 and not isinstance(number, bool):
        return None
    if number is None:
        return "answered without saying whether it took it"
    reason = next((said[name] for name in reasons if name in said), "")
    return f"refused with {number}: {reason}"


def _hmac(key: str, message: bytes) -> bytes:
    return hmac.digest(key.encode(), message, hashlib.sha256)


def _cut_bytes(text: str, bytes_max: int) -> str:
    encoded = text.encode()
    if len(encoded) <= bytes_max:
        return text
    return encoded[: bytes_max - 3].decode(errors="ignore") + "…"
