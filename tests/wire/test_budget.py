"""The budget of bytes in flight: who pauses, who goes on, and in what order."""

from aipool.wire.budget import Budget


class Reader:
    def __init__(self, budget: Budget, name: str, log: list[str]) -> None:
        self.budget = budget
        self.name = name
        self.log = log
        self.reading()

    def reading(self) -> None:
        self.budget.reading(self, self.pause)

    def pause(self) -> None:
        self.log.append(f"{self.name} pauses")
        self.budget.wait(self, self.resume)

    def resume(self) -> None:
        self.log.append(f"{self.name} goes on")
        self.reading()


def test_all_readers_pause_when_it_fills_and_go_on_in_order_as_room_allows() -> None:
    budget = Budget(1_000_000, 0)
    log: list[str] = []
    readers = [Reader(budget, name, log) for name in "abc"]

    budget.charge(1_000_000)
    assert log == ["a pauses", "b pauses", "c pauses"]
    assert all(budget.must_wait(reader) for reader in readers)

    log.clear()
    budget.release(300_000)
    assert log == ["a goes on", "b goes on"], "300 kB is room for less than two reads more"

    log.clear()
    budget.charge(300_000)
    assert sorted(log) == ["a pauses", "b pauses"]

    log.clear()
    budget.leave(readers[2])
    budget.release(1_000_000)
    assert log == ["a goes on", "b goes on"]


def test_with_always_one_half_done_readers_cannot_block_one_another() -> None:
    budget = Budget(1_000_000, 0, always_one=True)
    log: list[str] = []
    first, second = (Reader(budget, name, log) for name in "ab")

    budget.charge(1_200_000)
    assert log == ["a pauses", "a goes on", "b pauses"]
    assert not budget.must_wait(first)
    assert budget.must_wait(second)

    log.clear()
    budget.leave(first)
    assert log == ["b goes on"]
    assert not budget.must_wait(second)
