"""The gateway's end of the control channel: asking the supervisor, and hearing from it.

Owns the inherited SOCK_SEQPACKET socket. Questions carry an id and wait for their answer; what the supervisor says of
its own accord goes to the callbacks registered for that kind of message, in order, inside the receive loop (they must
not wait), or is kept until they are. When the supervisor is gone every question fails and `serve` raises
`SupervisorGone`: a gateway does not outlive it."""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import trio

from gateway.descriptors import arrived, close_all, read_memfd
from supervisor.messages import (
    MAX_MESSAGE_BYTES,
    OUTER_PREFIX,
    BadMessage,
    Claim,
    Claimed,
    Held,
    Hold,
    Identity,
    Live,
    Message,
    Processes,
    ProcessTable,
    Spawn,
    Spawned,
    SpawnFailed,
    StopWorker,
    Take,
    WhoHolds,
    Whois,
    decode,
    encode,
)

M = TypeVar("M", bound=Message)

MAX_DESCRIPTORS = 16
MAX_QUEUED = 1024
"""Messages that may wait for a supervisor that does not read; one more ends the gateway, which is then of no use."""
ANSWER_SECONDS = 10.0
"""How long the supervisor may take for whois, claim and the process table: far above what a busy box needs."""


class SupervisorGone(Exception):
    """The control channel is closed or broken."""


class SpawnRefused(Exception):
    """There will be no worker. `quarantined`: until an operator releases the agent; else try again after `retry_ms`."""

    def __init__(self, reason: str, *, quarantined: bool = False, retry_ms: int = 1000) -> None:
        super().__init__(reason)
        self.reason = reason
        self.quarantined = quarantined
        self.retry_ms = retry_ms


class Taken(msgspec.Struct, frozen=True):
    """What a gateway starts with. `doors` and `outer` map the names of Unix and TCP doors to listening sockets;
    `document` is the resolved configuration as JSON; `rows` and `quarantined` are as in `supervisor.messages.Live`."""

    take: Take
    doors: dict[str, socket.socket]
    document: bytes
    rows: list[dict[str, Any]]
    quarantined: dict[str, str]
    outer: dict[str, socket.socket]


class _Question:
    """One question on its way. `parts` collects an answer that comes in pieces."""

    __slots__ = ("answered", "parts")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.parts: list[Message] = []


