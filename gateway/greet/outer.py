"""The greeting on the outer door: challenge, connect, the decision, and carrying it out.

Owns one peer's way in. What is decided stands in `gateway.auth.outer`; here the picture is filled in, and the verdict
becomes a greeting, a pending request and its answer, or a refusal, each with its line in the audit. Nothing a peer says
is believed before `decide` has been asked. Of a peer on this host the supervisor is asked twice who holds its socket:
when it was accepted, and right before."""

from __future__ import annotations

import logging
from typing import Any

import trio

from gateway.auth.asking import asked_about, clean, close_text, facts_of, pairing_required
from gateway.auth.outer import decide
from gateway.auth.picture import Admit, Ask, Picture, Refused, wanted_by
from gateway.auth.principal import Kind, Principal, Refusal
from gateway.auth.proof import Proven, check_proof
from gateway.auth.proxies import (
    ATTRIBUTION_MESSAGE,
    ATTRIBUTION_TYPE,
    Attributed,
    check_user,
    client_address,
    values_of,
)
from gateway.auth.ratelimit import SCOPES, bucket_of
from gateway.auth.secrets import Shown, check_device_token, check_shared, device_token_candidate
from gateway.connection import Connection
from gateway.greet.desk import Arrival, Desk
from gateway.hello import BadHello, buffer_limit, decode_connect, frame_limit
from gateway.link.base import LinkLost
from gateway.protocol import errors
from gateway.protocol.calls.system import Connect
from gateway.protocol.devices import DeviceToken
from gateway.protocol.errors import CloseReason, ErrorCode, ErrorShape
from gateway.protocol.frames import CLOSED, BadFrame, FrameTooLarge, Request
from gateway.protocol.limits import HELLO_DEADLINE_MS, REFUSAL_SECONDS
from gateway.registry import TooMany
from supervisor.messages import Held

_log = logging.getLogger("gateway.greet")

MAX_EARLY_FRAMES = 15
"""Frames a client may send behind its connect before it has been answered (OpenClaw 2026.9.6)."""


