"""Use cases of the pool: the door to the slice, for everybody above it.

    vendor_cases   vendors are made, changed and deleted
    key_cases      keys are made, changed, enabled, disabled and deleted
    ordering       the order in which a vendor's keys are tried
    bulk           many keys at once
    keyword_cases  what an operator adds to the tables of failures
    listing        keys as people are shown them

Each use case is one transaction, and writes what it did to the trail, of `key:<id>` or
`vendor:<id>`.

Refusals (kit.errors):
    vendor_type_unknown, base_url_missing, base_url_not_allowed           422
    api_key_missing, api_key_malformed, config_malformed, invalid_name    422
    expiry_in_the_past, invalid_ordering, invalid_concurrency             422
    invalid_amount, balance_not_told, order_incomplete, too_many_lines    422
    invalid_phrase, invalid_action                                        422
    vendor_unknown, key_unknown, keyword_unknown                          404
    vendor_exists, key_exists, keyword_exists, too_many_keywords          409
    vendor_type_fixed      a vendor's type does not change                409
    vendor_in_use          a route names it                               409
    keys_must_be_reentered a new address would send them to another host  409
    key_is_default         the default key is replaced, not deleted       409
    default_key_expires    the default key has no expiry                  409
    key_expired            it can only be deleted                         409
    order_changed          somebody else changed it (StaleOrder.current)  409
"""

from __future__ import annotations

from aipool.pool.bulk import LINES_MAX, create_keys
from aipool.pool.keeping import health_rows
from aipool.pool.key_cases import (
    change_key,
    clear_health,
    create_key,
    delete_key,
    disable_key,
    enable_key,
    find_key,
    get_key,
    key_named,
    list_keys,
    open_secrets,
    put_key,
    refuse_expired,
    set_default_key,
)
from aipool.pool.keyword_cases import add_keyword, delete_keyword, list_keywords, put_keyword
from aipool.pool.listing import key_status, list_key, resolved_url, search_keys
from aipool.pool.ordering import StaleOrder, move_key, order_keys, put_first
from aipool.pool.trail import key_target, vendor_target
from aipool.pool.vendor_cases import (
    change_vendor,
    create_vendor,
    delete_vendor,
    get_vendor,
    list_vendors,
    put_vendor,
    vendor_by_id,
)

__all__ = [
    "LINES_MAX",
    "StaleOrder",
    "add_keyword",
    "change_key",
    "change_vendor",
    "clear_health",
    "create_key",
    "create_keys",
    "create_vendor",
    "delete_key",
    "delete_keyword",
    "delete_vendor",
    "disable_key",
    "enable_key",
    "find_key",
    "get_key",
    "get_vendor",
    "health_rows",
    "key_named",
    "key_status",
    "key_target",
    "list_key",
    "list_keys",
    "list_keywords",
    "list_vendors",
    "move_key",
    "open_secrets",
    "order_keys",
    "put_first",
    "put_key",
    "put_keyword",
    "put_vendor",
    "refuse_expired",
    "resolved_url",
    "search_keys",
    "set_default_key",
    "vendor_by_id",
    "vendor_target",
]
