"""The conversation with a gateway: what it is given when it starts, what it asks, what it is told.

Owns: which gateway is told things. Exactly one is: the one that was last given the sockets. What happens while there is
none is told to the next one as a whole, by Live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from supervisor.agents import Agents
from supervisor.channel import Channel, ChannelFull
from supervisor.holders import Holders
from supervisor.logfile import Log
from supervisor.messages import (
    REASONS_PER_MESSAGE,
    ROWS_PER_MESSAGE,
    BadMessage,
    Beat,
    Claim,
    Claimed,
    Drain,
    Hold,
    Live,
    Message,
    Processes,
    ProcessTable,
    Ready,
    Reload,
    Retire,
    Retired,
    Spawn,
    StopWorker,
    Take,
    WhoHolds,
    Whois,
)  # fmt: skip
from supervisor.processes import Subject, rows
from supervisor.spawn import SpawnTable
from supervisor.whois import Who
from supervisor.whois import Whois as Resolver

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Gift:
    """What a gateway is given: the Take message, and descriptors in the order it names them, ours again after
    `release`."""

    take: Take
    descriptors: Sequence[int]
    release: Callable[[], None]


def pieces(table: Sequence[Row], most: int = ROWS_PER_MESSAGE) -> Iterable[tuple[list[Row], bool]]:
    """A long table in parts that fit a message, and whether a part is the last; an empty table is one empty part."""
    for start in range(0, max(len(table), 1), most):
        yield list(table[start : start + most]), start + most >= len(table)


@dataclass(slots=True)
class Gateway:
    """What is known of the gateway that is told things."""

    channel: Channel
    generation: int
    last_beat: float
    epoch: int = 0
    beat: Beat = field(default_factory=Beat)
    ready: bool = False
    retired: bool = False


class Control:
    """Serves whichever gateway there is. `make_gift(generation)` prepares what the next one gets."""

    def __init__(
        self,
        table: SpawnTable,
        resolver: Resolver,
        holders: Holders,
        log: Log,
        make_gift: Callable[[int], Gift],
        subjects: Callable[[], list[Subject]],
    ) -> None:
        self.generation = 0
        self.gateway: Gateway | None = None
        self._table, self._resolver, self._log = table, resolver, log
        self._holders = holders
        self._make_gift, self._subjects = make_gift, subjects
        self._agents: Agents | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.on_waiting: Callable[[str], None] = lambda why: None
        """Hears what a gateway that is not ready says it waits for, as often as it says so."""

    def attach(self, agents: Agents) -> None:
        """Whom requests about workers go to; before the first gateway."""
        self._agents = agents

    # --- to the gateway

    def tell(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Tell the gateway; without one this is no error. One that does not read any more is given up."""
        if self.gateway is None:
            return
        try:
            self.gateway.channel.send_nowait(message, descriptors)
        except (ChannelFull, OSError) as error:  # OSError: no descriptor for a copy of one that has to wait
            self._log.error(f"the gateway cannot be told any more ({error}): given up")
            self.gateway.channel.close()

    def drain(self, reason: str) -> None:
        """No new work."""
        self.tell(Drain(reason))

    def retire(self, channel: Channel, reason: str) -> None:
        """Close the database and exit."""
        try:
            channel.send_nowait(Retire(reason))
        except ChannelFull:
            channel.close()

    def reload(self, document: int) -> None:
        """A new configuration, in a memfd that stays the caller's."""
        self.tell(Reload(), [document])

    def silent_for(self) -> float | None:
        """Seconds since the gateway's last heartbeat; None while none is ready."""
        return trio.current_time() - self.gateway.last_beat if self.gateway is not None and self.gateway.ready else None

    # --- one gateway's life

    async def serve(
        self, channel: Channel, ready: Callable[[], None], waiting: Callable[[], None] = lambda: None
    ) -> None:
        """Give this gateway everything and answer it until its channel ends; `waiting` is called when it says what it
        waits for before it can be ready. Raises BadMessage, ChannelFull when it is broken."""
        self.generation += 1
        gift = self._make_gift(self.generation)
        gateway = self.gateway = Gateway(channel, self.generation, trio.current_time())
        try:
            channel.send_nowait(gift.take, gift.descriptors)
            assert self._agents is not None
            held = list(self._agents.quarantine.held.items())
            for part, last in pieces(self._agents.live_rows()):
                channel.send_nowait(Live(part, {}, last and not held))
            for reasons, last in pieces(held, REASONS_PER_MESSAGE) if held else ():
                channel.send_nowait(Live([], dict(reasons), last))
        finally:
            gift.release()
        try:
            while (received := await channel.receive()) is not None:
                self._hear(gateway, received[0], received[1], ready, waiting)
        finally:
            if self.gateway is gateway:
                self.gateway = None
                self.on_change()

    def _hear(
        self,
        gateway: Gateway,
        message: Message,
        descriptors: list[int],
        ready: Callable[[], None],
        waiting: Callable[[], None],
    ) -> None:
        match message:
            case Beat():
                before, gateway.beat, gateway.last_beat = gateway.beat, message, trio.current_time()
                if message.status and not gateway.ready:
                    waiting()
                    self.on_waiting(message.status)
                if message.status != before.status:
                    self.on_change()
            case Ready():
                gateway.ready, gateway.epoch, gateway.last_beat = True, message.epoch, trio.current_time()
                ready()
            case Retired():
                gateway.retired = True
            case _:
                self._answer(gateway.channel, message, descriptors)

    def _answer(self, channel: Channel, message: Message, descriptors: list[int]) -> None:
        agents = self._agents
        assert agents is not None
        match message:
            case Whois():
                channel.send_nowait(self._identify(message, descriptors))
            case WhoHolds():
                self._holders.request(message, lambda answer: self._reply(channel, answer))
            case Claim():
                ok, reason = self._table.claim(message.spawn, message.ticket, trio.current_time())
                channel.send_nowait(Claimed(message.id, ok, reason))
            case Spawn():
                agents.request(message, lambda answer: self._reply(channel, answer))
            case StopWorker():
                agents.stop_worker(message.spawn, message.reason, message.grace)
            case Hold():
                agents.hold(message.agent, message.on, message.reason)
            case Processes():
                for part, last in pieces(rows(self._subjects())):
                    channel.send_nowait(ProcessTable(message.id, part, last))
            case other:
                raise BadMessage(f"{type(other).__name__} from a gateway")

    def _reply(self, channel: Channel, answer: Message) -> None:
        try:
            channel.send_nowait(answer)
        except ChannelFull:
            channel.close()

    def _identify(self, question: Whois, descriptors: list[int]) -> Message:
        if question.has_pidfd and not descriptors:
            return Who("ours", detail="its descriptor could not be taken").identity(question.id)
        try:
            who = self._resolver.identify(descriptors[0] if question.has_pidfd else None, question.pid)
        except OSError as error:  # out of descriptors: who cannot be looked at is let in nowhere
            who = Who("ours", detail=f"it cannot be looked at: {error}")
        agent = who.spawn.agent if who.spawn is not None else None
        settings = self._agents.settings.agents.get(agent) if self._agents is not None and agent is not None else None
        return who.identity(question.id, subprocess_gateway=settings is None or settings.subprocess_gateway)


def make_take(
    generation: int, doors: Sequence[str], state_dir: str, runtime_dir: str, pid: int, log_file: str | None, marks: int
) -> Take:
    """The Take message for now."""
    return Take(
        generation=generation,
        doors=list(doors),
        state_dir=state_dir,
        runtime_dir=runtime_dir,
        supervisor_pid=pid,
        log_file=log_file,
        marks=marks,
        started=time.time(),
    )
