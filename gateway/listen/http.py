"""HTTP on the outer door: three probes, and the upgrade to a WebSocket.

Owns every HTTP exchange, from a connection's first byte to its last or to the upgrade, where the bytes are given back
and read again as a WebSocket's. Nothing a stranger sends makes it wait longer than the deadlines below or hold more
than one head; what it is told is the same for everybody, and no more than that the gateway lives.

An upgrade is taken as a connection's first request only, so that no page can slip one behind a request of its own."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from email.utils import formatdate
from http import HTTPStatus

import h11
import msgspec
import trio

from gateway.auth.origin import Names, is_our_host, misdirected
from gateway.auth.proxies import ATTRIBUTION_MESSAGE, ATTRIBUTION_TYPE, Attributed, Headers, Network, client_address
from gateway.auth.ratelimit import bucket_of, retry_after
from gateway.link.tcp import Tcp
from gateway.listen.tcp import MAX_UNGREETED_PER_ADDRESS, Visit

HEAD_SECONDS = 10.0
"""For a request's head, from the first byte we wait for to the last; and for an answer to leave."""
IDLE_SECONDS = 30.0
"""Between two requests of one connection."""
LINGER_SECONDS = 1.0
"""For the peer to hang up after the last answer; closing with something unread would take the answer back."""
MAX_HEAD_BYTES = 16 * 1024
MAX_REQUESTS = 1000
"""Of one connection; then it is closed, and whoever probes connects again."""

READ_BYTES = 16 * 1024
PROBE_METHODS = ("GET", "HEAD")
_PROBES = {"/health": "live", "/healthz": "live", "/ready": "ready", "/readyz": "ready"}
_PROBES |= {"/startup": "started", "/startupz": "started"}


class Standing(enum.StrEnum):
    """How far the gateway is, as a probe tells it."""

    STARTING = "starting"
    STARTED = "started"
    DRAINING = "draining"


class Rules(msgspec.Struct, frozen=True):
    """What the answers depend on, asked anew each time, because a reload replaces it. `locked_ms`: how long an address
    (as `bucket_of` counts it) is not listened to at all."""

    names: Callable[[], Names]
    proxies: Callable[[], Sequence[Network]]
    locked_ms: Callable[[str], int]
    standing: Callable[[], Standing]


class Answer(msgspec.Struct, frozen=True):
    """One response."""

    status: int
    document: object
    headers: tuple[tuple[str, str], ...] = ()
    last: bool = False


def refusal(status: int, kind: str, message: str, *headers: tuple[str, str]) -> Answer:
    """An error as OpenClaw's clients read it; the connection ends with it."""
    return Answer(status, {"error": {"message": message, "type": kind}}, headers, last=True)


NOT_TLS = refusal(400, "tls_required", "this port speaks TLS: use https:// or wss://")


