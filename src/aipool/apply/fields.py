"""Reading a mapping field by field.

Every reader answers something usable even when the field is wrong, and notes the problem
with its line; so one run names all that is wrong with a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from aipool.apply.nodes import (
    Broken,
    Fields,
    Items,
    Node,
    Nothing,
    Problem,
    Text,
    values_of,
)
from aipool.kit.errors import BusinessError
from aipool.kit.money import MoneyError

T = TypeVar("T")

#: Fields that will come; whoever writes one learns that it does nothing yet.
NOT_YET = frozenset({"role"})


class Reader:
    """One mapping of the file, at `path`, while its fields are taken out one by one."""

    def __init__(self, node: Node, path: str, problems: list[Problem]) -> None:
        self.line = node.line
        self.path = path
        self._problems = problems
        self._taken: set[str] = set()
        self._fields: dict[str, tuple[int, Node]] = {}
        if isinstance(node, Fields):
            self._fields = node.fields
        elif not isinstance(node, Nothing | Broken):
            self._note(node.line, "", "must be fields with values")

    def text(self, name: str, *, required: bool = False) -> str | None:
        """A text; None when it is left out."""
        line, node = self._take(name)
        if isinstance(node, Text):
            return node.text
        if isinstance(node, Items | Fields):
            self._note(line, name, "must be a text")
        elif isinstance(node, Nothing) and required:
            self._note(line, name, "is missing")
        return None

    def parsed(
        self, name: str, parse: Callable[[str], T], fallback: T, *, required: bool = False
    ) -> T:
        """A text turned into a value by `parse`, whose refusal is noted."""
        text = self.text(name, required=required)
        if text is None:
            return fallback
        try:
            return parse(text)
        except (BusinessError, MoneyError) as problem:
            self._note(self.line_of(name), name, str(problem))
            return fallback

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of texts; None when it is left out."""
        line, node = self._take(name)
        if isinstance(node, Nothing | Broken):
            return None
        if not isinstance(node, Items):
            self._note(line, name, "must be a list")
            return None
        texts = [item.text for item in node.items if isinstance(item, Text)]
        for place, item in enumerate(node.items):
            if not isinstance(item, Text | Broken):
                self._note(item.line, f"{name}[{place}]", "must be a text")
        return tuple(texts)

    def parsed_texts(self, name: str, parse: Callable[[tuple[str, ...]], T], fallback: T) -> T:
        """A list of texts turned into a value by `parse`, whose refusal is noted."""
        texts = self.texts(name)
        if texts is None:
            return fallback
        try:
            return parse(texts)
        except BusinessError as problem:
            self._note(self.line_of(name), name, str(problem))
            return fallback

    def items(self, name: str) -> Iterator[Reader]:
        """The mappings of a list, each as a reader; none when it is left out."""
        line, node = self._take(name)
        if isinstance(node, Items):
            for place, item in enumerate(node.items):
                yield Reader(item, self._inner(f"{name}[{place}]"), self._problems)
        elif not isinstance(node, Nothing | Broken):
            self._note(line, name, "must be a list")

    def nested(self, name: str) -> Reader | None:
        """The mapping in this field; None when it is left out."""
        _, node = self._take(name)
        if isinstance(node, Nothing | Broken):
            return None
        return Reader(node, self._inner(name), self._problems)

    def values(self, name: str) -> dict[str, Any]:
        """The mapping in this field as values of JSON; {} when it is left out."""
        line, node = self._take(name)
        if isinstance(node, Fields):
            values: dict[str, Any] = values_of(node)
            return values
        if not isinstance(node, Nothing | Broken):
            self._note(line, name, "must be fields with values")
        return {}

    def refuse(self, name: str, message: str) -> None:
        """Notes a problem of this field, or of what is in it (config.headers)."""
        self._note(self.line_of(name.partition(".")[0]), name, message)

    def line_of(self, name: str) -> int:
        """The line of a field, or of the mapping when the field is not there."""
        return self._fields[name][0] if name in self._fields else self.line

    def finish(self) -> None:
        """Notes every field that nobody took."""
        for name, (line, _) in self._fields.items():
            if name in self._taken:
                continue
            known = ", ".join(sorted(self._taken))
            message = (
                "is not supported yet" if name in NOT_YET else f"unknown field; known: {known}"
            )
            self._note(line, name, message)

    def _take(self, name: str) -> tuple[int, Node]:
        self._taken.add(name)
        return self._fields.get(name, (self.line, Nothing(self.line)))

    def _inner(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _note(self, line: int, name: str, message: str) -> None:
        self._problems.append(Problem(line, self._inner(name) if name else self.path, message))
