"""The greeting: what `connect` may say and what hello-ok answers. Plain functions.

On a Unix door the kernel has already said who the peer is, so nothing in `connect` but a worker's ticket decides
anything there. What it decides at the outer door is `gateway.auth.outer`'s business."""

from __future__ import annotations

from typing import Any

from gateway.auth.principal import Principal
from gateway.protocol.calls import ROWS
from gateway.protocol.calls.system import Connect
from gateway.protocol.errors import CloseReason, ErrorCode, Refusal
from gateway.protocol.events import EVENT_SCOPES
from gateway.protocol.frames import MALFORMED, MSGPACK, Codec, Request, malformed_text
from gateway.protocol.limits import (
    MAX_BUFFERED_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_WORKER_BUFFERED_BYTES,
    MAX_WORKER_PAYLOAD_BYTES,
    OLDEST_PROTOCOL,
    PROTOCOL_VERSION,
    TICK_INTERVAL_MS,
)


class BadHello(Exception):
    """The peer's first words are not a hello: it is told `refusal`, the log is told `reason`."""

    def __init__(self, reason: CloseReason, refusal: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.refusal = refusal


def decode_connect(request: Request, codec: Codec = MSGPACK) -> Connect:
    """The parameters of a connection's first request, whatever it says of protocols. Raises BadHello."""
    if request.method != "connect":
        raise BadHello(CloseReason.NOT_CONNECT, Refusal(ErrorCode.INVALID_REQUEST, CloseReason.NOT_CONNECT.value))
    row = ROWS["connect"]
    try:
        connect: Connect = (row.decoder if codec is MSGPACK else row.json_decoder).decode(request.params)
    except MALFORMED as error:
        raise BadHello(
            CloseReason.BAD_FRAME,
            Refusal(ErrorCode.INVALID_REQUEST, f"invalid connect params: {malformed_text(error)}"),
        ) from None
    return connect


def parse_connect(request: Request) -> Connect:
    """The parameters of a Unix connection's first request. Raises BadHello, also without a common protocol."""
    connect = decode_connect(request)
    if connect.max_protocol < OLDEST_PROTOCOL or connect.min_protocol > PROTOCOL_VERSION:
        details: dict[str, object] = {
            "code": "PROTOCOL_MISMATCH",
            "clientMinProtocol": connect.min_protocol,
            "clientMaxProtocol": connect.max_protocol,
            "expectedProtocol": PROTOCOL_VERSION,
            "minimumProbeProtocol": OLDEST_PROTOCOL,
        }
        refusal = Refusal(ErrorCode.INVALID_REQUEST, CloseReason.PROTOCOL_MISMATCH.value, details=details)
        raise BadHello(CloseReason.PROTOCOL_MISMATCH, refusal)
    return connect


def frame_limit(principal: Principal) -> int:
    """Bytes one frame of this peer may have."""
    return MAX_WORKER_PAYLOAD_BYTES if principal.bound else MAX_PAYLOAD_BYTES


def buffer_limit(principal: Principal) -> int:
    """Bytes this peer may leave unread."""
    return MAX_WORKER_BUFFERED_BYTES if principal.bound else MAX_BUFFERED_BYTES


class Greeter:
    """Makes hello-ok payloads; what depends on the scopes alone is made once. `methods_for` is the router's."""

    def __init__(self, version: str, methods_for: Any) -> None:
        self._version = version
        self._methods_for = methods_for
        self._features: dict[frozenset[str], dict[str, list[str]]] = {}

    def hello_ok(self, principal: Principal, connect: Connect, connection_id: str, uptime_ms: int) -> dict[str, Any]:
        """The payload that greets this peer of a Unix door."""
        snapshot: dict[str, Any] = {
            "presence": [], "health": {"ok": True}, "uptimeMs": uptime_ms, "stateVersion": {"presence": 0, "health": 0},
        }  # fmt: skip
        auth = {"role": principal.kind.value, "scopes": sorted(principal.scopes), "method": "peer"}
        hello = self.hello_outside(principal, connect, connection_id, auth, snapshot)
        return hello | {"principal": _describe(principal)}

    def hello_outside(
        self, principal: Principal, connect: Connect, connection_id: str, auth: dict[str, Any], snapshot: dict[str, Any]
    ) -> dict[str, Any]:
        """The payload that greets a peer of the outer door, as OpenClaw's clients read it; `auth` and `snapshot` are
        its greeting's to say."""
        return {
            "type": "hello-ok",
            "protocol": min(connect.max_protocol, PROTOCOL_VERSION),
            "server": {"version": self._version, "connId": connection_id},
            "features": self._features_for(principal),
            "snapshot": snapshot,
            "auth": auth,
            "policy": {
                "maxPayload": frame_limit(principal),
                "maxBufferedBytes": buffer_limit(principal),
                "tickIntervalMs": TICK_INTERVAL_MS,
            },
        }

    def _features_for(self, principal: Principal) -> dict[str, list[str]]:
        features = self._features.get(principal.scopes)
        if features is None:
            events = sorted(name for name, scope in EVENT_SCOPES.items() if principal.may(scope))
            features = {"methods": self._methods_for(principal), "events": events}
            self._features[principal.scopes] = features
        return features


def _describe(principal: Principal) -> dict[str, Any]:
    about: dict[str, Any] = {"kind": principal.kind.value, "uid": principal.uid, "pid": principal.pid}
    if principal.bound:
        about |= {"agentId": principal.agent, "sessionKey": principal.session}
    return about
