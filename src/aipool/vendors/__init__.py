"""AI vendors: one file each, and the list of them. A new vendor is one file and one line here."""

from aipool.vendors.base import Vendor
from aipool.vendors.deepseek import DEEPSEEK
from aipool.vendors.minimax import MINIMAX
from aipool.vendors.openai import OPENAI
from aipool.vendors.openai_compatible import OPENAI_COMPATIBLE
from aipool.vendors.sandbox import SANDBOX

#: In the order an operator is offered them.
VENDORS: tuple[Vendor, ...] = (
    OPENAI,
    DEEPSEEK,
    MINIMAX,
    OPENAI_COMPATIBLE,
    SANDBOX,
)

VENDORS_BY_TYPE = {vendor.type: vendor for vendor in VENDORS}
