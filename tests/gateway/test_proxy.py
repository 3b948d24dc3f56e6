"""What is not the gateway's goes to control, with what is known about the client and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from aipool.gateway.proxy import BODY_BYTES_MAX, PRICES_AT_ONCE_MAX, PRICES_BODY_BYTES_MAX
from tests.gateway.rig import Rig, rig
from tests.platform import parse_reply


class FakeControl:
    """Answers on control.sock with what it was told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        self.pause = 0.0
        self.end = False

    async def serve(self, path: Path) -> asyncio.Server:
        return await asyncio.start_unix_server(self._serve, str(path))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(_fields(head).get("content-length", "0"))
                self.asked.append(head + await reader.readexactly(length))
                for number, piece in enumerate(self.answer.split(b"|")):
                    if number:
                        await asyncio.sleep(self.pause)
                    writer.write(piece)
                    await writer.drain()
                if self.end:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name
    }


def play(scene: Callable[[Rig, FakeControl], Awaitable[None]], **environment: str) -> None:
    async def whole() -> None:
        async with rig(environment) as it:
            control = FakeControl()
            server = await control.serve(it.run.control_socket)
            try:
                await scene(it, control)
            finally:
                server.close()

    uvloop.run(whole())


async def _raw(it: Rig, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
    writer.write(data)
    got = await asyncio.wait_for(reader.read(), 15)
    writer.close()
    await writer.wait_closed()
    return got


CLAIMS = (
    b"X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n"
    b"X-Forwarded-Prefix: /x\r\n"
)


def test_what_a_stranger_says_about_itself_is_replaced_by_what_is_known() -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        request = b"GET /console?a=b HTTP/1.1\r\nHost: shop.example\r\nCookie: s=1\r\n"
        request += CLAIMS + b"Connection: close, X-Mine\r\nX-Mine: 1\r\nTE: trailers\r\n\r\n"

        assert parse_reply(await _raw(it, request)).body == b"ok"

        fields = _fields(control.asked[0])
        assert control.asked[0].lower().count(b"x-forwarded-for:") == 1
        assert control.asked[0].startswith(b"GET /console?a=b HTTP/1.1\r\n")
        assert fields == {
            "host": "shop.example",
            "cookie": "s=1",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-proto": "http",
        }

    play(scene)


def test_a_trusted_proxy_is_believed() -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + CLAIMS + b"\r\n"

        await _raw(it, request)

        fields = _fields(control.asked[0])
        assert fields["x-forwarded-for"] == "203.0.113.9"
        assert fields["x-forwarded-proto"] == "https"
        assert "x-forwarded-host" not in fields

    play(scene, AIPOOL_TRUSTED_PROXIES="127.0.0.1/32")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (b"HTTPS", "https"),
        (b"https, http", "https"),
        (b"http,https", "http"),
        (b"wss", "http"),
        (b"", "http"),
    ],
)
def test_how_a_browser_came_is_one_word_however_proxies_say_it(said: bytes, meant: str) -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"

        await _raw(it, head + b"X-Forwarded-Proto: " + said + b"\r\n\r\n")

        assert _fields(control.asked[0])["x-forwarded-proto"] == meant

    play(scene, AIPOOL_TRUSTED_PROXIES="127.0.0.1/32")


def test_a_page_of_another_origin_may_ask_a_token_about_itself_and_nothing_of_the_console() -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        seen = {}
        for path in (b"/v1/token", b"/v1/calls/req_1", b"/openai/v1/token", b"/api/site", b"/"):
            head = b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" % path
            reply = parse_reply(await _raw(it, head + b"Origin: https://app.example\r\n\r\n"))
            seen[path] = reply.headers.get("access-control-allow-origin")

        assert list(seen.values()) == ["*", "*", "*", None, None]

    play(scene)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_passed_on_with_one_length(chunked: bool) -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        head = b"POST /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: a/b\r\n"
        if chunked:
            request = head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        else:
            request = head + b"Content-Length: 5\r\n\r\nabcde"

        await _raw(it, request)

        fields = _fields(control.asked[0].partition(b"\r\n\r\n")[0])
        assert control.asked[0].endswith(b"\r\n\r\nabcde")
        assert fields["content-length"] == "5"
        assert "transfer-encoding" not in fields

    play(scene)


