"""Every setting of the site, written once.

A setting here is read where it is used, by `site.service.Site.value`, so it acts without a
restart. Its value is, in this order: what AIPOOL_SITE_<NAME> in the environment says, what the
table [site] of DATA_DIR/aipool.toml says, what an administrator set (the database), the default.

`public`: what anybody may read. `secret`: comes in and never goes out; in the database it is
sealed. Who adds a setting writes it here, in docs/settings-of-the-site.md, and where it acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar

from aipool.kit.money import NANO_PER_CNY
from aipool.notices.codes import Locale, Purpose
from aipool.notices.types import Tls
from aipool.site import values
from aipool.site.values import Kind

T = TypeVar("T")


class Registration(StrEnum):
    """Who may make an account."""

    OPEN = "open"
    INVITATION = "invitation"
    APPROVAL = "approval"
    CLOSED = "closed"


class Verification(StrEnum):
    """Whether who registers proves that a number or an address is theirs."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class ProofOfWork(StrEnum):
    """When a browser must have worked for its form."""

    OFF = "off"
    AFTER_TRIES = "after_tries"
    ALWAYS = "always"


class SmsProvider(StrEnum):
    """Who carries text messages. console: nobody; they are printed to the log."""

    NONE = "none"
    CONSOLE = "console"
    WEBHOOK = "webhook"
    ALIYUN = "aliyun"


class Group(StrEnum):
    """Which settings stand together on a form."""

    SITE = "site"
    TERMS = "terms"
    REGISTRATION = "registration"
    SECURITY = "security"
    RECORDS = "records"
    SMS = "sms"
    MAIL = "mail"


class Origin(StrEnum):
    """Where a value in force comes from, strongest first. The first two are not changed here."""

    ENVIRONMENT = "environment"
    FILE = "file"
    DATABASE = "database"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """One line of the table. default: a value, as `kind.check` gives it.

    meaning: what it does, with its unit, in one sentence.
    """

    name: str
    group: Group
    kind: Kind[T]
    default: T
    meaning: str
    public: bool = False
    secret: bool = False

    @property
    def environment_name(self) -> str:
        """The name in the environment, such as AIPOOL_SITE_NAME."""
        return f"AIPOOL_SITE_{self.name.upper()}"


@dataclass(frozen=True, slots=True)
class Stored:
    """A row of the database: what an operator set. value: JSON, or sealed text."""

    name: str
    value: Any
    sealed: bool
    at_ms: int
    actor: str


_SECRET = values.line(500)
_NAME_OF_HOST = values.line(253)

# --- what visitors see ------------------------------------------------------------------------

NAME = Setting("name", Group.SITE, values.line(60), "AI-POOL", "what this site is called", True)
LOGO = Setting("logo", Group.SITE, values.LOGO, "", "the picture beside the name", True)
ANNOUNCEMENT = Setting(
    "announcement", Group.SITE, values.prose(4_000), "", "what everybody is told, above all", True
)
CONTACT = Setting(
    "contact", Group.SITE, values.line(300), "", "where people who need help turn to", True
)
ICP_NUMBER = Setting(
    "icp_number",
    Group.SITE,
    values.line(60),
    "",
    "the registration number that a site in mainland China must show",
    True,
)
BASE_URL = Setting(
    "base_url",
    Group.SITE,
    values.WEB_ADDRESS,
    "",
    "the address people find this site at, for links in mail and for examples; empty is where a "
    "visitor found it, and then no mail has a link",
    True,
)
DISPLAY_CURRENCY = Setting(
    "display_currency",
    Group.SITE,
    values.CURRENCY,
    "CNY",
    "the currency that amounts are shown in; the books are kept in CNY",
    True,
)
DISPLAY_SYMBOL = Setting(
    "display_symbol", Group.SITE, values.line(8), "¥", "what stands before an amount", True
)
CREDIT_FACTOR = Setting(
    "credit_factor",
    Group.SITE,
    values.FACTOR,
    Decimal(1),
    "how many CNY one unit that is shown stands for",
    True,
)
DEFAULT_LOCALE = Setting(
    "default_locale",
    Group.SITE,
    values.choice(Locale),
    Locale.CHINESE,
    "the language for whoever asks for none",
    True,
)
LOW_BALANCE = Setting(
    "low_balance",
    Group.SITE,
    values.AMOUNT,
    5 * NANO_PER_CNY,
    "the balance in CNY below which people are warned, unless they choose their own; 0 is never",
    True,
)

