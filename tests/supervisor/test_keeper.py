"""A unit kept by real births of small processes: restarts, readiness, stop, kill, and never two at a time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import trio

from supervisor import kernel
from supervisor.channel import Channel, pair
from supervisor.factory import Birth, BirthFailed
from supervisor.keeper import Keeper, Trade, describe
from supervisor.logfile import Log
from supervisor.machine import Phase, Policy
from supervisor.messages import BadMessage
from supervisor.trees import Exit

# Every death waits, also on a machine so slow that a story's process was ready for a moment.
QUICK = Policy(start_timeout=1.0, stop_grace=0.2, kill_again=0.2, first_delay=0.02, longest_delay=0.1, quick_times=0)
READY = "import time; print('here', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}"


class Workshop:
    """Makes `python -c` processes and notes what the keeper does. A process is ready when it has printed something."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.births: list[int] = []
        self.living: set[int] = set()
        self.most_at_once = 0
        self.failing = 0
        self.broken: Exception | None = None

    def trade(self) -> Trade:
        return Trade(self.spawn, self.own, self.disown, self.serve, self.read_output)

    async def spawn(self) -> Birth:
        await trio.lowlevel.checkpoint()
        if self.failing:
            self.failing -= 1
            raise BirthFailed("no room")
        return self.give_birth()

    def give_birth(self) -> Birth:
        ours, theirs = pair()
        readable, writable = os.pipe2(os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, writable, 1)]
        pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", self.program], {}, file_actions=actions)
        os.close(writable)
        theirs.close()
        return Birth(pid, os.pidfd_open(pid), Channel(ours), readable, kernel.start_of(pid))

    def own(self, birth: Birth) -> None:
        self.births.append(birth.pid)
        self.living.add(birth.pid)
        self.most_at_once = max(self.most_at_once, len(self.living))

    def disown(self, birth: Birth) -> None:
        self.living.remove(birth.pid)

    async def serve(self, birth: Birth, ready: Callable[[], None]) -> None:
        await trio.lowlevel.wait_readable(birth.output)
        ready()
        if self.broken is not None:
            error, self.broken = self.broken, None
            raise error
        await trio.sleep_forever()

    async def read_output(self, birth: Birth) -> None:
        try:
            await trio.sleep_forever()
        finally:
            os.close(birth.output)


@pytest.fixture
async def start(nursery):
    async def begin(program: str, workshop: Workshop | None = None, policy: Policy = QUICK) -> tuple[Keeper, Workshop]:
        made = workshop or Workshop(program)
        keeper = Keeper("unit", made.trade(), Log(stderr=False), policy=policy)
        await nursery.start(keeper.run)
        keepers.append(keeper)
        return keeper, made

    keepers: list[Keeper] = []
    yield begin
    with trio.fail_after(10):
        for keeper in keepers:
            keeper.kill_now()
            await keeper.wait_for(Phase.STOPPED, Phase.FAILED)


async def test_one_that_is_killed_comes_back(start):
    keeper, workshop = await start(READY)
    keeper.want_up()
    with trio.fail_after(10):
        await keeper.wait_for(Phase.READY)
        os.kill(workshop.births[0], signal.SIGKILL)
        await keeper.wait_for(Phase.BACKOFF)
        assert keeper.last_end == Exit(signal=signal.SIGKILL)
        await keeper.wait_for(Phase.READY)
    assert workshop.most_at_once == 1
    assert len(workshop.births) == 2


async def test_one_that_dies_at_once_and_leaves_its_pipe_open_is_not_started_again_at_once(start):
    patient = replace(QUICK, quick_after=0.4, quick_times=20)
    keeper, _ = await start("print('here', flush=True)", policy=patient)
    keeper.want_up()
    with trio.fail_after(10):
        await keeper.wait_for(Phase.READY)
        assert await keeper.wait_for(Phase.BACKOFF, Phase.STARTING) is Phase.BACKOFF


async def test_exit_78_is_the_end(start):
    keeper, workshop = await start("raise SystemExit(78)")
    keeper.want_up()
    with trio.fail_after(10):
        await keeper.wait_for(Phase.FAILED)
    assert len(workshop.births) == 1


async def test_births_that_fail_are_tried_again(start):
    workshop = Workshop(READY)
    workshop.failing = 3
    keeper, _ = await start(READY, workshop)
    keeper.want_up()
    with trio.fail_after(10):
        await keeper.wait_for(Phase.READY)
    assert keeper.unit.starts == 4


async def test_one_that_is_never_ready_is_killed_and_tried_again(start):
    keeper, workshop = await start("import time; time.sleep(60)")
    keeper.want_up()
    with trio.fail_after(10):
        await keeper.wait_for(Phase.KILLING)
        await keeper.wait_for(Phase.STARTING)
    assert keeper.last_end == Exit(signal=signal.SIGKILL)
    assert workshop.most_at_once == 1


@pytest.mark.parametrize(("program", "end"), [(READY, signal.SIGTERM), (DEAF, signal.SIGKILL)])
async def test_a_stop_is_asked_for_and_then_taken(start, program, end):
    keeper, workshop = await start(program)
    keeper.want_up()
    with trio.fail_after(10):
        await keeper.wait_for(Phase.READY)
        keeper.want_down()
        await keeper.wait_for(Phase.STOPPED)
    assert keeper.last_end == Exit(signal=end)
    assert workshop.living == set()


async def test_one_that_is_wanted_again_while_it_stops_starts_at_once(start):
    keeper, workshop = await start(READY)
    keeper.want_up()
    with trio.fail_after(10):
        await keeper.wait_for(Phase.READY)
        keeper.want_down()
        keeper.want_up()
        await keeper.wait_for(Phase.STARTING)
        await keeper.wait_for(Phase.READY)
    assert (len(workshop.births), workshop.most_at_once) == (2, 1)


@pytest.mark.parametrize("error", [BadMessage("gibberish"), RuntimeError("a defect of ours")])
async def test_a_conversation_that_breaks_costs_the_process_and_nothing_else(start, error):
    keeper, workshop = await start(READY)
    workshop.broken = error
    keeper.want_up()
    with trio.fail_after(10):
        await keeper.wait_for(Phase.BACKOFF)
        await keeper.wait_for(Phase.READY)
    assert len(workshop.births) == 2


async def test_a_failed_attempt_is_told_from_a_living_process(start):
    keeper, workshop = await start(READY)
    workshop.failing = 1
    keeper.want_up()
    with trio.fail_after(10):
        assert await keeper.wait_alive() is False
        await keeper.wait_for(Phase.STARTING)
        assert await keeper.wait_alive() is True


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (Exit(code=3), "exit code 3"),
        (Exit(signal=9), "killed by SIGKILL"),
        (Exit(signal=40), "killed by signal 40"),
        (Exit(), "exit status unknown"),
    ],
)
def test_an_end_in_words(end: Exit, words: str):
    assert describe(end) == words
