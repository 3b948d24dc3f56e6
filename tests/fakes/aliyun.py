"""A carrier of text messages as Aliyun is one, on loopback, with books of its own.

It checks the signature of every request by itself, from the bytes of the request line and the
headers, as "V3 request structure and signature" describes it, and it takes each nonce once. What
it carried stands in `carried`, whatever the platform believes it sent.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

KEY_ID = "LTAI-of-a-test"
KEY_SECRET = "canary-aliyun-secret-0123456789"
SIGN_NAME = "算力池"

_AUTHORIZATION = re.compile(
    r"ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([a-z0-9;-]+),Signature=([0-9a-f]{64})"
)
_NEEDED = {"host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce"}


@dataclass(frozen=True)
class Carried:
    """A message that went out."""

    phone: str
    template: str
    code: str


@dataclass
class Aliyun:
    """answers: what it says next instead of doing it, as (status, Code, Message)."""

    port: int = 0
    carried: list[Carried] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answers: list[tuple[int, str, str]] = field(default_factory=list)
    _nonces: set[str] = field(default_factory=set)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self) -> dict[str, object]:
        """What a site must be set to, to send by it."""
        return {
            "sms_provider": "aliyun",
            "aliyun_endpoint": self.endpoint,
            "aliyun_access_key_id": KEY_ID,
            "aliyun_access_key_secret": KEY_SECRET,
            "aliyun_sign_name": SIGN_NAME,
            "aliyun_template_register": "SMS_100",
            "aliyun_template_reset": "SMS_200",
        }

    def answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, str, str]:
        self.asked.append(target)
        wrong = self._signature_problem(method, target, headers, body)
        if wrong:
            return 400, wrong, "the request is not signed as it must be"
        if self.answers:
            return self.answers.pop(0)
        query = dict(part.split("=", 1) for part in target.partition("?")[2].split("&"))
        asked = {name: unquote(value) for name, value in query.items()}
        if asked["SignName"] != SIGN_NAME:
            return 200, "isv.SMS_SIGNATURE_ILLEGAL", "no such signature"
        code = json.loads(asked["TemplateParam"])["code"]
        self.carried.append(Carried(asked["PhoneNumbers"], asked["TemplateCode"], code))
        return 200, "OK", "OK"

    def _signature_problem(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> str:
        found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if found is None:
            return "MissingAuthorization"
        key_id, names, given = found.groups()
        signed = names.split(";")
        if key_id != KEY_ID:
            return "InvalidAccessKeyId.NotFound"
        if signed != sorted(signed) or not set(signed) >= _NEEDED:
            return "IncompleteSignature"
        if headers["x-acs-action"] != "SendSms" or headers["x-acs-version"] != "2017-05-25":
            return "InvalidAction.NotFound"
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", headers["x-acs-date"]):
            return "InvalidTimeStamp.Format"
        if headers.get("x-acs-content-sha256") != hashlib.sha256(body).hexdigest():
            return "InvalidContentSha256"
        nonce = headers["x-acs-signature-nonce"]
        if nonce in self._nonces:
            return "SignatureNonceUsed"
        self._nonces.add(nonce)
        path, _, query = target.partition("?")
        # What was signed is sorted: a query in another order is another request.
        in_order = "&".join(sorted(query.split("&"), key=lambda part: part.split("=")[0]))
        text = f"{method}\n{path}\n{in_order}\n"
        for name in signed:
            text += f"{name}:{headers[name]}\n"
        text += f"\n{names}\n{hashlib.sha256(body).hexdigest()}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        own = hmac.new(KEY_SECRET.encode(), f"ACS3-HMAC-SHA256\n{digest}".encode(), "sha256")
        return "" if hmac.compare_digest(own.hexdigest(), given) else "SignatureDoesNotMatch"


@contextmanager
def aliyun() -> Iterator[Aliyun]:
    """The carrier, for as long as the block lasts."""
    fake = Aliyun()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, code, message = fake.answer("POST", self.path, headers, body)
            said = {"Code": code, "Message": message, "RequestId": "A0-B1"}
            answer = json.dumps(said | ({"BizId": "900^0"} if code == "OK" else {})).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what came is in `asked`."""

    class Server(ThreadingHTTPServer):
        daemon_threads = False
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    fake.port = server.server_address[1]
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
