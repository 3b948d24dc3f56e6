"""The shapes of settings on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from aipool.audit.desk import Sent
from aipool.kit.clock import iso_ms
from aipool.kit.money import format_cny
from aipool.notices.codes import Locale, Purpose
from aipool.site import types as settings
from aipool.site.rules import Values
from aipool.site.service import Shown
from aipool.site.types import Group, Origin, ProofOfWork, Registration, Verification

_CHANGES_MAX = 100
_NAME_CHARACTERS_MAX = 80
#: The longest value that any setting takes, and some room.
_VALUE_CHARACTERS_MAX = 140_000
_TO_CHARACTERS_MAX = 254

_Text = Annotated[StrictStr, Field(max_length=_VALUE_CHARACTERS_MAX)]
_Texts = Annotated[list[_Text], Field(max_length=_CHANGES_MAX)]
#: None = back to the default.
Value = StrictBool | StrictInt | _Text | _Texts | None
Name = Annotated[str, Field(max_length=_NAME_CHARACTERS_MAX)]


class Answered(BaseModel):
    """What is shown."""

    model_config = ConfigDict(frozen=True)


# --- for administrators -----------------------------------------------------------------------


class ChangesSent(Sent):
    """Settings to change, by name."""

    settings: dict[Name, Value] = Field(
        min_length=1,
        max_length=_CHANGES_MAX,
        description="By name; null is back to the default. All of them or none.",
    )


class TrialSent(Sent):
    """Somebody to write to, to see whether it arrives."""

    to: str = Field(min_length=3, max_length=_TO_CHARACTERS_MAX)
    locale: Literal["zh-CN", "en"] | None = Field(
        default=None, description="null = the site's default."
    )


class TextTrialSent(TrialSent):
    """A phone number, and which of the templates to try."""

    purpose: Literal["register", "login", "reset", "verify"] = "register"

    def purpose_asked(self) -> Purpose:
        """As the carriers know it."""
        return Purpose(self.purpose)


class TrialShown(Answered):
    """What became of a trial."""

    sent: bool = Field(description="Whether it was taken; that is not yet that it arrived.")
    problem: str | None = Field(description="Why not, in the words of who carries it.")


class SettingShown(Answered):
    """One setting of the site."""

    name: str
    group: Group
    kind: str = Field(
        description="line, prose, picture, choice, switch, whole, amount (CNY as text), factor "
        "(decimal text) or list."
    )
    value: bool | int | str | list[str] | None = Field(
        description="What is in force; null for a secret, which is never shown."
    )
    default: bool | int | str | list[str] | None
    is_set: bool = Field(description="Is it something else than the default?")
    origin: Origin
    locked: bool = Field(description="Fixed by the environment or the file: not changed here.")
    place: str | None = Field(description="Where it is fixed.")
    secret: bool
    public: bool = Field(description="Anybody may read it.")
    meaning: str
    allowed: str = Field(description="What it must be.")
    choices: list[str]
    least: int | None
    most: int | None = Field(description="Of a number its greatest value, of text its length.")
    changed_at: str | None
    changed_by: str | None


class SettingsShown(Answered):
    """Every setting, in the order of their forms."""

    items: list[SettingShown]


def setting_shown(shown: Shown) -> SettingShown:
    """A setting for those who change it."""
    setting = shown.setting
    return SettingShown(
        name=setting.name,
        group=setting.group,
        kind=setting.kind.word,
        value=shown.value,
        default=None if setting.secret else setting.kind.write(setting.default),
        is_set=shown.is_set,
        origin=shown.origin,
        locked=bool(shown.place),
        place=shown.place or None,
        secret=setting.secret,
        public=setting.public,
        meaning=setting.meaning,
        allowed=setting.kind.allowed,
        choices=list(setting.kind.choices),
        least=setting.kind.least,
        most=setting.kind.most,
        changed_at=None if shown.at_ms is None else iso_ms(shown.at_ms),
        changed_by=shown.actor,
    )


# --- for everybody ----------------------------------------------------------------------------


class DisplayShown(Answered):
    """How amounts are shown; forms state CNY beside it."""

    currency: str
    symbol: str
    credit_factor: str = Field(description="How many CNY one unit that is shown stands for.")


class RegistrationShown(Answered):
    """Who may register, and what is asked of them."""

    mode: Registration
    verify_phone: Verification
    verify_email: Verification
    proof_of_work: ProofOfWork
    country_codes: list[str] = Field(description="Calling codes; none = every country.")
    can_text: bool = Field(description="Is there somebody who carries text messages?")
    can_mail: bool = Field(description="Is there a mail server?")


class PasswordRulesShown(Answered):
    """What a password must be."""

    characters_least: int
    characters_least_admin: int
    characters_max: int


class SiteShown(Answered):
    """What anybody may know of this site."""

    name: str
    logo: str
    announcement: str = Field(description="Plain Markdown.")
    contact: str
    icp_number: str
    base_url: str = Field(description="Empty = where the visitor found it.")
    locale: Locale
    display: DisplayShown
    low_balance: str = Field(description="CNY; below it people are warned.")
    terms_version: str = Field(description="Of /terms; empty = nobody is asked to agree.")
    privacy_version: str = Field(description="Of /privacy; empty = nobody is asked to agree.")
    has_terms: bool
    has_privacy: bool
    registration: RegistrationShown
    password: PasswordRulesShown
    needs_setup: bool = Field(description="Is there no administrator yet?")


def site_shown(values: Values, password: PasswordRulesShown, *, needs_setup: bool) -> SiteShown:
    """The site as its visitors see it: settings that are public, and nothing else."""
    country_codes = values[settings.COUNTRY_CODES]
    return SiteShown(
        name=values[settings.NAME],
        logo=values[settings.LOGO],
        announcement=values[settings.ANNOUNCEMENT],
        contact=values[settings.CONTACT],
        icp_number=values[settings.ICP_NUMBER],
        base_url=values[settings.BASE_URL],
        locale=values[settings.DEFAULT_LOCALE],
        display=DisplayShown(
            currency=values[settings.DISPLAY_CURRENCY],
            symbol=values[settings.DISPLAY_SYMBOL],
            credit_factor=f"{values[settings.CREDIT_FACTOR]:f}",
        ),
        low_balance=format_cny(values[settings.LOW_BALANCE]),
        terms_version=values[settings.TERMS_VERSION],
        privacy_version=values[settings.PRIVACY_VERSION],
        has_terms=bool(values[settings.TERMS_TEXT]),
        has_privacy=bool(values[settings.PRIVACY_TEXT]),
        registration=RegistrationShown(
            mode=values[settings.REGISTRATION],
            verify_phone=values[settings.VERIFY_PHONE],
            verify_email=values[settings.VERIFY_EMAIL],
            proof_of_work=values[settings.PROOF_OF_WORK],
            country_codes=list(country_codes),
            can_text=values[settings.SMS_PROVIDER] is not settings.SmsProvider.NONE,
            can_mail=bool(values[settings.SMTP_HOST]),
        ),
        password=password,
        needs_setup=needs_setup,
    )


# --- the system -------------------------------------------------------------------------------


class VariableShown(Answered):
    """A setting of the program itself, which acts after a restart."""

    name: str = Field(description="Its name in the environment.")
    value: str | None = Field(description="null: it may hold a password and is not shown.")
    default: str
    origin: Literal["flag", "environment", "file", "default"]
    meaning: str


class SystemShown(Answered):
    """The program and where it runs."""

    version: str
    python: str
    database: Literal["sqlite", "postgresql"]
    data_dir: str
    workers: int
    variables: list[VariableShown]
