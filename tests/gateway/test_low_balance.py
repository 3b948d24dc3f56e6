"""A wallet worth little more than one hold: all of it can be spent, one call after the other."""

from __future__ import annotations

import http.client
import json

from tests.platform import CHAT, PRICE, Platform, charge, eventually, wish

CAP = 1_000
CALLS = 12


def test_what_a_call_did_not_use_pays_for_the_next_one_at_once(shop: Platform) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    body = json.dumps(wish("low-balance", {"usage": usage}, max_tokens=CAP)).encode()
    hold = charge((len(body), CAP), PRICE)
    spent = CALLS * charge((1, 1), PRICE)
    customer = shop.customer(hold + spent)
    connection = http.client.HTTPConnection(*shop.address, timeout=15)
    headers = {"authorization": f"Bearer {customer.token}", "content-type": "application/json"}

    statuses = []
    for _ in range(CALLS + 2):
        connection.request("POST", CHAT, body, headers)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()

    # After so many calls the wallet is worth exactly one hold; after one more, less.
    assert statuses == [200] * (CALLS + 1) + [402]
    rest = hold - charge((1, 1), PRICE)
    eventually(lambda: shop.wallet(customer).balance_nano == rest, "all calls are in the books")
