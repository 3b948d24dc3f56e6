"""Tencent Hunyuan, called with an API key of its own, not with the cloud's pair of secrets."""

from aipool.vendors.base import Vendor
from aipool.vendors.types import Source

HUNYUAN = Vendor(
    type="hunyuan",
    title="Tencent Hunyuan",
    base_url="https://api.hunyuan.cloud.tencent.com/v1",
    models_path="",
    key_page="https://console.cloud.tencent.com/hunyuan/api-key",
    sources=(Source("Hunyuan documentation, OpenAI-compatible interface", "2026-11-22"),),
)
