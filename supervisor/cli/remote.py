"""A system elsewhere, for commands that ask one thing after another: a connection with the manners of `wire.Client`.

Owns the thread in which Trio carries it, and the sentence for each way it can fail: what was refused, and what to type
where. Loaded only for an address over the network."""

from __future__ import annotations

import getpass
import queue
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cache
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import trio
import trio.from_thread

from gateway import client as gateway_client
from gateway.client.access import Access, CannotConnect, parse_address
from gateway.client.keep import BadKeep
from gateway.client.remote import RemoteClient as Connected
from gateway.protocol.errors import ErrorShape
from gateway.protocol.limits import MAX_PAYLOAD_BYTES
from supervisor.cli.address import RemoteDoor, Unreachable
from supervisor.cli.errors import (
    CallRefused,
    CliError,
    ConnectionLost,
    HelloRefused,
    NotAllowed,
    NotRunning,
    Unanswered,
    Usage,
)
from supervisor.cli.output import note
from supervisor.cli.version import own_version

CONNECT_SECONDS = 15.0
"""How long TCP, TLS, challenge and hello may take together."""
PARTING_SECONDS = 2.0
OWN_PORT = 18789
T = TypeVar("T")


class NotPaired(HelloRefused):
    """A person has to let this device in first."""

    code = "NOT_PAIRED"


class CertificateChanged(NotAllowed):
    """Another certificate than the one that was remembered, or named."""

    code = "CERTIFICATE_CHANGED"


class NotAGateway(CliError):
    """Something answers, and is none."""

    exit_code = NotRunning.exit_code
    code = "NOT_A_GATEWAY"


