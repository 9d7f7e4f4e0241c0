"""The greeting on a Unix door. The verdict was reached at the accept, from what the kernel and the supervisor say; what
the peer says in `connect` decides nothing but a worker's ticket. There is no way from here to pairing."""

from __future__ import annotations

import logging

import trio

from gateway.auth.decide import check_ticket, wrong_ticket
from gateway.auth.facts import PeerFacts
from gateway.auth.principal import Kind, NeedsTicket, Principal, Refusal, Refused, Verdict
from gateway.connection import Connection
from gateway.hello import BadHello, buffer_limit, frame_limit, parse_connect
from gateway.house import House
from gateway.protocol.calls.system import Connect
from gateway.protocol.errors import CloseReason, ErrorShape
from gateway.protocol.frames import Request
from gateway.protocol.limits import HELLO_DEADLINE_MS, REFUSAL_SECONDS
from gateway.registry import TooMany

_log = logging.getLogger("gateway.greet")


class UnixGreeting:
    """One peer's way in."""

    def __init__(self, facts: PeerFacts, verdict: Verdict, house: House) -> None:
        self._facts = facts
        self._verdict = verdict
        self._house = house
        self._counted: Principal | None = None

    async def admit(self, connection: Connection) -> Principal | None:
        """Let the peer in, or end the connection."""
        verdict = self._count_in(connection)
        request = await self._first_request(connection, verdict)
        if isinstance(verdict, Refused):
            self._turn_away(connection, verdict, request)
        elif request is not None:
            return await self._greet(connection, request, verdict)
        elif connection.reason is None:
            connection.end(CloseReason.HELLO_TIMEOUT, f"no connect within {HELLO_DEADLINE_MS} ms")
        return None

    def leave(self, connection: Connection) -> None:
        """Count the peer out."""
        if self._counted is not None:
            self._house.registry.leave(connection, self._counted)

    def stranger(self, code: str, said: str) -> Refusal:
        """A line for the refusals table about a peer that was not let in."""
        facts = self._facts
        return Refusal(code, said, f"pid {facts.pid}, uid {facts.uid}", "", facts.uid, facts.pid)

    def _count_in(self, connection: Connection) -> Verdict:
        verdict = self._verdict
        if isinstance(verdict, Refused):
            return verdict
        principal = verdict.worker if isinstance(verdict, NeedsTicket) else verdict
        try:
            self._house.registry.enter(connection, principal, trio.current_time())
        except TooMany as error:
            return Refused(CloseReason.TOO_MANY_CONNECTIONS, str(error), code="UNAVAILABLE")
        finally:
            self._counted = principal
        return verdict

    async def _first_request(self, connection: Connection, verdict: Verdict) -> Request | None:
        """The first request; None when there was none in time, or the peer hung up. Then the connection is ending,
        unless the peer is refused: that is the reason it ends for, however soon it hangs up."""
        refused = isinstance(verdict, Refused)
        with trio.move_on_after(REFUSAL_SECONDS if refused else HELLO_DEADLINE_MS / 1000):
            # One frame only: what follows it may be larger than a hello and is read after the peer has been let in.
            bodies = await connection.link.receive(1)
            if bodies:
                return connection.codec.decode_request(bodies[0])
            if not refused:
                connection.end_of_file()
        return None

    async def _greet(
        self, connection: Connection, request: Request, verdict: Principal | NeedsTicket
    ) -> Principal | None:
        try:
            connect = parse_connect(request)
        except BadHello as bad:
            connection.respond_error(request.id, bad.refusal.shape)
            connection.end(bad.reason, bad.refusal.shape.message)
            return None
        principal = await self._settle(verdict, connect.ticket)
        if isinstance(principal, Refused):
            self._turn_away(connection, principal, request)
            return None
        self._welcome(connection, principal, request, connect)
        return principal

    async def _settle(self, verdict: Principal | NeedsTicket, ticket: str | None) -> Principal | Refused:
        outcome = check_ticket(verdict, ticket)
        if not isinstance(outcome, NeedsTicket):
            return outcome
        claimed = await self._house.claim(outcome.worker.spawn, ticket or "")
        return outcome.worker if claimed.ok else wrong_ticket(claimed.reason)

    def _welcome(self, connection: Connection, principal: Principal, request: Request, connect: Connect) -> None:
        house = self._house
        connection.link.limit = frame_limit(principal)
        connection.link.max_buffered = buffer_limit(principal)
        if principal.kind is Kind.WORKER:
            house.registry.seat_worker(connection, principal)
        hello = house.greeter.hello_ok(principal, connect, connection.id, house.uptime_ms())
        connection.welcome(principal, request.id, hello, connect, events=connect.events)

    def _turn_away(self, connection: Connection, refused: Refused, request: Request | None) -> None:
        if request is not None:
            shape = ErrorShape(refused.code, refused.message, {"reason": refused.reason.value})
            connection.respond_error(request.id, shape)
        connection.end(refused.reason, f"{refused.message} [{refused.detail}]" if refused.detail else refused.message)
