"""What is built: small enough, nobody else's hosts, no script inside a page; and the lock names
versions and digests alone.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.browser import DIST, ROOT

#: Bytes, compressed: the first load of the login.
LOGIN_SCRIPT_MAX = 235_000
LOGIN_STYLE_MAX = 40_000

needs_build = pytest.mark.skipif(
    not (DIST / "index.html").is_file(),
    reason="the console is not built: python scripts/_console.py says why",
)


def loaded_with(*sources: str) -> Iterator[Path]:
    """The files that a browser needs for these modules, each once."""
    manifest = json.loads((DIST / ".vite" / "manifest.json").read_text())
    seen: set[str] = set()
    waiting = list(sources)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        entry = manifest[name]
        waiting += entry.get("imports", [])
        yield DIST / entry["file"]
        yield from (DIST / style for style in entry.get("css", []))


def packed_bytes(paths: set[Path], suffix: str) -> int:
    return sum(len(gzip.compress(path.read_bytes(), 9)) for path in paths if path.suffix == suffix)


@needs_build
def test_the_first_load_of_the_login_is_small() -> None:
    for language in ("en", "zh-CN"):
        paths = set(
            loaded_with("index.html", "src/accounts/LoginPage.tsx", f"src/kit/words.{language}.ts")
        ) | {DIST / "start.js"}

        assert 100_000 < packed_bytes(paths, ".js") <= LOGIN_SCRIPT_MAX
        assert 5_000 < packed_bytes(paths, ".css") <= LOGIN_STYLE_MAX


@needs_build
def test_no_page_has_a_script_inside_or_asks_another_host() -> None:
    page = (DIST / "index.html").read_text()

    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"\son\w+=", page) == []
    addresses = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert addresses and all(address.startswith("/console/") for address in addresses)
    styles = "\n".join(path.read_text() for path in DIST.rglob("*.css"))
    assert "@import" not in styles and not re.search(r"url\(['\"]?https?:", styles)


def test_the_lock_names_no_host() -> None:
    lock = (ROOT / "console" / "package-lock.json").read_text()

    assert '"resolved"' not in lock and "://" not in lock
    packages = json.loads(lock)["packages"]
    assert all("integrity" in entry for name, entry in packages.items() if name)


def test_every_direct_package_is_pinned_exactly() -> None:
    given = json.loads((ROOT / "console" / "package.json").read_text())
    pins = {**given["dependencies"], **given["devDependencies"]}

    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pins.values()), pins
    assert len({version for name, version in pins.items() if name.startswith("@mantine/")}) == 1
