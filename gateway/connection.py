"""One connection's life, on any door: calls and events from the greeting to the end, and the end, with its reason.

Owns its link from the accept on. How frames are written is its codec's business, who the peer is its greeting's. A
connection ends for exactly one reason, the first that occurs; it is told to the peer (as far as the peer still reads),
to the log, and, when somebody did wrong, to the refusals table. Whatever a peer sends ends at most its own
connection."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
import trio

from gateway.auth.principal import Principal, Refusal
from gateway.house import House
from gateway.link.base import Link, LinkLost, OtherSender, PeerSilent, SlowConsumer
from gateway.protocol.calls.system import Connect
from gateway.protocol.errors import CloseReason, ErrorCode, ErrorShape
from gateway.protocol.frames import BadFrame, Broadcast, Codec, Event, FrameTooLarge, Request, Response
from gateway.protocol.limits import MAX_BAD_FRAMES, MAX_PAYLOAD_BYTES

_log = logging.getLogger("gateway.connection")

FLUSH_SECONDS = 1.0
"""How long the last words may take to leave."""
RETIRE_SECONDS = 1.0
"""How long calls in progress may take once the gateway retires; those that wait by design are cut off at once."""

# Ends that are nobody's fault, or ours: no entry in the refusals table.
_ORDINARY = {
    CloseReason.PEER_CLOSED, CloseReason.REPLACED, CloseReason.SHUTDOWN, CloseReason.WORKER_GONE,
    CloseReason.DEAD_PEER, CloseReason.INTERNAL, CloseReason.TIMED_OUT, CloseReason.STARTING,
}  # fmt: skip
# Ends after which the peer does not read, or shall not be waited for.
_ABRUPT = {
    CloseReason.PEER_CLOSED, CloseReason.SLOW_CONSUMER, CloseReason.OTHER_SENDER, CloseReason.DEAD_PEER,
    CloseReason.TIMED_OUT,
}  # fmt: skip


class Greeting(Protocol):
    """How one peer comes in."""

    async def admit(self, connection: Connection) -> Principal | None:
        """Let the peer in by `Connection.welcome`, or end the connection; who it is, or None."""
        ...

    def leave(self, connection: Connection) -> None:
        """The connection is over, whether it was let in or not."""
        ...

    def stranger(self, code: str, said: str) -> Refusal:
        """A line for the refusals table about a peer that was not let in; its door is filled in."""
        ...


class Connection:
    """One peer. `serve` is its life; everything else may be called from any task and never waits.

    `opening` makes the link; it is given the connection's nursery, in which the link may write."""

    def __init__(
        self, opening: Callable[[trio.Nursery], Link], codec: Codec, greeting: Greeting, door: str, house: House
    ) -> None:
        self.id = secrets.token_hex(8)
        self.door = door
        self.codec = codec
        self.in_flight: set[str] = set()
        self.link: Link
        self.connect: Connect = Connect()
        self._opening = opening
        self._greeting = greeting
        self._house = house
        self._principal: Principal | None = None
        self._reading = trio.CancelScope()
        self._hasty = 0  # calls in progress that are not meant to take long
        self._quiet = trio.Event()
        self._seq = 0
        self._bad = 0
        self._reason: CloseReason | None = None
        self._detail = ""
        self._barred = ""  # of which detail the end will be, once what is in progress has been answered

    @property
    def principal(self) -> Principal:
        """Who it is. Known once it has been greeted."""
        assert self._principal is not None
        return self._principal

    @property
    def is_greeted(self) -> bool:
        """Whether it is known who it is: true from the very step in which it was let in."""
        return self._principal is not None

    @property
    def reason(self) -> CloseReason | None:
        """Why it ended or is ending; None while it lives."""
        return self._reason

    # --- what others may ask of it ------------------------------------------------------------------------------------

    def respond(self, id: str, payload: object) -> None:
        """Queue an answer. Raises what the encoder raises for a payload it does not know."""
        body = self.codec.encode(Response(id, True, payload))
        if len(body) > MAX_PAYLOAD_BYTES:
            said = f"the answer has {len(body)} bytes, at most {MAX_PAYLOAD_BYTES} can be sent; ask for less"
            return self.respond_error(id, ErrorShape("UNAVAILABLE", said))
        self._send(body)

    def respond_error(self, id: str, error: ErrorShape) -> None:
        """Queue an error."""
        self._send(self.codec.encode(Response(id, False, error=error)))

    def post_event(self, event: str, payload: object) -> None:
        """Queue an event meant for this peer alone; it has no `seq`."""
        if self._barred:
            return
        self._send(self.codec.encode(Event(event, payload)))

    def deliver(self, broadcast: Broadcast) -> None:
        """Queue a broadcast under this connection's next number."""
        if self._barred:
            return
        self._seq += 1
        self._send(broadcast.body(self._seq, self.codec))

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

    def bar(self, detail: str) -> None:
        """What let it in is gone: it calls and hears nothing from here on, and ends as soon as the calls in progress
        are answered (it may have asked for this itself), RETIRE_SECONDS at most."""
        self._barred = self._barred or detail
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
            self.link.send_nowait(body)
        except SlowConsumer as error:
            self.end(CloseReason.SLOW_CONSUMER, str(error))
        except LinkLost as error:
            self.end(CloseReason.PEER_CLOSED, str(error))

    # --- for its greeting ---------------------------------------------------------------------------------------------

    def welcome(self, principal: Principal, id: str, hello: dict[str, Any], connect: Connect, *, events: bool) -> None:
        """The peer is in: answer its `connect`; from now on it hears events, if it shall."""
        self._principal = principal
        self.connect = connect
        self.respond(id, hello)
        self._house.hub.join(self, events=events)
        self._house.joined(self)
        about = {"conn": self.id, "door": self.door, "who": principal.name, "client": connect.client.id[:64]}
        _log.debug("connected", extra=about)

    def end_of_file(self) -> None:
        """The peer sends nothing any more."""
        if self.link.pending:
            self.end(CloseReason.BAD_FRAME, f"it ended in the middle of a frame ({self.link.pending} bytes of it came)")
        else:
            self.end(CloseReason.PEER_CLOSED)

    # --- its life -----------------------------------------------------------------------------------------------------

    async def serve(self, greeted: Callable[[], None]) -> None:
        """From the accept to the end; closes the link. `greeted` is called once the peer has been let in."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self.link = self._opening(nursery)
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
            self.link.close()
            self._leave()

    async def _live(self, greeted: Callable[[], None]) -> None:
        try:
            if await self._greeting.admit(self) is not None:
                greeted()
                with self._reading:
                    await self._listen()
                await self._wait_until_quiet()
                self.end(CloseReason.DEVICE_GONE if self._barred else CloseReason.SHUTDOWN, self._barred)
        except FrameTooLarge as error:
            early = self._principal is None
            self.end(CloseReason.HELLO_TOO_LARGE if early else CloseReason.FRAME_TOO_LARGE, str(error))
        except BadFrame as error:
            self.end(CloseReason.BAD_FRAME, str(error))
        except OtherSender as error:
            self.end(CloseReason.OTHER_SENDER, str(error))
        except PeerSilent as error:
            self.end(CloseReason.TIMED_OUT, str(error))
        except LinkLost as error:
            self.end(CloseReason.PEER_CLOSED, str(error))

    async def _listen(self) -> None:
        link, dispatch = self.link, self._house.router.dispatch
        while bodies := await link.receive():
            if self._barred:
                return  # it had been read before
            for body in bodies:
                if (request := self._decode(body)) is not None:
                    dispatch(self, request)
        self.end_of_file()

    def _decode(self, body: bytes) -> Request | None:
        """The request; None for a malformed one that has been answered, which a forgiving codec does a few times."""
        try:
            return self.codec.decode_request(body)
        except BadFrame as error:
            self._bad += 1
            if not self.codec.forgiving or self._bad > MAX_BAD_FRAMES:
                raise
            self.respond_error("invalid", ErrorShape(ErrorCode.INVALID_REQUEST.value, str(error)))
            return None

    async def _wait_until_quiet(self) -> None:
        with trio.move_on_after(RETIRE_SECONDS):
            while self._hasty:
                self._quiet = trio.Event()
                await self._quiet.wait()

    # --- the end ------------------------------------------------------------------------------------------------------

    def _say_goodbye(self) -> None:
        if self._reason in _ABRUPT or self._reason is None:
            return
        try:
            self.link.farewell(self._reason, self._detail)
        except (LinkLost, SlowConsumer):
            return  # it does not read: it will see the end of file

    async def _flush(self) -> None:
        try:
            await self.link.flush()
        except LinkLost:
            return  # nobody left to tell

    def _leave(self) -> None:
        reason = self._reason or CloseReason.INTERNAL
        who = self._who(reason)
        self._greeting.leave(self)
        if self._principal is not None:
            self._house.hub.leave(self)
            self._house.left(self)
        about = {"conn": self.id, "door": self.door, "who": who.who, "reason": reason.value}
        if reason in _ORDINARY:
            _log.debug("connection ended", extra=about)
            return
        _log.warning("connection ended", extra=about | {"detail": self._detail})
        self._house.refused(who)

    def _who(self, reason: CloseReason) -> Refusal:
        said = f"{reason.value}: {self._detail}" if self._detail else reason.value
        who = self._principal
        if who is None:
            return msgspec.structs.replace(self._greeting.stranger(reason.name, said), door=self.door)
        return Refusal(reason.name, said, who.name, self.door, who.uid, who.pid, who.agent, who.session)