class RemoteClient:
    """A connection that says hello by itself before the first answer, and raises what `wire.Client` raises. Use as a
    context manager."""

    def __init__(self, door: RemoteDoor, *, events: bool = False) -> None:
        self.hello: dict[str, Any] = {}
        self._door = door
        self._events = events
        self._begun: queue.SimpleQueue[Connected | BaseException] = queue.SimpleQueue()
        self._connected: Connected | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        # A daemon: an interrupted command does not wait for the network.
        self._thread = threading.Thread(target=trio.run, args=(self._live,), daemon=True)

    @property
    def principal(self) -> dict[str, Any]:
        """Who the kernel says we are: it cannot, over the network, so never a process inside an agent."""
        return {}

    def greet(self) -> dict[str, Any]:
        """Connect now, if that is not done yet; what the gateway said."""
        if self._connected is None:
            warn_of_plaintext(self._door)
            self._thread.start()
            begun = self._begun.get()
            if isinstance(begun, BaseException):
                raise told(self._door, begun)
            self._connected, self.hello = begun, begun.hello
            if self._events:  # what is about sessions comes to those alone who ask
                self.call("sessions.subscribe")
        return self.hello

    def call(self, method: str, params: Mapping[str, Any] | None = None, *, timeout: float | None = 30.0) -> Any:
        """The payload of the (first) answer to one call."""
        asked = dict(params or {})
        _must_travel(asked)
        self.greet()
        try:
            return trio.from_thread.run(self._call, method, asked, timeout, trio_token=self._token)
        except gateway_client.CallFailed as error:
            raise self._refused(method, error.shape) from None
        except gateway_client.ConnectionLost as error:
            raise ConnectionLost(error.reason) from None
        except trio.TooSlowError:
            raise Unanswered("the gateway does not answer") from None

    def next_event(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next event frame, or None when `timeout` seconds went by without one."""
        self.greet()
        try:
            event = trio.from_thread.run(self._next, timeout, trio_token=self._token)
        except gateway_client.ConnectionLost as error:
            raise ConnectionLost(error.reason) from None
        return None if event is None else {"type": "event", **event}

    def close(self) -> None:
        """End the connection."""
        if self._token is not None:
            self._token.run_sync_soon(self._scope.cancel)
            self._thread.join(PARTING_SECONDS)

    def __enter__(self) -> RemoteClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refused(self, method: str, shape: ErrorShape) -> CallRefused:
        refused = CallRefused(method, msgspec.to_builtins(shape))
        _, missing, scope = shape.message.partition("missing scope: ")
        if missing:
            refused.fix = f"ask for it: peergate pair {self._door} --scope {scope.split()[0]}"
        return refused

    # --- in the thread ------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        try:
            with self._scope:
                async with open_door(self._door) as client:
                    self._token = trio.lowlevel.current_trio_token()
                    self._begun.put(client)
                    await trio.sleep_forever()
        except Exception as error:  # told, as a sentence, in the thread that waits for it
            self._begun.put(error)

    async def _call(self, method: str, params: dict[str, Any], seconds: float | None) -> Any:
        assert self._connected is not None
        return await self._connected.call(method, params, timeout=seconds)

    async def _next(self, seconds: float | None) -> dict[str, Any] | None:
        assert self._connected is not None
        with trio.move_on_after(float("inf") if seconds is None else seconds):
            try:
                event = await self._connected.events.receive()
            except trio.EndOfChannel:
                raise gateway_client.ConnectionLost(self._connected.lost or "closed") from None
            return {"event": event.event, "payload": event.payload, "seq": event.seq}
        return None


def run_here(do: Callable[[], Awaitable[T]]) -> T:
    """What `do` returns, run by Trio in this thread. Ctrl-C is Ctrl-C, whatever nursery it happened in."""
    try:
        return trio.run(do)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from None
        raise


def open_door(door: RemoteDoor, **more: Any) -> Any:
    """`open_client` for a door, as this command line; `more` are fields of its Access."""
    access = Access(token=door.token, password=door.password, fingerprint=door.fingerprint, first_use=tell_first_use)
    return gateway_client.open_client(
        door, access=replace(access, **more), client=about_us(), connect_timeout=CONNECT_SECONDS
    )


def about_us() -> dict[str, Any]:
    """What whoever approves this device reads of it."""
    try:
        name = f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a uid without an account
        name = socket.gethostname()
    return {"id": "cli", "mode": "cli", "version": own_version(), "platform": sys.platform, "displayName": name[:64]}


def _must_travel(params: Mapping[str, Any]) -> None:
    try:
        size = len(msgspec.json.encode(params))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Usage(f"this cannot travel: {error}") from None
    if size > MAX_PAYLOAD_BYTES:
        raise Usage(f"{size} bytes are more than the {MAX_PAYLOAD_BYTES} one call may have")


# --- what a person is told --------------------------------------------------------------------------------------------


@cache
def warn_of_plaintext(door: str) -> None:
    """Say once that others can read along, where they can."""
    try:
        address = parse_address(door)
    except ValueError:
        return  # connecting says what is wrong with it
    if not address.secure and not address.is_here:
        note(f"warning: {address.url} is not encrypted: whoever is on the way reads every secret and message")


def tell_first_use(name: str, fingerprint: str) -> None:
    """Say that a certificate nobody vouches for is remembered from now on."""
    note(f"{name} was never seen before; its certificate is remembered: {fingerprint}")
    note("  compare it on the gateway's machine: peergate cert show")


def told(door: RemoteDoor, error: BaseException) -> CliError:
    """The sentence for whatever ended a connect."""
    match error:
        case gateway_client.CallFailed():
            return _refusal(door, error)
        case CannotConnect():
            return _no_connection(door, error)
        case BadKeep():
            return NotAllowed(str(error))
        case ValueError():
            return Usage(str(error))
        case trio.TooSlowError():
            return Unanswered(f"{door} has not answered within {CONNECT_SECONDS:.0f} s")
        case gateway_client.ConnectionLost():
            return ConnectionLost(f"{door}: {error.reason}")
    raise error


def _refusal(door: RemoteDoor, error: gateway_client.CallFailed) -> CliError:
    code, request = str(error.details.get("code") or error.code), error.details.get("requestId")
    if request:
        return NotPaired(
            f"{error.message}; request {request} waits there",
            fix=f"on the gateway's machine: peergate devices approve {request}",
        )
    if error.shape.retryable and error.code == "UNAVAILABLE":
        return Unanswered(error.message)
    pair = f"peergate pair {door}"
    fixes = {
        "AUTH_TOKEN_MISSING": f"{pair} --token-file FILE; or, with a code from `peergate qr`: peergate pair CODE",
        "AUTH_TOKEN_MISMATCH": "it is gateway.auth.token there, or in the file gateway-token of its state directory",
        "AUTH_PASSWORD_MISSING": f"PEERGATE_PASSWORD=… {pair}",
        "AUTH_DEVICE_TOKEN_MISMATCH": f"rotated, revoked, or the device removed: {pair} --token-file FILE",
        "AUTH_SCOPE_MISMATCH": f"{pair} --token-file FILE",
        "AUTH_RATE_LIMITED": f"try again in {(error.shape.retry_after_ms or 0) / 1000:.0f} s",
    }
    return HelloRefused(error.message, fix=fixes.get(code))


def _no_connection(door: RemoteDoor, error: CannotConnect) -> CliError:
    address = parse_address(door)
    match error.kind:
        case "certificate-changed":
            return CertificateChanged(
                f"{error.message}: nothing was sent",
                fix=f"if `peergate cert show` says {error.found} on the gateway's machine: peergate pair {door}",
            )
        case "tls-there":
            return NotAGateway(error.message, fix=f"--url {door.replace('ws:', 'wss:', 1)}")
        case "no-tls":
            fix = f"if its operator means it (gateway.tls.allowPlaintext): --url {door.replace('wss:', 'ws:', 1)}"
            return NotAGateway(error.message, fix=fix)
        case "refused":
            return HelloRefused(error.message, fix=f"the operator names it in gateway.hostNames: {address.host}")
        case "busy":
            return Unreachable(error.message, fix=f"try again in {error.wait or 1:.0f} s")
        case "unknown-host" | "unreachable" if address.port in (80, 443):
            own = replace(address, port=OWN_PORT)
            return Unanswered(
                error.message, fix=f"without a proxy before it, it listens at {OWN_PORT}: --url {own.url}"
            )
        case "unknown-host":
            return Unreachable(error.message)
        case "unreachable":
            return Unanswered(error.message, fix="is it running there, and bound to this network? (gateway.bind)")
    return NotAGateway(error.message)
