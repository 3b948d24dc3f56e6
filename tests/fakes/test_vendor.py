"""The fake vendor does what its script says, and its books tell what happened."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import zlib
from pathlib import Path
from typing import Any

import pytest
import trustme

from aipool.dialects.chat import decode_chunk, usage_of
from aipool.dialects.estimate import estimate_request, estimate_text
from tests.fakes.books import CLIENT_GONE, COMPLETED, CUT, Books
from tests.fakes.process import FakeVendorProcess
from tests.fakes.sse import KINDS
from tests.fakes.vendor import FakeVendor


def ask(fake: Any = None, **more: Any) -> dict[str, Any]:
    text = "hello" if fake is None else json.dumps({"fake": fake})
    return {"model": "fake-model", "messages": [{"role": "user", "content": text}], **more}


def written(body: Any, *, key: str = "key-1", target: str = "/v1/chat/completions") -> bytes:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload


class Received:
    """All that came back on one connection, taken apart."""

    def __init__(self, raw: bytes, *, reset: bool = False) -> None:
        self.raw, self.reset = raw, reset
        head, _, self.rest = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0][9:12] or 0)
        self.headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)

    @property
    def body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rest
        body, rest = b"", self.rest
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            if not size or int(size, 16) == 0:
                break
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body

    @property
    def events(self) -> list[bytes]:
        return [line[6:] for line in self.body.split(b"\n\n") if line.startswith(b"data: ")]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(vendor: FakeVendor, body: Any, *, key: str = "key-1", wait: float = 5.0) -> Received:
    """Send one request, and read until the end, or until nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
    writer.write(written(body, key=key))
    raw, reset = b"", False
    try:
        while data := await asyncio.wait_for(reader.read(1 << 20), wait):
            raw += data
            if raw.endswith(b"0\r\n\r\n") or _is_whole(raw):
                break
    except ConnectionResetError:
        reset = True
    except TimeoutError:
        pass
    writer.close()
    return Received(raw, reset=reset)


def _is_whole(raw: bytes) -> bool:
    head, _, body = raw.partition(b"\r\n\r\n")
    length = [line[16:] for line in head.split(b"\r\n") if line.startswith(b"content-length: ")]
    return bool(length) and len(body) == int(length[0])


def served(
    script: Any, *requests: dict[str, Any], wait: float = 5.0
) -> tuple[list[Received], Books]:
    """Each request on a connection of its own, one after the other."""

    async def run() -> tuple[list[Received], Books]:
        async with FakeVendor(script) as vendor:
            answers = [await call(vendor, request, wait=wait) for request in requests]
            await vendor.until(lambda books: all(entry.ended_time for entry in books))
            return answers, vendor.books

    return asyncio.run(run())


def test_a_well_behaved_answer_is_whole_and_on_the_books() -> None:
    request = ask(user="marker-1", max_tokens=50)
    [answer], books = served(None, request)

    entry = books.entries[0]
    usage = usage_of(answer.json["usage"])
    assert usage is not None
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == " word" * 8
    assert usage.input_tokens == estimate_request(request)
    assert usage.output_tokens == estimate_text(" word" * 8)
    assert (entry.phase, entry.key, entry.model, entry.max_tokens) == (
        COMPLETED,
        "key-1",
        "fake-model",
        50,
    )
    assert entry.usage_sent == answer.json["usage"]
    assert books.billed("marker-1") == (usage.input_tokens, usage.output_tokens)


def test_a_stream_tells_the_same_and_reports_usage_when_asked() -> None:
    plain, asking = ask(stream=True), ask(stream=True, stream_options={"include_usage": True})
    [without, with_usage], books = served(None, plain, asking)

    said = [json.loads(event) for event in with_usage.events[:-1]]
    assert without.events[-1] == with_usage.events[-1] == b"[DONE]"
    assert "".join(c["delta"].get("content", "") for e in said for c in e["choices"]) == " word" * 8
    assert said[-1]["choices"] == []
    assert said[-1]["usage"] == books.entries[1].usage_sent
    assert books.entries[0].usage_sent is None
    assert [entry.events_sent for entry in books] == [11, 12]
    assert books.entries[0].billed_output == books.entries[1].billed_output > 0


def test_a_cap_on_tokens_is_kept_unless_the_script_breaks_it() -> None:
    [kept, broken], _ = served(
        None, ask({"events": 100}, max_tokens=10), ask({"ignore_max_tokens": True}, max_tokens=1)
    )

    assert kept.json["usage"]["completion_tokens"] <= 10
    assert kept.json["choices"][0]["finish_reason"] == "length"
    assert broken.json["usage"]["completion_tokens"] > 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 408, 429, 500, 502, 503, 504, 524, 529])
