"""The log of calls, balances and dashboards over HTTP, against the real application."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from aipool.calls.types import DAY_MS
from aipool.control import exports
from aipool.control.usage import stretch
from aipool.kit.clock import iso_ms, now_ms
from aipool.kit.errors import Invalid
from aipool.ledger import service as ledger
from aipool.ledger.types import TransferKind
from tests.calls.rows import record, row
from tests.control.api_rig import Api, api

TODAY = now_ms() // DAY_MS * DAY_MS


class Log:
    """The interface, an ordinary user with calls and money, and a stranger's call."""

    def __init__(self, root: Api) -> None:
        self.root = root
        self.mine = root.signed_in()
        self.other = root.signed_in()
        assert self.mine.user is not None
        assert self.other.user is not None
        self.user_id = self.mine.user.id
        self.database = root.world.database
        self.credit(20_000_000_000)
        self.rows = [
            row(TODAY - DAY_MS + n, user=self.user_id, token=7 + n % 2, user_agent="=1+1")
            for n in range(5)
        ]
        self.theirs = row(TODAY - DAY_MS, user=int(self.other.user.id), key_id=4)
        record(self.database, *self.rows, self.theirs)

    def credit(self, amount: int) -> None:
        with self.database.write() as tx:
            ledger.credit_wallet(
                tx,
                user_id=self.user_id,
                amount_nano=amount,
                source="cash:test",
                kind=TransferKind.CREDIT,
                idem_key=f"test:{amount}",
                ref="ref-1",
                actor="test",
                at_ms=TODAY,
            )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    with api(tmp_path_factory.mktemp("log") / "data") as opened:
        yield Log(opened)


def ids(answer: Any) -> list[str]:
    return [one["id"] for one in answer["items"]]


def test_s0_36_each_call_is_traceable_page_by_page(log: Log) -> None:
    wanted = [one.rid for one in reversed(log.rows)]

    first = log.mine.good("GET", "/api/calls?limit=3")
    rest = log.mine.good("GET", f"/api/calls?limit=3&cursor={first['next_cursor']}")

    assert ids(first) + ids(rest) == wanted
    assert rest["next_cursor"] is None
    assert first["items"][0]["charge"] == "0.00000005"
    assert first["items"][0]["token"] == {"id": 7, "name": None}
    assert ids(log.mine.good("GET", "/api/calls?token=8")) == [wanted[1], wanted[3]]
    assert ids(log.mine.good("GET", "/api/calls?status=4xx")) == []
    assert ids(log.mine.good("GET", f"/api/calls?id={wanted[2]}&status=200")) == [wanted[2]]
    until = quote(iso_ms(log.rows[1].at_ms))
    assert ids(log.mine.good("GET", f"/api/calls?to={until}")) == [wanted[-1]]


def test_what_is_somebody_elses_is_not_there(log: Log) -> None:
    for path in ("", "/price"):
        foreign = log.mine.refused(404, "GET", f"/api/calls/{log.theirs.rid}{path}")
        missing = log.mine.refused(404, "GET", f"/api/calls/req_none{path}")
        assert {**foreign, "request_id": 0} == {**missing, "request_id": 0}
    assert ids(log.mine.good("GET", f"/api/calls?id={log.theirs.rid}")) == []
    log.mine.refused(403, "GET", "/api/admin/calls")


def test_filters_that_cannot_be_are_named(log: Log) -> None:
    for query, field in (
        ("status=6xx", "status"),
        ("cursor=%21", "cursor"),
        ("limit=101", "limit"),
        ("from=yesterday", "from"),
        ("stream=true", "from"),
        (f"from={quote(iso_ms(5))}&to={quote(iso_ms(4))}", "to"),
    ):
        assert log.mine.refused(422, "GET", f"/api/calls?{query}")["field"] == field, query
    week = f"from={quote(iso_ms(TODAY - 6 * DAY_MS))}&to={quote(iso_ms(TODAY))}"
    assert len(ids(log.mine.good("GET", f"/api/calls?stream=true&{week}"))) == 5


