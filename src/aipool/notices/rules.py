"""Decisions about notices: what a channel may be, when a failed delivery is tried again.

The address of a bot's webhook lets whoever has it speak in the group, so all of it but the
host is a secret, and no refusal here repeats it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

from aipool.kit.errors import Invalid
from aipool.kit.outbound import BadUrl, BaseUrl, Vet, parse_base_url
from aipool.notices.types import Event, Kind, MailServer, Secrets, Tls

#: The same event of the same target is told once in this time.
QUIET_MS = 10 * 60 * 1000

#: How long after each failed try the next one comes; after the last it is given up.
BACKOFF_SECONDS = (10, 60, 5 * 60, 30 * 60, 2 * 60 * 60)

CHANNELS_MAX = 50

SUBJECT_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 2_000
FIELDS_MAX = 20
FIELD_CHARACTERS_MAX = 300
REASON_CHARACTERS_MAX = 300

URL_CHARACTERS_MAX = 2_000
SIGNING_CHARACTERS_LEAST = 16
SECRET_CHARACTERS_MAX = 500
RECIPIENTS_MAX = 20
_ADDRESS_CHARACTERS_MAX = 254
#: 25 and 587 hand mail in (RFC 6409), 465 does so over TLS (RFC 8314).
_MAIL_PORTS = (25, 465, 587)
_PORT_LEAST = 1024

_ADDRESS = re.compile(r"[!-~]+@[a-z0-9._-]+", re.ASCII | re.IGNORECASE)
_MARKS_OF_LISTS = frozenset('<>()[],;:\\"')
#: A part of an address that is shorter than this is not what makes it secret.
_TOKEN_CHARACTERS_LEAST = 8


def next_try_ms(tries: int, at_ms: int) -> int | None:
    """When to try again after the failure of try number `tries`; None = not any more."""
    if tries > len(BACKOFF_SECONDS):
        return None
    return at_ms + BACKOFF_SECONDS[tries - 1] * 1000


def wants(events: Sequence[Event], event: Event) -> bool:
    """Does a channel with these events want this one?"""
    return not events or event in events


def one_line(text: str, characters_max: int) -> str:
    """Without line breaks and what cannot be printed, cut to this length."""
    printable = "".join(mark if mark.isprintable() else " " for mark in text)
    return _cut(" ".join(printable.split()), characters_max)


def lines(text: str) -> str:
    """The text of a notice: its lines, without other marks that cannot be printed."""
    shown = "".join(mark if mark.isprintable() or mark == "\n" else " " for mark in text)
    return _cut(shown.strip(), TEXT_CHARACTERS_MAX)


def shown_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields of a notice, each on one line."""
    return {
        one_line(name, FIELD_CHARACTERS_MAX): one_line(value, FIELD_CHARACTERS_MAX)
        for name, value in tuple(fields.items())[:FIELDS_MAX]
    }


def without_secrets(text: str, secrets: Secrets) -> str:
    """What somebody said of a delivery, on one line, without what would give the channel away."""
    for secret in _parts_of(secrets):
        text = text.replace(secret, "…")
    return one_line(text, REASON_CHARACTERS_MAX)


# --- what a channel may be -------------------------------------------------------------------


def checked_events(names: Iterable[str]) -> tuple[Event, ...]:
    """The events of these names, each once. Raises Invalid."""
    found = []
    for name in names:
        try:
            found.append(Event(name))
        except ValueError:
            known = ", ".join(Event)
            raise Invalid(
                "event_unknown",
                f"there is no event {name!r}; there are {known}",
                field="events",
                params={"given": name, "allowed": known},
            ) from None
    return tuple(dict.fromkeys(found))


def checked_kind(name: str) -> Kind:
    """The kind of this name. Raises Invalid."""
    try:
        return Kind(name)
    except ValueError:
        known = ", ".join(Kind)
        raise Invalid(
            "kind_unknown", f"a channel is one of {known}", field="kind", params={"allowed": known}
        ) from None


def checked_url(url: str, vet: Vet) -> BaseUrl:
    """The address of a webhook or bot, in parts. Raises Invalid, which does not repeat it."""
    if not url:
        raise Invalid("url_missing", "the address of the webhook is missing", field="url")
    problem = "it is too long"
    params: Mapping[str, object] = {"why": "url_too_long", "most": URL_CHARACTERS_MAX}
    if len(url) <= URL_CHARACTERS_MAX:
        try:
            return parse_base_url(url, vet)
        except BadUrl as bad:
            problem, params = str(bad).replace(url, "(not shown)"), bad.params
    raise Invalid("url_not_allowed", problem, field="url", params=params)


