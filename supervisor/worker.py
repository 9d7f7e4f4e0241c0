"""One worker process while it lives: its lifeline, its heartbeat, what it prints, and its end with everything below it.

Owns: `Worker.live`, which returns when nothing of the tree is left. Who may be born and what an end means is decided in
`agents`."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import Any

import trio

from supervisor import kernel, trees
from supervisor.cgroups import Cgroup
from supervisor.channel import ChannelFull
from supervisor.chores import AGAIN_SECONDS
from supervisor.keeper import reaped
from supervisor.limits import measure, over_limit
from supervisor.logfile import Log
from supervisor.messages import BadMessage, Beat, Born, Ticket, TicketPlease
from supervisor.output import Throttle, record_of, serve_output
from supervisor.settings import AgentSettings, Settings
from supervisor.spawn import TICKET_SECONDS, SpawnTable
from supervisor.spawn import Spawn as Entry
from supervisor.trees import Exit
from supervisor.watch import abort_then_kill, wait_for_silence

MISSED_BEATS = 3
DRAIN_SECONDS = 0.5
LAST_WORDS_CHARS = 300


def last_words(line: str) -> str:
    """What a line of output says, if it has a letter: Python draws a box around the errors of a group, and the last
    line is the box's."""
    start = line[: 2 * LAST_WORDS_CHARS]
    return start.lstrip(" |+-")[:LAST_WORDS_CHARS] if any(map(str.isalpha, start)) else ""


@dataclass(frozen=True, slots=True)
class Around:
    """What every worker shares. `own_filters` is how many seccomp filters the supervisor has."""

    table: SpawnTable
    log: Log
    own_filters: int


