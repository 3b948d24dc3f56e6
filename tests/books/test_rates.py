"""The sliding log of requests and tokens: never above the limit, and no refusal without need."""

from __future__ import annotations

from pathlib import Path

import pytest

from aipool.books.rate_file import TURN_SECONDS, Change, RateFile
from aipool.books.rates import (
    EXACT_PATIENCE_SECONDS,
    PATIENCE_SECONDS,
    WAY_SECONDS,
    Authority,
)
from aipool.doors.frames import AskPermits, Permit, PermitNeed, Permits, RecallPermits, Uncounted
from aipool.doors.snapshot import CallLimits
from tests.rate_world import Shape, Tally, World

pytestmark = pytest.mark.slow

RATE = "rpm:group-1-user-2"
HERE, THERE = 1, 2


class Rig:
    """An authority whose workers are the test."""

    def __init__(self, kept: list[Change] | None = None, blind_until: float = 0.0) -> None:
        self.now = 1_000.25
        self.said: list[tuple[int, Permits | RecallPermits]] = []
        self.wakes: list[float] = []
        self.kept: list[Change] = kept or []
        self._number = 0
        self.authority = Authority(
            answer=lambda epoch, message: self.said.append((epoch, message)),
            recall=lambda epoch, message: self.said.append((epoch, message)),
            wake=self.wakes.append,
            workers=lambda: 2,
            keep=lambda changes, _: self.kept.extend(changes),
            blind_until=blind_until,
        )
        self.authority.load(list(self.kept), self.now)

    def ask(
        self,
        amount: int = 1,
        *,
        limit: int = 600,
        epoch: int = HERE,
        ahead: int = 0,
        back: tuple[Uncounted, ...] = (),
        rates: tuple[str, ...] = (RATE,),
    ) -> None:
        self._number += 1
        needs = tuple(PermitNeed(rate, limit, 1, amount, amount + ahead) for rate in rates)
        self.authority.ask(epoch, AskPermits(self._number, needs, back), self.now)

    def answer(self) -> Permit:
        """The newest answer, of its first rate."""
        return [said for _, said in self.said if isinstance(said, Permits)][-1].permits[0]

    def recalls(self) -> list[tuple[int, RecallPermits]]:
        return [(to, said) for to, said in self.said if isinstance(said, RecallPermits)]

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.authority.poll(self.now)


def test_up_to_120_a_permit_counts_for_60_seconds_to_the_moment() -> None:
    rig = Rig()
    rig.ask(60, limit=60)
    assert rig.answer().amount == 60

    rig.now += 60.0 - EXACT_PATIENCE_SECONDS
    rig.ask(1, limit=60)
    assert rig.answer().amount == 0
    assert rig.answer().wait_seconds == pytest.approx(EXACT_PATIENCE_SECONDS + WAY_SECONDS)

    rig.now += EXACT_PATIENCE_SECONDS + WAY_SECONDS
    rig.ask(1, limit=60)
    assert rig.answer().amount == 1


def test_above_120_a_second_of_granting_leaves_62_seconds_after_it_began() -> None:
    rig = Rig()
    rig.ask(600)
    assert rig.answer().mark == 1_000.0
    rig.now = 1_061.8
    rig.ask(1)
    assert rig.answer().amount == 0
    assert rig.answer().wait_seconds == pytest.approx(0.2)
    rig.now = 1_062.0
    rig.ask(1)
    assert rig.answer().amount == 1


def test_the_way_to_the_vendor_refuses_nobody_after_60_seconds() -> None:
    rig = Rig()
    rig.ask(60, limit=60)
    rig.now += 60.0
    answers = len(rig.said)
    rig.ask(1, limit=60)
    assert len(rig.said) == answers
    rig.later(WAY_SECONDS + 0.001)
    assert rig.answer().amount == 1


def test_nobody_is_refused_for_what_leaves_within_a_tenth_of_a_second() -> None:
    rig = Rig()
    rig.ask(600)
    rig.now = 1_061.95
    answers = len(rig.said)
    rig.ask(1)
    assert len(rig.said) == answers
    assert rig.wakes[-1] == pytest.approx(0.05)
    rig.later(0.05)
    assert rig.answer().amount == 1