class Front:
    """The HTTP side of the outer door. `upgrade` goes on with a connection that is to be a WebSocket; its request is
    the next thing to read. Names of the headers it is given are in lower case."""

    def __init__(self, rules: Rules, upgrade: Callable[[Visit, Headers], Awaitable[None]]) -> None:
        self._rules = rules
        self._upgrade = upgrade

    async def serve(self, visit: Visit) -> None:
        """One connection until its last answer, or its upgrade's end. Raises trio.BrokenResourceError; closes
        nothing."""
        # What HTTP was spoken with is let go here: a WebSocket may be open for weeks.
        if (headers := await self._converse(visit)) is not None:
            await self._upgrade(visit, headers)

    async def _converse(self, visit: Visit) -> Headers | None:
        """Answer requests until one is a WebSocket's; its headers, with the request the next thing to read. None when
        the connection is over."""
        peer = _Peer(visit.stream)
        for number in range(MAX_REQUESTS):
            request = await peer.next_request(HEAD_SECONDS if number == 0 else IDLE_SECONDS)
            if request is None:
                return None
            if isinstance(request, Answer):
                await peer.tell(request)
                return None
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
            if wants_upgrade(headers):
                refused = self._check_upgrade(visit, request, headers, first=number == 0, more=peer.has_more)
                if refused is None:
                    visit.stream.unread(peer.raw)
                    return headers
                await peer.tell(refused)
                return None
            answer = self._answer(visit, request, headers)
            # Where a body ends may be told twice, and differently; what follows is believed by nobody (RFC 9112, 6.1).
            unclear = _first(headers, "transfer-encoding") is not None
            if await peer.tell(answer, last=unclear or number == MAX_REQUESTS - 1):
                return None
        return None

    def _answer(self, visit: Visit, request: h11.Request, headers: Headers) -> Answer:
        """To a request that is no upgrade. A probe of HTTP/1.0 may leave out the Host: no browser does."""
        host = _first(headers, "host")
        probe = _PROBES.get(request.target.partition(b"?")[0].decode("latin-1"))
        unnamed = host is None and request.http_version == b"1.0" and probe is not None
        if not unnamed and not is_our_host(host, visit.local[0], self._rules.names()):
            return refusal(421, "misdirected", misdirected(host))
        if probe is None:
            return Answer(404, {"error": {"message": "not found", "type": "not_found"}})
        if request.method.decode("latin-1") not in PROBE_METHODS:
            allow = ("Allow", ", ".join(PROBE_METHODS))
            return Answer(405, {"error": {"message": "method not allowed", "type": "method_not_allowed"}}, (allow,))
        return probed(probe, self._rules.standing())

    def _check_upgrade(
        self, visit: Visit, request: h11.Request, headers: Headers, *, first: bool, more: bool
    ) -> Answer | None:
        """Why this connection becomes no WebSocket; None when it may."""
        rules, host = self._rules, _first(headers, "host")
        if not is_our_host(host, visit.local[0], rules.names()):
            return refusal(421, "misdirected", misdirected(host))
        if broken := _unfit(request, headers, first=first, more=more):
            return broken
        if rules.standing() is not Standing.STARTED:
            return refusal(503, "unavailable", "the gateway is restarting", ("Retry-After", "1"))
        found = client_address(visit.remote[0], headers, rules.proxies())
        if not isinstance(found, Attributed):
            return refusal(403, ATTRIBUTION_TYPE, ATTRIBUTION_MESSAGE)
        if visit.count_as(bucket_of(found.address)) > MAX_UNGREETED_PER_ADDRESS:
            return refusal(503, "too_many_sockets", "Too many unauthenticated sockets", ("Retry-After", "1"))
        if wait := rules.locked_ms(bucket_of(found.address, _first(headers, "origin"))):
            return refusal(
                429, "rate_limited", "too many failed attempts (retry later)", ("Retry-After", retry_after(wait))
            )
        return None


def wants_upgrade(headers: Headers) -> bool:
    """Whether a request asks for a WebSocket (RFC 6455 section 4.2.1)."""
    return "websocket" in _words(headers, "upgrade") and "upgrade" in _words(headers, "connection")


def _unfit(request: h11.Request, headers: Headers, *, first: bool, more: bool) -> Answer | None:
    if not first:
        return refusal(400, "bad_request", "an upgrade must be a connection's first request")
    if request.method != b"GET" or request.http_version != b"1.1" or more:
        return refusal(400, "bad_request", "an upgrade is a GET of HTTP/1.1 that waits for its answer")
    if _first(headers, "sec-websocket-version") != "13":
        return refusal(426, "bad_request", "only WebSocket version 13", ("Sec-WebSocket-Version", "13"))
    if len(_first(headers, "sec-websocket-key") or "") != 24:
        return refusal(400, "bad_request", "no Sec-WebSocket-Key")
    return None


