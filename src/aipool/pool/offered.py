"""What a vendor says it offers: its list of models, read whatever its shape. Pure.

    {"data": [{"id": …}]}                           OpenAI and whoever speaks like it
    {"models": [{"name": …} | {"model": …} | "…"]}  Gemini, Ollama
    [{"id": …}, "…"]                                a bare list

Vendors tell more than a name, each in words of its own: what a model does, how much it reads and
writes, what it costs. Where they tell nothing, the name does: nobody calls a voice anything else.
An entry that cannot be read is left out, and a list is read up to `MODELS_MAX`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from aipool.catalog.proposals import ListPrice
from aipool.catalog.types import MODEL_TOKENS_MAX

MODELS_MAX = 5_000
NAME_CHARACTERS_MAX = 200

#: What is not sold yet is shown all the same, so that nobody looks for it in vain.
CHAT = "chat"


class Offered(NamedTuple):
    """A model of a vendor. kind: "chat", or what else it does.  None = it does not say."""

    name: str
    kind: str
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    price: ListPrice | None = None


def read_models(body: bytes) -> list[Offered] | None:
    """The models in their order, each once; None when this is no such list."""
    try:
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidOperation):
        return None
    entries = _entries(value)
    if entries is None:
        return None
    found: dict[str, Offered] = {}
    for entry in entries[:MODELS_MAX]:
        model = _offered(entry)
        if model is not None:
            found.setdefault(model.name, model)
    return list(found.values())


#: Prices are exact: a number with a point is not what is nearest to it in binary.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def _entries(value: Any) -> list[Any] | None:
    if isinstance(value, dict):
        value = next((value[name] for name in ("data", "models") if name in value), None)
    return value if isinstance(value, list) else None


def _offered(entry: Any) -> Offered | None:
    if isinstance(entry, str):
        entry = {"id": entry}
    if not isinstance(entry, dict):
        return None
    name = next((n for f in ("id", "model", "name") if isinstance(n := entry.get(f), str)), "")
    if not 0 < len(name) <= NAME_CHARACTERS_MAX or not name.isprintable() or " " in name:
        return None
    return Offered(
        name,
        kind_of(name, entry),
        _tokens(entry, _CONTEXT),
        _tokens(entry, _OUTPUT),
        _price(entry),
    )


# --- what it does ---------------------------------------------------------------------------

#: The first part of a name that begins like this says what the model does. Parts are what stands
#: between marks, so that "seo-voice" is a voice, and "invoice-7b" is none.
_NAME_PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("rerank", ("rerank",)),
    ("embedding", ("embed", "bge", "gte", "e5", "m3e")),
    ("moderation", ("moderation", "guard", "safeguard")),
    (
        "video",
        ("video", "sora", "veo", "kling", "seedance", "cogvideo", "hailuo", "vidu", "t2v", "i2v"),
    ),
    (
        "image",
        (
            "image", "dall", "flux", "sd3", "sdxl", "diffusion", "seedream", "cogview", "kolors",
            "imagen", "wanx", "midjourney", "t2i", "i2i",
        ),
    ),
    (
        "audio",
        (
            "tts", "asr", "stt", "whisper", "speech", "audio", "voice", "cosyvoice", "sensevoice",
            "paraformer", "transcribe", "realtime", "music", "lyria",
        ),
    ),
)  # fmt: skip

#: By words in fields of a list; the first kind of which one is named.
_FIELD_WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("rerank", ("rerank",)),
    ("embedding", ("embed",)),
    ("moderation", ("moderation", "guard")),
    (CHAT, ("chat", "language", "llm", "vlm", "generatecontent", "text-generation")),
    ("video", ("video",)),
    ("image", ("image",)),
    ("audio", ("audio", "speech", "voice", "tts", "asr", "transcri")),
)


def kind_of(name: str, entry: dict[str, Any] | None = None) -> str:
    """What a model does, by what its vendor says of it, else by its name; "chat" when neither
    says otherwise. entry: its entry in the vendor's list."""
    entry = entry or {}
    told = _kind_of_outputs(entry) or _kind_of_words(entry)
    if told:
        return told
    parts = [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part]
    for kind, beginnings in _NAME_PARTS:
        if any(part.startswith(beginnings) for part in parts):
            return kind
    return CHAT


def _kind_of_outputs(entry: dict[str, Any]) -> str:
    """By what comes out of it, as OpenRouter tells: "text+image->text"."""
    architecture = entry.get("architecture")
    if not isinstance(architecture, dict):
        return ""
    outputs = architecture.get("output_modalities")
    if not isinstance(outputs, list):
        modality = architecture.get("modality")
        if not isinstance(modality, str) or "->" not in modality:
            return ""
        outputs = modality.partition("->")[2].split("+")
    words = [word for word in outputs if isinstance(word, str)]
    if words == ["text"]:
        return CHAT
    return _kind_of(words)


def _kind_of_words(entry: dict[str, Any]) -> str:
    """By the word that many vendors have for it."""
    words = [entry.get(name) for name in _WORD_FIELDS]
    methods = entry.get("supportedGenerationMethods")
    if isinstance(methods, list):
        words += methods
    return _kind_of(word for word in words if isinstance(word, str))


_WORD_FIELDS = ("type", "model_type", "sub_type", "task", "kind", "domain")


def _kind_of(words: Iterable[str]) -> str:
    lowered = [word.lower() for word in words]
    for kind, meanings in _FIELD_WORDS:
        if any(meaning in word for word in lowered for meaning in meanings):
            return kind
    return ""


# --- how much, and for what -------------------------------------------------------------------

_CONTEXT = (
    "context_length",
    "context_window",
    "max_model_len",
    "max_context_length",
    "context_size",
    "inputTokenLimit",
    "max_input_tokens",
    "n_ctx",
    "n_ctx_train",
)
_OUTPUT = ("max_output_tokens", "max_completion_tokens", "outputTokenLimit", "max_output_length")


def _places(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The entry, and where vendors put such numbers within it."""
    yield entry
    for name in ("top_provider", "limits", "meta", "token_limits"):
        if isinstance(inner := entry.get(name), dict):
            yield inner


def _tokens(entry: dict[str, Any], names: tuple[str, ...]) -> int | None:
    for place in _places(entry):
        for name in names:
            count = place.get(name)
            if type(count) is int and 0 < count <= MODEL_TOKENS_MAX:
                return count
    return None


def _price(entry: dict[str, Any]) -> ListPrice | None:
    """Dollars per token as texts, as OpenRouter tells them and others after it. One that says
    `-1` depends on the request; one that is no text is some other convention's. Where each call
    costs something besides, its tokens alone would be sold below cost."""
    pricing = entry.get("pricing")
    if not isinstance(pricing, dict):
        return None
    given = _per_million(pricing.get("prompt"))
    answered = _per_million(pricing.get("completion"))
    if given is None or answered is None:
        return None
    if pricing.get("request") is not None and _per_million(pricing["request"]) != 0:
        return None
    cached = _per_million(pricing.get("input_cache_read"))
    return ListPrice(given, given if cached is None else cached, answered, "USD")


_PRICE_TEXT = re.compile(r"\d{1,6}(\.\d{1,18})?([eE]-\d{1,2})?", re.ASCII)


def _per_million(text: Any) -> Decimal | None:
    if not isinstance(text, str) or not _PRICE_TEXT.fullmatch(text):
        return None
    return Decimal(text) * 1_000_000
