"""One platform and one browser for all tests of a file: people are many, and do not meet."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.console.browser import browser
from tests.platform import Platform, platform, simple_catalogue


@pytest.fixture(scope="module")
def served() -> Iterator[Platform]:
    """A platform with a model `m` on sale."""
    for name in tuple(os.environ):
        if name.startswith("AIPOOL_"):
            del os.environ[name]
    with platform(catalogue=simple_catalogue) as running:
        yield running


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """A browser without a window."""
    with browser() as opened:
        yield opened
