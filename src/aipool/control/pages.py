"""Plain pages, whole in one answer: no framework, no script but one small file.

Everything that is not written in this file is escaped where it is put in.
"""

from __future__ import annotations

from html import escape

from starlette.requests import Request

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; margin: 0; }
main { max-width: 40rem; margin: 4rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; }
label { display: block; margin: 1rem 0 .25rem; font-weight: 600; }
input { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem .6rem; }
button { font: inherit; margin-top: 1.25rem; padding: .55rem 1.2rem; cursor: pointer; }
pre { padding: .9rem; overflow-x: auto; border: 1px solid #8886; border-radius: .3rem; }
.problem { border-left: .25rem solid #c33; padding: .1rem 0 .1rem .8rem; }
.quiet { opacity: .75; }
"""

SETUP_SCRIPT = """\
// The set-up link carries its secret behind the #, which browsers keep to themselves.
"use strict";
const field = document.getElementById("token");
const secret = location.hash.slice(1);
if (field && secret) {
  field.value = secret;
  history.replaceState(null, "", location.pathname);
}
"""


def base_url(request: Request) -> str:
    """Where the visitor found us; the worker in front says over which scheme."""
    scheme = request.headers.get("x-forwarded-proto", "http")
    scheme = scheme if scheme in ("http", "https") else "http"
    return f"{scheme}://{request.headers.get('host', 'localhost')}"


def home(address: str, *, is_set_up: bool, console: str = "") -> str:
    """What this is, how it is called, and whether somebody administers it. console: a note about
    the console, as HTML."""
    call = escape(
        f"curl {address}/v1/chat/completions \\\n"
        "  -H 'Authorization: Bearer YOUR_TOKEN' \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        '  -d \'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}\''
    )
    state = (
        "<p class=quiet>This platform has an administrator.</p>"
        if is_set_up
        else "<p>Nobody administers this platform yet. Whoever started it finds a one-time "
        "set-up link on the terminal it was started from.</p>"
    )
    return _page(
        "AI-POOL",
        "<p>One address for many AI models. Calls are paid from a prepaid balance and "
        "answered by whichever vendor serves the model.</p>"
        "<p>Any client made for OpenAI's interface works: give it this address and a token.</p>"
        f"<pre>{call}</pre>{state}{console}",
    )


_CONSOLE_SAID = {
    "building": "The console is being built: reload this page in a minute. API calls work already.",
    "failed": "The console could not be built. API calls work without it.",
    "missing": "There is no console here. In a checkout, scripts/serve builds it; API calls work "
    "without it.",
}


def console_note(state: str, error: str) -> str:
    """Why there is no console, as HTML; "" when there is one."""
    if state not in _CONSOLE_SAID:
        return ""
    shown = f"<pre>{escape(error)}</pre>" if error else ""
    return f"<p class=problem>{_CONSOLE_SAID[state]}</p>{shown}"


def no_console(state: str, error: str) -> str:
    """In the place of a page of the console that is not there."""
    return _page("The console", console_note(state, error))


def setup_form(*, problem: str = "", phone: str = "", token: str = "") -> str:
    """The form that makes the first administrator; after a problem with what was typed."""
    note = f"<p class=problem role=alert>{escape(problem)}</p>" if problem else ""
    return _page(
        "Set up AI-POOL",
        "<p>This makes the root account, which may do everything. It works once, with the "
        "link that was printed where AI-POOL was started.</p>"
        f"{note}"
        '<form method="post" action="/setup">'
        '<label for="phone">Phone number</label>'
        f'<input id="phone" name="phone" value="{escape(phone, quote=True)}" '
        'autocomplete="username" inputmode="tel" required autofocus>'
        '<label for="password">Password, at least 12 characters</label>'
        '<input id="password" name="password" type="password" '
        'autocomplete="new-password" minlength="12" maxlength="128" required>'
        '<label for="token">Set-up token</label>'
        f'<input id="token" name="token" type="password" value="{escape(token, quote=True)}" '
        'autocomplete="off" required>'
        "<button>Make the root account</button>"
        "</form>"
        '<script src="/setup.js"></script>',
    )


def setup_done(phone: str, access_token: str) -> str:
    """The root account exists; its access token, this once."""
    return _page(
        "AI-POOL is set up",
        f"<p>The root account is {escape(phone)}.</p>"
        "<p>Its access token, for programs that administer this platform. It is shown now and "
        "never again; keep it where you keep passwords.</p>"
        f"<pre>{escape(access_token)}</pre>"
        "<p>Next: add a vendor, a model and a token, with <code>aipool apply</code> or the "
        "commands <code>aipool vendor</code>, <code>aipool model</code> and "
        "<code>aipool token</code>.</p>"
        f"{_TO_THE_CONSOLE}",
    )


def setup_over() -> str:
    """There is an administrator already."""
    return _page(
        "Set-up is done", f"<p>This platform has a root account already.</p>{_TO_THE_CONSOLE}"
    )


_TO_THE_CONSOLE = '<p><a href="/login">Log in to the console</a></p>'


def published(title: str, site: str, body: str) -> str:
    """A page of the operator's own text. site: its name.  body: HTML, as control.prose makes it."""
    return _page(title, f'{body}<p class=quiet><a href="/">{escape(site)}</a></p>')


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
