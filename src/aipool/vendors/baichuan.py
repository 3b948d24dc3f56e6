"""Baichuan. It lists no models."""

from aipool.vendors.base import Vendor
from aipool.vendors.types import Source

BAICHUAN = Vendor(
    type="baichuan",
    title="Baichuan",
    base_url="https://api.baichuan-ai.com/v1",
    models_path="",
    key_page="https://platform.baichuan-ai.com/console/apikey",
    sources=(Source("Sure AI, module for Baichuan", "2026-11-22"),),
)
