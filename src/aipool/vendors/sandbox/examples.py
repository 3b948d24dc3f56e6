"""Values made up for a JSON schema: a tool's arguments, a structured answer."""

from __future__ import annotations

from typing import Any

# A schema that refers to itself has no end; an example of it has.
_DEPTH_MAX = 12
_NODES_MAX = 1_000

_STRINGS_BY_FORMAT = {
    "date": "2030-01-01",
    "date-time": "2030-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "sandbox@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


def example(schema: object) -> Any:
    """A value that fits this JSON schema, as far as a simple reading goes."""
    if not isinstance(schema, dict):
        return {}
    return _Examples(schema).value({"type": "object"} | schema, 0)


class _Examples:
    """Makes up values for one schema and the definitions inside it."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._nodes_left = _NODES_MAX

    def value(self, schema: object, depth: int) -> Any:
        self._nodes_left -= 1
        if not isinstance(schema, dict) or depth > _DEPTH_MAX or self._nodes_left < 0:
            return None
        if "$ref" in schema:
            return self.value(self._referred(schema["$ref"]), depth + 1)
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        for key in ("enum", "examples"):
            if isinstance(values := schema.get(key), list) and values:
                return values[0]
        for key in ("anyOf", "oneOf", "allOf"):
            if isinstance(choices := schema.get(key), list) and choices:
                return self.value(choices[0], depth + 1)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = kind[0] if kind else None
        if kind == "object" or isinstance(schema.get("properties"), dict):
            return self._object(schema, depth)
        if kind == "array":
            least = schema.get("minItems")
            size = min(least, 8) if isinstance(least, int) and least > 1 else 1
            return [self.value(schema.get("items"), depth + 1) for _ in range(size)]
        return _scalar(kind, schema)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """What is required; everything, when nothing is."""
        properties, names = schema.get("properties"), schema.get("required")
        properties = properties if isinstance(properties, dict) else {}
        if not isinstance(names, list) or not names:
            names = list(properties)
        return {str(name): self.value(properties.get(str(name)), depth + 1) for name in names}

    def _referred(self, reference: object) -> object:
        """What `#/$defs/Name` means in the schema it stands in."""
        found: object = self._root
        for step in str(reference).removeprefix("#").split("/")[1:]:
            found = found.get(step) if isinstance(found, dict) else None
        return found


def _scalar(kind: object, schema: dict[str, Any]) -> Any:
    if kind in ("integer", "number"):
        least, most = schema.get("minimum"), schema.get("maximum")
        if isinstance(least, int | float):
            return least
        return min(1, most) if isinstance(most, int | float) else 1
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    text = _STRINGS_BY_FORMAT.get(str(schema.get("format")), "sandbox")
    longest = schema.get("maxLength")
    return text[:longest] if isinstance(longest, int) and longest >= 0 else text