def test_a_status_comes_with_an_error_that_gives_the_key_away(status: int) -> None:
    [answer], books = served({"status": status, "headers": {"retry-after": "7"}}, ask())

    assert (answer.status, answer.headers["retry-after"]) == (status, "7")
    assert "key-1" in answer.json["error"]["message"]
    assert answer.headers["openai-organization"] == "org-of-the-fake-vendor"
    assert (books.entries[0].status, books.entries[0].billed_input) == (status, 0)


def test_a_200_with_an_error_body_bills_nothing() -> None:
    [answer], books = served({"error": {"message": "no"}}, ask())

    assert (answer.status, answer.json) == (200, {"error": {"message": "no"}})
    assert (books.entries[0].billed_input, books.entries[0].billed_output) == (0, 0)


def test_a_queue_is_used_up_in_order_and_a_function_sees_key_number_and_body() -> None:
    answers, _ = served([{"status": 500}, {"status": 429}], ask(), ask(), ask())
    assert [answer.status for answer in answers] == [500, 429, 200]

    seen = []

    def script(key: str, number: int, body: dict[str, Any]) -> dict[str, Any]:
        seen.append((key, number, body["model"]))
        return {"status": 500 + number}

    answers, _ = served(script, ask(), ask())
    assert [answer.status for answer in answers] == [501, 502]
    assert seen == [("key-1", 1, "fake-model"), ("key-1", 2, "fake-model")]


def test_a_request_chooses_for_itself_by_attempt_and_by_key() -> None:
    async def run() -> None:
        async with FakeVendor({"status": 418}) as vendor:
            by_attempt = ask([{"status": 503}, {"status": 200}])
            assert [(await call(vendor, by_attempt)).status for _ in range(3)] == [503, 200, 200]
            by_key = ask({"keys": {"bad": {"status": 401}, "*": {}}})
            assert (await call(vendor, by_key, key="bad")).status == 401
            assert (await call(vendor, by_key, key="good")).status == 200
            assert (await call(vendor, ask())).status == 418
            assert (await call(vendor, ask({"no_such_wish": 1}))).status == 400
            assert (await call(vendor, ask({"sse": "no such kind"}))).status == 400

    asyncio.run(run())


def test_a_first_byte_is_late_a_stall_never_ends_and_some_never_answer() -> None:
    async def run() -> None:
        async with FakeVendor() as vendor:
            reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
            writer.write(written(ask({"delay": 0.2})))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)
            assert await reader.read(8) == b"HTTP/1.1"
            writer.close()

            stalled = await call(vendor, ask({"stall_after": 3}, stream=True), wait=0.5)
            assert len(stalled.events) == 3
            assert (await call(vendor, ask({"never": True}), wait=0.1)).raw == b""
            await vendor.until(lambda books: books.entries[2].phase == CLIENT_GONE)
            assert vendor.books.entries[1].phase == CLIENT_GONE
            assert vendor.books.entries[1].events_sent == 3

    asyncio.run(run())


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_cut_after_an_event_leaves_what_was_sent(how: str) -> None:
    [answer], books = served({"cut_after": 4, "cut": how}, ask(stream=True))

    entry = books.entries[0]
    assert answer.reset == (how == "rst")
    assert len(answer.events) == 4
    assert (entry.phase, entry.events_sent) == (CUT, 4)
    assert entry.tokens_sent == entry.billed_output == estimate_text(" word" * 3)


def test_a_cut_inside_an_event_does_not_count_that_event() -> None:
    [answer], books = served({"cut_after": 4, "cut_inside": True}, ask(stream=True))

    assert answer.rest.endswith(b"\r\n") is False
    assert books.entries[0].events_sent == 4


