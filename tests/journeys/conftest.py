"""One platform with two workers for the journeys that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.platform import Platform, platform, simple_catalogue


@pytest.fixture(scope="session")
def town() -> Iterator[Platform]:
    """Two workers, the sandbox of the demo and a fake vendor behind the model `m`."""
    with platform(catalogue=simple_catalogue, demo=True, workers=2) as running:
        yield running