class SupervisorLink:
    """The supervisor, as seen from the gateway. Needs `serve` running for anything that is answered."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        self._flush_needed = trio.Event()
        self._callbacks: dict[type[Message], list[Callable[[Any, list[int]], None]]] = {}
        self._questions: dict[int, _Question] = {}
        self._last_id = 0
        self._gone: str | None = None
        self._kept: list[tuple[Message, list[int]]] | None = None

    # --- hearing ------------------------------------------------------------------------------------------------------

    def on(self, kind: type[M], callback: Callable[[M], None]) -> None:
        """Call `callback` for every message of this kind from now on. Several are called in the order they came."""
        self._callbacks.setdefault(kind, []).append(lambda message, fds: callback(message))

    def on_with_descriptors(self, kind: type[M], callback: Callable[[M, list[int]], None]) -> None:
        """The same for a message with descriptors, which the callback owns. At most one such callback per kind."""
        self._callbacks.setdefault(kind, []).append(callback)

    def keep(self) -> None:
        """Keep what nobody listens to yet until `release`. At most MAX_QUEUED messages; one more ends `serve`, and the
        next gateway is told everything as it is then."""
        self._kept = []

    def release(self) -> None:
        """Everybody listens: hear what was kept, in order, and from now on everything as it comes."""
        kept, self._kept = self._kept or [], None
        for message, fds in kept:
            self._handle(message, fds)

    def deafen(self) -> None:
        """Nobody listens any more: what comes is the next gateway's to find out."""
        self._callbacks.clear()

    async def wait_taken(self) -> Taken:
        """Take and Live, before anything else. Raises SupervisorGone if the supervisor goes or says something else."""
        take, fds = await self._receive()
        if not isinstance(take, Take) or len(fds) != len(take.doors) + 1:
            close_all(fds)
            raise SupervisorGone(f"expected Take with its descriptors, got {type(take).__name__} with {len(fds)}")
        doors = {name: socket.socket(fileno=fd) for name, fd in zip(take.doors, fds, strict=False)}
        outer = {name: doors.pop(name) for name in take.doors if name.startswith(OUTER_PREFIX)}
        taken = Taken(take, doors, read_memfd(fds[-1]), [], {}, outer)
        while True:
            live, more = await self._receive()
            close_all(more)
            if not isinstance(live, Live):
                raise SupervisorGone(f"expected Live, got {type(live).__name__}")
            taken.rows.extend(live.rows)
            taken.quarantined.update(live.quarantined)
            if live.last:
                return taken

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive and send until the supervisor is gone; then raises SupervisorGone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._flush_forever)
            task_status.started()
            try:
                while True:
                    self._handle(*await self._receive())
            except (SupervisorGone, BadMessage, OSError) as error:
                self._fail(str(error) or type(error).__name__)
                nursery.cancel_scope.cancel()
        raise SupervisorGone(self._gone or "closed")

    def _handle(self, message: Message, fds: list[int]) -> None:
        question = self._questions.get(getattr(message, "id", 0))
        if question is not None:
            close_all(fds)
            question.parts.append(message)
            if getattr(message, "last", True):
                question.answered.set()
            return
        callbacks = self._callbacks.get(type(message), [])
        if not callbacks and self._kept is not None and len(self._kept) < MAX_QUEUED:
            return self._kept.append((message, fds))
        if not callbacks:
            close_all(fds)
            if self._kept is not None:
                raise SupervisorGone(f"{MAX_QUEUED} messages unheard")
        for callback in callbacks:
            callback(message, fds)

    def _fail(self, why: str) -> None:
        self._gone = why
        for question in self._questions.values():
            question.answered.set()

    # --- asking -------------------------------------------------------------------------------------------------------

    async def spawn(self, agent: str, session: str) -> Spawned:
        """A worker process for this session; it will connect. Waits as long as the supervisor needs: bound it outside.
        Raises SpawnRefused."""
        (answer,) = await self._ask(Spawn(self._next_id(), agent, session))
        if isinstance(answer, SpawnFailed):
            raise SpawnRefused(answer.reason, quarantined=answer.quarantined, retry_ms=answer.retry_ms)
        return _expect(Spawned, answer)

    async def whois(self, pid: int, pidfd: int | None) -> Identity:
        """Whether a peer is one of ours. The descriptor stays the caller's. Raises TooSlowError after
        ANSWER_SECONDS."""
        with trio.fail_after(ANSWER_SECONDS):
            (answer,) = await self._ask(
                Whois(self._next_id(), pid, pidfd is not None), [] if pidfd is None else [pidfd]
            )
        return _expect(Identity, answer)

    async def holder(self, local: tuple[str, int], remote: tuple[str, int]) -> Held:
        """Who holds the peer's end of a TCP connection, given both ends as getsockname and getpeername say them. Raises
        TooSlowError after ANSWER_SECONDS."""
        with trio.fail_after(ANSWER_SECONDS):
            (answer,) = await self._ask(WhoHolds(self._next_id(), *local, *remote))
        return _expect(Held, answer)

    async def claim(self, spawn: str, ticket: str) -> Claimed:
        """Burn a worker's ticket. Raises TooSlowError after ANSWER_SECONDS."""
        with trio.fail_after(ANSWER_SECONDS):
            (answer,) = await self._ask(Claim(self._next_id(), spawn, ticket))
        return _expect(Claimed, answer)

    async def processes(self) -> list[dict[str, Any]]:
        """The process table, rows as `gateway.protocol.calls.system.Process`. Raises TooSlowError after
        ANSWER_SECONDS."""
        with trio.fail_after(ANSWER_SECONDS):
            answers = await self._ask(Processes(self._next_id()))
        return [row for answer in answers for row in _expect(ProcessTable, answer).rows]

    def stop_worker(self, spawn: str, reason: str, grace: float = 4.0) -> None:
        """End one worker and everything it started; Exited follows."""
        self.send_nowait(StopWorker(spawn, reason, grace))

    def hold(self, agent: str, on: bool, reason: str) -> None:
        """Put an agent in quarantine or release it; Quarantined follows."""
        self.send_nowait(Hold(agent, on, reason))

    async def _ask(self, message: Message, fds: Sequence[int] = ()) -> list[Message]:
        id = getattr(message, "id", 0)
        question = self._questions[id] = _Question()
        try:
            self.send_nowait(message, fds)
            await question.answered.wait()
        finally:
            del self._questions[id]
        if not question.parts or not getattr(question.parts[-1], "last", True):
            raise SupervisorGone(self._gone or "closed")
        return question.parts

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    # --- the socket ---------------------------------------------------------------------------------------------------

    def send_nowait(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send without waiting; what does not fit waits in a bounded queue with copies of its descriptors. Raises
        SupervisorGone when the channel is broken or the queue is full."""
        if self._gone is not None:
            raise SupervisorGone(self._gone)
        data = encode(message)
        if not self._outbox:
            try:
                return self._send(data, fds)
            except BlockingIOError:
                pass
            except OSError as error:
                raise SupervisorGone(str(error)) from error
        if len(self._outbox) >= MAX_QUEUED:
            raise SupervisorGone(f"{MAX_QUEUED} messages unread")
        self._outbox.append((data, [os.dup(fd) for fd in fds]))
        self._flush_needed.set()

    def _send(self, data: bytes, fds: Sequence[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self._sock.sendmsg([data], rights)

    async def flush(self) -> None:
        """Wait until everything queued has been handed to the kernel."""
        while self._outbox:
            await trio.lowlevel.wait_writable(self._sock)
            data, fds = self._outbox[0]
            try:
                self._send(data, fds)
            except BlockingIOError:
                continue
            except OSError as error:
                raise SupervisorGone(str(error)) from error
            self._outbox.popleft()
            close_all(fds)

    async def _flush_forever(self) -> None:
        while True:
            await self._flush_needed.wait()
            self._flush_needed = trio.Event()
            try:
                await self.flush()
            except SupervisorGone as gone:
                # The receive loop meets the same broken socket and ends; only the questions must not wait for it.
                return self._fail(str(gone))

    async def _receive(self) -> tuple[Message, list[int]]:
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data, ancillary, _flags, _address = self._sock.recvmsg(
                    MAX_MESSAGE_BYTES, socket.CMSG_SPACE(4 * MAX_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                continue
            except OSError as error:
                raise SupervisorGone(str(error)) from error
            fds = arrived(ancillary)
            if not data:
                close_all(fds)
                raise SupervisorGone("the supervisor closed the control channel")
            try:
                return decode(data), fds
            except BadMessage as error:
                close_all(fds)
                raise SupervisorGone(str(error)) from error


def _expect(kind: type[M], answer: Message) -> M:
    if not isinstance(answer, kind):
        raise SupervisorGone(f"expected {kind.__name__}, got {type(answer).__name__}")
    return answer
