"""The site over HTTP: what anybody may know of it, and what its root account changes.

Secrets come in and never go out. What the environment or the file fixes is shown with where it
stands, and is not changed here. The pages of terms and privacy need no script and no session.
"""

from __future__ import annotations

import asyncio
import platform
import secrets

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from aipool import __version__, config
from aipool.accounts import rules as accounts
from aipool.accounts import setup
from aipool.audit.desk import Acting, Desk
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.config import Settings
from aipool.control import pages, prose
from aipool.notices.codes import Locale, letter_of_trial, masked_mail, masked_phone
from aipool.notices.sending import Outcome
from aipool.site import types as settings_of
from aipool.site.messages import Messenger
from aipool.site.schemas import (
    ChangesSent,
    PasswordRulesShown,
    SettingsShown,
    SiteShown,
    SystemShown,
    TextTrialSent,
    TrialSent,
    TrialShown,
    VariableShown,
    setting_shown,
    site_shown,
)
from aipool.site.service import Site
from aipool.site.types import Setting

_PASSWORD = PasswordRulesShown(
    characters_least=accounts.PASSWORD_CHARACTERS_LEAST,
    characters_least_admin=accounts.ADMIN_PASSWORD_CHARACTERS_LEAST,
    characters_max=accounts.PASSWORD_CHARACTERS_MAX,
)


def routes(desk: Desk, site: Site, messenger: Messenger, settings: Settings) -> APIRouter:
    """The site, its settings and the system."""
    router = APIRouter(tags=["site"])
    router.include_router(_public(desk, site))
    router.include_router(_changing(desk, site))
    router.include_router(_trying(desk, site, messenger))

    @router.get("/api/admin/system")
    def show_system() -> SystemShown:
        """The program, and every setting of its own with where it comes from."""
        return _system(settings)

    return router


def _public(desk: Desk, site: Site) -> APIRouter:
    router = APIRouter()

    @router.get("/api/site")
    def show_site() -> SiteShown:
        """What anybody may know: the name, who may register, what a password must be."""
        with desk.database.read() as connection:
            values = site.values(connection)
            needs_setup = not setup.is_set_up(connection)
        return site_shown(values, _PASSWORD, needs_setup=needs_setup)

    @router.get("/terms", response_class=HTMLResponse)
    def show_terms() -> Response:
        """The terms of use, as a page."""
        return _page(desk, site, "Terms of use", settings_of.TERMS_TEXT)

    @router.get("/privacy", response_class=HTMLResponse)
    def show_privacy() -> Response:
        """The privacy notice, as a page."""
        return _page(desk, site, "Privacy", settings_of.PRIVACY_TEXT)

    return router


def _changing(desk: Desk, site: Site) -> APIRouter:
    router = APIRouter()

    @router.get("/api/admin/settings")
    def list_settings() -> SettingsShown:
        """Every setting of the site, with where its value comes from; never a secret."""
        return _settings(desk, site)

    @router.patch("/api/admin/settings", response_model=SettingsShown)
    def change_settings(sent: ChangesSent, act: Acting) -> Response:
        """Changes settings; they act at once."""
        with desk.database.write() as tx:
            changed = site.set_values(tx, act, sent.settings)
        shown = _settings(desk, site).model_dump(mode="json")
        return desk.done(tx if changed else None, shown)

    return router


def _trying(desk: Desk, site: Site, messenger: Messenger) -> APIRouter:
    router = APIRouter()

    def note(act: Act, action: str, to: str, locale: str | None) -> Locale:
        with desk.database.write() as tx:
            record(tx, act, action, "site", after={"to": to})
            return Locale(locale or site.value(tx.connection, settings_of.DEFAULT_LOCALE))

    def name() -> str:
        with desk.database.read() as connection:
            return site.value(connection, settings_of.NAME)

    @router.post("/api/admin/settings/test-sms")
    async def send_test_sms(sent: TextTrialSent, act: Acting) -> TrialShown:
        """Sends a code that is good for nothing to a phone, and says what the carrier said."""
        phone = await asyncio.to_thread(accounts.canonical_phone, sent.to)
        told = masked_phone(phone)
        locale = await asyncio.to_thread(note, act, "site.test_sms", told, sent.locale)
        code = f"{secrets.randbelow(10**6):06d}"
        return _trial(await messenger.try_text(phone, sent.purpose_asked(), code, locale))

    @router.post("/api/admin/settings/test-mail")
    async def send_test_mail(sent: TrialSent, act: Acting) -> TrialShown:
        """Sends a mail, and says what the mail server said."""
        address = accounts.canonical_email(sent.to)
        told = masked_mail(address)
        locale = await asyncio.to_thread(note, act, "site.test_mail", told, sent.locale)
        letter = letter_of_trial(locale, await asyncio.to_thread(name))
        return _trial(await messenger.try_letter(address, letter))

    return router


def _settings(desk: Desk, site: Site) -> SettingsShown:
    with desk.database.read() as connection:
        found = site.shown(connection)
    return SettingsShown(items=[setting_shown(one) for one in found])


def _trial(outcome: Outcome) -> TrialShown:
    return TrialShown(sent=outcome.refusal is None, problem=outcome.refusal)


def _page(desk: Desk, site: Site, title: str, setting: Setting[str]) -> Response:
    with desk.database.read() as connection:
        values = site.values(connection)
    text = values[setting]
    if not text:
        body = "<p class=quiet>Nothing has been published here.</p>"
        return HTMLResponse(pages.published(title, values[settings_of.NAME], body), 404)
    return HTMLResponse(pages.published(title, values[settings_of.NAME], prose.html(text)))


def _system(settings: Settings) -> SystemShown:
    url = settings.database_url_effective
    variables = [
        VariableShown(
            name=variable.environment_name,
            value=None if variable.kind.is_private else variable.kind.write(value),
            default="" if variable.default is None else variable.kind.write(variable.default),
            origin=settings.origins[variable.environment_name].value,
            meaning=variable.meaning,
        )
        for variable, value in config.in_force(settings)
    ]
    return SystemShown(
        version=__version__,
        python=platform.python_version(),
        database="sqlite" if url.startswith("sqlite") else "postgresql",
        data_dir=str(settings.data_dir),
        workers=settings.workers_effective,
        variables=variables,
    )
