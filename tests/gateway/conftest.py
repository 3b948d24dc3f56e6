"""One platform for all tests of the gateway that need one; tests make customers of their own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial

import pytest

from tests.platform import PRICE_YAML, Platform, VendorThread, platform

#: Failures of vendors are awaited for a second instead of minutes.
SHORT = {
    "AIPOOL_LIMIT_FIRST_BYTE_SECONDS": "1",
    "AIPOOL_LIMIT_FIRST_EVENT_SECONDS": "1",
    "AIPOOL_LIMIT_IDLE_SECONDS": "1",
    "AIPOOL_LIMIT_CONNECT_SECONDS": "1",
    "AIPOOL_LIMIT_BODY_BYTES": str(1 << 20),
    # Tests fail keys all the time, and each wants to begin with good ones.
    "AIPOOL_KEY_FAILURES": "10000",
}


def _catalogue(vendors: list[VendorThread], nobody: socket.socket) -> str:
    first, second = (vendor.base_url for vendor in vendors)
    refusing = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
    return f"""
vendors:
  - name: first
    type: openai_compatible
    base_url: {first}
    keys:
      - {{name: a, api_key: sk-canary-first-a-0123456789}}
      - {{name: b, api_key: sk-canary-first-b-0123456789}}
  - name: second
    type: openai_compatible
    base_url: {second}
    keys:
      - {{name: c, api_key: sk-canary-second-c-0123456789}}
  - name: refusing
    type: openai_compatible
    base_url: {refusing}
    keys:
      - {{name: d, api_key: sk-canary-refusing-d-0123456789}}
models:
  - {{name: m, context: 100000, max_output_tokens: 1000, price: {PRICE_YAML},
     routes: [{{vendor: first}}]}}
  - {{name: ours, context: 100000, max_output_tokens: 1000, price: {PRICE_YAML},
     routes: [{{vendor: first, model: theirs}}]}}
  - {{name: three-keys, context: 100000, max_output_tokens: 1000, price: {PRICE_YAML},
     routes: [{{vendor: first}}, {{vendor: second, model: elsewhere}}, {{vendor: first}}]}}
  - {{name: refused-first, context: 100000, max_output_tokens: 1000, price: {PRICE_YAML},
     routes: [{{vendor: refusing}}, {{vendor: second}}]}}
  - {{name: refused, context: 100000, max_output_tokens: 1000, price: {PRICE_YAML},
     routes: [{{vendor: refusing}}]}}
  - {{name: free, context: 100000, max_output_tokens: 1000, price: {{input: 0, output: 0}},
     routes: [{{vendor: first}}]}}
groups:
  - {{name: vip, multiplier: 0.8, models: [m, free]}}
"""


@pytest.fixture(scope="session")
def shop() -> Iterator[Platform]:
    """A platform with one worker and two fake vendors."""
    # Bound and never listening: whoever connects to it is refused.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        catalogue = partial(_catalogue, nobody=nobody)
        with platform(catalogue=catalogue, vendors=2, environment=SHORT) as running:
            yield running


@pytest.fixture
def heals(shop: Platform) -> Iterator[None]:
    """Nothing that the test does is held against any upstream key afterwards."""
    yield
    shop.heal()


@pytest.fixture(scope="session")
def vendor(shop: Platform) -> VendorThread:
    """The fake vendor `first`, with the keys a and b."""
    return shop.vendors[0]
