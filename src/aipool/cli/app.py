"""The commands, and how a refusal becomes one line and an exit status."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from aipool.cli import (
    api,
    apply,
    asking,
    backup,
    books,
    calls,
    catalog,
    epochs,
    groups,
    keys,
    model_routes,
    moving,
    notices,
    openapi,
    pool,
    prices,
    route,
    serve,
    tokens,
    trail,
    users,
)
from aipool.cli.output import say


class _Group(TyperGroup):
    """Turns what an operator can put right into one line; everything else is our mistake
    and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if _is_refusal(error):
                say(f"aipool: {error}")
            elif _passes(error):
                reason = getattr(error, "orig", error)
                say(f"aipool: the database cannot be used just now ({reason}): try again")
            else:
                raise
            raise typer.Exit(1) from None


def _passes(error: Exception) -> bool:
    """A full disk, for example: nothing was changed."""
    from aipool.kit.db import PASSING_ERRORS

    return isinstance(error, PASSING_ERRORS)


def _is_refusal(error: Exception) -> bool:
    # Loaded only now: a command that succeeds needs none of them here.
    from aipool.apply.nodes import ApplyRefused
    from aipool.config import BadSetting
    from aipool.installation import InstallationError
    from aipool.kit.db import DatabaseBusy, DatabaseUnusable
    from aipool.kit.errors import BusinessError
    from aipool.kit.money import MoneyError
    from aipool.kit.sealing import Unsealable
    from aipool.kit.secret_files import BadSecret
    from aipool.migrate import MigrationRefused

    return isinstance(
        error,
        ApplyRefused
        | BadSecret
        | BadSetting
        | BusinessError
        | DatabaseBusy
        | DatabaseUnusable
        | InstallationError
        | MigrationRefused
        | MoneyError
        | PermissionError
        | Unsealable,
    )


def _part(help_text: str) -> typer.Typer:
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)


app = typer.Typer(
    cls=_Group,
    help="AI-POOL: a self-hosted AI gateway with prepaid tokens.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.command("serve")(serve.serve)
app.command("apply")(apply.apply)
app.command("api")(api.api)
app.command("openapi")(openapi.openapi)
app.command("migrate")(serve.migrate)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("doctor")(serve.doctor)
app.command("version")(serve.version)

ledger = _part("The books.")
ledger.command("verify")(books.verify)
ledger.command("confirm-clock")(books.confirm_clock)
ledger.command("epochs")(epochs.list_epochs)
ledger.command("release")(epochs.release)
app.add_typer(ledger, name="ledger")

user = _part("People with an account.")
user.command("list")(users.list_users)
user.command("create")(users.create)
# A negative amount looks like an option.
user.command("adjust", context_settings={"ignore_unknown_options": True})(users.adjust)
user.command("set-password")(users.set_password)
user.command("set-role")(users.set_role)
user.command("reset-totp")(users.reset_totp)
user.command("disable")(users.disable)
user.command("enable")(users.enable)
app.add_typer(user, name="user")

token = _part("API tokens: what customers call with.")
token.command("list")(tokens.list_tokens)
token.command("create")(tokens.create)
token.command("set")(tokens.set_limits)
token.command("rotate")(tokens.rotate)
token.command("disable")(tokens.disable)
token.command("enable")(tokens.enable)
token.command("delete")(tokens.delete)
app.add_typer(token, name="token")

vendor = _part("Vendors of AI.")
vendor.command("list")(pool.list_vendors)
vendor.command("types")(pool.list_types)
vendor.command("create")(pool.create_vendor)
vendor.command("set")(pool.set_vendor)
vendor.command("delete")(pool.delete_vendor)
vendor.command("models")(asking.list_offered)
vendor.command("take")(asking.take)
app.add_typer(vendor, name="vendor")

key = _part("Upstream keys: what vendors are called with.")
key.command("list")(keys.list_keys)
key.command("create")(keys.create_key)
key.command("set")(keys.set_key)
key.command("paste")(keys.paste_keys)
key.command("disable")(keys.disable_key)
key.command("enable")(keys.enable_key)
key.command("delete")(keys.delete_key)
key.command("default")(keys.make_default)
key.command("move")(keys.move_key)
key.command("order")(keys.order_keys)
key.command("trail")(keys.show_trail)
key.command("test")(asking.test_key)
key.command("balance")(asking.show_balance)
app.add_typer(key, name="key")

keyword = _part("Words in vendors' error messages, and what they mean.")
keyword.command("list")(pool.list_keywords)
keyword.command("add")(pool.add_keyword)
keyword.command("delete")(pool.delete_keyword)
app.add_typer(keyword, name="keyword")

model = _part("Models on sale.")
model.command("list")(catalog.list_models)
model.command("create")(catalog.create_model)
model.command("set")(catalog.set_model)
model.command("price")(catalog.price_model)
model.command("seed")(catalog.seed_models)
model.command("delete")(catalog.delete_model)
model.command("disable")(catalog.disable_model)
model.command("enable")(catalog.enable_model)
app.add_typer(model, name="model")

move_in = _part("Moving in from another platform.")
move_in.command("new-api")(moving.import_new_api)
app.add_typer(move_in, name="import")

price = _part("Prices from a list that somebody else keeps.")
price.command("diff")(prices.diff)
price.command("import")(prices.import_prices)
app.add_typer(price, name="prices")

routes = _part("Where calls go.")
routes.command("explain")(route.explain)
routes.command("list")(model_routes.list_routes)
routes.command("add")(model_routes.add_route)
routes.command("move")(model_routes.move_route)
routes.command("delete")(model_routes.delete_route)
app.add_typer(routes, name="route")

group = _part("Pricing groups.")
group.command("list")(groups.list_groups)
group.command("create")(groups.create_group)
group.command("set")(groups.set_group)
group.command("delete")(groups.delete_group)
group.command("grant")(groups.grant_group)
group.command("revoke")(groups.revoke_group)
group.command("members")(groups.list_members)
app.add_typer(group, name="group")

done = _part("What was done, and by whom.")
done.command("list")(trail.list_trail)
done.command("verify")(trail.verify)
done.command("export")(trail.export)
app.add_typer(done, name="trail")

alert = _part("Alerts: what people are told without asking.")
alert.command("list")(notices.list_notices)
channel = _part("The channels alerts go over.")
channel.command("add")(notices.add_channel)
channel.command("list")(notices.list_channels)
channel.command("enable")(notices.enable_channel)
channel.command("disable")(notices.disable_channel)
channel.command("delete")(notices.delete_channel)
channel.command("test")(notices.test_channel)
alert.add_typer(channel, name="channel")
app.add_typer(alert, name="alert")

call = _part("The log of calls.")
call.command("list")(calls.list_calls)
call.command("show")(calls.show)
app.add_typer(call, name="call")