def probed(probe: str, standing: Standing) -> Answer:
    """What a probe is told: the bodies of OpenClaw 2026.9.6, without the details it gives to those it knows."""
    fine = standing is Standing.STARTED
    match probe:
        case "live":
            return Answer(200, {"ok": True, "status": "live"})
        case "ready":
            return Answer(200 if fine else 503, {"ready": fine})
        case _:
            return Answer(200 if fine else 503, {"ok": fine, "status": standing.value})


def _first(headers: Headers, wanted: str) -> str | None:
    return next((value for name, value in headers if name == wanted), None)


def _words(headers: Headers, wanted: str) -> list[str]:
    return [word.strip().lower() for name, value in headers if name == wanted for word in value.split(",")]


class _Peer:
    """The exchange with one peer. `raw` is every byte of the request that is being read."""

    def __init__(self, stream: Tcp) -> None:
        self.raw = b""
        self._head = False
        self._stream = stream
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    @property
    def has_more(self) -> bool:
        """Whether something came behind the request."""
        return bool(self._parser.trailing_data[0])

    async def next_request(self, seconds: float) -> h11.Request | Answer | None:
        """The next request; an answer to what is none; None when the peer has left or takes too long."""
        with trio.move_on_after(seconds):
            try:
                while (event := self._parser.next_event()) is h11.NEED_DATA:
                    data = await self._stream.receive_some(READ_BYTES)
                    if not data and not self.raw:
                        return None
                    self.raw += data
                    self._parser.receive_data(data)
            except h11.RemoteProtocolError as error:
                return refusal(error.error_status_hint, "bad_request", str(error))
            if not isinstance(event, h11.Request):
                return None
            self._head = event.method == b"HEAD"
            # h11 takes a longer one when its end came in the last read.
            if len(self.raw) - len(self._parser.trailing_data[0]) > MAX_HEAD_BYTES:
                return refusal(431, "bad_request", f"a request of more than {MAX_HEAD_BYTES} bytes")
            return event
        return refusal(408, "timeout", f"no request within {seconds:.0f} s") if self.raw else None

    async def tell(self, answer: Answer, *, last: bool = False) -> bool:
        """Answer; whether that was the last, and the peer has had the time to read it. A request with a body is one,
        because nobody here reads bodies."""
        parser = self._parser
        last = last or answer.last or not self._is_whole()
        if parser.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            with trio.move_on_after(HEAD_SECONDS) as sending:
                await self._stream.send_all(self._response(answer, last))
            if sending.cancelled_caught:
                return True  # it asks and does not read
        if not last and parser.our_state is h11.DONE and parser.their_state is h11.DONE:
            self.raw = bytes(parser.trailing_data[0])
            parser.start_next_cycle()
            return False
        self._stream.half_close()
        with trio.move_on_after(LINGER_SECONDS):
            while await self._stream.receive_some(READ_BYTES):
                pass
        return True

    def _is_whole(self) -> bool:
        if self._parser.their_state is not h11.SEND_BODY:
            return self._parser.their_state is h11.DONE
        try:
            return isinstance(self._parser.next_event(), h11.EndOfMessage)
        except h11.RemoteProtocolError:
            return False

    def _response(self, answer: Answer, last: bool) -> bytes:
        parser, body = self._parser, msgspec.json.encode(answer.document)
        headers = [
            ("Date", formatdate(usegmt=True)), ("Content-Type", "application/json; charset=utf-8"),
            ("Content-Length", str(len(body))), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"),
            *answer.headers, *([("Connection", "close")] if last else []),
        ]  # fmt: skip
        reason = HTTPStatus(answer.status).phrase.encode()
        parts = [parser.send(h11.Response(status_code=answer.status, headers=headers, reason=reason))]
        if not self._head:
            parts.append(parser.send(h11.Data(data=body)))
        parts.append(parser.send(h11.EndOfMessage()))
        return b"".join(part for part in parts if part)


async def say_not_tls(stream: Tcp) -> None:
    """Tell somebody who spoke HTTP to a port that speaks TLS."""
    await _Peer(stream).tell(NOT_TLS)