def test_who_waits_is_granted_what_there_is_and_ahead_a_fair_share_of_the_rest() -> None:
    rig = Rig()
    rig.ask(700)
    assert rig.answer().amount == 600
    other = Rig()
    other.ask(100, ahead=400)
    assert other.answer().amount == 100 + 250


def test_what_is_handed_back_is_counted_no_more_but_only_under_its_own_mark() -> None:
    rig = Rig()
    rig.ask(600)
    rig.ask(5, back=((RATE, 1_000.0, 5),))
    assert rig.answer().amount == 5
    rig.ask(5, back=((RATE, 999.0, 5), ("rpm:unknown", 1_000.0, 5)))
    assert rig.answer().amount == 0


def test_more_cannot_be_handed_back_than_was_counted() -> None:
    rig = Rig()
    rig.ask(600)
    rig.ask(1, back=((RATE, 1_000.0, 10_000),))
    assert rig.answer().counted == 1


def test_what_was_used_above_the_reservation_is_counted_as_of_now() -> None:
    rig = Rig()
    rig.ask(600)
    rig.now = 1_030.0
    rig.authority.given_back(HERE, 0, ((RATE, 0.0, -50),), rig.now)
    rig.now = 1_062.0
    rig.ask(600)
    assert (rig.answer().amount, rig.answer().counted) == (550, 600)


def test_what_others_hold_is_recalled_before_anybody_is_refused() -> None:
    rig = Rig()
    rig.ask(600, epoch=THERE)
    rig.ask(1)
    ((to, recall),) = rig.recalls()
    assert (to, recall.rates) == (THERE, (RATE,))

    rig.authority.given_back(THERE, recall.number, ((RATE, 1_000.0, 3),), rig.now)

    assert rig.said[-1][0] == HERE
    assert rig.answer().amount == 1


def test_who_gave_back_all_it_had_is_not_asked_again() -> None:
    rig = Rig()
    rig.ask(600, epoch=THERE)
    rig.ask(1)
    rig.authority.given_back(THERE, rig.recalls()[0][1].number, (), rig.now)
    assert rig.answer().amount == 0
    rig.ask(1)
    assert len(rig.recalls()) == 1
    assert rig.answer().amount == 0


def test_a_worker_that_does_not_answer_a_recall_costs_a_tenth_of_a_second() -> None:
    rig = Rig()
    rig.ask(600, epoch=THERE)
    answers = len(rig.said)
    rig.ask(1)
    rig.later(PATIENCE_SECONDS / 2)
    assert len(rig.said) == answers + 1  # the recall
    rig.later(PATIENCE_SECONDS / 2 + 0.001)
    assert rig.answer().amount == 0


def test_nobody_waits_for_a_worker_that_died_and_its_permits_stay_counted() -> None:
    rig = Rig()
    rig.ask(600, epoch=THERE)
    rig.ask(1)
    rig.authority.over(THERE, rig.now)
    assert (rig.answer().amount, rig.answer().counted) == (0, 600)


def test_a_call_is_counted_on_all_its_rates_or_on_none() -> None:
    rig = Rig()
    rig.ask(600)
    rig.ask(1, rates=("rpm:group-1", RATE))
    assert rig.answer().amount == 0
    rig.ask(600, rates=("rpm:group-1",))
    assert rig.answer().amount == 600


def test_a_lowered_limit_holds_at_once() -> None:
    rig = Rig()
    rig.ask(300, limit=600)
    rig.ask(1, limit=200)
    assert (rig.answer().amount, rig.answer().counted) == (0, 300)


def test_rates_of_which_nothing_is_counted_are_forgotten() -> None:
    rig = Rig()
    rig.ask(600)
    rig.now += 63
    rig.authority.sweep(rig.now)
    rig.ask(1)
    assert rig.answer().counted == 1


# --- the next process -----------------------------------------------------------------------------


def test_a_new_process_counts_what_the_last_one_kept(tmp_path: Path) -> None:
    rig = Rig()
    first = RateFile(tmp_path / "rates", rig.now, "boot")
    rig.ask(500)
    rig.ask(20, back=((RATE, 1_000.0, 30),))
    first.append(rig.kept[:1], rig.now)
    first.append(rig.kept[1:], rig.now)
    first.close()

    second = RateFile(tmp_path / "rates", rig.now, "boot")
    after = Rig(list(second.read(rig.now)), second.blind_until)
    after.ask(1)

    assert after.answer().counted == 491


