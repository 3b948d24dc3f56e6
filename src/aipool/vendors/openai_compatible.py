"""Whatever else speaks OpenAI's dialect: vLLM, SGLang, llama.cpp, Ollama, other gateways."""

from aipool.vendors.base import Vendor

OPENAI_COMPATIBLE = Vendor(
    type="openai_compatible",
    title="OpenAI-compatible server",
    base_url=None,
)
