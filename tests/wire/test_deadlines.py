"""The sweep: late members are told, early ones are not, and a failing one harms no other."""

import asyncio

from aipool.wire.deadlines import NEVER, Sweep
from tests.wire.rig import run, until


class Member:
    def __init__(self, deadline: float, *, fails: bool = False) -> None:
        self.deadline = deadline
        self.fails = fails
        self.told = 0

    def expired(self, now: float) -> None:
        assert now >= self.deadline
        self.deadline = NEVER
        self.told += 1
        if self.fails:
            raise RuntimeError("the member's mistake")


def test_the_late_are_told_once_and_the_others_never() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        errors: list[object] = []
        loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
        sweep = Sweep(loop, 0.01)
        failing = Member(loop.time(), fails=True)
        late, soon = Member(loop.time()), Member(loop.time() + 0.05)
        early, gone = Member(loop.time() + 3600), Member(loop.time())
        for member in (failing, late, soon, early, gone):
            sweep.add(member)
        sweep.discard(gone)
        sweep.start()
        await until(lambda: soon.told == 1)
        assert [failing.told, late.told, early.told, gone.told] == [1, 1, 0, 0]
        assert len(errors) == 1
        sweep.stop()

    run(scenario())
