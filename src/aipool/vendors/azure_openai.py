"""Azure OpenAI: OpenAI's models in a resource of one's own, `https://NAME.openai.azure.com`.

There are two ways in. Without an api_version it is `/openai/v1`, where the model in the body is
the deployment; with one, such as `2024-10-21`, it is the older way that names the deployment in the
path. Deployments have names of their own, so model_map says which deployment answers for which
model. The list of models tells what the resource could deploy, not what it did, so it is not asked.

Content filters add fields to the chunks, and the first chunk has no choices.
"""

from urllib.parse import parse_qsl, quote, urlsplit

from aipool.vendors.base import CHAT_RESOURCE, Auth, Dialect, OnDisconnect, Vendor, with_query
from aipool.vendors.types import Action, KeySettings, Rule, Source


def _chat_path(base_url: str, settings: KeySettings, model: str) -> str:
    parts = urlsplit(base_url)
    path, query = parts.path.rstrip("/"), dict(parse_qsl(parts.query))
    if not path.endswith(CHAT_RESOURCE):
        path = path.removesuffix("/v1").removesuffix("/openai") + "/openai"
        path += f"/deployments/{quote(model, safe='')}" if settings.api_version else "/v1"
        path += CHAT_RESOURCE
    if settings.api_version:
        query["api-version"] = settings.api_version
    return with_query(path, query)


# Azure REST API schema, InnerErrorCode, and Developers Digest's list of errors, 2026-11-22. A
# deployment that is not there, `DeploymentNotFound`, is known to everybody.
_RULES = (
    Rule(Action.PASS, "content_refused", reasons=("ResponsibleAIPolicyViolation",)),
    Rule(
        Action.DROP_MODEL,
        "model_not_found",
        statuses=(400, 404),
        codes=("OperationNotSupported", "ModelNotFound"),
    ),
)

AZURE_OPENAI = Vendor(
    type="azure_openai",
    title="Azure OpenAI",
    base_url=None,
    auth=Auth("api-key"),
    max_tokens_field="max_completion_tokens",
    on_disconnect=OnDisconnect.CANCEL,
    fields=("api_version",),
    chat_path=_chat_path,
    models_path="",
    rules=_RULES,
    key_page="https://portal.azure.com",
    dialects=(Dialect.CHAT, Dialect.RESPONSES),
    sources=(
        Source("openai-node, docs/azure.md", "2026-11-22"),
        Source("OpenRouter documentation, Streaming: who stops when hung up on", "2026-11-22"),
    ),
)
