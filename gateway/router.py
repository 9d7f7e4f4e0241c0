"""The router: the only place that enforces a row. Finds it, checks scope, size and budget, decodes parameters, calls
the handler.

A plain function as handler is answered at once, inside the connection's read loop; it must not take long. An async one
gets a task of its own, cancelled when its connection ends. A plain one whose row says that it may wait can also return
a coroutine, which then gets such a task, or a `Later`, which needs none. A handler sees only calls its row lets
through."""

from __future__ import annotations

import difflib
import inspect
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gateway.auth.principal import Principal
from gateway.auth.principal import Refusal as RefusalNote
from gateway.auth.ratelimit import retry_after
from gateway.auth.writebudget import MAX_CALLS, WINDOW_MS, WriteBudget, payer_of
from gateway.protocol import scopes
from gateway.protocol.calls import ROWS
from gateway.protocol.calls.row import Row, choices_of, instead_of
from gateway.protocol.errors import ErrorShape, Refusal, forbidden, invalid, unavailable
from gateway.protocol.frames import MALFORMED, MSGPACK, Codec, Request, malformed_text, unexpected_member, wrong_choice
from gateway.protocol.limits import MAX_IN_FLIGHT
from gateway.services.later import Later
from supervisor.crashpoints import crashpoint

if TYPE_CHECKING:
    from gateway.services import Services

_log = logging.getLogger("gateway.router")

SLOW_CALL_SECONDS = 1.0
"""A call that takes longer and is not meant to (`Row.waits`) is logged."""


class Peer(Protocol):
    """What the router and the handlers need of a connection. Nothing here waits or raises."""

    @property
    def id(self) -> str:
        """Unique within this gateway's life."""
        ...

    @property
    def codec(self) -> Codec:
        """How its frames are written; raw parts of parameters are written the same way."""
        ...

    @property
    def principal(self) -> Principal:
        """Who it is."""
        ...

    @property
    def in_flight(self) -> set[str]:
        """Ids of the calls that wait for their answer."""
        ...

    def respond(self, id: str, payload: object) -> None:
        """Queue an answer. Raises TypeError (or another error of the encoder) if the payload cannot be encoded."""
        ...

    def respond_error(self, id: str, error: ErrorShape) -> None:
        """Queue an error."""
        ...

    def post_event(self, event: str, payload: object) -> None:
        """Queue an event meant for this connection alone; it has no `seq`."""
        ...

    def start(self, run: Callable[[], Awaitable[None]], *, patient: bool) -> None:
        """Run something for as long as the connection lives; `patient` when it may take long by design."""
        ...


class Call(msgspec.Struct):
    """One call that passed its row. `params` is the row's parameter struct; `started` is the monotonic clock,
    seconds."""

    row: Row
    id: str
    params: Any
    connection: Peer
    services: Services
    started: float = 0.0

    @property
    def principal(self) -> Principal:
        """Who calls."""
        return self.connection.principal

    def answer_now(self, payload: object) -> None:
        """The first answer of a method that answers twice; what the handler returns is the second."""
        _answer(self.connection, self.id, payload)


Handler = Callable[[Call], Any]
"""`def handler(call) -> payload` (at once) or `async def handler(call) -> payload` (a task), or, of a row that waits,
`def handler(call) -> payload, coroutine or Later`. Raises Refusal to refuse."""


class _Entry(msgspec.Struct, frozen=True):
    row: Row
    handler: Handler
    waits: bool


