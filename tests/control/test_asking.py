"""Vendors are asked outside of calls: over real sockets, of a vendor with books of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvloop

from aipool.audit.tables import audit_entries
from aipool.catalog import service as catalog
from aipool.catalog.proposals import Terms
from aipool.control import asking
from aipool.control.asking import Fetched, Subject
from aipool.control.sandbox import start_sandbox
from aipool.kit.errors import Conflict
from aipool.kit.outbound import Vet
from aipool.pool import service as pool
from aipool.pool.asking import KeyTest
from aipool.pool.tables import key_health
from aipool.pool.types import KeyTerms
from aipool.rating.types import Price
from aipool.vendors.types import Action, KeySettings
from tests.control.asked import (
    LOOPBACK,
    SECRET,
    Answering,
    SmallVendor,
    again,
    asked,
    settings_of,
    small_vendor,
    subject,
    tunnel,
)
from tests.world import World, open_world

NOW = 1_700_000_000.0


@pytest.fixture
def vendor() -> Iterator[SmallVendor]:
    with small_vendor() as made:
        yield made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path / "data") as opened:
        opened.vet = Vet(LOOPBACK)
        yield opened


def outcome_of(world: World, of: Subject, model: str = "m", **settings: Any) -> KeyTest:
    return asked(world, lambda c: asking.test_key(c, of, unix_now=NOW, model=model), **settings)


def fetched(world: World, of: Subject) -> Fetched:
    return asked(world, lambda c: asking.fetch_models(c, of, unix_now=NOW))


def routed(world: World, *names: str) -> None:
    with world.database.write() as tx:
        owner = pool.get_vendor(tx.connection, "small")
        for name in names:
            catalog.put_model(tx, world.act, world.terms(owner, name))


# --- testing a key --------------------------------------------------------------------------------


def test_the_test_of_a_key_is_a_call_as_the_gateway_makes_it(
    world: World, vendor: SmallVendor
) -> None:
    vendor.serves("m")
    of = subject(
        world,
        vendor.base_url,
        model_map={"m": "their-m"},
        headers={"X-Team": "blue"},
        query={"tenant": "7"},
        body_set={"thinking": {"type": "disabled"}},
    )

    result = outcome_of(world, of)

    (call,) = vendor.books
    assert result.ok
    assert (result.status, result.model, result.verdict, result.said) == (200, "m", None, "")
    assert result.url == f"{vendor.base_url}/chat/completions?tenant=7"
    assert (call.method, call.target) == ("POST", "/v1/chat/completions?tenant=7")
    assert call.headers["authorization"] == f"Bearer {SECRET}"
    assert call.headers["x-team"] == "blue"
    assert call.headers["host"] == f"127.0.0.1:{vendor.port}"
    assert call.json == {
        "model": "their-m",
        "messages": [{"role": "user", "content": "ping"}],
        "max_tokens": 16,
        "stream": False,
        "thinking": {"type": "disabled"},
    }


def test_a_key_is_tested_with_the_first_model_that_a_route_has_for_it(
    world: World, vendor: SmallVendor
) -> None:
    vendor.serves("other")
    subject(world, vendor.base_url, models=("second", "third"))
    routed(world, "first", "second", "third")

    assert outcome_of(world, again(world), "").model == "second"
    assert [call.path for call in vendor.books] == ["/v1/chat/completions"]


def test_a_key_without_routes_is_tested_with_the_first_chat_model_of_its_list(
    world: World, vendor: SmallVendor
) -> None:
    vendor.serves("text-embedding-3", "whisper-1", "talker", "talker-2")

    result = outcome_of(world, subject(world, vendor.base_url), "")

    assert (result.ok, result.model) == (True, "talker")
    assert [call.method for call in vendor.books] == ["GET", "POST"]


def test_a_key_without_routes_whose_list_is_refused_says_so(
    world: World, vendor: SmallVendor
) -> None:
    vendor.says("/v1/models", 401, {"error": {"message": "no such key"}})

    result = outcome_of(world, subject(world, vendor.base_url), "")

    assert (result.ok, result.status, result.said) == (False, 401, "no such key")
    assert result.verdict is not None
    assert result.verdict.action is Action.INVALID


def test_a_200_that_is_no_answer_is_no_good_test(world: World, vendor: SmallVendor) -> None:
    vendor.says("/v1/chat/completions", 200, b"<html>welcome</html>")

    result = outcome_of(world, subject(world, vendor.base_url))

    assert (result.ok, result.status) == (False, 200)
    assert result.said


def test_a_refused_key_is_told_by_verdict_and_keeps_its_health(
    world: World, vendor: SmallVendor
) -> None:
    words = f"Incorrect API key provided: {SECRET}. It ends in *****ghij; Bearer {SECRET[:14]}"
    vendor.says("/v1/chat/completions", 401, {"error": {"message": words}})
    of = subject(world, vendor.base_url)

    result = outcome_of(world, of)
    with world.database.write() as tx:
        changed = asking.note_test(tx, world.act, of, result)

    assert (result.ok, result.status, changed) == (False, 401, False)
    assert result.verdict is not None
    assert result.verdict.action is Action.INVALID
    assert result.said.startswith("Incorrect API key provided: [removed]")
    assert not any(SECRET[at : at + 8] in repr(result) for at in range(len(SECRET) - 7))
    with world.database.read() as connection:
        assert pool.health_rows(connection) == []


def test_the_operators_keywords_count_in_a_test_too(world: World, vendor: SmallVendor) -> None:
    vendor.says("/v1/chat/completions", 400, {"error": {"message": "The moon is full"}})
    subject(world, vendor.base_url)
    with world.database.write() as tx:
        pool.add_keyword(
            tx, world.act, vendor_type="", phrase="moon is full", action=Action.EXCEEDED
        )

    verdict = outcome_of(world, again(world)).verdict

    assert verdict is not None
    assert verdict.action is Action.EXCEEDED


def test_a_redirect_is_told_and_not_followed(world: World, vendor: SmallVendor) -> None:
    with small_vendor() as elsewhere:
        elsewhere.serves("m")
        to = f"{elsewhere.base_url}/chat/completions?key={SECRET}"
        vendor.says("/v1/chat/completions", 307, b"", {"Location": to})

        result = outcome_of(world, subject(world, vendor.base_url))

        assert (result.ok, result.status, result.verdict) == (False, 307, None)
        assert f"redirects to {elsewhere.base_url}/chat/completions." in result.said
        assert SECRET not in result.said
        assert elsewhere.books == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_private_address_is_not_called_unless_it_is_listed(
    world: World, vendor: SmallVendor, scheme: str
) -> None:
    vendor.serves("m")
    of = subject(world, vendor.base_url.replace("http", scheme))

    result = outcome_of(world, of, private_upstreams=())

    assert (result.ok, result.status) == (False, 0)
    assert "AIPOOL_PRIVATE_UPSTREAMS" in result.said
    assert vendor.books == []


def test_a_vendor_that_cannot_be_reached_is_told_as_such(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    result = outcome_of(world, subject(world, f"http://127.0.0.1:{port}/v1"))

    assert (result.ok, result.status, result.verdict) == (False, 0, None)
    assert result.said.startswith("No connection: ")


def test_a_vendor_that_hangs_up_is_told_as_such(world: World, vendor: SmallVendor) -> None:
    def hang_up(answering: Answering) -> None:
        answering.close_connection = True

    vendor.answers["/v1/chat/completions"] = hang_up

    result = outcome_of(world, subject(world, vendor.base_url))

    assert (result.ok, result.status) == (False, 0)
    assert "broke" in result.said


def test_a_key_is_tested_through_its_proxy(world: World, vendor: SmallVendor) -> None:
    vendor.serves("m")
    with tunnel() as (proxy, lines):
        result = outcome_of(world, subject(world, vendor.base_url, proxy=proxy))

    assert result.ok
    assert lines == [b"CONNECT 127.0.0.1:%d HTTP/1.1" % vendor.port]


def test_the_sandbox_is_asked_over_its_socket(world: World, tmp_path: Path) -> None:
    of = subject(world, "", vendor_type="sandbox", secret="")

    async def run() -> tuple[KeyTest, KeyTest]:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "sandbox.sock"))
        listener.listen()
        server = await start_sandbox(listener, settings_of(world).limits)
        try:
            async with asking.open_clients(settings_of(world)) as clients:
                without = await asking.test_key(clients, of, unix_now=NOW, model="m")
                beside = replace(clients, run=tmp_path)
                return without, await asking.test_key(beside, of, unix_now=NOW, model="m")
        finally:
            await server.close()

    without, with_platform = uvloop.run(run())

    assert (without.ok, with_platform.ok) == (False, True)
    assert "while the platform runs" in without.said


def test_a_key_whose_secret_was_dropped_is_not_asked_with(
    world: World, vendor: SmallVendor
) -> None:
    of = subject(world, vendor.base_url)
    with small_vendor() as elsewhere, world.database.write() as tx:
        pool.change_key(
            tx,
            world.act,
            world.secrets.keyring,
            world.vet,
            of.key,
            settings=KeySettings(base_url=elsewhere.base_url),
        )

    with pytest.raises(Conflict, match="give it again"):
        again(world)


# --- what a good test means -----------------------------------------------------------------------


def fell_ill(world: World, of: Subject, health: str = "exceeded", model: str = "") -> None:
    with world.database.write() as tx:
        tx.connection.execute(
            sa.insert(key_health).values(
                key_id=of.key.id,
                model=model,
                generation=of.key.generation,
                step=1,
                health=health,
                until_ms=0,
                since_ms=1,
                why="quota_exceeded",
            )
        )


def noted(world: World, of: Subject, result: KeyTest) -> bool:
    with world.database.write() as tx:
        return asking.note_test(tx, world.act, of, result)


def actions(world: World) -> list[str]:
    with world.database.read() as connection:
        query = sa.select(audit_entries.c.action).order_by(audit_entries.c.id)
        return list(connection.execute(query).scalars())


@pytest.mark.parametrize("model", ["", "m"])
def test_a_good_test_makes_a_key_normal_again(
    world: World, vendor: SmallVendor, model: str
) -> None:
    vendor.serves("m")
    of = subject(world, vendor.base_url)
    fell_ill(world, of, model=model)

    assert noted(world, of, outcome_of(world, of))

    assert again(world).key.generation == of.key.generation + 1
    assert actions(world)[-1] == "key.clear_health"


def test_a_good_test_of_a_normal_key_changes_nothing(world: World, vendor: SmallVendor) -> None:
    vendor.serves("m")
    of = subject(world, vendor.base_url)
    fell_ill(world, of, health="normal")

    assert not noted(world, of, outcome_of(world, of))
    assert again(world).key == of.key


def test_a_failed_test_of_an_ill_key_changes_nothing(world: World, vendor: SmallVendor) -> None:
    vendor.says("/v1/chat/completions", 402, {"error": {"message": "pay first"}})
    of = subject(world, vendor.base_url)
    fell_ill(world, of)

    assert not noted(world, of, outcome_of(world, of))
    assert again(world).key == of.key


def test_a_test_says_nothing_of_a_key_that_was_changed_or_deleted_meanwhile(
    world: World, vendor: SmallVendor
) -> None:
    vendor.serves("m")
    subject(world, vendor.base_url)
    with world.database.write() as tx:
        owner = pool.get_vendor(tx.connection, "small")
        terms = KeyTerms("k2", SECRET)
        other = pool.put_key(tx, world.act, world.secrets.keyring, world.vet, owner, terms)[0]
        of = asking.subject_of(tx.connection, world.secrets.keyring, owner, other)
    fell_ill(world, of)
    result = outcome_of(world, of)

    with world.database.write() as tx:
        pool.enable_key(tx, world.act, other)
    assert not noted(world, of, result)
    with world.database.write() as tx:
        pool.delete_key(tx, world.act, other)
    assert not noted(world, of, result)


# --- its models -----------------------------------------------------------------------------------


def test_what_a_vendor_offers_is_listed_with_what_is_known_of_it(
    world: World, vendor: SmallVendor
) -> None:
    priced = {"prompt": "0.0000025", "completion": "0.00001", "input_cache_read": "0.00000125"}
    vendor.says(
        "/v1/models",
        200,
        {
            "data": [
                {"id": "a/talker", "context_length": 128000, "pricing": priced},
                {"id": "unknown"},
                {"id": "painter-image"},
            ]
        },
    )
    of = subject(world, vendor.base_url)
    routed(world, "unknown")
    found = fetched(world, again(world))
    with world.database.read() as connection:
        models = catalog.list_models(connection)

    talker, unknown, painter = asking.listings(
        of, found.models, models, Terms(markup=Decimal("1.5")), datetime(2026, 11, 22, tzinfo=UTC)
    )

    assert (found.status, found.said, found.url) == (200, "", f"{vendor.base_url}/models")
    assert vendor.books[0].headers["authorization"] == f"Bearer {SECRET}"
    assert (talker.context_tokens, talker.taken_as) == (128000, ())
    assert talker.proposal is not None
    assert talker.proposal.cost == Price(0, 18_000_000_000, 9_000_000_000, 72_000_000_000)
    assert talker.proposal.price == Price(0, 27_000_000_000, 13_500_000_000, 108_000_000_000)
    assert (unknown.proposal, unknown.taken_as) == (None, ("unknown",))
    assert (painter.offered.kind, painter.proposal) == ("image", None)


def endless(answering: Answering) -> None:
    answering.send_response(200)
    answering.send_header("Transfer-Encoding", "chunked")
    answering.end_headers()
    piece = b'{"id": "m"},' * 5000
    while True:
        answering.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))


def announced(answering: Answering) -> None:
    answering.send_response(200)
    answering.send_header("Content-Length", str(1 << 40))
    answering.end_headers()
    answering.wfile.write(b"[")


def truncated(answering: Answering) -> None:
    answering.send_response(200)
    answering.send_header("Content-Length", "100")
    answering.end_headers()
    answering.wfile.write(b'{"data": [')
    answering.close_connection = True


def compressed(answering: Answering) -> None:
    answering.say(200, b"\x1f\x8b" + b"0" * 100, {"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (endless, "more than 4194304 bytes"),
        (announced, "more than 4194304 bytes"),
        (truncated, "in the middle"),
        (compressed, "compressed"),
        (lambda answering: answering.say(200, b"<html>"), "none to such a request"),
        (lambda answering: answering.say(200, b"[" * 100_000), "none to such a request"),
        (lambda answering: answering.say(200, {"data": {}}), "none to such a request"),
        (lambda answering: answering.say(200, {"data": []}), "is empty"),
        (lambda answering: answering.say(500, b"<h1>Bad  gateway</h1>"), "Bad gateway"),
        (lambda answering: answering.say(302, b"", {"Location": "/login"}), "redirects to /login"),
    ],
)
def test_a_list_that_is_none_is_told_and_bounded(
    world: World, vendor: SmallVendor, answer: Callable[[Answering], None], words: str
) -> None:
    vendor.answers["/v1/models"] = answer

    found = fetched(world, subject(world, vendor.base_url))

    assert found.models == ()
    assert words in found.said


def test_a_vendor_without_a_list_is_not_asked_for_one(world: World, vendor: SmallVendor) -> None:
    found = fetched(world, subject(world, vendor.base_url, vendor_type="azure_openai"))

    assert (found.models, vendor.books) == ((), [])
    assert "no list" in found.said
