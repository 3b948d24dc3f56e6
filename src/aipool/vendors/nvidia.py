"""NVIDIA NIM, the models that NVIDIA runs."""

from aipool.vendors.base import Vendor
from aipool.vendors.types import Source

NVIDIA = Vendor(
    type="nvidia",
    title="NVIDIA NIM",
    base_url="https://integrate.api.nvidia.com/v1",
    key_page="https://build.nvidia.com",
    sources=(Source("NVIDIA API Catalog, Use OpenAI SDKs with NVIDIA NIM", "2026-11-22"),),
)
