"""A dump is read as tables of rows, whatever form it has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aipool.kit.errors import Invalid
from aipool.moving.dump import read_dump
from aipool.moving.sql import read_sql
from tests.moving.dumps import WRITERS, small


@pytest.mark.parametrize("form", WRITERS)
def test_the_same_rows_are_read_of_every_form(tmp_path: Path, form: str) -> None:
    wanted = json.loads(json.dumps(small()))

    assert read_dump(WRITERS[form](tmp_path / "dump", small())) == wanted


def test_options_may_be_an_object(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_text('{"options": {"QuotaPerUnit": 1}, "users": null}')

    assert read_dump(path)["options"] == [{"key": "QuotaPerUnit", "value": 1}]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"users": 1}', '{"users": [1]}', "SELECT 1;"])
def test_what_is_no_dump_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dump"
    path.write_text(text)

    with pytest.raises(Invalid):
        read_dump(path)
    with pytest.raises(Invalid):
        read_dump(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users (id) VALUES (1, 2);",
        "INSERT INTO users VALUES (1);",
        "INSERT INTO users (id) VALUES (now());",
        "INSERT INTO users (id) VALUES (1) ON CONFLICT DO NOTHING;",
        "INSERT INTO users (id) VALUES (1;",
        "INSERT INTO users (id) SELECT 1; INSERT INTO users (id) VALUES ();",
    ],
)
def test_a_row_that_is_not_understood_is_refused_by_its_table(statement: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_sql(statement, ["users"])
    assert caught.value.field == "users"


def test_a_text_that_looks_like_a_statement_is_none() -> None:
    text = "INSERT INTO notes VALUES ('x;\nINSERT INTO users (id) VALUES (1);\n');"

    assert read_sql(text, ["users"]) == {}