def test_a_cut_at_any_byte_sends_exactly_so_many() -> None:
    [whole], _ = served(None, ask(stream=True))
    for size in (1, 10, len(whole.raw) // 2, len(whole.raw) - 1):
        [cut], books = served({"cut_at": size}, ask(stream=True))
        assert cut.raw == whole.raw[:size]
        assert (books.entries[0].phase, books.entries[0].bytes_sent) == (CUT, size)


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_after_the_head_bills_nothing(stream: bool) -> None:
    [cut], books = served({"cut_at": "head"}, ask(stream=stream))

    assert cut.raw.endswith(b"\r\n\r\n")
    assert (cut.status, cut.rest) == (200, b"")
    entry = books.entries[0]
    assert (entry.phase, entry.billed_input, entry.billed_output) == (CUT, 0, 0)


def test_a_vendor_that_turns_connections_away_answers_what_it_was_asked() -> None:
    async def run() -> None:
        async with FakeVendor({"delay": 0.05}) as vendor:
            port = vendor.port
            idle = await asyncio.open_connection("127.0.0.1", port)
            asked = asyncio.create_task(call(vendor, ask()))
            await vendor.until(lambda books: len(books) == 1)
            vendor.turn_away()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            assert await idle[0].read() == b""
            idle[1].close()
            assert (await asked).status == 200

            await vendor.start()
            assert vendor.port == port
            assert (await call(vendor, ask())).status == 200

    asyncio.run(run())


def test_a_client_that_leaves_is_noticed_and_billed_what_was_sent() -> None:
    async def run() -> None:
        async with FakeVendor({"events": 1000, "interval": 0.01}) as vendor:
            reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
            writer.write(written(ask(stream=True, user="gone")))
            await vendor.until(lambda books: len(books) and books.entries[0].events_sent >= 5)
            writer.close()
            await vendor.until(lambda books: books.entries[0].phase == CLIENT_GONE)

            entry = vendor.books.entries[0]
            assert 5 <= entry.events_sent < 100
            assert vendor.books.billed("gone") == (entry.billed_input, entry.tokens_sent)
            assert entry.tokens_sent == estimate_text(" word" * (entry.events_sent - 1))
            await reader.read()

    asyncio.run(run())


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.intact])
def test_an_intact_kind_of_stream_holds_every_event(kind: str) -> None:
    wishes = {"sse": kind, "content": "你好 world 再见"}
    [answer], _ = served(wishes, ask(stream=True))

    text = answer.body.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    said = ""
    for event in text.split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in event.split("\n") if line[:5] == "data:"]
        chunk = decode_chunk("\n".join(lines).encode())
        for choice in (chunk.choices if chunk else None) or ():
            said += (choice.delta.content or "") if choice.delta else ""
    assert said == "你好 world 再见"
    assert ("[DONE]" in text) == (kind != "no_done")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_stream_ends(kind: str) -> None:
    [answer], books = served({"sse": kind}, ask(stream=True))

    assert answer.status == 200
    assert answer.headers["content-type"] == KINDS[kind].content_type
    assert books.entries[0].phase == COMPLETED


@pytest.mark.parametrize(
    ("wishes", "reported"),
    [
        ({"usage": "none"}, None),
        ({"usage": "zero"}, (0, 0)),
        ({"usage": "negative"}, (0, 0)),
        ({"usage": {"prompt_tokens": 5, "completion_tokens": 6}}, (5, 6)),
        ({"usage": "absurd"}, None),
        ({"usage": "text"}, None),
        ({"usage_at": "finish", "usage": {"prompt_tokens": 5, "completion_tokens": 6}}, (5, 6)),
        ({"usage_at": "choice", "usage": {"prompt_tokens": 5, "completion_tokens": 6}}, (5, 6)),
        ({"usage_at": "every", "usage": {"prompt_tokens": 5, "completion_tokens": 6}}, (5, 6)),
    ],
)
def test_usage_is_reported_as_scripted_and_else_billed_by_count(
    wishes: dict[str, Any], reported: tuple[int, int] | None
) -> None:
    asking = {"stream_options": {"include_usage": True}}
    _, books = served(wishes, ask(), ask(stream=True, **asking))

    for entry in books:
        counted = (estimate_request(ask()), estimate_text(" word" * 8))
        assert (entry.billed_input, entry.billed_output) == (reported or counted)
        assert (entry.usage_sent is None) == (wishes.get("usage") == "none")


def test_where_usage_stands_in_a_stream() -> None:
    def chunks(at: str) -> list[dict[str, Any]]:
        [answer], _ = served({"usage_at": at, "events": 2}, ask(stream=True))
        return [json.loads(event) for event in answer.events if event != b"[DONE]"]

    assert ["usage" in chunk for chunk in chunks("finish")] == [False, False, False, True]
    assert ["usage" in chunk for chunk in chunks("every")] == [False, True, True, False]
    assert "usage" in chunks("choice")[-1]["choices"][0]


def test_odd_beginnings_and_errors_in_a_stream() -> None:
    [azure, bare, first, later], books = served(
        [
            {"empty_first": True},
            {"role_first": False},
            {"error_after": 0},
            {"error_after": 3, "error": {"message": "overloaded"}},
        ],
        *[ask(stream=True)] * 4,
    )

    assert json.loads(azure.events[0])["choices"] == []
    assert json.loads(bare.events[0])["choices"][0]["delta"] == {"content": " word"}
    assert [set(json.loads(event)) for event in first.events] == [{"error"}]
    assert json.loads(later.events[3]) == {"error": {"message": "overloaded"}}
    assert [entry.billed_output > 0 for entry in books] == [True, True, False, True]


