"""Workers: from the gateway's request to the last process of the tree they leave.

Owns: the life of every worker. One per session; each has a lifeline, a heartbeat, limits, and a count against its agent
when it dies. The gateway is told Spawned or SpawnFailed once per request, and Exited once per worker, when nothing of
it is left."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from supervisor import kernel, trees
from supervisor.cgroups import Cgroup, Cgroups
from supervisor.channel import ChannelFull
from supervisor.crashpoints import crashpoint
from supervisor.factory import Birth, BirthFailed
from supervisor.keeper import describe, reaped, terminate
from supervisor.limits import SAMPLE_SECONDS
from supervisor.messages import (
    Assign,
    BadMessage,
    Exited,
    Message,
    Notice,
    Quarantined,
    Spawn,
    Spawned,
    SpawnFailed,
)  # fmt: skip
from supervisor.quarantine import Quarantine
from supervisor.settings import AgentSettings, Settings
from supervisor.spawn import Spawn as Entry
from supervisor.trees import Exit
from supervisor.uids import NoUid, Uids
from supervisor.worker import Around, Worker

HOLD_GRACE = 4.0
ENDING_SECONDS = 10.0
RETRY_MS = 500

Answer = Callable[[Message], None]


class CannotSpawn(Exception):
    """There will be no worker; the text becomes SpawnFailed.reason."""


@dataclass(slots=True)
class Agents:
    """All workers of one system. `new_birth` gives a spare or a fresh process, not yet registered; `tell` reaches the
    gateway there is, if any.

    `settings` may be replaced; it counts for workers born afterwards."""

    settings: Settings
    around: Around
    socket: str
    uids: Uids
    quarantine: Quarantine
    new_birth: Callable[[], Awaitable[Birth]]
    tell: Callable[[Message], None]
    on_change: Callable[[], None]
    cgroups: Cgroups | None = None
    stopping: bool = False
    workers: dict[str, Worker] = field(default_factory=dict)
    _starting: dict[str, trio.Event] = field(default_factory=dict)
    _nursery: trio.Nursery | None = None
    _count: int = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Everything here runs below this task, for ever."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await self._sample()

    # --- what the gateway asks

    def request(self, request: Spawn, answer: Answer) -> None:
        """A worker for this session; `answer` is called once. A session that has one gets that one."""
        assert self._nursery is not None, "run() first"
        self._nursery.start_soon(self._request, request, answer)

    def stop_worker(self, spawn: str, reason: str, grace: float) -> None:
        """End one worker: SIGTERM, and after `grace` seconds the whole tree. An unknown one has ended already."""
        worker = self.workers.get(spawn)
        if worker is None or self._nursery is None:
            return
        if not worker.asked:
            worker.asked = True
            worker.reason = worker.reason or reason
            if grace > 0:
                terminate(worker.entry.birth)
        self._nursery.start_soon(worker.kill_after, grace)

    def hold(self, agent: str, on: bool, reason: str) -> None:
        """Quarantine, in which the agent's workers end, or release."""
        if on:
            self.quarantine.hold(agent, reason)
            for worker in [one for one in self.workers.values() if one.entry.agent == agent]:
                self.stop_worker(worker.entry.spawn, reason, HOLD_GRACE)
        else:
            self.quarantine.release(agent)
        self.around.log.write(
            "warn" if on else "info",
            "supervisor",
            f"agent {agent} {'held' if on else 'released'}: {reason}",
            agent=agent,
        )
        self.tell(Quarantined(agent, on, reason))
        self.on_change()

    async def stop_all(self, grace: float) -> None:
        """SIGTERM to everybody at once, `grace` seconds, then the trees; return when nothing is left. No worker is born
        any more."""
        self.stopping = True
        for worker in list(self.workers.values()):
            self.stop_worker(worker.entry.spawn, "the system stops", grace)
        for worker in list(self.workers.values()):
            await worker.ended.wait()

    def kill_all_now(self) -> None:
        """As `stop_all`, without grace and without waiting."""
        self.stopping = True
        for worker in list(self.workers.values()):
            self.stop_worker(worker.entry.spawn, "the system stops", 0)

    def live_rows(self) -> list[dict[str, Any]]:
        """The rows of Live."""
        return [
            {
                "spawn": worker.entry.spawn,
                "agent": worker.entry.agent,
                "session": worker.entry.session,
                "pid": worker.entry.pid,
                "start": worker.entry.start,
                "quarantine": worker.entry.agent in self.quarantine.held,
            }
            for worker in self.workers.values()
        ]

    # --- birth

    async def _request(self, request: Spawn, answer: Answer) -> None:
        while (starting := self._starting.get(request.session)) is not None:
            await starting.wait()
        self._starting[request.session] = trio.Event()
        try:
            worker = await self._of_session(request.session) or await self._bear(request)
        except CannotSpawn as error:
            held = request.agent in self.quarantine.held
            self.around.log.warning(
                f"no worker for {request.session}: {error}", agent=request.agent, session=request.session
            )
            answer(SpawnFailed(request.id, str(error), quarantined=held, retry_ms=RETRY_MS))
        else:
            crashpoint("supervisor.spawned.before")
            answer(Spawned(request.id, worker.entry.spawn, worker.entry.pid, worker.entry.start))
            crashpoint("supervisor.spawned.after")
        finally:
            self._starting.pop(request.session).set()

    async def _of_session(self, session: str) -> Worker | None:
        """The worker that serves the session. One that is ending is waited for: a session never has two."""
        found = next((worker for worker in self.workers.values() if worker.entry.session == session), None)
        if found is None or not (found.asked or found.reason or kernel.has_ended(found.entry.pidfd)):
            return found
        with trio.move_on_after(ENDING_SECONDS):
            await found.ended.wait()  # and with it Exited has been told, before this session's Spawned
            return None
        raise CannotSpawn("the session's last worker does not end")

    def _refuse(self, agent: str) -> None:
        if self.stopping:
            raise CannotSpawn("the system stops")
        if agent not in self.settings.agents:
            raise CannotSpawn(f"there is no agent {agent} in the configuration")
        if agent in self.quarantine.held:
            raise CannotSpawn(f"agent {agent} is in quarantine: {self.quarantine.held[agent]}")

    async def _bear(self, request: Spawn) -> Worker:
        self._refuse(request.agent)
        uid = self._uid_for(request.agent)
        try:
            birth = await self.new_birth()
        except BirthFailed as error:
            raise CannotSpawn(str(error)) from error
        # From here to `add` there is no await: a process nobody knows would be swept.
        spawn = secrets.token_hex(8)
        self._count += 1
        entry = self.around.table.add(
            birth,
            spawn=spawn,
            agent=request.agent,
            session=request.session,
            generation=self._count,
            now=trio.current_time(),
        )
        try:
            self._refuse(request.agent)  # it may have been held meanwhile
            worker = self._bind(entry, self.settings.agents[request.agent], uid)
        except (CannotSpawn, OSError, ChannelFull, BadMessage) as error:
            trees.send(birth.pidfd, signal.SIGKILL)
            await reaped(birth.pidfd)
            self.around.table.remove(spawn)
            birth.close()
            raise CannotSpawn(str(error)) from error
        assert self._nursery is not None
        self.workers[spawn] = worker
        self._nursery.start_soon(self._live, worker)
        self.on_change()
        return worker

    def _uid_for(self, agent: str) -> int | None:
        if self.settings.uids is None:
            return None
        try:
            uid = self.uids.uid_of(agent, self.settings.uids)
            if killed := self.uids.empty_once(uid):
                self.around.log.warning(
                    f"killed {len(killed)} processes that ran under uid {uid} before agent {agent} used it", agent=agent
                )
        except (NoUid, OSError) as error:
            raise CannotSpawn(str(error)) from error
        return uid

    def _bind(self, entry: Entry, settings: AgentSettings, uid: int | None) -> Worker:
        """Tell a born process who it is; its cgroup first, so that nothing it starts is outside."""
        cgroup = self._enter_cgroup(entry, settings)
        now = trio.current_time()
        crashpoint("supervisor.assign.before")
        entry.channel.send_nowait(
            Assign(
                spawn=entry.spawn,
                agent=entry.agent,
                session=entry.session,
                socket=self.socket,
                ticket=self.around.table.mint(entry, now),
                runtime=settings.runtime,
                env=settings.env,
                cwd=settings.cwd or settings.workspace,
                limits=settings.limits,
                uid=uid,
                gid=self.settings.uids.gid if self.settings.uids and uid is not None else None,
                idle_seconds=settings.idle_seconds,
                heartbeat_seconds=self.settings.heartbeat_seconds,
                limit_keys=settings.limit_keys,
            )
        )
        crashpoint("supervisor.assign.after")
        return Worker(entry, settings, self.settings, self.around, cgroup, last_beat=now)

    def _enter_cgroup(self, entry: Entry, settings: AgentSettings) -> Cgroup | None:
        """A group of its own where we can make one; where not, trees are killed and measured process by process."""
        if self.cgroups is None:
            return None
        try:
            cgroup = self.cgroups.create(entry.spawn, settings.limits)
            cgroup.join(entry.pid)
        except OSError as error:
            self.around.log.warning(f"no cgroup for a worker of {entry.agent}: {error}", agent=entry.agent)
            return None
        return cgroup

    # --- end

    async def _live(self, worker: Worker) -> None:
        try:
            end = await worker.live()
        finally:
            self.workers.pop(worker.entry.spawn, None)
        self._count_end(worker, end)
        self.on_change()

    def _count_end(self, worker: Worker, end: Exit) -> None:
        entry = worker.entry
        died = not worker.asked and end.code != 0
        reason = worker.reason or (f"its last words: {worker.last_words}" if died and worker.last_words else "")
        why = f": {reason}" if reason else ""
        self.around.log.write(
            "error" if died else "info", "supervisor", f"{worker.name} ended: {describe(end)}{why}", **worker.fields
        )
        code = 255 if end == Exit() else end.code
        crashpoint("supervisor.exited.before")
        self.tell(Exited(entry.spawn, entry.agent, entry.session, code, end.signal, reason))
        crashpoint("supervisor.exited.after")
        if died and self.quarantine.died(entry.agent, trio.current_time()):
            held = f"{self.quarantine.held[entry.agent]}; the last: {describe(end)}{why}"
            self.quarantine.hold(entry.agent, held)
            fix = f"mend it, then: peergate agents release {entry.agent}"
            self.around.log.error(f"agent {entry.agent} is in quarantine: {held}", agent=entry.agent, fix=fix)
            self.tell(Quarantined(entry.agent, True, held))
            self.tell(Notice("error", "AGENT_QUARANTINED", f"agent {entry.agent}: {held}", agent=entry.agent, fix=fix))

    async def _sample(self) -> None:
        """Look at everybody who has limits, every SAMPLE_SECONDS."""
        while True:
            await trio.sleep(SAMPLE_SECONDS)
            for worker in list(self.workers.values()):
                if worker.settings.limits and not worker.reason and (reason := self._judge(worker)) is not None:
                    worker.condemn(reason)
                    assert self._nursery is not None
                    self._nursery.start_soon(worker.kill_after, 0)
                await trio.lowlevel.checkpoint()

    def _judge(self, worker: Worker) -> str | None:
        try:
            return worker.judge()
        except OSError as error:
            if not kernel.is_shortage(error):
                raise
            return None  # at the next look
