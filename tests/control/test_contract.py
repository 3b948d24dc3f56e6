"""The interface keeps its own contract: a few cases of every operation (see control.fuzzing)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.control.fuzzing import fuzz, told


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_answer_breaks_what_the_document_promises(tmp_path: Path) -> None:
    found = fuzz(tmp_path, 4)

    assert found.failures == {}, told(found)
    assert found.cases > 300
    assert {200, 201, 204, 404, 422} <= found.statuses.keys()
