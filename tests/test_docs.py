"""The documentation cannot fall behind: what a reader may rely on is looked up in the program."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer

from aipool.cli.app import app as command_line
from aipool.config import Variable, variables
from aipool.gateway import errors
from aipool.gateway.app import App
from benchmarks import PROOFS
from scripts import tidy

ROOT = Path(__file__).resolve().parents[1]
GATEWAY = ROOT / "src/aipool/gateway"


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows_of(text: str) -> Iterator[list[str]]:
    """The cells of every row of every table."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|--"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def words_of(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def tree() -> list[str]:
    """The files that are, or would be, in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


# --- configuration --------------------------------------------------------------------------------


def default_of(variable: Variable) -> str:
    if variable.name == "data_dir":
        return "`$XDG_DATA_HOME/aipool`"
    written = variable.kind.write(variable.default)
    return f"`{written}`" if written else "none"


def test_every_setting_is_in_the_documentation_with_its_default() -> None:
    documented = {
        words_of(row[0])[0]: row[1:]
        for row in rows_of(text_of("docs/configuration.md"))
        if row[0].startswith("`AIPOOL_")
    }
    expected = {
        variable.environment_name: [default_of(variable)]
        + ([] if variable.is_limit else [variable.meaning])
        for variable in variables()
    }

    assert documented == expected


# --- errors ---------------------------------------------------------------------------------------


def makers() -> dict[str, Any]:
    """The functions that make refusals whose code the caller chooses."""
    return {
        name: made
        for name, made in vars(errors).items()
        if callable(made)
        and getattr(made, "__module__", "") == errors.__name__
        and "code" in inspect.signature(made).parameters
    }


def literal(node: ast.expr, parameter: inspect.Parameter) -> object:
    """What stands there, or anything of the right kind."""
    if isinstance(node, ast.Constant):
        return node.value
    return 400 if parameter.annotation == "int" else "?"


def calls_in(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file, with the last part of the name of what is called."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2], node


def refusals_of_the_gateway() -> Iterator[errors.Refusal]:
    """Every refusal whose code is written in the gateway's source, made as it is made there."""
    known = makers()
    for path in GATEWAY.rglob("*.py"):
        for name, call in calls_in(path):
            if name not in known or any(keyword.arg is None for keyword in call.keywords):
                continue
            signature = inspect.signature(known[name])
            bound = signature.bind(
                *call.args, **{cast(str, word.arg): word.value for word in call.keywords}
            )
            made = known[name](
                **{key: literal(n, signature.parameters[key]) for key, n in bound.arguments.items()}
            )
            if made.code != "?":
                yield made


def refusals_of_the_wire() -> Iterator[errors.Refusal]:
    """What the wire layer refuses by itself, in the shape the gateway gives it."""
    context = SimpleNamespace(
        next_rid=lambda _at_ms: "req_0",
        counters=SimpleNamespace(answered=lambda *_: None),
        log=SimpleNamespace(call=lambda **_: None),
    )
    shape = App(cast(Any, context)).refusal
    for name, call in calls_in(ROOT / "src/aipool/wire/strict.py"):
        if name == "Refusal":
            status, code, message = (cast(ast.Constant, n).value for n in call.args)
            _, body = shape(cast(int, status), cast(str, code), cast(str, message), b"/v1/x")
            error = json.loads(body)["error"]
            yield errors.Refusal(cast(int, status), error["type"], error["code"], error["message"])


def documented_refusals() -> set[tuple[str, str, str]]:
    return {
        (row[0], kind, code)
        for row in rows_of(text_of("docs/errors.md"))
        if row[0].isdigit()
        for kind in words_of(row[1])
        for code in words_of(row[2])
    }


def test_every_refusal_is_in_the_documentation_with_its_status_and_type() -> None:
    made = [*refusals_of_the_gateway(), *refusals_of_the_wire()]
    expected = {(str(one.status), one.kind, one.code) for one in made}

    assert len(expected) > 25
    assert expected - documented_refusals() == set()


def test_every_refusal_in_the_documentation_can_be_met() -> None:
    made = [*refusals_of_the_gateway(), *refusals_of_the_wire()]

    assert documented_refusals() - {(str(one.status), one.kind, one.code) for one in made} == set()


# --- claims, commands -----------------------------------------------------------------------------


def test_the_claims_of_the_readme_are_the_proofs_there_are() -> None:
    claimed = [
        words_of(row[1])[0].removeprefix("scripts/prove ")
        for row in rows_of(text_of("README.md"))
        if len(row) == 2 and row[1].startswith("`scripts/prove ")
    ]

    assert claimed == [proof.name for proof in PROOFS]


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_every_proof_is_a_program(proof: Any) -> None:
    assert callable(importlib.import_module(proof.module).main)


def commands() -> dict[str, str]:
    """Each command and the first paragraph of its help."""

    def walk(command: Any, path: str) -> Iterator[tuple[str, str]]:
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                yield from walk(inner, f"{path} {name}")
        else:
            yield path, " ".join((command.help or "").split("\n\n")[0].split())

    return dict(walk(typer.main.get_command(command_line), "aipool"))


def test_every_command_is_in_the_documentation_as_it_describes_itself() -> None:
    documented = {
        " ".join(word for word in words_of(row[0])[0].split() if not word.isupper()): row[1]
        for row in rows_of(text_of("docs/cli.md"))
        if row[0].startswith("`")
    }

    assert documented == commands()


def test_no_page_tells_a_command_that_does_not_exist() -> None:
    known = commands()
    for page in pages():
        for told in re.findall(r"`(?:\.venv/bin/)?(aipool [a-z][^`|]*)`", text_of(page)):
            words = told.split()
            starts = {" ".join(words[:count]) for count in (2, 3, 4)}
            assert starts & known.keys(), (page, told)


# --- the tree -------------------------------------------------------------------------------------


def pages() -> list[str]:
    return [name for name in tree() if name.endswith(".md")]


def anchors_of(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in pages():
        for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
            if "://" in target:
                continue
            file, _, anchor = target.partition("#")
            found = (ROOT / page).parent / file if file else ROOT / page
            assert found.exists(), (page, target)
            assert not anchor or anchor in anchors_of(found.read_text()), (page, target)


def test_the_walk_of_a_request_names_what_exists() -> None:
    text = text_of("ARCHITECTURE.md")
    walk = text[text.index("## One request") : text.index("## Layers")]
    for module in re.findall(r"^ (\w+/\w+) ", walk, re.MULTILINE):
        importlib.import_module(f"aipool.{module.replace('/', '.')}")
    for module, name in re.findall(r"^   (\w+)\.(\w+) ", walk, re.MULTILINE):
        found = importlib.import_module(f"aipool.gateway.{module}")
        classes = [part for part in vars(found).values() if isinstance(part, type)]
        assert any(hasattr(part, name) for part in (found, *classes)), f"{module}.{name}"


def test_every_page_of_the_documentation_is_found_from_another() -> None:
    linked = set()
    for page in pages():
        for target in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", text_of(page)):
            found = (ROOT / page).parent / target
            linked.add((found / "README.md" if found.is_dir() else found).resolve())

    documentation = [page for page in pages() if page.startswith("docs/")]
    assert [page for page in documentation if ROOT / page not in linked] == []


def test_no_file_names_a_registry_or_a_machine_or_leaves_work_over() -> None:
    found = []
    for name in tree():
        try:
            text = text_of(name)
        except UnicodeDecodeError:
            continue
        for rule in (tidy.names_no_registry, tidy.names_no_machine_path, tidy.leaves_nothing_over):
            found += list(rule(PurePosixPath(name), text))

    assert found == []