class OuterGreeting:
    """One peer's way in."""

    def __init__(self, arrival: Arrival, desk: Desk) -> None:
        self._arrival = arrival
        self._desk = desk
        self._policy = desk.policy()
        self._nonce = desk.nonce()
        self._counted: Principal | None = None
        self._early: list[bytes] = []
        found = client_address(arrival.remote[0], arrival.headers, self._policy.proxies)
        self._unattributable = "" if isinstance(found, Attributed) else found.detail
        self._address = found.address if isinstance(found, Attributed) else arrival.remote[0]
        origins = values_of(arrival.headers, "origin")
        self._origin = " ".join(origins) if origins else None  # two of them are no origin, so not an allowed one
        self._bucket = bucket_of(self._address, self._origin)
        self._client = ""
        self._detail = ""
        self._delay = 0.0
        self._about: dict[str, object] = {}

    async def admit(self, connection: Connection) -> Principal | None:
        """Let the peer in, or end the connection."""
        connection.post_event("connect.challenge", {"nonce": self._nonce, "ts": self._desk.wall_ms()})
        request = await self._first_request(connection)
        if request is None:
            return None
        try:
            connect = decode_connect(request, connection.codec)
        except BadHello as bad:
            connection.respond_error(request.id, bad.refusal.shape)
            connection.end(bad.reason, bad.refusal.shape.message)
            return None
        self._client = clean(connect.client.id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_ahead, connection)
            principal = await self._settle(connection, request, connect)
            nursery.cancel_scope.cancel()  # without a checkpoint since the greeting: what was read is in `_early`
        for body in self._early if principal is not None else ():
            self._desk.house.router.dispatch(connection, connection.codec.decode_request(body))
        return principal

    def leave(self, connection: Connection) -> None:
        """Count the peer out."""
        if self._counted is not None:
            self._desk.house.registry.leave(connection, self._counted)

    def stranger(self, code: str, said: str) -> Refusal:
        """A line for the refusals table about a peer that was not let in."""
        who = f"{self._client or 'unnamed client'} at {self._address}"
        return Refusal(code, said, who, "", self._arrival.first.uid, 0, detail=self._detail)

    # --- what it says -------------------------------------------------------------------------------------------------

    async def _first_request(self, connection: Connection) -> Request | None:
        """The first request; None when the connection is ending without one."""
        doomed = self._arrival.first.kind in ("ours", "unknown")
        with trio.move_on_after(REFUSAL_SECONDS if doomed else HELLO_DEADLINE_MS / 1000):
            bodies = await connection.link.receive(1)
            if not bodies:
                connection.end_of_file()
                return None
            try:
                return connection.codec.decode_request(bodies[0])
            except FrameTooLarge:
                raise
            except BadFrame as bad:
                about = {"conn": connection.id, "door": connection.door, "address": self._address, "error": str(bad)}
                _log.debug("no request", extra=about)
                connection.end(CloseReason.BAD_FRAME, CLOSED)
                return None
        if connection.reason is None:
            self._give_up(connection)
        return None

    def _give_up(self, connection: Connection) -> None:
        """It said nothing. One that nothing would have let in is written down like one that asked."""
        first = self._arrival.first
        if first.kind != "ours":
            return connection.end(CloseReason.HELLO_TIMEOUT, "no connect in time")
        self._detail = f"{first.agent} {first.session} {first.detail}"
        about = {"message": "no connect in time", "detail": self._detail}
        self._desk.pairing.audit.note(
            "connect.refused", rule="descent", address=self._address, conn=connection.id, detail=about
        )
        connection.end(CloseReason.OURS, "no connect in time")

    async def _read_ahead(self, connection: Connection) -> None:
        """Take what the peer sends before it has been answered; it is handled when it has been let in."""
        try:
            while bodies := await connection.link.receive(1):
                self._early += bodies
                if len(self._early) > MAX_EARLY_FRAMES:
                    connection.end(CloseReason.HASTY, f"more than {MAX_EARLY_FRAMES}")
        except FrameTooLarge as error:
            connection.end(CloseReason.HELLO_TOO_LARGE, str(error))
        except BadFrame as error:
            connection.end(CloseReason.BAD_FRAME, str(error))
        except LinkLost as error:
            connection.end(CloseReason.PEER_CLOSED, str(error))

    # --- the decision -------------------------------------------------------------------------------------------------

    async def _settle(self, connection: Connection, request: Request, connect: Connect) -> Principal | None:
        arrival, desk = self._arrival, self._desk
        held = await desk.look_again(arrival)
        self._policy = desk.policy()  # a reload meanwhile counts: an old secret is worth nothing from then on
        verdict = self._decide(connect, held)
        try:
            match verdict:
                case Admit():
                    return await self._let_in(connection, request, connect, verdict)
                case Ask():
                    verdict = await self._leave_request(connect, verdict)
        except errors.Refusal as refusal:
            verdict = _refused_by_pairing(refusal)
        except TooMany as error:
            shape = ErrorShape(ErrorCode.UNAVAILABLE, str(error), retryable=True, retry_after_ms=1000)
            verdict = Refused("too many connections", CloseReason.TOO_MANY_CONNECTIONS, shape)
        await self._turn_away(connection, request, connect, verdict)
        return None

    def _decide(self, connect: Connect, held: Held) -> Admit | Ask | Refused:
        if self._unattributable:
            shape = ErrorShape(ErrorCode.INVALID_REQUEST, ATTRIBUTION_MESSAGE, {"code": ATTRIBUTION_TYPE})
            return Refused("proxy attribution", CloseReason.UNAUTHORIZED, shape, self._unattributable)
        # No checkpoint between the look at the lockouts and the count: attempts side by side do not get past it.
        limiter, now = self._desk.limiter, round(trio.current_time() * 1000)
        verdict = decide(self._picture(connect, held, now))
        if isinstance(verdict, Refused):
            waits = [limiter.failed(kind, self._bucket, now) for kind in verdict.failed]
            self._delay = max(waits, default=0) / 1000
        elif verdict.proved:
            limiter.succeeded(verdict.proved, self._bucket)
        return verdict

    def _picture(self, connect: Connect, held: Held, now: int) -> Picture:
        desk, policy, auth = self._desk, self._policy, connect.auth
        wall = desk.wall_ms()
        proof = check_proof(connect, self._nonce, wall)
        device_id = proof.device_id if isinstance(proof, Proven) else ""
        device = desk.pairing.device(device_id) if device_id else None
        user, shared = self._shared(connect, held)
        token, _ = device_token_candidate(auth)
        bootstrap = auth.bootstrap_token if auth else None
        return Picture(
            door=self._arrival.door, address=self._address, first=self._arrival.first, held=held, connect=connect,
            now_ms=wall, proof=proof, shared=shared,
            device_token=check_device_token(
                device, connect.role, token, wanted_by(connect), policy.secrets.generation
            ),
            device=device, setup=desk.pairing.setup(bootstrap, device_id) if bootstrap and device_id else None,
            user=user, origin=self._origin, origins=policy.origins, operators=policy.operators,
            locked={one: left for one in SCOPES if (left := desk.limiter.locked_ms(one, self._bucket, now))},
        )  # fmt: skip

    def _shared(self, connect: Connect, held: Held) -> tuple[str, Shown]:
        policy = self._policy
        if policy.secrets.mode != "trusted-proxy":
            return "", check_shared(policy.secrets, connect.auth)
        user, reason = check_user(
            self._arrival.remote[0], self._arrival.headers, policy.proxies, policy.proxy_rule,
            local=held.kind != "remote", uid=held.uid,
        )  # fmt: skip
        return user, Shown("trusted-proxy", reason, given=True)

    # --- what comes of it ---------------------------------------------------------------------------------------------

    async def _let_in(self, connection: Connection, request: Request, connect: Connect, verdict: Admit) -> Principal:
        """Greet it. From the answer of pairing to the end of this there is no checkpoint: a device that is removed
        meanwhile is either refused by pairing or found among the connections."""
        house, principal = self._desk.house, verdict.principal
        auth: dict[str, Any] = {"role": verdict.role, "scopes": list(verdict.scopes), "method": verdict.method}
        if principal.kind is Kind.DEVICE:
            auth |= await self._tokens(connect, verdict)
            if verdict.method != "device-token" and self._desk.policy().secrets != self._policy.secrets:
                raise errors.unavailable("the shared secret was changed meanwhile (connect again)", 1000)
        house.registry.enter(connection, principal, trio.current_time())
        self._counted = principal
        connection.link.limit = frame_limit(principal)
        connection.link.max_buffered = buffer_limit(principal)
        snapshot = self._desk.snapshot(principal)
        hello = house.greeter.hello_outside(principal, connect, connection.id, auth, snapshot)
        connection.welcome(principal, request.id, hello, connect, events=True)
        return principal

    async def _tokens(self, connect: Connect, verdict: Admit) -> dict[str, Any]:
        """What hello-ok gives a device to come back with."""
        pairing, role, proven = self._desk.pairing, verdict.role, verdict.proven
        assert proven is not None
        facts = facts_of(connect, self._address, self._origin)
        if verdict.setup:
            shown = connect.auth.bootstrap_token if connect.auth else None
            device_id, key = proven.device_id, proven.public_key
            _, tokens = await pairing.redeem(shown or "", device_id, key, role, verdict.scopes, facts)
            return _handed_over(role, tokens)
        # A browser keeps its token where any script of that page reads it: such a token ends with the shared secret.
        generation = self._policy.secrets.generation if self._origin else ""
        shown = device_token_candidate(connect.auth)[0] if verdict.method == "device-token" else None
        token = await pairing.admit(proven.device_id, role, verdict.scopes, facts, verdict.method, shown, generation)
        return _handed_over(role, [token])

    async def _leave_request(self, connect: Connect, ask: Ask) -> Refused:
        """A request that a person can see and approve, and the answer that says how."""
        facts, proven = facts_of(connect, self._address, self._origin), ask.proven
        pending = await self._desk.pairing.ask(
            proven.device_id, proven.public_key, ask.role, ask.scopes, facts, ask.reason
        )
        shape = pairing_required(ask, pending.request_id)
        self._about = {"requestId": pending.request_id, **asked_about(ask, facts)}
        return Refused(f"pairing: {ask.reason}", CloseReason.NOT_PAIRED, shape)

    async def _turn_away(self, connection: Connection, request: Request, connect: Connect, refused: Refused) -> None:
        """Write down who was refused, then tell it; who guesses from this machine is told later each time."""
        self._detail = refused.detail
        device = clean(connect.device.id) if connect.device else ""
        about = {"message": refused.error.message, "detail": refused.detail, "client": self._client, **self._about}
        self._desk.pairing.audit.note(
            "connect.refused", rule=refused.rule, device=device, address=self._address, conn=connection.id,
            detail={name: value for name, value in about.items() if value},
        )  # fmt: skip
        await trio.sleep(self._delay)
        connection.respond_error(request.id, refused.error)
        connection.end(refused.close, close_text(refused.error))


