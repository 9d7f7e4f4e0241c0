"""The loops beside the units: a door that cannot be opened again does not keep the others shut."""

from __future__ import annotations

from pathlib import Path

import trio

from supervisor.chores import DOOR_SECONDS, watch_doors
from supervisor.listeners import Listeners
from supervisor.logfile import Log
from supervisor.sockets import Door, Doors


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
