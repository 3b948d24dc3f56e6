"""Made-up values fit their schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aipool.vendors.sandbox.examples import example


def of(schema: dict[str, Any]) -> Any:
    return example({"type": "object", "properties": {"x": schema}})["x"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "sandbox"),
        ({"type": "string", "maxLength": 3}, "san"),
        ({"type": "string", "format": "date"}, "2030-01-01"),
        ({"type": ["string", "null"]}, "sandbox"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 10}, 10),
        ({"type": "number", "maximum": -2}, -2),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"const": 7}, 7),
        ({"default": "d", "enum": ["e"]}, "d"),
        ({"enum": ["e", "f"]}, "e"),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [1, 1, 1]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}, {"a": 1}),
    ],
)
def test_a_value_fits_its_schema(schema: dict[str, Any], value: Any) -> None:
    assert of(schema) == value


def test_a_reference_is_followed() -> None:
    schema = {"properties": {"x": {"$ref": "#/$defs/N"}}, "$defs": {"N": {"type": "integer"}}}

    assert example(schema) == {"x": 1}


def test_a_schema_that_branches_into_itself_has_an_end() -> None:
    itself = {"properties": {name: {"$ref": "#"} for name in "abcdefghij"}}

    made = example(itself)
    assert set(made) == set("abcdefghij")
    assert len(json.dumps(made)) < 50_000


@pytest.mark.parametrize("schema", [None, [], 5, {}, {"$ref": 5}, {"required": [5]}])
def test_an_odd_schema_still_gives_an_object_or_nothing(schema: object) -> None:
    assert example(schema) is None or isinstance(example(schema), dict)
