"""Settings of the site come from four places, act at once, and keep their secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aipool import config
from aipool.audit.service import entries
from aipool.config import BadSetting, Settings
from aipool.kit.errors import BusinessError, Conflict, Invalid
from aipool.site import types as settings
from aipool.site.service import Shown, Site, check_fixed
from aipool.site.tables import site_settings
from aipool.site.types import Origin, Registration
from tests.world import World, open_world

CANARY = "canary-secret-0123456789"


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path / "data", kind) as opened:
        yield opened


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path / "data") as opened:
        yield opened


def read(world: World, environ: dict[str, str] | None = None, host: str = "127.0.0.1") -> Settings:
    return config.load({"data_dir": world.data_dir, "host": host}, environ or {})


def site_of(world: World, environ: dict[str, str] | None = None, host: str = "127.0.0.1") -> Site:
    return Site(read(world, environ, host), world.secrets.keyring)


def change(world: World, site: Site, **changes: Any) -> list[str]:
    with world.database.write() as tx:
        return site.set_values(tx, world.act, changes)


def value(world: World, site: Site, setting: settings.Setting[Any]) -> Any:
    with world.database.read() as connection:
        return site.value(connection, setting)


def shown(world: World, site: Site, setting: settings.Setting[Any]) -> Shown:
    with world.database.read() as connection:
        return next(one for one in site.shown(connection) if one.setting is setting)


def refused(world: World, site: Site, **changes: Any) -> BusinessError:
    with pytest.raises(BusinessError) as problem:
        change(world, site, **changes)
    return problem.value


def test_what_is_set_is_in_force_at_once_also_for_another_process(world: World) -> None:
    site, other = site_of(world), site_of(world)
    assert value(world, other, settings.REGISTRATION) is Registration.OPEN

    assert change(world, site, registration="closed", name="算力池") == ["registration", "name"]

    assert value(world, site, settings.REGISTRATION) is Registration.CLOSED
    assert value(world, other, settings.REGISTRATION) is Registration.CLOSED
    assert value(world, other, settings.NAME) == "算力池"
    found = shown(world, site, settings.NAME)
    assert (found.origin, found.actor, found.place) == (Origin.DATABASE, world.act.actor, "")


def test_null_is_back_to_the_default(world: World) -> None:
    site = site_of(world)
    change(world, site, name="x", sms_per_day=7)

    assert change(world, site, name=None, sms_per_day=7, contact=None) == ["name"]

    assert value(world, site, settings.NAME) == "AI-POOL"
    assert shown(world, site, settings.NAME).origin is Origin.DEFAULT
    assert value(world, site, settings.SMS_PER_DAY) == 7


def test_a_change_that_changes_nothing_leaves_no_trace(here: World) -> None:
    site = site_of(here)
    change(here, site, name="x")

    assert change(here, site, name="x") == []

    with here.database.read() as connection:
        assert len(entries(connection, "site")) == 1


def test_one_that_cannot_be_refuses_the_others_too(here: World) -> None:
    site = site_of(here)

    problem = refused(here, site, name="x", smtp_port=70_000)

    assert isinstance(problem, Invalid)
    assert (problem.code, problem.field) == ("setting_invalid", "smtp_port")
    assert "a whole number from 1 to 65535" in problem.message
    assert value(here, site, settings.NAME) == "AI-POOL"
    assert refused(here, site, nmae="x").code == "setting_unknown"


def test_the_environment_wins_over_the_file_over_the_database_over_the_default(
    here: World,
) -> None:
    file = here.data_dir / "aipool.toml"
    change(here, site_of(here), name="database", contact="database", icp_number="database")
    file.write_text('[site]\nname = "file"\ncontact = "file"\ntotp_required = true\n')
    site = site_of(here, {"AIPOOL_SITE_NAME": "environment"})

    found = {
        setting: (one.value, one.origin, one.place)
        for setting in (settings.NAME, settings.CONTACT, settings.ICP_NUMBER, settings.LOGO)
        for one in [shown(here, site, setting)]
    }

    assert found == {
        settings.NAME: ("environment", Origin.ENVIRONMENT, "AIPOOL_SITE_NAME in the environment"),
        settings.CONTACT: ("file", Origin.FILE, f"contact under [site] in {file}"),
        settings.ICP_NUMBER: ("database", Origin.DATABASE, ""),
        settings.LOGO: ("", Origin.DEFAULT, ""),
    }
    assert value(here, site, settings.TOTP_REQUIRED) is True


def test_what_is_fixed_refuses_a_change_and_says_where_it_stands(here: World) -> None:
    (here.data_dir / "aipool.toml").write_text('[site]\ncontact = "file"\n')
    site = site_of(here, {"AIPOOL_SITE_NAME": "environment"})

    problem = refused(here, site, name="mine")
    in_file = refused(here, site, contact=None)

    assert isinstance(problem, Conflict)
    assert (problem.code, problem.field) == ("setting_fixed", "name")
    assert "AIPOOL_SITE_NAME in the environment" in problem.message
    assert f"[site] in {here.data_dir / 'aipool.toml'}" in in_file.message


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("AIPOOL_SITE_NMAE", "x", "no such setting of the site"),
        ("AIPOOL_SITE_SMTP_PORT", "many", r"='many' .*whole number from 1 to 65535"),
        ("AIPOOL_SITE_REGISTRATION", "all", "one of open, invitation, approval, closed"),
        ("AIPOOL_SITE_SMTP_PASSWORD", CANARY + "\n" + CANARY, "must be printable text"),
    ],
)
def test_a_slip_in_the_environment_stops_the_start(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    given = config.load({"data_dir": tmp_path}, {name: text})

    with pytest.raises(BadSetting, match=problem) as told:
        check_fixed(given)

    assert CANARY not in str(told.value)


@pytest.mark.parametrize("content", ["site = 3", "[site]\nNAME = 'x'", "[site.name]\nx = 1"])
def test_a_table_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "aipool.toml").write_text(content)

    with pytest.raises(BadSetting, match="there is no setting 'site"):
        config.load({"data_dir": tmp_path}, {})


def test_a_child_reads_the_settings_of_the_site_that_its_parent_had(tmp_path: Path) -> None:
    (tmp_path / "aipool.toml").write_text("[site]\nsms_per_day = 5\n")
    given = config.load({"data_dir": tmp_path}, {"AIPOOL_SITE_SMTP_PASSWORD": CANARY})

    copy = Settings.from_json(given.to_json())

    assert copy == given
    assert copy.origins == given.origins
    assert copy.site["AIPOOL_SITE_SMTP_PASSWORD"] == CANARY
    assert CANARY not in repr(copy)


# --- secrets ----------------------------------------------------------------------------------


def test_a_secret_is_sealed_and_never_shown(world: World) -> None:
    site = site_of(world)

    change(world, site, smtp_password=CANARY)

    found = shown(world, site, settings.SMTP_PASSWORD)
    assert (found.value, found.is_set) == (None, True)
    assert value(world, site, settings.SMTP_PASSWORD) == CANARY
    with world.database.read() as connection:
        stored = connection.execute(sa.select(site_settings)).all()
        trail = [(entry.before, entry.after) for entry in entries(connection, "site")]
    assert CANARY not in repr(stored)
    assert CANARY not in repr(trail)
    assert trail == [({"smtp_password": "not set"}, {"smtp_password": "set"})]


def test_a_sealed_value_does_not_open_under_another_name(here: World) -> None:
    site = site_of(here)
    change(here, site, smtp_password=CANARY)
    with here.database.write() as tx:
        tx.connection.execute(sa.update(site_settings).values(name="sms_webhook_secret"))
        tx.changes.note_catalogue()

    assert value(here, site, settings.SMS_WEBHOOK_SECRET) == ""
    assert value(here, site, settings.SMTP_PASSWORD) == ""


def test_long_text_stands_in_the_trail_as_its_digest(here: World) -> None:
    site = site_of(here)

    change(here, site, terms_text="t" * 50_000)

    with here.database.read() as connection:
        after = entries(connection, "site")[0].after
    assert after is not None
    assert after["terms_text"]["characters"] == 50_000
    assert len(json.dumps(after)) < 300


def test_a_stored_value_of_another_time_gives_way_to_the_default(here: World) -> None:
    site = site_of(here)
    change(here, site, sms_per_day=7)
    with here.database.write() as tx:
        tx.connection.execute(sa.update(site_settings).values(value="seven"))
        tx.changes.note_catalogue()

    assert value(here, site, settings.SMS_PER_DAY) == settings.SMS_PER_DAY.default


# --- settings that need each other ------------------------------------------------------------

MAIL = {"smtp_host": "mail.example.com", "smtp_from": "site@example.com"}
WEBHOOK = {
    "sms_provider": "webhook",
    "sms_webhook_url": "https://hooks.example.com/sms",
    "sms_webhook_secret": CANARY,
}
ALIYUN = {
    "sms_provider": "aliyun",
    "aliyun_access_key_id": "id",
    "aliyun_access_key_secret": CANARY,
    "aliyun_sign_name": "算力池",
    "aliyun_template_register": "SMS_1",
}


@pytest.mark.parametrize("changes", [MAIL, WEBHOOK, ALIYUN, {"sms_provider": "console"}])
def test_what_belongs_together_is_taken_together(here: World, changes: dict[str, Any]) -> None:
    assert change(here, site_of(here), **changes) == list(changes)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"verify_phone": "required"}, "sms_provider_missing", "verify_phone"),
        ({"verify_email": "optional"}, "mail_server_missing", "verify_email"),
        ({"terms_version": "1"}, "text_missing", "terms_version"),
        ({"sms_provider": "webhook"}, "url_missing", "sms_provider"),
        ({**WEBHOOK, "sms_webhook_secret": "short"}, "secret_missing", "sms_webhook_secret"),
        (
            {**WEBHOOK, "sms_webhook_url": "https://127.0.0.1/x"},
            "url_not_allowed",
            "sms_webhook_url",
        ),
        ({**ALIYUN, "aliyun_sign_name": ""}, "setting_missing", "aliyun_sign_name"),
        ({**ALIYUN, "aliyun_endpoint": "http://169.254.169.254"}, "url_not_allowed",
         "aliyun_endpoint"),
        ({**MAIL, "smtp_from": "nobody"}, "malformed_address", "smtp_from"),
        ({**MAIL, "smtp_host": "127.0.0.1"}, "host_not_allowed", "smtp_host"),
        ({**MAIL, "smtp_user": "u"}, "malformed_login", "smtp_user"),
        ({**MAIL, "smtp_port": 22}, "port_not_allowed", "smtp_port"),
    ],
)  # fmt: skip
def test_what_could_not_work_is_not_switched_on(
    here: World, changes: dict[str, Any], code: str, field: str
) -> None:
    problem = refused(here, site_of(here), **changes)

    assert (problem.code, problem.status) == (code, 422)
    assert problem.field in (field, next(iter(changes)))
    assert CANARY not in problem.message


def test_the_carrier_is_not_taken_from_under_what_needs_it(here: World) -> None:
    site = site_of(here)
    change(here, site, **WEBHOOK, verify_phone="required")

    assert refused(here, site, sms_provider="none").code == "sms_provider_missing"
    assert change(here, site, sms_provider="none", verify_phone="off")


def test_a_discord_that_was_there_before_is_in_nobodys_way(here: World) -> None:
    site = site_of(here, {"AIPOOL_SITE_VERIFY_PHONE": "required"})

    assert change(here, site, name="mine") == ["name"]


def test_codes_are_printed_to_the_log_only_where_nobody_else_listens(here: World) -> None:
    open_to_all = site_of(here, host="0.0.0.0")

    assert refused(here, open_to_all, sms_provider="console").code == "console_not_allowed"
    assert change(here, site_of(here, host="::1"), sms_provider="console")
