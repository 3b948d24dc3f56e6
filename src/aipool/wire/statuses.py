"""Status lines, built once, and which statuses never carry a body."""

from http import HTTPStatus

_REASONS = {status.value: status.phrase for status in HTTPStatus}

STATUS_LINES: dict[int, bytes] = {
    code: b"HTTP/1.1 %d %b\r\n" % (code, reason.encode()) for code, reason in _REASONS.items()
}

BODILESS = frozenset((204, 304))
"""Besides 1xx: no body and, for 204, no Content-Length (RFC 9110 section 8.6)."""


def status_line(status: int) -> bytes:
    """The first line of an answer; a status nobody registered gets an empty reason."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
