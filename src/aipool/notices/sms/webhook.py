"""A carrier of the operator's own: every code is posted to an address, signed.

    POST <address>
    X-AIPOOL-Signature: t=<unix>,v1=<hex HMAC-SHA256 of "<unix>.<body>">

    {"to": "+8613800138000", "purpose": "register", "code": "123456", "locale": "zh-CN",
     "text": "…", "site": "AI-POOL", "at": "2026-11-22T20:00:00.000Z"}

Any 2xx says that it was taken. The receiver checks the signature and refuses what is older than
five minutes, or it sends text messages for whoever found its address.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aipool.kit.clock import iso_ms
from aipool.kit.errors import Invalid
from aipool.kit.outbound import Vet
from aipool.notices import rendering
from aipool.notices.codes import CodeSent
from aipool.notices.rules import checked_url
from aipool.notices.sending import Outcome, Sender
from aipool.notices.types import Kind


@dataclass(frozen=True, slots=True)
class Webhook:
    """Posts codes to one address."""

    sender: Sender
    vet: Vet
    url: str = field(repr=False)
    signing: str = field(repr=False)

    async def send(self, sent: CodeSent, now_ms: int) -> Outcome:
        """Posts one."""
        try:
            url = checked_url(self.url, self.vet)
        except Invalid as problem:
            return Outcome(problem.message)
        message = {
            "to": sent.phone,
            "purpose": sent.purpose.value,
            "code": sent.code,
            "locale": sent.locale.value,
            "text": sent.text,
            "site": sent.site,
            "at": iso_ms(now_ms),
        }
        post = rendering.signed(rendering.posted(self.url, message), self.signing, now_ms)
        answer = await self.sender.request(url, post)
        if isinstance(answer, str):
            return Outcome(answer)
        # Its answer is for nobody to read: it may repeat the code.
        return Outcome(rendering.refusal(Kind.WEBHOOK, *answer))