def check_signing(kind: Kind, signing: str) -> None:
    """Refuses what messages of this kind cannot be signed with. Raises Invalid."""
    if kind is Kind.WECOM and signing:
        raise Invalid("secret_not_used", "bots of WeCom sign nothing", field="secret")
    if kind is Kind.WEBHOOK and len(signing) < SIGNING_CHARACTERS_LEAST:
        raise Invalid(
            "secret_missing",
            f"a webhook is signed: give a secret of {SIGNING_CHARACTERS_LEAST} characters or more "
            "that its receiver knows",
            field="secret",
            params={"least": SIGNING_CHARACTERS_LEAST},
        )
    _check_secret("secret", signing)


def check_mail(mail: MailServer, password: str, vet: Vet) -> None:
    """Refuses a mail server that will not be called, and addresses that are none. Raises
    Invalid."""
    _check_mail_host(mail, vet)
    if mail.port not in _MAIL_PORTS and not _PORT_LEAST <= mail.port <= 65_535:
        known = ", ".join(map(str, _MAIL_PORTS))
        raise Invalid(
            "port_not_allowed",
            f"give {known}, or a port from {_PORT_LEAST} on",
            field="port",
            params={"known": known, "least": _PORT_LEAST},
        )
    _check_address("from", mail.sender)
    if not mail.to or len(mail.to) > RECIPIENTS_MAX:
        raise Invalid(
            "malformed_address",
            f"give 1 to {RECIPIENTS_MAX} recipients",
            field="to",
            params={"least": 1, "most": RECIPIENTS_MAX},
        )
    for address in mail.to:
        _check_address("to", address)
    if mail.user and mail.tls is Tls.NONE:
        raise Invalid("tls_needed", "a password is sent over TLS only", field="tls")
    if bool(mail.user) != bool(password):
        field, other = ("password", "user") if mail.user else ("user", "password")
        raise Invalid(
            "malformed_login",
            f"there is no {field}, but a {other}",
            field=field,
            params={"missing": field, "given": other},
        )
    _check_secret("user", mail.user)
    _check_secret("password", password)


def _check_mail_host(mail: MailServer, vet: Vet) -> None:
    scheme = "http" if mail.tls is Tls.NONE else "https"
    host = f"[{mail.host}]" if ":" in mail.host else mail.host
    try:
        parsed = parse_base_url(f"{scheme}://{host}", vet)
    except BadUrl:
        inward = "" if mail.tls is Tls.NONE else " that is not public"
        raise Invalid(
            "host_not_allowed",
            f"{one_line(mail.host, 80) or 'nothing'} is no host that may be reached: a mail server"
            f"{inward or ' without TLS'} must be in a network of AIPOOL_PRIVATE_UPSTREAMS",
            field="host",
            params={"host": one_line(mail.host, 80) or "…", "networks": "AIPOOL_PRIVATE_UPSTREAMS"},
        ) from None
    if parsed.host != mail.host.lower():
        raise Invalid("host_not_allowed", "give the name of a host alone", field="host")


def _check_address(field: str, address: str) -> None:
    if (
        len(address) > _ADDRESS_CHARACTERS_MAX
        or not _ADDRESS.fullmatch(address)
        or address.count("@") != 1
        or _MARKS_OF_LISTS & set(address)
    ):
        shown = one_line(address, 80)
        raise Invalid(
            "malformed_address",
            f"{shown!r} is no mail address",
            field=field,
            params={"given": shown},
        )


def _check_secret(field: str, text: str) -> None:
    if len(text) > SECRET_CHARACTERS_MAX or not text.isprintable():
        raise Invalid(
            "malformed_secret",
            f"it must be printable and at most {SECRET_CHARACTERS_MAX} characters long",
            field=field,
            params={"most": SECRET_CHARACTERS_MAX},
        )


def _cut(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"


def _parts_of(secrets: Secrets) -> list[str]:
    """What must not be repeated, the longest first."""
    whole = [secrets.url, secrets.signing, secrets.password]
    parts = urlsplit(secrets.url)
    inner = [*parts.path.split("/"), parts.query, *(value for _, value in parse_qsl(parts.query))]
    found = [text for text in whole if text]
    found += [text for text in inner if len(text) >= _TOKEN_CHARACTERS_LEAST]
    return sorted(found, key=len, reverse=True)
