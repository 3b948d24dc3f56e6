"""The page about vendors says what their files say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from aipool.vendors import VENDORS
from aipool.vendors.base import CHAT_RESOURCE, Vendor, joined
from aipool.vendors.settings import CONTROLLED_FIELDS
from aipool.vendors.types import KeySettings

PAGE = (Path(__file__).resolve().parents[2] / "docs/vendors.md").read_text(encoding="utf-8")


def rows_under(heading: str) -> Iterator[list[str]]:
    """The cells of the rows of the table under a heading, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    for row in rows[2:]:
        yield [cell.strip() for cell in row.strip("|").split("|")]


def row_of(vendor: Vendor) -> list[str]:
    return [
        f"`{vendor.type}`",
        vendor.title,
        f"`{vendor.base_url}`" if vendor.base_url and not vendor.socket else "none",
        f"`{vendor.auth.header}: {vendor.auth.prefix}…`",
        f"`{vendor.max_tokens_field}`",
        f"`{vendor.on_disconnect.value}`",
        ", ".join(dialect.value for dialect in vendor.dialects),
        f"`{vendor.balance.path}`" if vendor.balance else "no",
        "yes" if vendor.verified else "*not verified against the live vendor*",
    ]


def test_the_table_of_vendors_is_what_their_files_say_in_the_order_they_are_offered() -> None:
    assert list(rows_under("How each is called")) == [row_of(vendor) for vendor in VENDORS]


def test_every_vendor_is_in_the_documentation_with_the_documents_it_rests_on() -> None:
    documented = [
        (kind, rests) for kind, _, rests in rows_under("What is special, and where it is from")
    ]

    assert documented == [
        (
            f"`{vendor.type}`",
            "; ".join(f"{source.title} ({source.read_on})" for source in vendor.sources)
            or "no document",
        )
        for vendor in VENDORS
    ]


def test_the_examples_of_addresses_are_joined_as_the_page_says() -> None:
    examples = [
        (address.strip("`"), path.strip("`")) for address, path in rows_under("The address")
    ]

    assert len(examples) == 4
    for address, path in examples:
        assert joined(address, CHAT_RESOURCE) == path


def test_every_field_of_a_keys_configuration_has_its_section() -> None:
    headings = re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)

    assert tuple(headings) == KeySettings.__struct_fields__


def test_the_fields_that_cannot_be_set_are_all_told() -> None:
    section = PAGE.split("### body_set\n")[1].split("###")[0]

    assert set(re.findall(r"`([^`]+)`", section)) == CONTROLLED_FIELDS
