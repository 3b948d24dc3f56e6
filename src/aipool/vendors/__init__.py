"""AI vendors: one file each, and the list of them. A new vendor is one file and one line here."""

from aipool.vendors.ai360 import AI360
from aipool.vendors.anthropic import ANTHROPIC
from aipool.vendors.ark import ARK
from aipool.vendors.azure_openai import AZURE_OPENAI
from aipool.vendors.baichuan import BAICHUAN
from aipool.vendors.base import Vendor
from aipool.vendors.cerebras import CEREBRAS
from aipool.vendors.cloudflare import CLOUDFLARE
from aipool.vendors.cohere import COHERE
from aipool.vendors.dashscope import DASHSCOPE
from aipool.vendors.deepinfra import DEEPINFRA
from aipool.vendors.deepseek import DEEPSEEK
from aipool.vendors.fireworks import FIREWORKS
from aipool.vendors.gemini import GEMINI
from aipool.vendors.groq import GROQ
from aipool.vendors.huggingface import HUGGINGFACE
from aipool.vendors.hunyuan import HUNYUAN
from aipool.vendors.lingyiwanwu import LINGYIWANWU
from aipool.vendors.minimax import MINIMAX
from aipool.vendors.mistral import MISTRAL
from aipool.vendors.moonshot import MOONSHOT
from aipool.vendors.nebius import NEBIUS
from aipool.vendors.novita import NOVITA
from aipool.vendors.nvidia import NVIDIA
from aipool.vendors.openai import OPENAI
from aipool.vendors.openai_compatible import OPENAI_COMPATIBLE
from aipool.vendors.openrouter import OPENROUTER
from aipool.vendors.perplexity import PERPLEXITY
from aipool.vendors.qianfan import QIANFAN
from aipool.vendors.sambanova import SAMBANOVA
from aipool.vendors.sandbox import SANDBOX
from aipool.vendors.siliconflow import SILICONFLOW
from aipool.vendors.spark import SPARK
from aipool.vendors.stepfun import STEPFUN
from aipool.vendors.together import TOGETHER
from aipool.vendors.xai import XAI
from aipool.vendors.zhipu import ZHIPU

#: In the order an operator is offered them.
VENDORS: tuple[Vendor, ...] = (
    OPENAI,
    AZURE_OPENAI,
    ANTHROPIC,
    GEMINI,
    DEEPSEEK,
    DASHSCOPE,
    ARK,
    ZHIPU,
    MOONSHOT,
    MINIMAX,
    SILICONFLOW,
    OPENROUTER,
    XAI,
    MISTRAL,
    COHERE,
    QIANFAN,
    HUNYUAN,
    STEPFUN,
    SPARK,
    LINGYIWANWU,
    BAICHUAN,
    AI360,
    GROQ,
    TOGETHER,
    FIREWORKS,
    DEEPINFRA,
    CEREBRAS,
    SAMBANOVA,
    PERPLEXITY,
    NVIDIA,
    NOVITA,
    NEBIUS,
    HUGGINGFACE,
    CLOUDFLARE,
    OPENAI_COMPATIBLE,
    SANDBOX,
)

VENDORS_BY_TYPE = {vendor.type: vendor for vendor in VENDORS}
