"""StepFun."""

from aipool.vendors.base import Dialect, Vendor
from aipool.vendors.types import Source

STEPFUN = Vendor(
    type="stepfun",
    title="StepFun",
    base_url="https://api.stepfun.com/v1",
    key_page="https://platform.stepfun.com/interface-key",
    dialects=(Dialect.CHAT, Dialect.MESSAGES),
    sources=(
        Source("Mastra documentation, StepFun", "2026-11-22"),
        Source("StepFun documentation, contents", "2026-11-22"),
    ),
)
