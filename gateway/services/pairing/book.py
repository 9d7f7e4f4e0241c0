"""Pairing in memory: who is paired and who waits, kept in step with the disk; and telling it to whoever listens.

Owns the copies that the outer door decides by. They change only here, in commit order, from what transactions did."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import assert_never

import trio

from gateway.protocol.devices import Device, Pending, SetupCode
from gateway.services.pairing import shapes
from gateway.services.pairing.audit import tell
from gateway.services.pairing.changes import (
    APPROVED,
    EXPIRED,
    REJECTED,
    Asked,
    Change,
    CodeDropped,
    CodeKept,
    Invalidated,
    Noted,
    Paired,
    Resolved,
    Unpaired,
)
from gateway.services.ports import Publisher
from gateway.store.devices import Loaded

_log = logging.getLogger("gateway.pairing")

MAX_ENDED = 256
"""Requests that have ended and are remembered for whoever still waits for them."""


class Book:
    """Devices by id, requests by id, setup codes by the hash of their token; `damaged` rows by device id with why."""

    def __init__(self, loaded: Loaded, hub: Publisher, clock: Callable[[], float]) -> None:
        self.devices: dict[str, Device] = loaded.devices
        self.requests: dict[str, Pending] = loaded.requests
        self.codes: dict[str, SetupCode] = loaded.codes
        self.damaged: dict[str, str] = loaded.damaged
        self.ended: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self.on_invalidated: Callable[[str, str | None, str], None] = lambda device, role, why: None
        self._hub = hub
        self._clock = clock
        self._ended_one = trio.Event()

    def waiting(self) -> list[Pending]:
        """Requests that can still be approved, the newest first."""
        now = self._clock()
        waiting = [one for one in self.requests.values() if one.expires_at_ms > now]
        return sorted(waiting, key=lambda one: one.ts, reverse=True)

    def standing(self, request_id: str) -> tuple[str, str]:
        """Whose request it is, and how it ended, if it has; two empty words for one nobody knows."""
        if ended := self.ended.get(request_id):
            return ended
        one = self.requests.get(request_id)
        if one is None:
            return "", ""
        return one.device_id, EXPIRED if one.expires_at_ms <= self._clock() else ""

    def seconds_left(self, request_id: str) -> float:
        """How long a request still waits."""
        return max(0.0, (self.requests[request_id].expires_at_ms - self._clock()) / 1000)

    async def wait_ended(self) -> None:
        """Wait until some request has ended."""
        await self._ended_one.wait()

    def apply(self, changes: Iterable[Change]) -> None:
        """Follow the disk, and tell."""
        for change in changes:
            self._apply(change)

    def _apply(self, change: Change) -> None:
        match change:
            case Paired(device, told):
                self.devices[device.device_id] = device
                self.damaged.pop(device.device_id, None)
                if told:
                    self._publish_change(device.device_id, told)
            case Unpaired(device_id):
                self.devices.pop(device_id, None)
                self.damaged.pop(device_id, None)
                self._publish_change(device_id, "removed")
            case Asked(request, new):
                self.requests[request.request_id] = request
                if new:
                    self._announce(request)
            case Resolved(request, decision):
                self._end(request, decision)
            case CodeKept(code):
                self.codes[code.token_hash] = code
            case CodeDropped(token_hash):
                self.codes.pop(token_hash, None)
            case Invalidated(device_id, role, why):
                self.on_invalidated(device_id, role, why)
            case Noted(line):
                tell(line)
            case _:
                assert_never(change)

    def _announce(self, request: Pending) -> None:
        """The log says who asks and what to type; who may decide hears the request; everybody else, that some wait."""
        self._hub.publish("device.pair.requested", shapes.event(request))
        _log.warning("%s: %s", *shapes.announcement(request))
        message, fix = shapes.notice(len(self.waiting()))
        self._hub.publish("notice", {"level": "warn", "code": "PAIRING_REQUESTED", "message": message, "fix": fix})

    def _end(self, request: Pending, decision: str) -> None:
        self.requests.pop(request.request_id, None)
        self.ended[request.request_id] = (request.device_id, decision)
        while len(self.ended) > MAX_ENDED:
            self.ended.popitem(last=False)
        self._ended_one.set()
        self._ended_one = trio.Event()
        told = APPROVED if decision == APPROVED else REJECTED  # OpenClaw's clients know these two
        about = {"requestId": request.request_id, "deviceId": request.device_id}
        self._hub.publish("device.pair.resolved", {**about, "decision": told, "ts": round(self._clock())})
        if decision == EXPIRED:
            _log.info("a pairing request expired", extra={"request": request.request_id, "device": request.device_id})

    def _publish_change(self, device_id: str, change: str) -> None:
        payload = {"deviceId": device_id, "change": change, "ts": round(self._clock())}
        self._hub.publish("device.pair.changed", payload)
