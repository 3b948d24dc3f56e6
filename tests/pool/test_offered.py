"""Lists of models, as vendors write them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from aipool.catalog.proposals import ListPrice
from aipool.pool.offered import MODELS_MAX, Offered, kind_of, read_models


def read(value: Any) -> list[Offered] | None:
    return read_models(value if isinstance(value, bytes) else msgspec.json.encode(value))


def one(entry: dict[str, Any]) -> Offered:
    (model,) = read([{"id": "m", **entry}]) or [Offered("", "")]
    return model


def names(value: Any) -> list[str]:
    return [model.name for model in read(value) or ()]


@pytest.mark.parametrize(
    "value",
    [
        {"object": "list", "data": [{"id": "a"}, {"id": "b"}]},
        {"models": [{"name": "a"}, {"name": "b"}]},
        {"models": [{"name": "A", "model": "a"}, "b"]},
        [{"id": "a"}, "b"],
        {"data": [{"id": "a"}, {"id": ""}, {"id": 7}, None, [], {"id": "a b"}, {"id": "a"}, "b"]},
        {"data": [{"id": "x" * 201}, "a", "line\nfeed", "b"]},
    ],
)
def test_a_list_is_read_whatever_its_shape(value: Any) -> None:
    assert names(value) == ["a", "b"]


@pytest.mark.parametrize(
    "value",
    [b"", b"nope", b"7", b'"x"', b"{}", b'{"data": {}}', b"\xff", b"[" * 100_000, b'[{"a": 1e}]'],
)
def test_what_is_no_list_is_none(value: bytes) -> None:
    assert read(value) is None


def test_a_list_is_read_up_to_a_bound() -> None:
    assert len(names([{"id": f"m{n}"} for n in range(MODELS_MAX + 100)])) == MODELS_MAX


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gpt-4o", "chat"),
        ("qwen3-vl-plus", "chat"),
        ("deepseek-reasoner", "chat"),
        ("invoice-7b", "chat"),
        ("text-embedding-3-small", "embedding"),
        ("BAAI/bge-m3", "embedding"),
        ("BAAI/bge-reranker-v2-m3", "rerank"),
        ("omni-moderation-latest", "moderation"),
        ("llama-guard-4", "moderation"),
        ("dall-e-3", "image"),
        ("gpt-image-1", "image"),
        ("black-forest-labs/FLUX.1-dev", "image"),
        ("stabilityai/stable-diffusion-xl", "image"),
        ("doubao-seedream-4", "image"),
        ("whisper-1", "audio"),
        ("gpt-4o-mini-tts", "audio"),
        ("FunAudioLLM/CosyVoice2", "audio"),
        ("sora-2", "video"),
        ("Wan-AI/Wan2.1-T2V-14B", "video"),
        ("kling-v2", "video"),
    ],
)
def test_a_name_says_what_a_model_does(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"architecture": {"modality": "text+image->text"}}, "chat"),
        ({"architecture": {"modality": "text->image"}}, "image"),
        ({"architecture": {"output_modalities": ["image", "text"]}}, "image"),
        ({"architecture": {"output_modalities": ["text"]}}, "chat"),
        ({"architecture": {"modality": 7}}, "audio"),
        ({"type": "embedding"}, "embedding"),
        ({"type": "language"}, "chat"),
        ({"domain": "VLM"}, "chat"),
        ({"supportedGenerationMethods": ["embedContent"]}, "embedding"),
        ({"supportedGenerationMethods": ["generateContent", "countTokens"]}, "chat"),
        ({"type": ["odd"], "task": None}, "audio"),
    ],
)
def test_what_a_vendor_says_of_a_model_counts_more_than_its_name(
    entry: dict[str, Any], kind: str
) -> None:
    assert kind_of("whisper-1", entry) == kind


@pytest.mark.parametrize(
    ("entry", "context", "output"),
    [
        ({"context_length": 128000}, 128000, None),
        ({"max_model_len": 32768}, 32768, None),
        ({"context_window": 200000, "max_completion_tokens": 8192}, 200000, 8192),
        ({"inputTokenLimit": 1048576, "outputTokenLimit": 65536}, 1048576, 65536),
        (
            {"top_provider": {"context_length": 64000, "max_completion_tokens": 8000}},
            64000,
            8000,
        ),
        ({"meta": {"n_ctx_train": 8192}}, 8192, None),
        ({"context_length": "128000"}, None, None),
        ({"context_length": 1.5, "max_model_len": 4096}, 4096, None),
        ({"context_length": True}, None, None),
        ({"context_length": -1, "max_output_tokens": 10**12}, None, None),
    ],
)
def test_lengths_are_read_where_vendors_put_them(
    entry: dict[str, Any], context: int | None, output: int | None
) -> None:
    model = one(entry)

    assert (model.context_tokens, model.max_output_tokens) == (context, output)


def test_prices_per_token_are_read_exactly() -> None:
    pricing = {"prompt": "0.00000015", "completion": "6e-7", "input_cache_read": "0.000000075"}
    expected = ListPrice(Decimal("0.15"), Decimal("0.075"), Decimal("0.6"), "USD")
    assert one({"pricing": pricing}).price == expected


@pytest.mark.parametrize(
    "pricing",
    [
        None,
        "free",
        {},
        {"prompt": "0.1"},
        {"prompt": "-1", "completion": "-1"},
        {"prompt": 0.1, "completion": 0.2},
        {"prompt": "NaN", "completion": "1"},
        {"prompt": "1e400", "completion": "1"},
        {"prompt": "1" * 1000, "completion": "1"},
        {"input": "0.1", "output": "0.2"},
    ],
)
def test_a_price_of_another_convention_is_none(pricing: Any) -> None:
    assert one({"pricing": pricing}).price is None


@pytest.mark.parametrize(
    ("request_fee", "is_told"), [("0", True), (None, True), ("0.005", False), (5, False)]
)
def test_a_price_that_leaves_a_fee_for_each_call_out_is_none(
    request_fee: object, is_told: bool
) -> None:
    pricing = {"prompt": "0.000001", "completion": "0.000001", "request": request_fee}

    assert (one({"pricing": pricing}).price is not None) is is_told
