"""One connection's life on a Unix door: greeting, calls and events, and the end, with its reason.

Owns the socket from the accept on. A connection ends for exactly one reason, the first that occurs; it is told to the
peer (event `closed`, as far as the peer still reads), to the log, and, when somebody did wrong, to the refusals table.
Whatever a peer sends ends at most its own connection."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Awaitable, Callable

import trio

from gateway.auth.decide import check_ticket, wrong_ticket
from gateway.auth.facts import PeerFacts
from gateway.auth.principal import Kind, NeedsTicket, Principal, Refusal, Refused, Verdict
from gateway.hello import BadHello, buffer_limit, frame_limit, parse_connect
from gateway.house import House
from gateway.link.unix import LinkLost, OtherSender, SlowConsumer, UnixLink
from gateway.protocol.calls.system import Connect
from gateway.protocol.errors import CloseReason, ErrorShape
from gateway.protocol.frames import BadFrame, Broadcast, Event, FrameTooLarge, Request, Response, decode_request, encode
from gateway.protocol.limits import HELLO_DEADLINE_MS, MAX_HELLO_BYTES, MAX_PAYLOAD_BYTES, REFUSAL_SECONDS
from gateway.registry import TooMany

_log = logging.getLogger("gateway.connection")

FLUSH_SECONDS = 1.0
"""How long the last words may take to leave."""
RETIRE_SECONDS = 1.0
"""How long calls in progress may take once the gateway retires; those that wait by design are cut off at once."""

# Ends that are nobody's fault, or ours: no entry in the refusals table.
_ORDINARY = {
    CloseReason.PEER_CLOSED, CloseReason.REPLACED, CloseReason.SHUTDOWN, CloseReason.WORKER_GONE,
    CloseReason.DEAD_PEER, CloseReason.INTERNAL,
}  # fmt: skip
# Ends after which the peer does not read, or shall not be waited for.
_ABRUPT = {CloseReason.PEER_CLOSED, CloseReason.SLOW_CONSUMER, CloseReason.OTHER_SENDER, CloseReason.DEAD_PEER}


class Connection:
    """One peer. `serve` is its life; everything else may be called from any task and never waits."""

    def __init__(self, sock: socket.socket, door: str, facts: PeerFacts, verdict: Verdict, house: House) -> None:
        self.id = secrets.token_hex(8)
        self.door = door
        self.facts = facts
        self.in_flight: set[str] = set()
        self._sock = sock
        self._verdict = verdict
        self._house = house
        self._principal: Principal | None = None
        self._reading = trio.CancelScope()
        self._hasty = 0  # calls in progress that are not meant to take long
        self._quiet = trio.Event()
        self._seq = 0
        self._reason: CloseReason | None = None
        self._detail = ""

    @property
    def principal(self) -> Principal:
        """Who it is. Known once it has been greeted."""
        assert self._principal is not None
        return self._principal

    @property
    def reason(self) -> CloseReason | None:
        """Why it ended or is ending; None while it lives."""
        return self._reason

    # --- what others may ask of it ------------------------------------------------------------------------------------

    def respond(self, id: str, payload: object) -> None:
        """Queue an answer. Raises what the encoder raises for a payload it does not know."""
        body = encode(Response(id, True, payload))
        if len(body) > MAX_PAYLOAD_BYTES:
            said = f"the answer has {len(body)} bytes, at most {MAX_PAYLOAD_BYTES} can be sent; ask for less"
            return self.respond_error(id, ErrorShape("UNAVAILABLE", said))
        self._send(body)

    def respond_error(self, id: str, error: ErrorShape) -> None:
        """Queue an error."""
        self._send(encode(Response(id, False, error=error)))

    def post_event(self, event: str, payload: object) -> None:
        """Queue an event meant for this peer alone; it has no `seq`."""
        self._send(encode(Event(event, payload)))

    def deliver(self, broadcast: Broadcast) -> None:
        """Queue a broadcast under this connection's next number."""
        self._seq += 1
        self._send(broadcast.body(self._seq))

    def start(self, run: Callable[[], Awaitable[None]], *, patient: bool) -> None:
        """Run a call for as long as this connection lives."""
        self._nursery.start_soon(run if patient else self._hastily(run))

    def end(self, reason: CloseReason, detail: str = "") -> None:
        """End it now. Only the first reason counts."""
        if self._reason is None:
            self._reason, self._detail = reason, detail
            self._nursery.cancel_scope.cancel()

    def retire(self) -> None:
        """Read no more; end as soon as the calls in progress are answered, RETIRE_SECONDS at most."""
        if self._principal is None:
            self.end(CloseReason.SHUTDOWN)
        self._reading.cancel()

    def _hastily(self, run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def counted() -> None:
            self._hasty += 1
            try:
                await run()
            finally:
                self._hasty -= 1
                if not self._hasty:
                    self._quiet.set()

        return counted

    def _send(self, body: bytes) -> None:
        if self._reason is not None:
            return
        try:
            self._link.send_nowait(body)
        except SlowConsumer as error:
            self.end(CloseReason.SLOW_CONSUMER, str(error))
        except LinkLost as error:
            self.end(CloseReason.PEER_CLOSED, str(error))

    # --- its life -----------------------------------------------------------------------------------------------------

    async def serve(self, greeted: Callable[[], None]) -> None:
        """From the accept to the end; closes the socket. `greeted` is called once the peer has been let in."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._link = UnixLink(self._sock, nursery, limit=MAX_HELLO_BYTES, sender=self.facts.pid)
                try:
                    await self._live(greeted)
                except Exception as error:
                    self.end(CloseReason.INTERNAL, repr(error))
                    raise
                finally:
                    self.end(CloseReason.SHUTDOWN)
                    self._say_goodbye()
            if self._reason not in _ABRUPT:
                with trio.move_on_after(FLUSH_SECONDS, shield=True):
                    await self._flush()
        finally:
            self._link.close()
            self._leave()

    async def _live(self, greeted: Callable[[], None]) -> None:
        try:
            if await self._enter():
                greeted()
                with self._reading:
                    await self._listen()
                await self._wait_until_quiet()
                self.end(CloseReason.SHUTDOWN)
        except FrameTooLarge as error:
            early = self._principal is None
            self.end(CloseReason.HELLO_TOO_LARGE if early else CloseReason.FRAME_TOO_LARGE, str(error))
        except BadFrame as error:
            self.end(CloseReason.BAD_FRAME, str(error))
        except OtherSender as error:
            self.end(CloseReason.OTHER_SENDER, str(error))
        except LinkLost as error:
            self.end(CloseReason.PEER_CLOSED, str(error))

    async def _listen(self) -> None:
        link, dispatch = self._link, self._house.router.dispatch
        while bodies := await link.receive():
            link.cork()
            try:
                for body in bodies:
                    dispatch(self, decode_request(body))
            finally:
                link.uncork()
        self._end_of_file()

    def _end_of_file(self) -> None:
        if self._link.pending:
            self.end(
                CloseReason.BAD_FRAME, f"it ended in the middle of a frame ({self._link.pending} bytes of it came)"
            )
        else:
            self.end(CloseReason.PEER_CLOSED)

    async def _wait_until_quiet(self) -> None:
        with trio.move_on_after(RETIRE_SECONDS):
            while self._hasty:
                self._quiet = trio.Event()
                await self._quiet.wait()

    # --- greeting -----------------------------------------------------------------------------------------------------

    async def _enter(self) -> bool:
        """Let the peer in, or end the connection; whether it is in."""
        verdict = self._count_in(self._verdict)
        request = await self._first_request(verdict)
        if isinstance(verdict, Refused):
            self._turn_away(verdict, request)
        elif request is not None:
            return await self._greet(request, verdict)
        elif self._reason is None:
            self.end(CloseReason.HELLO_TIMEOUT, f"no connect within {HELLO_DEADLINE_MS} ms")
        return False

    def _count_in(self, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Refused):
            return verdict
        principal = verdict.worker if isinstance(verdict, NeedsTicket) else verdict
        try:
            self._house.registry.enter(self, principal, trio.current_time())
        except TooMany as error:
            return Refused(CloseReason.TOO_MANY_CONNECTIONS, str(error), code="UNAVAILABLE")
        return verdict

    async def _first_request(self, verdict: Verdict) -> Request | None:
        """The first request; None when there was none in time, or the peer hung up. Then the connection is ending,
        unless the peer is refused: that is the reason it ends for, however soon it hangs up."""
        refused = isinstance(verdict, Refused)
        with trio.move_on_after(REFUSAL_SECONDS if refused else HELLO_DEADLINE_MS / 1000):
            # One frame only: what follows it may be larger than a hello and is read after the peer has been let in.
            bodies = await self._link.receive(1)
            if bodies:
                return decode_request(bodies[0])
            if not refused:
                self._end_of_file()
        return None

    async def _greet(self, request: Request, verdict: Principal | NeedsTicket) -> bool:
        try:
            connect = parse_connect(request)
        except BadHello as bad:
            self.respond_error(request.id, bad.refusal.shape)
            self.end(bad.reason, bad.refusal.shape.message)
            return False
        principal = await self._settle(verdict, connect.ticket)
        if isinstance(principal, Refused):
            self._turn_away(principal, request)
            return False
        self._welcome(principal, request, connect)
        return True

    async def _settle(self, verdict: Principal | NeedsTicket, ticket: str | None) -> Principal | Refused:
        outcome = check_ticket(verdict, ticket)
        if not isinstance(outcome, NeedsTicket):
            return outcome
        claimed = await self._house.claim(outcome.worker.spawn, ticket or "")
        return outcome.worker if claimed.ok else wrong_ticket(claimed.reason)

    def _welcome(self, principal: Principal, request: Request, connect: Connect) -> None:
        house = self._house
        self._principal = principal
        self._link.limit = frame_limit(principal)
        self._link.max_buffered = buffer_limit(principal)
        if principal.kind is Kind.WORKER:
            house.registry.seat_worker(self, principal)
        self.respond(request.id, house.greeter.hello_ok(principal, connect, self.id, house.uptime_ms()))
        house.hub.join(self, events=connect.events)
        house.joined(self)
        _log.debug("connected", extra={"conn": self.id, "who": principal.name, "client": connect.client.id[:64]})

    def _turn_away(self, refused: Refused, request: Request | None) -> None:
        if request is not None:
            self.respond_error(request.id, ErrorShape(refused.code, refused.message, {"reason": refused.reason.value}))
        self.end(refused.reason, f"{refused.message} [{refused.detail}]" if refused.detail else refused.message)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _say_goodbye(self) -> None:
        if self._reason in _ABRUPT or self._reason is None:
            return
        try:
            self._link.send_nowait(encode(Event("closed", {"reason": self._reason.value})))
        except (LinkLost, SlowConsumer):
            return  # it does not read: it will see the end of file

    async def _flush(self) -> None:
        try:
            await self._link.flush()
        except LinkLost:
            return  # nobody left to tell

    def _leave(self) -> None:
        reason = self._reason or CloseReason.INTERNAL
        who = self._who()
        verdict = self._verdict
        if not isinstance(verdict, Refused):
            self._house.registry.leave(self, verdict.worker if isinstance(verdict, NeedsTicket) else verdict)
        if self._principal is not None:
            self._house.hub.leave(self)
            self._house.left(self)
        if reason in _ORDINARY:
            _log.debug("connection ended", extra={"conn": self.id, "who": who.who, "reason": reason.value})
            return
        _log.warning(
            "connection ended",
            extra={"conn": self.id, "door": self.door, "who": who.who, "reason": reason.value, "detail": self._detail},
        )
        self._house.refused(who)

    def _who(self) -> Refusal:
        code = self._reason.name if self._reason else CloseReason.INTERNAL.name
        facts = self.facts
        if self._principal is not None:
            name, agent, session = self._principal.name, self._principal.agent, self._principal.session
        else:
            name, agent, session = f"pid {facts.pid}, uid {facts.uid}", "", ""
        reason = self._reason.value if self._reason else ""
        said = f"{reason}: {self._detail}" if self._detail else reason
        return Refusal(code, said, name, self.door, facts.uid, facts.pid, agent, session)
