"""The same calls over TLS, on either side: verified, counted and ended alike."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
import uvloop

from tests.gateway.rig import rig
from tests.platform import charge, wish


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def server(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_a_vendor_behind_tls_serves_and_fails_like_any_other(
    authority: trustme.CA, ca_file: str
) -> None:
    async def scene() -> None:
        environment = {"AIPOOL_UPSTREAM_CA_FILE": ca_file}
        async with rig(environment, vendor_tls=server(authority)) as it:
            for stream in (False, True):
                for _ in range(3):
                    reply = await it.ask(wish("well", {"events": 30}, stream=stream))
                    assert reply.text == " word" * 30
            assert it.vendor.connections == 1

            failed = [{"status": 503}, {"events": 2}]
            assert (await it.ask(wish("next", failed))).text == " word" * 2

            for how in ("fin", "rst"):
                cut = {"events": 30, "cut_after": 6, "cut": how, "interval": 0.002}
                reply = await it.ask(wish(f"cut-{how}", cut, stream=True))
                assert reply.text == " word" * 5
                assert reply.chunks[-1]["error"]["code"] == "upstream_error"

            big = {"content": "x" * 3_000_000, "ignore_max_tokens": True}
            assert (await it.ask(wish("big", big))).text == "x" * 3_000_000
            assert (await it.ask(wish("big", big, stream=True))).text == "x" * 3_000_000

            await it.until(lambda: len(it.ledger.outcomes) == 11)
            for outcome in it.ledger.outcomes:
                used = (outcome.input_tokens, outcome.output_tokens)
                assert outcome.charge_nano == charge(used) > 0

    uvloop.run(scene())


@pytest.mark.parametrize("known", [True, False], ids=["another name", "unknown authority"])
def test_a_vendor_that_cannot_prove_who_it_is_is_told_nothing(
    authority: trustme.CA, ca_file: str, known: bool
) -> None:
    async def scene() -> None:
        context = server(authority if known else trustme.CA(), "other.example")
        async with rig({"AIPOOL_UPSTREAM_CA_FILE": ca_file}, vendor_tls=context) as it:
            reply = await it.ask(wish("x", {}))
            assert (reply.status, reply.error["code"]) == (503, "no_available_key")
            assert len(it.vendor.books) == 0
            await it.until(lambda: it.ledger.outcomes)
            assert {attempt.reason for attempt in it.ledger.outcomes[0].attempts} == {"tls"}

    uvloop.run(scene())


def test_a_listener_with_a_certificate_speaks_tls(authority: trustme.CA, tmp_path: Path) -> None:
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    environment = {
        "AIPOOL_TLS_CERTIFICATE_FILE": str(tmp_path / "cert.pem"),
        "AIPOOL_TLS_KEY_FILE": str(tmp_path / "key.pem"),
    }

    async def scene() -> None:
        client = ssl.create_default_context()
        authority.configure_trust(client)
        async with rig(environment) as it:
            for stream in (False, True):
                reply = await it.ask(wish("tls", {"events": 40}, stream=stream), tls=client)
                assert reply.text == " word" * 40

            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
            assert b"200" not in await reader.read()
            writer.close()
            assert (await it.ask(wish("tls", {}), tls=client)).status == 200

    uvloop.run(scene())