def test_operators_see_what_a_call_cost_and_every_try(log: Log) -> None:
    (shown,) = log.root.good("GET", "/api/admin/calls?key=4")["items"]
    one = log.root.good("GET", f"/api/admin/calls/{log.theirs.rid}")

    assert one == shown
    assert (one["cost"], one["margin"]) == ("0.000000002", "0.000000048")
    assert one["attempts"][0]["duration_ms"] == 120
    assert one["user"]["name"]
    assert len(ids(log.root.good("GET", f"/api/admin/calls?user={log.user_id}"))) == 5


def test_an_export_is_the_filter_whole_and_no_cell_is_a_formula(log: Log) -> None:
    text = log.mine.ask("GET", "/api/calls/export?token=8").text
    table = list(csv.DictReader(io.StringIO(text)))

    assert [one["id"] for one in table] == [one.rid for one in reversed(log.rows)][1::2]
    assert {one["user_agent"] for one in table} == {"'=1+1"}
    assert table[0]["charge"] == "0.00000005"
    lines = log.mine.ask("GET", "/api/calls/export?format=jsonl").text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [one.rid for one in reversed(log.rows)]
    everybody = log.root.ask("GET", "/api/admin/calls/export").text
    assert log.theirs.rid in everybody
    assert "upstream_request_id" not in text


def test_one_person_has_one_file_under_way_and_all_together_a_few() -> None:
    files = exports.Exports()
    answers = [files.file(user, "x", "csv", ("a",), iter(())) for user in range(exports.FILES_MAX)]
    for user in (0, 99):
        with pytest.raises(Exception, match="export"):
            files.file(user, "x", "csv", ("a",), iter(()))
    answers[0].on_end()  # type: ignore[attr-defined]
    files.file(99, "x", "csv", ("a",), iter(()))


def test_a_number_is_no_formula() -> None:
    (head, one, other) = "".join(
        exports.as_csv(("a", "b"), iter([{"a": "-0.5", "b": "@x"}, {"a": "\tx", "b": None}]))
    ).splitlines()
    assert (head, one, other) == ("a,b", "-0.5,'@x", "'\tx,")


def test_s0_35_the_balance_flow_groups_usage_and_leaves_the_rest_alone(log: Log) -> None:
    flow = log.mine.good("GET", "/api/balance-flow")

    day = iso_ms(TODAY - DAY_MS)[:10]
    assert flow["balance"] == "20"
    assert [(one["type"], one["amount"], one["day"]) for one in flow["items"]] == [
        ("credit", "20", None),
        ("usage", "-0.00000015", day),
        ("usage", "-0.0000001", day),
    ]
    assert flow["items"][0]["reference"] == "ref-1"
    assert flow["items"][0]["counter_account"] == "cash:test"
    seen: list[str] = []
    cursor = ""
    while True:
        page = log.mine.good("GET", f"/api/balance-flow?limit=1&cursor={cursor}")
        seen += ids(page)
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]
    assert seen == ids(flow)
    entries = log.mine.good("GET", f"/api/balance-flow/usage?day={day}&token=8")
    assert ids(entries) == [log.rows[3].rid, log.rows[1].rid]
    assert log.mine.good("GET", "/api/balance-flow?type=usage")["items"] == flow["items"][1:]
    of_user = f"/api/admin/users/{log.user_id}/balance-flow"
    assert ids(log.root.good("GET", of_user)) == ids(flow)
    exported = log.mine.ask("GET", "/api/balance-flow/export").text.splitlines()
    assert len(exported) == 2  # these calls moved no money
    for export in ("/api/balance-flow/export", f"{of_user}/export"):
        asker = log.mine if export.startswith("/api/balance") else log.root
        for query, lines in (
            ("type=adjust", 0),
            ("type=credit", 1),
            (f"type=credit&from={quote(iso_ms(TODAY + 1))}", 0),
            (f"from={quote(iso_ms(TODAY))}&to={quote(iso_ms(TODAY + 1))}", 1),
        ):
            said = asker.ask("GET", f"{export}?format=jsonl&{query}")
            assert (said.status, len(said.text.splitlines())) == (200, lines), query
        assert asker.refused(422, "GET", f"{export}?from=yesterday")["field"] == "from"
    assert log.mine.refused(422, "GET", "/api/balance-flow/usage?day=x&token=8")["field"] == "day"
    log.root.refused(404, "GET", "/api/admin/users/999999/balance-flow")


