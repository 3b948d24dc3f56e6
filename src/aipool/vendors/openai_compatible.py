"""Whatever else speaks OpenAI's dialect: vLLM, SGLang, llama.cpp, Ollama, LM Studio, gateways.

Only the operator knows where it is. Most ask for no key: an empty one presents nothing.
"""

from aipool.vendors.base import Vendor

OPENAI_COMPATIBLE = Vendor(
    type="openai_compatible",
    title="OpenAI-compatible server",
    base_url=None,
)
