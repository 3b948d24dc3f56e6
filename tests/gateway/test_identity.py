"""Which token a request presents, request after request on one connection."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from aipool.doors.frames import FetchToken, TokenAnswer
from aipool.gateway.admission import MISSING_TOKEN, UNKNOWN_TOKEN
from aipool.gateway.context import Context
from aipool.gateway.identity import find_token
from aipool.gateway.tokens import Token, Tokens
from aipool.wire.exchange import Exchange, Peer
from tests.gateway.offers import view

ONE, OTHER = b"sk-" + b"a" * 43, b"sk-" + b"b" * 43
BASIC = b"Basic dXNlcjpwYXNz"


@pytest.fixture
def context() -> Context:
    """A worker that knows two tokens, numbers 1 and 2."""
    asked: list[FetchToken] = []

    def ask(question: FetchToken) -> bool:
        asked.append(question)
        return True

    tokens = Tokens(b"p" * 32, ask)
    for number, secret in enumerate((ONE, OTHER), 1):
        tokens.fetch(tokens.digest(secret), None, lambda *_: None)
        tokens.answered(TokenAnswer(asked[-1].number, 1, view(id=number)))
    return cast(Context, SimpleNamespace(tokens=tokens))


def presented(context: Context, peer: Peer, **headers: bytes) -> object:
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    exchange: Any = SimpleNamespace(connection=peer, headers=named, query=b"")
    found = find_token(context, cast(Exchange, exchange), "192.0.2.1", lambda _: None)
    return found.view.id if isinstance(found, Token) else found


def test_a_connection_that_changes_its_token_is_taken_at_its_word(context: Context) -> None:
    peer = Peer("192.0.2.1", tls=False, unix=False)

    found = [
        presented(context, peer, authorization=b"Bearer " + secret)
        for secret in (ONE, ONE, OTHER, ONE)
    ]

    assert found == [1, 1, 2, 1]


def test_clients_of_a_proxy_that_adds_one_header_to_all_are_kept_apart(context: Context) -> None:
    peer = Peer("192.0.2.1", tls=False, unix=False)

    found = [
        presented(context, peer, authorization=BASIC, x_api_key=secret)
        for secret in (ONE, OTHER, OTHER, ONE)
    ]

    assert found == [1, 2, 2, 1]


def test_what_was_presented_before_lends_nothing_to_a_request_without(context: Context) -> None:
    peer = Peer("192.0.2.1", tls=False, unix=False)
    presented(context, peer, authorization=b"Bearer " + ONE)

    assert presented(context, peer) is MISSING_TOKEN
    assert presented(context, peer, authorization=BASIC) is MISSING_TOKEN
    assert presented(context, peer, authorization=b"Bearer nonsense") is UNKNOWN_TOKEN