class Router:
    """Rows joined to their handlers. `refused` hears of every FORBIDDEN, for the refusals table; it must not raise."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        services: Services,
        *,
        refused: Callable[[RefusalNote], None],
        rows: Mapping[str, Row] = ROWS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = services
        self._clock = clock
        self._budget = WriteBudget()
        self._refused = refused
        self._entries = {
            name: _Entry(rows[name], handler, inspect.iscoroutinefunction(handler))
            for name, handler in handlers.items()
        }

    def methods_for(self, principal: Principal) -> list[str]:
        """What this principal may call, hidden rows left out; for hello-ok."""
        rows = (entry.row for entry in self._entries.values())
        return sorted(row.name for row in rows if not row.hidden and _allowed(row, principal))

    def dispatch(self, peer: Peer, request: Request) -> None:
        """Answer one request, now or later. Never raises for anything a peer can send."""
        try:
            entry = self._admit(peer, request)
            params = _decode(entry.row, request, peer.codec)
            self._check_words(entry, peer.principal, params)
            call = Call(entry.row, request.id, params, peer, self._services, time.monotonic())
            if entry.waits:
                _reserve(peer, request.id)
                peer.start(lambda: self._run(entry, call, entry.handler(call)), patient=entry.row.waits)
            elif entry.row.waits:
                self._begin(entry, call)
            else:
                _answer(peer, request.id, entry.handler(call))
        except Refusal as refusal:
            self._refuse(peer, request.method, request.id, refusal)
        except Exception as error:
            self._break(peer, request.method, request.id, error)

    def _begin(self, entry: _Entry, call: Call) -> None:
        """A plain handler of a call that may wait."""
        peer = call.connection
        _reserve(peer, call.id)
        try:
            given = entry.handler(call)
            if isinstance(given, Later):
                return given.begin(lambda outcome: self._tell(entry, call, outcome))
        except Exception as error:
            return self._tell(entry, call, error)
        if isinstance(given, Awaitable):
            peer.start(lambda: self._run(entry, call, given), patient=True)
        else:
            self._tell(entry, call, given)

    def _tell(self, entry: _Entry, call: Call, outcome: Any) -> None:
        """Answer with what a handler returned or raised. Never raises."""
        peer = call.connection
        peer.in_flight.discard(call.id)
        try:
            if isinstance(outcome, Exception):
                raise outcome
            _answer(peer, call.id, outcome)
        except Refusal as refusal:
            self._refuse(peer, entry.row.name, call.id, refusal)
        except Exception as error:
            self._break(peer, entry.row.name, call.id, error)

    async def _run(self, entry: _Entry, call: Call, handling: Awaitable[Any]) -> None:
        peer = call.connection
        outcome: Any
        try:
            outcome = await handling
        except Exception as error:
            outcome = error
        finally:
            peer.in_flight.discard(call.id)
        self._tell(entry, call, outcome)
        took = time.monotonic() - call.started
        if took > SLOW_CALL_SECONDS and not entry.row.waits:
            about = {"method": entry.row.name, "ms": round(took * 1000)}
            _log.warning("slow call", extra=about | _caller(peer.principal))

    def _admit(self, peer: Peer, request: Request) -> _Entry:
        entry = self._entries.get(request.method)
        principal = peer.principal
        if entry is None or not _allowed(entry.row, principal):
            raise self._denial(entry, peer, request.method)
        size = memoryview(request.params).nbytes
        if size > entry.row.max_bytes:
            raise invalid(f"{request.method}: parameters of {size} bytes, at most {entry.row.max_bytes} are allowed")
        if entry.row.budgeted:
            self._charge(principal, request.method)
        return entry

    def _charge(self, principal: Principal, method: str) -> None:
        payer = payer_of(principal)
        wait = self._budget.spend(method, payer, round(self._clock() * 1000)) if payer is not None else 0
        if wait:
            limit = f"{MAX_CALLS} per {WINDOW_MS // 1000}s"
            text = f"rate limit exceeded for {method}; retry after {retry_after(wait)}s"
            raise unavailable(text, wait, method=method, limit=limit)

    def _check_words(self, entry: _Entry, principal: Principal, params: Any) -> None:
        """What a call says may need more than what its name does."""
        if entry.row.scope_for is not None and not principal.may(needed := entry.row.scope_for(params)):
            raise _missing(needed, [needed], principal)

    def _denial(self, entry: _Entry | None, peer: Peer, method: str) -> Refusal:
        principal = peer.principal
        if method == "connect":
            return invalid("connect is only valid as the first request")
        if entry is None and principal.may(scopes.ADMIN):
            near = difflib.get_close_matches(method[:128], self._entries, n=3)  # it looks at every character
            # OpenClaw's clients compare this text as a whole, to do without what a gateway does not have.
            hint = f" (nearest: {', '.join(near)})" if near and peer.codec is MSGPACK else ""
            return invalid(f"unknown method: {method[:128]}{hint}")
        # An unknown method answers as one nobody but an administrator may call, so that names cannot be probed.
        needed = entry.row.scope if entry else scopes.ADMIN
        enough = [needed, *([entry.row.or_scope] if entry and entry.row.or_scope else [])]
        return _missing(needed, enough, principal)

    def _refuse(self, peer: Peer, method: str, id: str, refusal: Refusal) -> None:
        shape = refusal.shape
        if shape.code == "FORBIDDEN":
            who = peer.principal
            _log.warning("call refused", extra={"method": method[:128], "said": shape.message, **_caller(who)})
            self._refused(note_of(who, shape.code, shape.message, method=method[:128]))
        peer.respond_error(id, shape)

    def _break(self, peer: Peer, method: str, id: str, error: Exception) -> None:
        reference = secrets.token_hex(4)
        _log.error(
            "call failed inside", exc_info=error,
            extra={"method": method, "reference": reference, **_caller(peer.principal)},
        )  # fmt: skip
        peer.respond_error(id, unavailable(f"internal error (reference {reference})").shape)


def _caller(who: Principal) -> dict[str, str]:
    """Who calls, for the log; which lines are shown to whom goes by the door."""
    return {"door": who.door, "who": who.name}


def _missing(needed: str, enough: list[str], principal: Principal) -> Refusal:
    subject = f"; {principal.name} acts as its session and may only use the session tools" if principal.bound else ""
    return forbidden(
        f"missing scope: {needed}{subject}",
        code="MISSING_SCOPE", missingScope=needed, requiredScopes=enough, principal=principal.name,
    )  # fmt: skip


def note_of(who: Principal, code: str, message: str, *, method: str = "", detail: str = "") -> RefusalNote:
    """A line for the refusals table about somebody who was let in."""
    return RefusalNote(
        code, message, who.name, who.door, who.uid, who.pid, who.agent, who.session, method=method, detail=detail
    )


def _answer(peer: Peer, id: str, payload: object) -> None:
    crashpoint("gateway.answer.before")
    peer.respond(id, payload)
    crashpoint("gateway.answer.after")


def _allowed(row: Row, principal: Principal) -> bool:
    granted = principal.granted
    return row.scope in granted or (row.or_scope is not None and row.or_scope in granted)


def _decode(row: Row, request: Request, codec: Codec) -> Any:
    try:
        return (row.decoder if codec is MSGPACK else row.json_decoder).decode(request.params)
    except MALFORMED as error:
        # OpenClaw's clients compare this text too; only ours are told more.
        hint = _hint(error, row) if codec is MSGPACK else ""
        raise invalid(f"invalid {row.name} params: {malformed_text(error)}{hint}") from None


def _hint(error: Exception, row: Row) -> str:
    if (name := unexpected_member(error)) is not None:
        return f"; {instead_of(name, row.params)}"
    return f"; {choices_of(name, row.params)}" if (name := wrong_choice(error)) is not None else ""


def _reserve(peer: Peer, id: str) -> None:
    if id in peer.in_flight:
        raise invalid(f"a call with id {id[:64]} is still waiting for its answer; ids of calls in flight must differ")
    if len(peer.in_flight) >= MAX_IN_FLIGHT:
        raise unavailable(f"{MAX_IN_FLIGHT} calls of this connection are waiting; wait for one to be answered", 100)
    peer.in_flight.add(id)