@dataclass(eq=False)
class Worker:
    """One worker process. `asked`: its end was asked for, so it is no death; `reason` goes into Exited. `printed` is
    bytes of output, `last_words` its last line that says something: of a traceback that is the error."""

    entry: Entry
    settings: AgentSettings
    shared: Settings
    around: Around
    cgroup: Cgroup | None
    last_beat: float
    beat: Beat = field(default_factory=Beat)
    asked: bool = False
    reason: str = ""
    printed: int = 0
    last_words: str = ""
    ended: trio.Event = field(default_factory=trio.Event)

    @property
    def name(self) -> str:
        return f"worker {self.entry.agent} ({self.entry.session})"

    @property
    def fields(self) -> dict[str, Any]:
        """Who it is, for the log."""
        entry = self.entry
        return {"agent": entry.agent, "session": entry.session, "pid": entry.pid, "spawn": entry.spawn}

    async def live(self) -> Exit:
        """Serve it until its whole tree is gone and it is out of the table; how it ended."""
        end = Exit()
        try:
            async with trio.open_nursery() as reading:
                reading.start_soon(self._read_output)
                async with trio.open_nursery() as living:
                    living.start_soon(self._lifeline)
                    living.start_soon(self._watch_heart)
                    await trees.wait_ended(self.entry.pidfd)
                    living.cancel_scope.cancel()
                end = await self._bury()
                reading.cancel_scope.deadline = trio.current_time() + DRAIN_SECONDS
        finally:
            self.around.table.remove(self.entry.spawn)
            self.entry.channel.close()
            os.close(self.entry.pidfd)
            self.ended.set()
        return end

    async def kill_after(self, grace: float) -> None:
        """Leader and all, unless it ends by itself within `grace` seconds. `live` runs meanwhile and notices."""
        with trio.move_on_after(grace):
            await self.ended.wait()
        if self.ended.is_set():
            return
        try:
            pidfd = os.dup(self.entry.pidfd)  # `live` waits on its own, and closes it when it is through
        except OSError:  # there are no more: the leader at once, and what it leaves is swept
            trees.send(self.entry.pidfd, signal.SIGKILL)
            return
        try:
            report = await trees.kill_tree(self.entry.pid, pidfd, self.cgroup)
            self._complain(report.left)
        except OSError:
            trees.send(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)

    def condemn(self, reason: str) -> None:
        """It is going to be killed, for this reason; the first one counts."""
        self.reason = self.reason or reason
        self.around.log.error(f"{self.name}: {reason}", **self.fields)

    def judge(self) -> str | None:
        """Which limit it is over, if any."""
        return over_limit(self.settings, measure(self.entry.pid, self.printed))

    async def _bury(self) -> Exit:
        """The leader is dead and not yet reaped, so its number is still its own: end what it left, then reap it."""
        self._complain(await self._left_behind())
        end = await reaped(self.entry.pidfd)
        if end.signal == signal.SIGXCPU:
            seconds = self.settings.limits.get("cpuSeconds")
            most = f"{seconds} s allowed" if seconds else "the machine's own limit"
            self.reason = f"{self.settings.limit_key('cpuSeconds')}: {most}"
        if self.cgroup is not None:
            if end.signal == signal.SIGKILL and self.cgroup.ran_out_of_memory():
                allowed = self.settings.limits.get("memoryBytes")
                key = self.settings.limit_key("memoryBytes")
                self.reason = self.reason or f"{key}: the kernel ended it, {allowed} bytes are allowed"
            self.cgroup.remove()
        return end

    async def _left_behind(self) -> tuple[int, ...]:
        """End what the dead leader left; what does not end. Without descriptors to look with, it has to wait for
        some."""
        while True:
            try:
                if self.cgroup is not None:
                    await trees.kill_tree(self.entry.pid, self.entry.pidfd, self.cgroup)
                return (await trees.sweep(self.around.table.known_pids, self.around.own_filters)).left
            except OSError as error:
                if not kernel.is_shortage(error):
                    raise
                await trio.sleep(AGAIN_SECONDS)

    def _complain(self, left: tuple[int, ...]) -> None:
        if left:
            self.around.log.error(f"{self.name}: processes {left} do not end", **self.fields)

    async def _lifeline(self) -> None:
        channel = self.entry.channel
        try:
            while (received := await channel.receive()) is not None:
                match received[0]:
                    case Beat() as beat:
                        if type(beat.pss) is not int or not 0 <= beat.pss < 2**63:  # it goes into the process table
                            raise BadMessage("a heartbeat that tells no size")
                        self.beat = beat
                        self.last_beat = trio.current_time()
                    case TicketPlease():
                        ticket = self.around.table.mint(self.entry, trio.current_time())
                        channel.send_nowait(Ticket(ticket, TICKET_SECONDS))
                    case Born():
                        pass
                    case other:
                        raise BadMessage(f"{type(other).__name__} on a lifeline")
        except (BadMessage, ChannelFull) as error:
            self.condemn(f"its lifeline is broken: {error}")
            trees.send(self.entry.pidfd, signal.SIGKILL)

    async def _watch_heart(self) -> None:
        allowed = MISSED_BEATS * self.shared.heartbeat_seconds
        await wait_for_silence(lambda: self.last_beat, allowed)
        self.condemn(f"no heartbeat for {allowed:g} s ({MISSED_BEATS} times supervisor.heartbeatSeconds)")
        await abort_then_kill(self.entry.pidfd)

    async def _read_output(self) -> None:
        log, fields = self.around.log, self.fields

        def emit(text: str) -> None:
            self.last_words = last_words(text) or self.last_words
            record = record_of(text) or {"level": "info", "msg": text}
            more = {name: value for name, value in record.items() if name not in ("ts", "level", "logger", "msg")}
            log.write(record["level"], "agent", record["msg"], **{**more, **fields})  # nobody speaks as another

        def dropped(lines: int, size: int) -> None:
            log.write("warn", "agent", f"{lines} lines ({size} bytes) of output dropped: it prints too fast", **fields)

        def count(size: int) -> None:
            self.printed += size

        throttle = Throttle(self.shared.lines_per_second, self.shared.bytes_per_second)
        await serve_output(self.entry.birth.output, throttle, emit, dropped, count)
