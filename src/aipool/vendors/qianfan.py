"""Baidu Qianfan (ERNIE). Keys begin with `bce-v3/`; an application is named in the header appid."""

from aipool.vendors.base import Vendor
from aipool.vendors.types import Source

QIANFAN = Vendor(
    type="qianfan",
    title="Baidu Qianfan",
    base_url="https://qianfan.baidubce.com/v2",
    key_page="https://console.bce.baidu.com/iam/#/iam/apikey/list",
    sources=(Source("Qianfan documentation, OpenAI SDK compatibility", "2026-11-22"),),
)
