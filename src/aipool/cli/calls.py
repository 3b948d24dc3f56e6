"""aipool call …: what was called, by whom, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from aipool.cli.options import DataDir, Output, OutputOption
from aipool.cli.output import show_record, show_rows

if TYPE_CHECKING:
    from aipool.calls.types import CallRow

ATTEMPT_COLUMNS = ("attempt", "vendor", "key", "model", "status", "reason", "ms")
COLUMNS = ("id", "at", "model", "status", "input", "output", "charge", "ms", "user", "token")


def list_calls(
    phone: Annotated[str | None, typer.Option("--user", help="Only this user's.")] = None,
    token: Annotated[int | None, typer.Option(help="Only this token's, by its id.")] = None,
    before: Annotated[str | None, typer.Option(help="Only older than this request id.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 20,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Lists calls, newest first. A call appears within a second of its end."""
    from aipool.accounts import service as accounts
    from aipool.calls import service as calls
    from aipool.cli.session import open_session

    with open_session(data_dir) as session, session.read() as connection:
        user_id = accounts.get_user(connection, phone).id if phone else None
        found = calls.recent(
            connection, user_id=user_id, token_id=token, before_rid=before, limit=limit
        )
    show_rows([_short(call) for call in found], output, COLUMNS)


def show(
    request_id: Annotated[str, typer.Argument(help="The answer's x-request-id.")],
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Shows one call whole: its usage, its charge, and every attempt."""
    from aipool.calls import service as calls
    from aipool.cli.session import open_session
    from aipool.kit.errors import NotFound
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.read() as connection:
        call = calls.get(connection, request_id)
        if call is None:
            raise NotFound("call_unknown", f"there is no call {request_id} in the log")
        keys = {key.id: key.name for key in pool.list_keys(connection)}
        vendors = {vendor.id: vendor.name for vendor in pool.list_vendors(connection)}
    record = _whole(call)
    attempts = [
        {"attempt": number, **_attempt(one, vendors, keys)}
        for number, one in enumerate(json.loads(call.attempts or "[]"), start=1)
    ]
    if output is Output.JSON:
        show_record(record | {"attempts": attempts}, output)
        return
    show_record(record, output)
    if attempts:
        print()
        show_rows(attempts, output, ATTEMPT_COLUMNS)


def _short(call: CallRow) -> dict[str, Any]:
    from aipool.kit.clock import iso_ms
    from aipool.kit.money import format_cny

    return {
        "id": call.rid,
        "at": iso_ms(call.at_ms),
        "model": call.model,
        "status": call.status,
        "input": call.input_tokens,
        "output": call.output_tokens,
        "charge": format_cny(call.charged_nano),
        "ms": call.duration_ms,
        "user": call.user_id,
        "token": call.token_id,
    }


def _whole(call: CallRow) -> dict[str, Any]:
    from aipool.doors.outcome import UsageSource
    from aipool.kit.clock import iso_ms
    from aipool.kit.money import format_cny, format_multiplier

    record = call._asdict()
    record["id"], record["at"] = record.pop("rid"), iso_ms(record.pop("at_ms"))
    record["usage_source"] = UsageSource(call.usage_source).name.lower()
    record["multiplier"] = format_multiplier(record.pop("multiplier_ppm"))
    for name in ("hold", "charged", "written_off", "cost"):
        record[name] = format_cny(record.pop(f"{name}_nano"))
    del record["attempts"]
    first = {name: record.pop(name) for name in ("id", "at", "status", "model", "charged")}
    return first | record


def _attempt(one: list[Any], vendors: Mapping[Any, str], keys: Mapping[Any, str]) -> dict[str, Any]:
    """One try in the words of a person; a key that was deleted is its number."""
    from aipool.doors.outcome import Attempt

    attempt = msgspec.convert(one, Attempt)
    return {
        "vendor": vendors.get(attempt.vendor_id, attempt.vendor_id),
        "key": keys.get(attempt.key_id, attempt.key_id),
        "model": attempt.upstream_model,
        "status": attempt.status or None,
        "reason": attempt.reason,
        "ms": attempt.duration_ms,
    }