def test_s0_33_and_s0_40_the_dashboard_says_what_was_spent_and_what_is_left(log: Log) -> None:
    shown = log.mine.good("GET", "/api/usage?range=7d")

    assert (shown["bucket"], len(shown["series"])) == ("day", 7)
    assert shown["totals"]["requests"] == 5
    assert shown["totals"]["spend"] == "0.00000025"
    assert shown["totals"]["success_rate"] == 1
    assert [one["token"]["id"] for one in shown["by_token"]] == [7, 8]
    assert shown["latency"]["duration"]["p50_ms"] in range(100, 151)
    assert (shown["money"]["balance"], shown["money"]["is_low"]) == ("20", False)
    poor = log.other.good("GET", "/api/usage?range=24h")
    assert (poor["money"]["is_low"], poor["bucket"], len(poor["series"])) == (True, "hour", 24)


def test_operators_see_what_is_left_of_what_was_earned(log: Log) -> None:
    shown = log.root.good("GET", "/api/admin/usage")

    assert shown["totals"]["requests"] == 6
    assert (shown["totals"]["cost"], shown["totals"]["margin"]) == ("0.000000012", "0.000000288")
    assert {one["owner"]["id"] for one in shown["by_key"]} == {1, 4}
    assert [one["requests"] for one in shown["by_user"]] == [5, 1]
    log.mine.refused(403, "GET", "/api/admin/usage")


def test_s3_17_one_call_stands_in_the_log_and_in_the_usage(log: Log) -> None:
    person = log.root.signed_in()
    assert person.user is not None
    before = person.good("GET", "/api/usage?range=7d")["totals"]
    assert (before["requests"], before["spend"]) == (0, "0")
    made = row(TODAY - DAY_MS, user=person.user.id, token=99, charged_nano=1_500_000_000)
    record(log.database, made)

    (shown,) = person.good("GET", "/api/calls")["items"]
    usage = person.good("GET", "/api/usage?range=7d")

    assert (shown["id"], shown["model"], shown["charge"]) == (made.rid, "m0", "1.5")
    assert shown["at"] == iso_ms(made.at_ms)
    totals = usage["totals"]
    assert (totals["requests"], totals["spend"]) == (1, "1.5")
    days = {one["at"]: one["requests"] for one in usage["series"] if one["requests"]}
    assert days == {iso_ms(TODAY - DAY_MS): 1}


def test_a_stretch_is_whole_hours_or_days_and_has_an_end() -> None:
    at = TODAY + 5
    assert len(stretch(None, None, "24h", "", at).ats) == 24
    assert len(stretch(None, None, "90d", "", at).ats) == 90
    assert len(stretch(TODAY - DAY_MS, TODAY, "7d", "day", at).ats) == 1
    assert len(stretch(TODAY - DAY_MS, TODAY, "7d", "", at).ats) == 24
    for start, end, bucket, code in (
        (5, 5, "", "empty_range"),
        (0, 100 * DAY_MS, "", "range_too_long"),
        (0, 4 * DAY_MS, "hour", "range_too_long"),
    ):
        with pytest.raises(Invalid) as refused:
            stretch(start, end, "7d", bucket, at)
        assert refused.value.code == code