def test_cookies_stay_lines_of_their_own() -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        control.answer = (
            b"HTTP/1.1 200 OK\r\nset-cookie: a=1; Expires=Wed, 1 Jan\r\nset-cookie: b=2\r\n"
            b"content-length: 0\r\n\r\n"
        )
        got = (await _raw(it, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).lower()

        assert b"set-cookie: a=1; expires=wed, 1 jan\r\n" in got
        assert b"set-cookie: b=2\r\n" in got

    play(scene)


@pytest.mark.parametrize(
    ("method", "answer", "status", "body"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", 200, b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", 304, b""),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        ("GET", b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", 302, b""),
        ("DELETE", b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno", 500, b"no"),
    ],
)
def test_answers_pass_as_they_are(method: str, answer: bytes, status: int, body: bytes) -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        control.answer = answer
        request = f"{method} /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

        reply = parse_reply(await _raw(it, request.encode()))

        assert (reply.status, reply.body) == (status, body)

    play(scene)


def test_an_export_may_take_its_time_between_two_pieces() -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        control.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none|two"
        control.pause = 1.3

        got = await _raw(it, b"GET /export HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

        assert parse_reply(got).body == b"onetwo"

    play(scene, AIPOOL_LIMIT_IDLE_SECONDS="0.5", AIPOOL_LIMIT_STALLED_READER_SECONDS="0.5")


def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        control.answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"
        control.end = True
        try:
            got = await _raw(it, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        except ConnectionResetError:
            got = b""
        assert not got.endswith(b"0\r\n\r\n")

    play(scene)


def test_without_control_people_get_a_page_and_calls_do_not_notice() -> None:
    async def whole() -> None:
        async with rig() as it:
            got = await _raw(it, b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            reply = parse_reply(got)
            assert reply.status == 503
            assert reply.headers["content-type"].startswith("text/html")
            assert reply.headers["retry-after"] == "2"
            assert (await it.ready()).status == 200

    uvloop.run(whole())


def test_a_page_under_way_does_not_hold_up_a_worker_that_leaves() -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        control.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none|two"
        control.pause = 30.0
        request = b"GET /export HTTP/1.1\r\nHost: a\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(request)
        await reader.readuntil(b"one")

        it.worker.stop()

        async with asyncio.timeout(5):
            assert not (await reader.read()).endswith(b"two")
        writer.close()

    play(scene)


def test_a_body_that_control_never_takes_is_not_kept_for_it() -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        for path, most in (
            (b"/api/x", BODY_BYTES_MAX),
            (b"/", BODY_BYTES_MAX),
            (b"/api/admin/prices/import/preview", PRICES_BODY_BYTES_MAX),
        ):
            head = b"POST %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" % path
            reply = parse_reply(await _raw(it, head + b"Content-Length: %d\r\n\r\n" % (most + 1)))
            assert (reply.status, reply.json["code"]) == (413, "request_too_large")

            chunk = b"%x\r\n%b\r\n" % (most // 16, b"a" * (most // 16))
            chunks = await _raw(it, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 17)
            assert parse_reply(chunks).status == 413

            await _raw(it, head + b"Content-Length: %d\r\n\r\n%b" % (most, b"a" * most))
            assert len(control.asked.pop().partition(b"\r\n\r\n")[2]) == most
        assert not control.asked

    play(scene)


def test_what_never_reaches_control_is_refused_under_api_as_control_refuses() -> None:
    chunk = b"%x\r\n%b\r\n" % (BODY_BYTES_MAX, b"a" * BODY_BYTES_MAX)
    host = b"Host: a\r\nConnection: close\r\n"
    refusals = (
        (501, b"TRACE %b HTTP/1.1\r\n" + host + b"\r\n"),
        (505, b"GET %b HTTP/3.1\r\n" + host + b"\r\n"),
        (400, b"GET %b HTTP/1.1\r\n" + host + b"a : b\r\n\r\n"),
        (417, b"POST %b HTTP/1.1\r\n" + host + b"Content-Length: 1\r\nExpect: x\r\n\r\n"),
        (431, b"GET %b HTTP/1.1\r\n" + host + b"A: %b\r\n\r\n" % (b"a" * 40_000)),
        (431, b"GET %b HTTP/1.1\r\n" + host + b"A: %b" % (b"a" * 40_000)),
        (400, b"POST %b HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nx\r\n"),
        (413, b"POST %b HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 2),
        (413, b"POST %b HTTP/1.1\r\n" + host + b"Content-Length: %d\r\n\r\n" % (1 << 21)),
    )

    async def scene(it: Rig, control: FakeControl) -> None:
        for status, request in refusals:
            for path in (b"/api/me", b"/api?x=1"):
                reply = parse_reply(await _raw(it, request.replace(b"%b", path, 1)))
                assert reply.status == reply.json["status"] == status
                assert reply.headers["content-type"] == "application/problem+json"
                assert reply.headers["x-request-id"] == reply.json["request_id"]
                assert reply.json["code"]
                assert reply.json["detail"].endswith(".")
                assert reply.json["title"]
            if request.count(b"Content-Length: 2") == 0:
                for path in (b"/apix", b"/v1/nothing", b"/openai/v1/api/x", b"*"):
                    reply = parse_reply(await _raw(it, request.replace(b"%b", path, 1)))
                    assert reply.status in (status, 400, 404), (path, request[:60])
                    assert reply.json["error"]["code"]
        assert not control.asked

    play(scene)


def test_a_program_that_asks_while_control_restarts_is_told_so_in_json() -> None:
    async def whole() -> None:
        async with rig() as it:
            got = await _raw(it, b"GET /api/me HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            reply = parse_reply(got)
            assert (reply.status, reply.json["code"]) == (503, "control_unavailable")
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.headers["retry-after"] == "2"

    uvloop.run(whole())


def test_few_strangers_at_a_time_send_what_is_as_large_as_a_list_of_prices() -> None:
    async def scene(it: Rig, control: FakeControl) -> None:
        head = b"POST /api/admin/prices/import/preview HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        head += b"Content-Length: %d\r\n\r\n" % PRICES_BODY_BYTES_MAX
        slow = [
            await asyncio.open_connection("127.0.0.1", it.port) for _ in range(PRICES_AT_ONCE_MAX)
        ]
        for _, writer in slow:
            writer.write(head + b"{")
            await writer.drain()
        await asyncio.sleep(0.1)

        assert parse_reply(await _raw(it, head)).status == 413
        slow[0][1].close()
        await slow[0][1].wait_closed()
        await asyncio.sleep(0.1)
        await _raw(it, head + b"a" * PRICES_BODY_BYTES_MAX)
        assert len(control.asked) == 1
        for _, writer in slow[1:]:
            writer.close()
            await writer.wait_closed()

    play(scene)
