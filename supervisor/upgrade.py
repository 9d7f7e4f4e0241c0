"""Putting the code on disk to work while everything runs (SIGUSR2): a new line beside the old one, on the same doors.

Owns: the order. The new zygote proves that the code can be imported, the new gateway stands by, the old one closes the
database, the new one takes the doors. Until it is ready the old line is kept, and goes on when it does not get
there."""

from __future__ import annotations

from supervisor.line import Line
from supervisor.logfile import Log
from supervisor.machine import Phase

_UP_OR_NOT = (Phase.READY, Phase.BACKOFF, Phase.KILLING, Phase.FAILED)


async def take_over(old: Line, new: Line, log: Log) -> bool:
    """Put `new`, which runs and has started nothing yet, in the place of `old`. True: `new` serves, and `old` is the
    caller's to stop. False: `new` is stopped and `old` goes on; the log says why. Workers that run go on with the code
    they have."""
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
