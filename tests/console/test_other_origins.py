"""On plain HTTP at an address of the LAN browsers hide the clipboard; keys are copied all the same.
Passwords can be read on the way there, and every page says so.

The platform, the browser and the test live in a network of their own, which has that address.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.console.browser import AXE, Visit, browser, needs_browser, visit
from tests.platform import ROOT, platform, simple_catalogue

ADDRESS = "10.77.0.1"
_ENTER = f'ip link set lo up && ip addr add {ADDRESS}/32 dev lo && exec "$0" -m tests.console.{{}}'


def _can_have_a_network() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.mark.slow
@needs_browser
@pytest.mark.skipif(not _can_have_a_network(), reason="no right to make a network (unshare --net)")
def test_a_key_is_copied_on_plain_http_at_another_address() -> None:
    script = _ENTER.format(Path(__file__).stem)
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "copied without a clipboard" in done.stdout


def _copy_a_key() -> None:
    environment = {"AIPOOL_HOST": ADDRESS}
    with (
        platform(catalogue=simple_catalogue, environment=environment) as served,
        browser() as chrome,
        visit(chrome, served) as person,
    ):
        page = person.page
        assert ADDRESS in served.url
        person.go("/login")
        _warned(person, "Not encrypted: passwords travel readable")
        person.register("13800138021")
        _warned(person, "Not encrypted: passwords travel readable")
        assert page.evaluate("[isSecureContext, typeof navigator.clipboard]") == [
            False,
            "undefined",
        ]
        person.go("/console/tokens")
        key = person.create_token("lan")
        person.button("copy").click()
        page.get_by_text("Copied").first.wait_for()
        person.button("done").click()
        page.get_by_role("dialog").wait_for(state="detached")

        field = page.get_by_placeholder("Search name, description, end of the key")
        field.focus()
        page.keyboard.press("Control+V")
        assert field.input_value() == key
        with visit(chrome, served, "zh-CN") as other:
            other.go("/login")
            _warned(other, "连接未加密：密码以明文传输")
    print("copied without a clipboard")


def _warned(person: Visit, words: str) -> None:
    """S-06: in words, and so that everybody can read them."""
    alert = person.page.get_by_role("alert").filter(has_text=words)
    alert.wait_for()
    assert "https://" in alert.inner_text() and "TLS" in alert.inner_text()
    assert not AXE.is_file() or not person.axe()


if __name__ == "__main__":
    _copy_a_key()