# --- terms and privacy ------------------------------------------------------------------------

TERMS_TEXT = Setting(
    "terms_text", Group.TERMS, values.prose(100_000), "", "the terms of use, shown at /terms"
)
TERMS_VERSION = Setting(
    "terms_version",
    Group.TERMS,
    values.line(40),
    "",
    "which version of the terms people agree to; empty asks nobody to agree",
    True,
)
PRIVACY_TEXT = Setting(
    "privacy_text", Group.TERMS, values.prose(100_000), "", "the privacy notice, shown at /privacy"
)
PRIVACY_VERSION = Setting(
    "privacy_version",
    Group.TERMS,
    values.line(40),
    "",
    "which version of the privacy notice people agree to; empty asks nobody to agree",
    True,
)

# --- registration -----------------------------------------------------------------------------

REGISTRATION = Setting(
    "registration",
    Group.REGISTRATION,
    values.choice(Registration),
    Registration.OPEN,
    "who may register: anybody, who has an invitation, whom an administrator approves, nobody",
    True,
)
VERIFY_PHONE = Setting(
    "verify_phone",
    Group.REGISTRATION,
    values.choice(Verification),
    Verification.OFF,
    "whether a code sent by SMS proves the phone number",
    True,
)
VERIFY_EMAIL = Setting(
    "verify_email",
    Group.REGISTRATION,
    values.choice(Verification),
    Verification.OFF,
    "whether people give a mail address, proved by a code",
    True,
)
PROOF_OF_WORK = Setting(
    "proof_of_work",
    Group.REGISTRATION,
    values.choice(ProofOfWork),
    ProofOfWork.AFTER_TRIES,
    "when a browser must compute for a second before it registers or logs in",
    True,
)
COUNTRY_CODES = Setting(
    "country_codes",
    Group.REGISTRATION,
    values.CALLING_CODES,
    ("86",),
    "calling codes of the countries whose numbers may register; none is every country",
    True,
)
PUBLIC_MARKET = Setting(
    "public_market",
    Group.REGISTRATION,
    values.SWITCH,
    True,
    "whether visitors who are not signed in see models and prices",
    True,
)

# --- security ---------------------------------------------------------------------------------

SMS_PER_DAY = Setting(
    "sms_per_day",
    Group.SECURITY,
    values.whole(0, 1_000_000),
    500,
    "text messages that are sent in a UTC day at most, to all people together",
)
TOTP_REQUIRED = Setting(
    "totp_required",
    Group.SECURITY,
    values.SWITCH,
    False,
    "whether administrators must have a second factor (TOTP)",
)

ADJUST_ALONE_MAX = Setting(
    "adjust_alone_max",
    Group.SECURITY,
    values.AMOUNT,
    0,
    "what one administrator may add to and take from balances within 24 hours, in CNY; beyond it a "
    "second one must agree; 0 is no limit",
)

# --- what is kept -----------------------------------------------------------------------------

CALL_RETENTION_DAYS = Setting(
    "call_retention_days",
    Group.RECORDS,
    values.whole(0, 36_500),
    0,
    "days after which rows of calls are deleted; 0 keeps them; balances and statistics stay",
)

# --- text messages ----------------------------------------------------------------------------

