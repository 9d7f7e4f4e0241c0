"""The loops beside the units: a door that cannot be opened again does not keep the others shut; a look that a shortage
prevents is had later."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio

from supervisor import trees
from supervisor.chores import AGAIN_SECONDS, DOOR_SECONDS, reap_orphans, watch_doors
from supervisor.listeners import Listeners
from supervisor.logfile import Log
from supervisor.signals import Asked
from supervisor.sockets import Door, Doors
from supervisor.spawn import SpawnTable


async def test_a_door_that_was_opened_again_is_told_though_another_cannot_be(tmp_path: Path, nursery, autojump_clock):
    doors = Doors.open(str(tmp_path / "run"), [Door("agents", "agents.sock"), Door("operator", "operator.sock")])
    renewed: list[list[str]] = []
    nursery.start_soon(watch_doors, doors, Listeners(), Log(stderr=False), renewed.append)
    for name in ("agents.sock", "operator.sock"):
        (tmp_path / "run" / name).unlink()
    (tmp_path / "run" / "operator.sock").write_text("somebody's")
    await trio.sleep(2 * DOOR_SECONDS + 1)
    assert renewed == [["agents"]]
    (tmp_path / "run" / "operator.sock").unlink()
    await trio.sleep(DOOR_SECONDS)
    assert renewed == [["agents"], ["operator"]]
    doors.close()


async def test_orphans_that_cannot_be_looked_for_are_looked_for_again_where_that_may_help(monkeypatch, autojump_clock):
    looks: list[float] = []
    outcomes = [OSError(errno.EMFILE, "full"), OSError(errno.ENFILE, "full"), None, PermissionError(errno.EPERM, "no")]

    async def sweep(*_: object) -> None:
        looks.append(trio.current_time())
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    monkeypatch.setattr(trees, "sweep", sweep)
    asked = Asked()
    asked.child.set()
    began = trio.current_time()
    with pytest.RaisesGroup(PermissionError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reap_orphans, asked, SpawnTable(), 0)
            await trio.sleep(10)
            assert looks == [began, began + AGAIN_SECONDS, began + 2 * AGAIN_SECONDS]
            asked.child.set()