def test_reasoning_tools_refusals_and_several_choices_are_told_and_counted() -> None:
    wishes = {"reasoning": "let me see", "tool_calls": [{"name": "f", "arguments": '{"a":1}'}]}
    [whole, streamed, refused, many], books = served(
        [wishes, wishes, {"refusal": "I will not"}, {}],
        ask(),
        ask(stream=True),
        ask(),
        ask(n=3),
    )

    message = whole.json["choices"][0]["message"]
    assert message["reasoning_content"] == "let me see"
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert any(b"tool_calls" in event for event in streamed.events)
    assert refused.json["choices"][0]["message"]["refusal"] == "I will not"
    assert len(many.json["choices"]) == 3
    counts = [entry.billed_output for entry in books]
    assert counts[0] == counts[1] == estimate_text('let me seef{"a":1}')
    assert counts[3] == estimate_text(" word" * 24)


def test_framings_compression_dribbling_and_closing() -> None:
    answers, _ = served(
        [
            {"framing": "chunked"},
            {"framing": "close"},
            {"framing": "length"},
            {"gzip": True},
            {"gzip": True},
            {"dribble": {"bytes": 7, "seconds": 0.0}},
            {"keep_alive": False},
            {"body": "not json at all", "content_type": "text/html"},
        ],
        ask(),
        ask(stream=True),
        ask(stream=True),
        ask(),
        ask(stream=True),
        ask(stream=True),
        ask(),
        ask(),
    )
    chunked, close, length, packed, packed_stream, dribbled, closing, raw = answers

    assert chunked.json["object"] == "chat.completion"
    assert "content-length" not in close.headers and close.headers["connection"] == "close"
    assert int(length.headers["content-length"]) == len(length.body)
    assert json.loads(zlib.decompress(packed.body, wbits=31))["object"] == "chat.completion"
    assert zlib.decompress(packed_stream.body, wbits=31).endswith(b"data: [DONE]\n\n")
    assert dribbled.events[-1] == b"[DONE]"
    assert closing.headers["connection"] == "close"
    assert (raw.body, raw.headers["content-type"]) == (b"not json at all", "text/html")


def test_pipelined_requests_are_answered_in_order_on_one_connection() -> None:
    async def run() -> None:
        async with FakeVendor() as vendor:
            reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
            writer.write(b"".join(written(ask(user=str(n))) for n in range(50)))
            raw = b""
            while raw.count(b"HTTP/1.1 200") < 50:
                raw += await asyncio.wait_for(reader.read(1 << 20), 5)
            writer.close()
            assert (vendor.connections, len(vendor.books)) == (1, 50)
            assert [entry.user for entry in vendor.books] == [str(n) for n in range(50)]

    asyncio.run(run())


def test_models_are_listed_other_paths_refused_and_garbage_noted() -> None:
    async def run() -> None:
        async with FakeVendor(models=["a", "b"]) as vendor:
            reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b'"id":"b"' in await reader.read(1 << 16)
            writer.write(written({}, target="/v1/embeddings"))
            assert (await reader.read(1 << 16)).startswith(b"HTTP/1.1 404")
            writer.write(b"\x00garbage\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
            assert vendor.books.malformed == 1
            writer.close()

    asyncio.run(run())


def test_it_serves_tls_and_unix_sockets(tmp_path: Path) -> None:
    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    path = tmp_path / "vendor.sock"

    async def run() -> None:
        async with FakeVendor(tls=server_side) as vendor:
            assert vendor.base_url.startswith("https://127.0.0.1:")
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", vendor.port, ssl=client_side
            )
            writer.write(written(ask()))
            assert await reader.read(12) == b"HTTP/1.1 200"
            writer.close()
            await writer.wait_closed()
        async with FakeVendor(unix=path):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(written(ask()))
            assert await reader.read(12) == b"HTTP/1.1 200"
            writer.close()

    asyncio.run(run())


def test_as_a_process_its_file_tells_the_truth_at_every_step(tmp_path: Path) -> None:
    with (
        FakeVendorProcess(tmp_path, script={"default": {"events": 500, "stall_after": 5}}) as fake,
        socket.create_connection(("127.0.0.1", fake.port)) as client,
    ):
        client.sendall(written(ask(stream=True, user="witness")))
        received = b""
        while received.count(b"data: ") < 5:
            received += client.recv(1 << 16)
        # The line of a step is written after its bytes, so it may be a moment behind the client.
        entry = fake.until(lambda books: books.entries[0].events_sent == 5).entries[0]
        assert entry.first_event_time is not None
        assert (entry.user, entry.key, entry.ended_time) == ("witness", "key-1", None)

        fake.kill()
        books = fake.books()
        assert books.entries == [entry]
        assert books.billed("witness")[1] == entry.tokens_sent > 0