def _handed_over(role: str, tokens: list[DeviceToken]) -> dict[str, Any]:
    """The token of the role that is connected, and those of others a setup code gave as well. Raises Refusal when it
    has been revoked."""
    mine = next((token for token in tokens if token.role == role), None)
    if mine is None:
        raise errors.Refusal(ErrorCode.NOT_PAIRED, "pairing required: device is not approved yet")
    told: dict[str, Any] = {"deviceToken": mine.token, "issuedAtMs": _issued(mine)}
    others = [
        {"deviceToken": one.token, "role": one.role, "scopes": list(one.scopes), "issuedAtMs": _issued(one)}
        for one in tokens if one is not mine
    ]  # fmt: skip
    return told | ({"deviceTokens": others} if others else {})


def _issued(token: DeviceToken) -> int:
    return token.rotated_at_ms or token.created_at_ms


def _refused_by_pairing(refusal: errors.Refusal) -> Refused:
    """What was decided no longer holds (removed, rotated, used meanwhile), or no more can wait."""
    shape = refusal.shape
    close = CloseReason.NOT_PAIRED if shape.code == ErrorCode.NOT_PAIRED else CloseReason.UNAUTHORIZED
    reason = (shape.details or {}).get("reason") or (shape.details or {}).get("code") or shape.code
    return Refused(f"pairing: {reason}", close, shape)
