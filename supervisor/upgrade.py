"""Putting the code on disk to work while everything runs (SIGUSR2): a new line beside the old one, on the same doors.

Owns: the order. The new zygote proves that the code can be imported, the new gateway stands by, the old one closes the
database, the new one takes the doors. Until it is ready the old line is kept, and goes on when it does not get
there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.line import Line
from supervisor.machine import Phase

if TYPE_CHECKING:
    from supervisor.system import System

_UP_OR_NOT = (Phase.READY, Phase.BACKOFF, Phase.KILLING, Phase.FAILED)


async def upgrade(system: System) -> bool:
    """Upgrade zygote and gateway; workers that run go on with the code they have. Whether it succeeded; the log says
    why not."""
    old, new = system.line, system.new_line(system.line.number + 1)
    system.lines = [old, new]
    try:
        return await _replace(system, old, new)
    finally:
        system.lines = [system.line]
        system.status.changed()


async def _replace(system: System, old: Line, new: Line) -> bool:
    log = system.ground.log
    assert system.nursery is not None
    await system.nursery.start(new.run)
    if not await _stands_by(new):
        log.error("the upgrade failed before it began: the old code was not touched")
        await new.stop()
        return False
    old.gateway.want_down()
    await old.gateway.wait_for(Phase.STOPPED, Phase.FAILED)
    new.allowed.set()
    if await new.gateway.wait_for(*_UP_OR_NOT) is not Phase.READY:
        log.error("the upgrade failed: the old code goes on")
        new.kill_now()
        await new.stop()
        old.gateway.want_up()
        return False
    system.line = new
    new.warm(system.resolved.settings.warm_spares)
    await old.stop()
    log.info("upgraded", generation=system.control.generation)
    return True


async def _stands_by(new: Line) -> bool:
    """Whether the new code can be imported (its zygote did) and its gateway waits for the doors."""
    new.prepare()
    if await new.zygote.wait_for(*_UP_OR_NOT) is not Phase.READY:
        return False
    if not new.uses_zygote:
        new.zygote.want_down()
    new.gateway.want_up()
    return await new.gateway.wait_alive()
