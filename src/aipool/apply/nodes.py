"""The file as values that know their line.

YAML's own guesses are not used: a price written 0.15 stays the text "0.15" and never
becomes a float, a phone number keeps its digits. `${NAME}` stands for a variable of the
environment, anywhere in a text; its value is taken as it is and not read as YAML.

Where values of JSON are wanted (`values_of`), a word without quotes is true, false, null or a
number if JSON reads it as such, and otherwise a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import yaml

#: Deeper than anything the schema has; also ends a file that contains itself by an alias.
_DEPTH_MAX = 12
_NULL = "tag:yaml.org,2002:null"
_VARIABLE = re.compile(r"\$\{([^}]*)\}?")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Problem(NamedTuple):
    """Something wrong in the file. line: counted from 1.  path: such as models[2].price."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", {self.path}" if self.path else "")
        return f"{where}: {self.message}"


class ApplyRefused(Exception):
    """The file cannot be applied; nothing was written. Names every problem found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar as written, variables expanded. plain: without quotes and variables."""

    line: int
    text: str
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    line: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping; a field written twice is already reported. Lines are those of the names."""

    line: int
    fields: dict[str, tuple[int, Node]]


@dataclass(frozen=True, slots=True)
class Nothing:
    """A value left empty."""

    line: int


@dataclass(frozen=True, slots=True)
class Broken:
    """A value whose problem is reported already."""

    line: int


Node = Text | Items | Fields | Nothing | Broken


def read_nodes(text: str, environ: Mapping[str, str], problems: list[Problem]) -> Node:
    """The document in this text. Problems with names and variables are added to the list;
    raises ApplyRefused for what is not YAML at all."""
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ApplyRefused([Problem(line, "", f"not YAML: {reason}")]) from None
    if root is None:
        return Nothing(1)
    return _Converter(environ, problems).convert(root, "", 0)


def values_of(node: Node) -> Any:
    """What stands there as values of JSON."""
    match node:
        case Fields():
            return {name: values_of(inner) for name, (_, inner) in node.fields.items()}
        case Items():
            return [values_of(inner) for inner in node.items]
        case Text():
            return _value(node.text) if node.plain else node.text
    return None


def _value(text: str) -> Any:
    try:
        value = msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return text
    return value if value is None or isinstance(value, bool | int | float) else text


class _Converter:
    def __init__(self, environ: Mapping[str, str], problems: list[Problem]) -> None:
        self._environ = environ
        self._problems = problems

    def convert(self, node: yaml.Node, path: str, depth: int) -> Node:
        line = node.start_mark.line + 1
        if depth > _DEPTH_MAX:
            raise ApplyRefused([Problem(line, path, "nested too deeply")])
        if isinstance(node, yaml.MappingNode):
            return Fields(line, self._fields(node, path, depth))
        if isinstance(node, yaml.SequenceNode):
            parts = enumerate(node.value)
            return Items(
                line,
                tuple(self.convert(part, f"{path}[{place}]", depth + 1) for place, part in parts),
            )
        if node.tag == _NULL:
            return Nothing(line)
        reported = len(self._problems)
        text = self._expand(node.value, line, path)
        plain = isinstance(node, yaml.ScalarNode) and not node.style and text == node.value
        return Text(line, text, plain) if len(self._problems) == reported else Broken(line)

    def _fields(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, tuple[int, Node]]:
        found: dict[str, tuple[int, Node]] = {}
        for name_node, value in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                self._note(line, path, "a field's name is a plain word")
                continue
            name = name_node.value
            inner = f"{path}.{name}" if path else name
            if name in found:
                self._note(line, inner, "written twice")
            found[name] = (line, self.convert(value, inner, depth + 1))
        return found

    def _expand(self, text: str, line: int, path: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1]
            if not match[0].endswith("}") or not _VARIABLE_NAME.fullmatch(name):
                self._problems.append(
                    Problem(line, path, f"{match[0]} is not of the form ${{NAME}}")
                )
            elif name not in self._environ:
                self._problems.append(
                    Problem(line, path, f"the environment variable {name} is not set")
                )
            return self._environ.get(name, "")

        return _VARIABLE.sub(value, text)

    def _note(self, line: int, path: str, message: str) -> None:
        self._problems.append(Problem(line, path, message))
