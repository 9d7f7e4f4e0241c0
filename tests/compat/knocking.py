"""Says one row of the handshake table to a gateway, and tells what came back.

Owns the ways a proof is spoilt. Every knock is a connection of its own."""

from __future__ import annotations

import base64
import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any

from tests.compat.handshake import RIGHT, Case
from tests.compat.outcome import Fields, outcome_of
from tests.compat.wire import Hung, Wire, request
from tests.gateway.auth.signing import TestDevice

LATE_MS = 600_000
VERSION = "2026.9.6"


@dataclass
class Place:
    """A gateway's outer door and its shared token. `devices`: one key per case that has one."""

    host: str
    port: int
    token: str
    tls: bool = False
    devices: dict[str, TestDevice] = field(default_factory=dict)

    def device(self, name: str) -> TestDevice:
        """The key a case uses whenever it knocks."""
        return self.devices.setdefault(name, TestDevice())

    def open(self, headers: tuple[tuple[str, str], ...] = ()) -> Wire:
        """A WebSocket, or what was answered instead."""
        others = [one for one in headers if one[0].lower() != "host"]
        name = next((value for header, value in headers if header.lower() == "host"), f"{self.host}:{self.port}")
        return Wire((self.host, self.port), name, others, tls=self.tls)

    def knock(self, case: Case) -> tuple[Fields, dict[str, Any]]:
        """What comes of a case: its fields as the table has them, and the answer itself ({} when there is none)."""
        wire = self.open(case.headers)
        try:
            if wire.status != 101:
                return {"http.status": wire.status}, {}
            return self._converse(wire, case)
        finally:
            wire.close()

    def _converse(self, wire: Wire, case: Case) -> tuple[Fields, dict[str, Any]]:
        challenge = {"nonce": "", "ts": round(time.time() * 1000)} if case.spoil == "hasty" else hear_challenge(wire)
        if case.raw:
            wire.tell(case.raw)
        else:
            wire.tell(request("1", "connect", self.connect(case, challenge)))
        answer: dict[str, Any] = {}
        try:
            if case.spoil == "hasty":
                hear_challenge(wire)
            answer = wire.answer("1")
            hung = None if answer["ok"] else wire.until_closed()
        except Hung as ended:
            hung = ended
        return outcome_of(answer or None, (hung.code, hung.text) if hung is not None else None), answer

    def connect(self, case: Case, challenge: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a case's connect."""
        auth = {name: self.token if value == RIGHT else value for name, value in case.auth.items()}
        client = {"id": case.client[0], "mode": case.client[1], "version": VERSION, "platform": "linux"}
        said: dict[str, Any] = {
            "minProtocol": case.protocol[0], "maxProtocol": case.protocol[1], "role": case.role,
            "client": client | {"deviceFamily": "Linux"}, "scopes": list(case.scopes), "caps": [], **case.more,
        }  # fmt: skip
        said |= {"auth": auth} if auth else {}
        return self._signed(case, said, challenge) if case.device else said

    def _signed(self, case: Case, said: dict[str, Any], challenge: dict[str, Any]) -> dict[str, Any]:
        device, spoil = self.device(case.name), case.spoil
        nonce = {"nonce": "of-another-connection", "no nonce": ""}.get(spoil, challenge["nonce"])
        now = challenge["ts"] - (LATE_MS if spoil == "time" else 0)
        signed = device.tree(version=2 if spoil == "v2" else 3, nonce=nonce, now=now, **said)
        if spoil == "signature":
            signed["device"]["signature"] = TestDevice().tree(nonce=nonce, now=now, **said)["device"]["signature"]
        if spoil == "id":
            signed["device"]["id"] = TestDevice().id
        if spoil == "base64":
            signed["device"]["publicKey"] = base64.b64encode(device.raw).decode()
        return signed

    def enter(self, device: str, *scopes: str, **more: Any) -> Wire:
        """A connection that has been greeted; a device of that name has to be approved."""
        case = dataclasses.replace(Case(device, {}), scopes=scopes, device=True, **more)
        wire = self.open()
        wire.tell(request("1", "connect", self.connect(case, hear_challenge(wire))))
        answer = wire.answer("1")
        assert answer["ok"], answer
        return wire


def hear_challenge(wire: Wire) -> dict[str, Any]:
    """The first word of a gateway."""
    event = wire.hear()
    assert event["event"] == "connect.challenge"
    payload: dict[str, Any] = event["payload"]
    return payload
