"""No carrier: codes are printed to the log, for whoever develops on this machine."""

from __future__ import annotations

import structlog

from aipool.notices.codes import CodeSent
from aipool.notices.sending import Outcome

_log = structlog.get_logger()


class Console:
    """Prints codes. `site.rules` allows it only where nobody else is listened to."""

    async def send(self, sent: CodeSent, now_ms: int) -> Outcome:
        """Prints one."""
        _log.warning("sms_printed", to=sent.phone, purpose=sent.purpose.value, text=sent.text)
        return Outcome(None)
