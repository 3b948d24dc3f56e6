"""The page about settings of the site is held to the program."""

from __future__ import annotations

from typing import Any

from aipool.site.types import SETTINGS, Setting
from tests.test_docs import rows_of, text_of, words_of


def default_of(setting: Setting[Any]) -> str:
    written = setting.kind.write(setting.default)
    if isinstance(written, list):
        written = ",".join(written)
    if isinstance(written, bool):
        written = str(written).lower()
    return f"`{written}`" if written != "" else "none"


def test_every_setting_of_the_site_is_in_the_documentation_with_its_default() -> None:
    page = text_of("docs/settings-of-the-site.md")
    documented = {words_of(row[0])[0]: row[1:] for row in rows_of(page) if words_of(row[0])}

    assert documented == {
        setting.name: [
            default_of(setting),
            setting.meaning + (" (secret)" if setting.secret else ""),
        ]
        for setting in SETTINGS
    }
