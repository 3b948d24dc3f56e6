"""What the gateway itself refuses under /api, where it only passes requests on: problem details, as
the control process behind it writes them (kit.problems), in English and without a field."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

_encode = msgspec.json.Encoder().encode


def is_told(path: bytes) -> bool:
    """Is this a path of the platform's interface?"""
    return path == b"/api" or path.startswith(b"/api/")


def problem(status: int, code: str, detail: str, rid: str) -> tuple[bytes, bytes]:
    """Header lines and body of a refusal."""
    headers = (
        b"Content-Type: application/problem+json\r\nCache-Control: no-store\r\n"
        b"x-request-id: %b\r\n" % rid.encode()
    )
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": rid,
    }
    return headers, _encode(body)
