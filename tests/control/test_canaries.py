"""S-16: secrets that are known to the test are planted everywhere a secret goes, and then looked
for in every answer of every route, in what is logged, and in a dump of the database."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyotp
import pytest

from aipool.accounts.types import Role
from aipool.control.described import document
from aipool.control.openapi import operations
from tests.control.api_rig import Api, api, key_of, vendor_of
from tests.control.fuzzing import nothing_outside

pytestmark = pytest.mark.slow

WORD = "canary"


@dataclass
class Planted:
    """canaries: by what they are.  ids: of the records that hold them."""

    opened: Api
    owner: Api
    canaries: dict[str, str]
    ids: dict[str, Any]


def _secret(number: int) -> str:
    return f"{WORD}-{number:02}-Zq7Lw9Xe3Rt5Yu8Io2Pa"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    with api(tmp_path_factory.mktemp("canaries")) as opened, nothing_outside():
        canaries: dict[str, str] = {}
        owner = opened.signed_in()
        admin = opened.signed_in(Role.ADMIN)
        assert owner.user is not None
        canaries |= {
            "root's access token": opened.token,
            "user's cookie": owner.cookie,
            "admin's cookie": admin.cookie,
            "user's access token": opened.program(owner.user).token,
        }
        vendor = vendor_of(opened, api_key=_secret(1))
        second = key_of(opened, vendor, api_key=_secret(2))
        opened.good("PATCH", f"/api/keys/{second['id']}", {"api_key": _secret(3)})
        lines = [f"pasted {_secret(4)}"]
        opened.good("POST", f"/api/vendors/{vendor['id']}/keys/paste", {"lines": lines})
        hook = {"name": "hook", "kind": "webhook", "url": f"https://hook.example.com/{_secret(5)}"}
        opened.good("POST", "/api/alerts/channels", {**hook, "secret": _secret(6)})
        mail = {"name": "mail", "kind": "mail", "host": "mail.example.com", "user": "u"}
        told = {"password": _secret(7), "from": "a@example.com", "to": ["b@example.com"]}
        channel = opened.good("POST", "/api/alerts/channels", {**mail, **told})
        canaries |= {f"set {number}": _secret(number) for number in range(1, 8)}
        site = {
            "sms_webhook_url": "https://sms.example.com/",
            "sms_webhook_secret": _secret(8),
            "aliyun_access_key_secret": _secret(9),
            "smtp_host": "mail.example.com",
            "smtp_user": "u",
            "smtp_from": "a@example.com",
            "smtp_password": _secret(10),
        }
        opened.good("PATCH", "/api/admin/settings", {"settings": site})
        canaries |= {f"site {number}": _secret(number) for number in (8, 9, 10)}
        person = {"phone": "13700137000", "password": _secret(11)}
        made = opened.good("POST", "/api/admin/users", person)
        canaries["password"] = _secret(11)
        target = f"/api/admin/users/{made['id']}"
        link = opened.good("POST", f"{target}/reset-link")
        canaries["reset link"] = link["secret"]
        token = owner.good("POST", "/api/tokens", {"name": "one"})
        rotated = owner.good("POST", f"/api/tokens/{token['id']}/rotate", {"grace_seconds": 60})
        play = owner.good("POST", f"/api/tokens/{token['id']}/playground-key")
        canaries |= {
            "API token": token["secret"],
            "rotated token": rotated["secret"],
            "playground key": play["secret"],
        }
        totp = owner.good("POST", "/api/me/totp")
        code = pyotp.TOTP(totp["secret"]).now()
        recovery = owner.good("POST", "/api/me/totp/confirm", {"code": code})["recovery_codes"]
        canaries |= {"TOTP secret": totp["secret"], "recovery code": recovery[0]}
        canaries["pepper"] = base64.b64encode(opened.world.secrets.pepper).decode()
        ids = {
            "vendor_id": vendor["id"],
            "key_id": second["id"],
            "channel_id": channel["id"],
            "token_id": token["id"],
            "user_id": owner.user.id,
        }
        # What was answered until now is where each secret is shown once.
        opened.said.clear()
        yield Planted(opened, owner, canaries, ids)


def test_s16_no_answer_of_any_route_carries_a_secret(
    planted: Planted, capfd: pytest.CaptureFixture[str]
) -> None:
    assert len(planted.canaries) >= 20
    people = [planted.opened, planted.owner, planted.opened.signed_in(Role.ADMIN)]
    asked = 0
    for person in people:
        for method, path, _ in operations(document()):
            target = re.sub(r"\{(\w+)\}", lambda found: str(planted.ids.get(found[1], "1")), path)
            if method == "GET":
                person.ask(method, target)
                asked += 1
            elif method != "DELETE" and "/auth/" not in path:
                # Refused for its form, with secrets where they do not belong.
                person.ask(method, target, {"colour": planted.canaries["set 1"]})
    logged = "".join(capfd.readouterr())

    assert asked > 150
    for name, canary in planted.canaries.items():
        assert canary not in logged, name
        assert not [said for said in planted.opened.said if canary in said], name


def test_s16_a_dump_of_the_database_carries_no_secret(planted: Planted) -> None:
    folder = planted.opened.world.data_dir
    files = [path for path in folder.glob("aipool.db*") if path.is_file()]
    dump = b"".join(map(Path.read_bytes, files))

    assert b"mail.example.com" in dump
    for name, canary in planted.canaries.items():
        assert canary.encode() not in dump, name
        with contextlib.suppress(ValueError):
            assert base64.b64encode(canary.encode()).rstrip(b"=") not in dump, name