def test_a_torn_end_of_the_file_was_never_answered(tmp_path: Path) -> None:
    file = RateFile(tmp_path, 1_000.0, "boot")
    file.append([(RATE, 1_000.0, 1_062.0, 7)], 1_000.0)
    file.append([(RATE, 1_000.0, 1_062.0, 8)], 1_000.0)
    file.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert list(RateFile(tmp_path, 1_001.0, "boot").read(1_001.0)) == [(RATE, 1_000.0, 1_062.0, 7)]


def test_what_counts_no_more_leaves_the_disk(tmp_path: Path) -> None:
    now = 1_000.0
    file = RateFile(tmp_path, now, "boot")
    for _ in range(10):
        file.append([(RATE, now, now + 62.0, 1)], now)
        now += TURN_SECONDS
    file.close()
    kept = [mark for _, mark, _, _ in RateFile(tmp_path, now, "boot").read(now)]
    assert 1 < len(kept) <= 3
    assert kept[-1] == now - TURN_SECONDS


def test_after_a_power_cut_nothing_is_granted_until_what_was_granted_cannot_count(
    tmp_path: Path,
) -> None:
    before = RateFile(tmp_path, 5_000.0, "one-boot")
    before.append([(RATE, 5_000.0, 5_062.0, 7)], 5_000.0)
    before.close()

    now = 20.0
    file = RateFile(tmp_path, now, "another-boot")
    assert file.blind_until == TURN_SECONDS
    rig = Rig(list(file.read(now)), file.blind_until)
    rig.now = now
    rig.ask(1)
    assert (rig.answer().amount, rig.answer().wait_seconds) == (0, TURN_SECONDS - now)
    rig.now = TURN_SECONDS
    rig.ask(1)
    assert rig.answer().amount == 1


def test_a_machine_that_has_run_for_a_minute_owes_nothing_to_its_last_start(tmp_path: Path) -> None:
    before = RateFile(tmp_path, 5_000.0, "one-boot")
    before.append([(RATE, 5_000.0, 5_062.0, 7)], 5_000.0)
    before.close()
    assert RateFile(tmp_path, 100.0, "another-boot").blind_until == 0.0
    assert not list(tmp_path.iterdir())


# --- workers and authority together, in simulated time --------------------------------------------

EXACT = Shape(1, CallLimits(rpm=30), CallLimits(rpm=50))
CHUNKS = Shape(1, CallLimits(rpm=200), CallLimits(rpm=300), calls_per_second=10)
MIXED = Shape(1, CallLimits(rpm=40), CallLimits(rpm=300), users=12, calls_per_second=10)
TOKENS = Shape(1, CallLimits(tpm=10_000), CallLimits(rpm=300), users=3, calls_per_second=10)
SHAPES = {"exact": EXACT, "chunks": CHUNKS, "mixed": MIXED, "tokens": TOKENS}
MINUTES = 12
#: A grant to another worker that is on its way, or a return that is.
ON_THE_WAY = 4


def _run(shape: Shape, seed: int) -> tuple[World, Tally]:
    world = World(seed, shape)
    tally = world.run(MINUTES)
    assert tally.passed > MINUTES * 45
    assert tally.refused > 0
    for key, seen in world.seen.items():
        if key.startswith("rpm:"):
            assert world.most(key) <= seen.limit, key
        else:
            assert world.most_tokens(key) <= seen.limit, key
    return world, tally


@pytest.mark.parametrize("name", SHAPES)
def test_one_worker_is_never_refused_falsely_and_never_passes_the_limit(name: str) -> None:
    _, tally = _run(SHAPES[name], seed=1)
    assert tally.deficits == []
    assert tally.silent == 0


@pytest.mark.parametrize("name", SHAPES)
def test_four_workers_never_pass_the_limit_together(name: str) -> None:
    _, tally = _run(SHAPES[name]._replace(workers=4), seed=2)
    assert max(tally.deficits, default=0) <= ON_THE_WAY
    assert tally.silent == 0


@pytest.mark.parametrize("name", ["chunks", "tokens"])
def test_nor_when_workers_die_links_break_and_the_ledger_process_restarts(name: str) -> None:
    shape = SHAPES[name]._replace(workers=4, faults=True, stall_seconds=1.5)
    _run(shape, seed=3)
