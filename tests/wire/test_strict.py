"""What the server takes for a request, as a table: bytes in, statuses out.

Every vector is sent followed by a well-formed second request. A refused one must yield exactly
one answer and the end of the connection: were the second request served, the first would have
been understood as something other than what was refused.
"""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.wire.limits import Limits
from aipool.wire.strict import Refusal, host_is_valid, read_head
from tests.wire.rig import HOST, App, Raw, ask, connected, run, serving, statuses

SECOND = b"GET /second HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /first HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED: dict[str, tuple[int, bytes]] = {
    # Host
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "empty host": (400, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    "two hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "the same host twice": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "two hosts, other case": (400, b"GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n"),
    "host with a path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "host with a user": (400, b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "host with a space": (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "host list": (400, b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    "host with a query": (400, b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n"),
    "host with a fragment": (400, b"GET / HTTP/1.1\r\nHost: a#b\r\n\r\n"),
    "host with a backslash": (400, b"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n"),
    "host with high bytes": (400, b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n"),
    "host with a bad port": (400, b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    "host with two ports": (400, b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n"),
    "host with a long port": (400, b"GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n"),
    "host with an open bracket": (400, b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    "host with text after a bracket": (400, b"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n"),
    "host in angle brackets": (400, b"GET / HTTP/1.1\r\nHost: <a>\r\n\r\n"),
    "bad host on 1.0": (400, b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n"),
    # Request line
    "absolute form": (400, b"GET http://a/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "authority form": (501, b"CONNECT a:443 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "asterisk for GET": (400, b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
    "no leading slash": (400, b"GET a HTTP/1.1\r\n" + HOST + b"\r\n"),
    "fragment": (400, b"GET /#a HTTP/1.1\r\n" + HOST + b"\r\n"),
    "space in target": (400, b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "tab in request line": (400, b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "two spaces": (400, b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "leading space": (400, b" GET / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "control in target": (400, b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "NUL in target": (400, b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "DEL in target": (400, b"GET /\x7f HTTP/1.1\r\n" + HOST + b"\r\n"),
    "high byte in target": (400, b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n"),
    "HTTP/0.9 without a version": (400, b"GET /\r\n" + HOST + b"\r\n"),
    "HTTP/0.9": (505, b"GET / HTTP/0.9\r\n" + HOST + b"\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\n" + HOST + b"\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\n" + HOST + b"\r\n"),
    "HTTP/2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "lower-case protocol": (400, b"GET / http/1.1\r\n" + HOST + b"\r\n"),
    "space after version": (400, b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n"),
    "long version": (400, b"GET / HTTP/1.10\r\n" + HOST + b"\r\n"),
    "other protocol": (400, b"DESCRIBE / RTSP/1.0\r\n" + HOST + b"\r\n"),
    "unknown method": (501, b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "TRACE": (501, b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "lower-case method": (400, b"get / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "TLS hello": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "bare LF after request line": (400, b"GET / HTTP/1.1\n" + HOST + b"\r\n"),
    "bare LFs throughout": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "CR CR LF": (400, b"GET / HTTP/1.1\r\r\n" + HOST + b"\r\n"),
    # Header lines
    "bare LF after header": (400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    "bare CR in value": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n"),
    "LF LF at the end": (400, b"GET / HTTP/1.1\r\n" + HOST + b"\n"),
    "NUL in value": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n"),
    "control in value": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x0bb\r\n\r\n"),
    "DEL in value": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x7fb\r\n\r\n"),
    "space before colon": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X : y\r\n\r\n"),
    "tab before colon": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X\t: y\r\n\r\n"),
    "obs-fold with space": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n"),
    "obs-fold with tab": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n\tb\r\n\r\n"),
    "fold before any header": (400, b"GET / HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n"),
    "no colon": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X\r\n\r\n"),
    "no name": (400, b"GET / HTTP/1.1\r\n" + HOST + b": y\r\n\r\n"),
    "NUL in name": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X\x00: y\r\n\r\n"),
    "brackets in name": (400, b"GET / HTTP/1.1\r\n" + HOST + b"X[]: y\r\n\r\n"),
    "two authorizations": (
        400,
        b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: a\r\nAuthorization: b\r\n\r\n",
    ),
    # Content-Length
    "two lengths": (400, POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    "the same length twice": (400, POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "length list": (400, POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    "negative length": (400, POST + b"Content-Length: -3\r\n\r\nabc"),
    "signed length": (400, POST + b"Content-Length: +3\r\n\r\nabc"),
    "hexadecimal length": (400, POST + b"Content-Length: 0x3\r\n\r\nabc"),
    "empty length": (400, POST + b"Content-Length:\r\n\r\nabc"),
    "length with a word": (400, POST + b"Content-Length: 3 bytes\r\n\r\nabc"),
    "length with an underscore": (400, POST + b"Content-Length: 1_0\r\n\r\n0123456789"),
    "length beyond 64 bits": (400, POST + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "length in other digits": (400, POST + b"Content-Length: \xd9\xa3\r\n\r\nabc"),
    "length folded": (400, POST + b"Content-Length:\r\n 3\r\n\r\nabc"),
    "length above the limit": (413, POST + b"Content-Length: 99999999\r\n\r\n"),
    # Transfer-Encoding
    "length and chunked": (
        400,
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "chunked and length": (
        400,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    ),
    "chunked on 1.0": (
        400,
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "xchunked": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "chunked in two lines": (
        400,
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "gzip, chunked": (400, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked, identity": (400, POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "identity": (400, POST + b"Transfer-Encoding: identity\r\n\r\n"),
    "empty coding": (400, POST + b"Transfer-Encoding:\r\n\r\n"),
    "coding with a parameter": (400, POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
    "coding after a control": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "coding quoted": (400, POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    "coding folded": (400, POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    "coding with a space before the colon": (
        400,
        POST + b"Transfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc",
    ),
    # Connection and Expect
    "connection: content-length": (
        400,
        POST + b"Connection: Content-Length\r\nContent-Length: 3\r\n\r\nabc",
    ),
    "connection: transfer-encoding": (
        400,
        POST
        + b"Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "connection: host": (400, b"GET / HTTP/1.1\r\n" + HOST + b"Connection: host\r\n\r\n"),
    "connection: authorization": (
        400,
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: keep-alive, Authorization\r\n\r\n",
    ),
    "connection: x-forwarded-for": (
        400,
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: X-Forwarded-For\r\n\r\n",
    ),
    "connection with junk": (400, b"GET / HTTP/1.1\r\n" + HOST + b"Connection: a b\r\n\r\n"),
    "other expectation": (417, POST + b"Expect: 200-ok\r\nContent-Length: 3\r\n\r\nabc"),
    # Chunks
    "chunk size missing": (400, CHUNKED + b"\r\nabc\r\n0\r\n\r\n"),
    "chunk size not hexadecimal": (400, CHUNKED + b"g\r\nabc\r\n0\r\n\r\n"),
    "chunk size with 0x": (400, CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    "chunk size signed": (400, CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    "chunk size with an underscore": (400, CHUNKED + b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    "chunk size with leading space": (400, CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n"),
    "chunk size with trailing space": (400, CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    "chunk size too long": (400, CHUNKED + b"000000003\r\nabc\r\n0\r\n\r\n"),
    "chunk size beyond 64 bits": (400, CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    "chunk line ends in LF": (400, CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    "chunk data ends in LF": (400, CHUNKED + b"3\r\nabc\n0\r\n\r\n"),
    "chunk longer than said": (400, CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n"),
    "chunk shorter than said": (400, CHUNKED + b"4\r\nabc\r\n0\r\n\r\n"),
    "chunk data ends in CR CR": (400, CHUNKED + b"3\r\nabc\r\r0\r\n\r\n"),
    "chunk extension too long": (400, CHUNKED + b"3;" + b"a" * 257 + b"\r\nabc\r\n0\r\n\r\n"),
    "chunk extension with LF": (400, CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    "chunk extension with CR": (400, CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    "chunk extension with NUL": (400, CHUNKED + b"3;a\x00\r\nabc\r\n0\r\n\r\n"),
    "last chunk ends in LF": (400, CHUNKED + b"0\n\r\n"),
    "trailers end in LF": (400, CHUNKED + b"0\r\n\n"),
    "trailer without colon": (400, CHUNKED + b"0\r\nabc\r\n\r\n"),
    "trailer folded": (400, CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n"),
    "trailer with space before colon": (400, CHUNKED + b"0\r\nA : b\r\n\r\n"),
    "too many trailers": (400, CHUNKED + b"0\r\n" + b"A: b\r\n" * 33 + b"\r\n"),
    # Size
    "head too large": (431, b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 4096 + b"\r\n\r\n"),
    "head without an end": (431, b"GET /" + b"y" * 4097),
    "too many lines": (431, b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 300 + b"\r\n"),
}

SERVED: dict[str, tuple[bytes, bytes]] = {
    "plain": (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", b"GET / []"),
    "port in host": (b"GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", b"GET / []"),
    "empty port": (b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", b"GET / []"),
    "IPv6 host": (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"GET / []"),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", b"OPTIONS * []"),
    "empty line first": (b"\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", b"GET / []"),
    "query": (b"GET /a?b=c?d HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /a?b=c?d []"),
    "double slash": (b"GET //a//b HTTP/1.1\r\n" + HOST + b"\r\n", b"GET //a//b []"),
    "dots": (b"GET /../a HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /../a []"),
    "length": (POST + b"Content-Length: 3\r\n\r\nabc", b"POST /first [abc]"),
    "length with spaces around": (POST + b"Content-Length:  3 \t\r\n\r\nabc", b"POST /first [abc]"),
    "length with zeros": (POST + b"Content-Length: 003\r\n\r\nabc", b"POST /first [abc]"),
    "length zero": (POST + b"Content-Length: 0\r\n\r\n", b"POST /first []"),
    "body that looks like a request": (
        POST + b"Content-Length: 26\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n",
        b"POST /first [GET /x HTTP/1.1\r\nHost: a\r\n]",
    ),
    "chunked": (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"POST /first [abc]"),
    "chunked, other case": (
        POST + b"transfer-encoding: CHUNKED\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        b"POST /first [0123456789]",
    ),
    "chunk extension": (CHUNKED + b"3;a=b\r\nabc\r\n0;c\r\n\r\n", b"POST /first [abc]"),
    "longest chunk extension": (
        CHUNKED + b"3;" + b"a" * 256 + b"\r\nabc\r\n0\r\n\r\n",
        b"POST /first [abc]",
    ),
    "zeros before a size": (CHUNKED + b"00000003\r\nabc\r\n0000\r\n\r\n", b"POST /first [abc]"),
    "trailers": (
        CHUNKED + b"3\r\nabc\r\n0\r\nContent-Length: 99\r\nHost: b\r\n\r\n",
        b"POST /first [abc]",
    ),
    "upgrade that is not granted": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"GET / []",
    ),
    "upgrade with a body": (
        POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /first [abc]",
    ),
    "value with high bytes": (b"GET / HTTP/1.1\r\n" + HOST + b"X: \xff\r\n\r\n", b"GET / []"),
    "empty value": (b"GET / HTTP/1.1\r\n" + HOST + b"X:\r\n\r\n", b"GET / []"),
}

SMALL = Limits(head_bytes=4096, body_bytes=10_000_000)


def test_what_is_ambiguous_is_refused_and_nothing_after_it_is_served() -> None:
    async def scenario() -> None:
        app = App()
        async with serving(app, SMALL) as (_, port):
            for name, (status, vector) in REFUSED.items():
                served = len(app.calls)
                answers = await ask(port, vector + SECOND)
                assert statuses(answers) == [status], (name, answers)
                assert b"\r\nConnection: close\r\n" in answers, name
                bodies = [call.body for call in app.calls[served:]]
                assert bodies in ([], [None]), (name, bodies)

    assert len(REFUSED) >= 80
    run(scenario())


def test_what_is_unambiguous_is_served_and_so_is_what_follows() -> None:
    async def scenario() -> None:
        app = App()
        async with serving(app, SMALL) as (_, port):
            for name, (vector, answer) in SERVED.items():
                answers = await ask(port, vector + SECOND)
                assert statuses(answers) == [200, 200], (name, answers)
                assert answer in answers, (name, answers)
                assert b"GET /second []" in answers, name

    run(scenario())


def test_a_request_fed_byte_by_byte_is_the_same_request() -> None:
    async def scenario() -> None:
        async with serving(App(), SMALL) as (_, port):
            for name in ("length", "trailers", "chunk extension", "empty line first"):
                vector, answer = SERVED[name]
                async with connected(port) as raw:
                    for byte in vector + SECOND:
                        await raw.send(bytes([byte]))
                        await asyncio.sleep(0)
                    raw.shut_write()
                    answers = await raw.receive_all()
                assert statuses(answers) == [200, 200], (name, answers)
                assert answer in answers

    run(scenario())


@settings(max_examples=60)
@given(data=st.data())
def test_however_requests_are_cut_into_reads_they_are_the_same(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(SERVED)), min_size=1, max_size=6))
    stream = b"".join(SERVED[name][0] for name in names)
    cuts = sorted(set(data.draw(st.lists(st.integers(1, len(stream) - 1), max_size=12))))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    async def scenario() -> None:
        app = App()
        async with serving(app, SMALL) as (_, port), connected(port) as raw:
            await send_in_pieces(raw, pieces)
            answers = await raw.receive_all()
        assert statuses(answers) == [200] * len(names)
        position = 0
        for name in names:
            position = answers.index(SERVED[name][1], position) + 1

    run(scenario())


async def send_in_pieces(raw: Raw, pieces: list[bytes]) -> None:
    for piece in pieces:
        await raw.send(piece)
        await asyncio.sleep(0.0005)
    raw.shut_write()


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_a_head_of_any_bytes_is_judged_and_nothing_raises(garbage: bytes) -> None:
    for block in (garbage, b"GET / HTTP/1.1\r\n" + garbage + b"\r\n\r\n"):
        judged = read_head(block, SMALL)
        if not isinstance(judged, Refusal):
            assert judged.method and judged.target


@pytest.mark.parametrize("host", [b"a", b"a.b:1", b"1.2.3.4", b"[::1]", b"[::ffff:1.2.3.4]:443"])
def test_ordinary_hosts_are_valid(host: bytes) -> None:
    assert host_is_valid(host)


def test_repeated_headers_are_joined_and_cookies_by_their_own_rule() -> None:
    async def scenario() -> None:
        app = App()
        async with serving(app) as (_, port):
            await ask(
                port,
                b"GET / HTTP/1.1\r\n"
                + HOST
                + b"X: a\r\nx: b\r\nCookie: c=1\r\nCookie: d=2\r\n\r\n",
            )
            headers = app.calls[0].exchange.headers
            assert headers[b"x"] == b"a, b"
            assert headers[b"cookie"] == b"c=1; d=2"

    run(scenario())


def test_trailers_are_not_headers() -> None:
    async def scenario() -> None:
        app = App()
        async with serving(app) as (_, port):
            await ask(port, CHUNKED + b"3\r\nabc\r\n0\r\nX-Late: 1\r\n\r\n")
            assert b"x-late" not in app.calls[0].exchange.headers

    run(scenario())
