"""iFLYTEK Spark. A key is the API password of a model, or `key:secret`. It lists no models."""

from aipool.vendors.base import Vendor
from aipool.vendors.types import Source

SPARK = Vendor(
    type="spark",
    title="iFLYTEK Spark",
    base_url="https://spark-api-open.xf-yun.com/v1",
    models_path="",
    key_page="https://console.xfyun.cn",
    sources=(Source("Sure AI, module for Spark", "2026-11-22"),),
)
