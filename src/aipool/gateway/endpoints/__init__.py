"""The public paths: one file each, and the list of them. A new one is a file and a line."""

from aipool.gateway.endpoints.about_tokens import CALL, TOKEN
from aipool.gateway.endpoints.base import Endpoint
from aipool.gateway.endpoints.chat_completions import CHAT_COMPLETIONS
from aipool.gateway.endpoints.health import LIVE, READY
from aipool.gateway.endpoints.models import MODEL, MODELS
from aipool.gateway.endpoints.root import ROOT

ENDPOINTS: tuple[Endpoint, ...] = (
    CHAT_COMPLETIONS,
    MODELS,
    MODEL,
    TOKEN,
    CALL,
    ROOT,
    LIVE,
    READY,
)
