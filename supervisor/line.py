"""One version of the code at work: a zygote that imported it, the factory behind it, spares, and the gateway forked
from it.

Owns: what belongs to one version. An upgrade makes a second line beside the first; the one that lost is stopped
whole."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

import trio

from supervisor import trees
from supervisor.control import Control
from supervisor.factory import Birth, BirthFailed, Factory, Method, exec_zygote
from supervisor.keeper import Keeper, Trade, terminate
from supervisor.logfile import Log
from supervisor.machine import Event, Phase, Policy
from supervisor.options import Targets
from supervisor.output import Throttle, record_of, serve_output, timestamp
from supervisor.settings import Settings
from supervisor.spares import LOOK_SECONDS, Spares
from supervisor.spawn import SpawnTable
from supervisor.watch import abort_then_kill, wait_for_silence

OUR_OWN_OUTPUT = 10
"""How many times more than a worker our own processes may print before lines are dropped."""
GATEWAY_SILENCE = 15.0
RETIRE_SECONDS = 3.0
"""A gateway gives itself as long to answer what is in progress and close the database."""


class _Started:
    """A task_status that calls a function: who serves a zygote says so when it is ready."""

    def __init__(self, ready: Callable[[], None]) -> None:
        self._ready = ready

    def started(self, value: None = None) -> None:
        self._ready()


class Line:
    """Zygote, factory, spares and gateway of one version. `allowed` is set when its gateway may take the sockets."""

    def __init__(
        self,
        number: int,
        settings: Settings,
        targets: Targets,
        environment: Mapping[str, str],
        table: SpawnTable,
        control: Control,
        log: Log,
    ) -> None:
        self.number = number
        self.allowed = trio.Event()
        self.scope = trio.CancelScope()
        self._warm = trio.Event()
        self._settings, self._targets, self._environment = settings, targets, environment
        self._table, self._control, self._log = table, control, log
        method: Method = "exec" if settings.spawn_method == "exec" else "zygote"
        self.factory = Factory(method, worker=targets.worker, gateway=targets.gateway, environment=environment)
        self.spares = Spares(self.factory, table, 0)
        self.zygote = Keeper("zygote", self._zygote_trade(), log, policy=Policy(stop_grace=0.5))
        self.gateway = Keeper("gateway", self._gateway_trade(), log, policy=Policy(stop_grace=RETIRE_SECONDS))

    @property
    def uses_zygote(self) -> bool:
        return self.factory.method == "zygote"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep all of it, until `scope` is cancelled."""
        with self.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.zygote.run)
                await nursery.start(self.gateway.run)
                nursery.start_soon(self._serve_spares)
                task_status.started()

    def warm(self, count: int) -> None:
        """Keep this many spares from now on."""
        self.spares.want = count
        self._warm.set()

    async def _serve_spares(self) -> None:
        await self._warm.wait()  # not before the gateway is ready: it is forked first
        while True:
            try:
                await self.spares.serve()
            except OSError as error:
                self._log.warning(f"no spares for now: {error}")
                await trio.sleep(LOOK_SECONDS)

    async def birth(self) -> Birth:
        """A process for a worker: a spare, else a fresh one. Not registered as a worker yet. Raises BirthFailed."""
        return self.spares.take() or await self.factory.spawn("worker")

    def prepare(self) -> None:
        """Start what makes processes."""
        self.zygote.want_up()

    async def stop(self) -> None:
        """End gateway, spares and zygote, in that order; return when they are gone."""
        self.spares.want = 0
        self.spares.drop()
        self.gateway.want_down()
        await self.gateway.wait_for(Phase.STOPPED, Phase.FAILED)
        self.zygote.want_down()
        await self.zygote.wait_for(Phase.STOPPED, Phase.FAILED)
        self.scope.cancel()

    def kill_now(self) -> None:
        """End all of it at once."""
        self.spares.want = 0
        self.spares.drop()
        self.gateway.kill_now()
        self.zygote.kill_now()

    # --- the zygote

    def _zygote_trade(self) -> Trade:
        return Trade(
            spawn=self._spawn_zygote,
            own=lambda birth: self._own("zygote", birth),
            disown=lambda birth: self._table.disown(birth.pid),
            serve=lambda birth, ready: self.factory.serve_zygote(birth.channel, task_status=_Started(ready)),
            read_output=lambda birth: self._read(birth, "zygote"),
        )

    async def _spawn_zygote(self) -> Birth:
        try:
            return exec_zygote(self._targets.worker, self._targets.gateway, self._environment)
        except OSError as error:
            raise BirthFailed(str(error)) from error

    # --- the gateway

    def _gateway_trade(self) -> Trade:
        return Trade(
            spawn=lambda: self.factory.spawn("gateway"),
            own=lambda birth: self._own("gateway", birth),
            disown=lambda birth: self._table.disown(birth.pid),
            serve=self._serve_gateway,
            read_output=lambda birth: self._read(birth, "gateway"),
            ask_to_stop=self._retire,
        )

    async def _serve_gateway(self, birth: Birth, ready: Callable[[], None]) -> None:
        await self.allowed.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_gateway, birth)
            await self._control.serve(birth.channel, ready, lambda: self.gateway.feed(Event.WAITING))
            nursery.cancel_scope.cancel()

    async def _watch_gateway(self, birth: Birth) -> None:
        """End a gateway whose event loop stands still; one that is not ready yet has its start time-out."""
        started = trio.current_time()

        def last_beat() -> float:
            gateway = self._control.gateway
            return gateway.last_beat if gateway is not None and gateway.ready else max(started, trio.current_time())

        await wait_for_silence(last_beat, GATEWAY_SILENCE)
        self._log.error(f"the gateway has been silent for {GATEWAY_SILENCE:g} s", pid=birth.pid)
        await abort_then_kill(birth.pidfd)

    def _retire(self, birth: Birth) -> None:
        if self.allowed.is_set():
            self._control.retire(birth.channel, "the supervisor stops this gateway")
            trees.send(birth.pidfd, signal.SIGCONT)
        else:
            terminate(birth)

    # --- both

    def _own(self, kind: str, birth: Birth) -> None:
        self._table.own(kind, birth.pid, birth.pidfd)

    async def _read(self, birth: Birth, unit: str) -> None:
        def emit(text: str) -> None:
            record = record_of(text)
            if record is None:
                self._log.write("info", unit, text, pid=birth.pid)
            else:
                self._log.put({"logger": unit, **record, "ts": timestamp(record), "pid": birth.pid})

        def dropped(lines: int, size: int) -> None:
            self._log.warning(f"{lines} lines ({size} bytes) of the {unit}'s output dropped", pid=birth.pid)

        throttle = Throttle(
            self._settings.lines_per_second * OUR_OWN_OUTPUT, self._settings.bytes_per_second * OUR_OWN_OUTPUT
        )
        await serve_output(birth.output, throttle, emit, dropped)