SMS_PROVIDER = Setting(
    "sms_provider",
    Group.SMS,
    values.choice(SmsProvider),
    SmsProvider.NONE,
    "who carries text messages; console prints them to the log, on this machine only",
)
SMS_WEBHOOK_URL = Setting(
    "sms_webhook_url",
    Group.SMS,
    values.line(2_000),
    "",
    "webhook: the address a code is posted to",
    secret=True,
)
SMS_WEBHOOK_SECRET = Setting(
    "sms_webhook_secret",
    Group.SMS,
    _SECRET,
    "",
    "webhook: what posts are signed with, 16 characters or more",
    secret=True,
)
ALIYUN_ENDPOINT = Setting(
    "aliyun_endpoint",
    Group.SMS,
    values.WEB_ADDRESS,
    "https://dysmsapi.aliyuncs.com",
    "Aliyun: the address of its SMS service",
)
ALIYUN_ACCESS_KEY_ID = Setting(
    "aliyun_access_key_id", Group.SMS, values.line(100), "", "Aliyun: the AccessKey ID"
)
ALIYUN_ACCESS_KEY_SECRET = Setting(
    "aliyun_access_key_secret",
    Group.SMS,
    _SECRET,
    "",
    "Aliyun: the AccessKey secret",
    secret=True,
)
ALIYUN_SIGN_NAME = Setting(
    "aliyun_sign_name", Group.SMS, values.line(60), "", "Aliyun: the signature messages begin with"
)
#: One template a purpose; in each the code is ${code}.
ALIYUN_TEMPLATES = {
    purpose: Setting(
        f"aliyun_template_{purpose.value}",
        Group.SMS,
        values.line(60),
        "",
        f"Aliyun: the template for codes to {words}, with the variable code",
    )
    for purpose, words in (
        (Purpose.REGISTER, "register"),
        (Purpose.LOGIN, "log in"),
        (Purpose.RESET, "set a new password"),
        (Purpose.VERIFY, "confirm a number"),
    )
}

# --- mail -------------------------------------------------------------------------------------

SMTP_HOST = Setting(
    "smtp_host", Group.MAIL, _NAME_OF_HOST, "", "where mail is handed in; empty sends none"
)
SMTP_PORT = Setting(
    "smtp_port", Group.MAIL, values.whole(1, 65_535), 587, "the port of the mail server"
)
SMTP_TLS = Setting(
    "smtp_tls",
    Group.MAIL,
    values.choice(Tls),
    Tls.STARTTLS,
    "how the mail server is spoken to; none only inside networks of AIPOOL_PRIVATE_UPSTREAMS",
)
SMTP_USER = Setting(
    "smtp_user", Group.MAIL, values.line(254), "", "the login of the mail server; empty uses none"
)
SMTP_PASSWORD = Setting(
    "smtp_password", Group.MAIL, _SECRET, "", "the password of the mail server", secret=True
)
SMTP_FROM = Setting(
    "smtp_from", Group.MAIL, values.line(254), "", "the address that mail comes from"
)

#: The whole table, in the order of its forms.
SETTINGS: tuple[Setting[Any], ...] = (
    NAME,
    LOGO,
    ANNOUNCEMENT,
    CONTACT,
    ICP_NUMBER,
    BASE_URL,
    DISPLAY_CURRENCY,
    DISPLAY_SYMBOL,
    CREDIT_FACTOR,
    DEFAULT_LOCALE,
    LOW_BALANCE,
    TERMS_TEXT,
    TERMS_VERSION,
    PRIVACY_TEXT,
    PRIVACY_VERSION,
    REGISTRATION,
    VERIFY_PHONE,
    VERIFY_EMAIL,
    PROOF_OF_WORK,
    COUNTRY_CODES,
    PUBLIC_MARKET,
    SMS_PER_DAY,
    TOTP_REQUIRED,
    ADJUST_ALONE_MAX,
    CALL_RETENTION_DAYS,
    SMS_PROVIDER,
    SMS_WEBHOOK_URL,
    SMS_WEBHOOK_SECRET,
    ALIYUN_ENDPOINT,
    ALIYUN_ACCESS_KEY_ID,
    ALIYUN_ACCESS_KEY_SECRET,
    ALIYUN_SIGN_NAME,
    *ALIYUN_TEMPLATES.values(),
    SMTP_HOST,
    SMTP_PORT,
    SMTP_TLS,
    SMTP_USER,
    SMTP_PASSWORD,
    SMTP_FROM,
)

BY_NAME = {setting.name: setting for setting in SETTINGS}
