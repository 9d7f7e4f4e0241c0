"""Pictures of connects that the tests of the outer door start from: one that is let in, and what may differ."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.auth.picture import Picture
from gateway.auth.proof import Proven
from gateway.auth.secrets import Shown
from gateway.protocol.calls.system import ClientInfo, Connect, ConnectAuth, DeviceProof
from gateway.protocol.devices import Device, DeviceToken, SetupCode
from supervisor.messages import Held
from tests.support.altered import altered

ME = Proven("d" * 64, "key")
READ, WRITE, ADMIN = "operator.read", "operator.write", "operator.admin"
PROOF = DeviceProof(ME.device_id, ME.public_key, "sig", 5, "nonce")
CLIENT = ClientInfo("cli", "1", "linux", "cli", device_family="Linux")
CONNECT = Connect(4, 4, CLIENT, scopes=[READ], device=PROOF, auth=ConnectAuth(token="t"))
NODE = msgspec.structs.replace(CONNECT, role="node", scopes=[])
TOKEN = DeviceToken("tok", "operator", (WRITE,), 1)
DEVICE = Device(
    ME.device_id, ME.public_key, ("operator",), (WRITE,), 1, 1, "owner", platform="linux", device_family="linux",
    tokens=(TOKEN,),
)  # fmt: skip
SETUP = SetupCode("s", "h", "limited", ("operator",), (WRITE,), 1, 100)
RIGHT, WRONG, MISSING = (
    Shown("token", "", True),
    Shown("token", "token_mismatch", True),
    Shown("token", "token_missing"),
)
REMOTE, OUTSIDE = Held(1, "remote"), Held(1, "outside", uid=1000, cookie="c")
BASE = Picture("outer:0", "192.0.2.1", REMOTE, REMOTE, CONNECT, 50, ME, RIGHT, device=DEVICE)


def saying(**changes: Any) -> Connect:
    return msgspec.structs.replace(CONNECT, **changes)


def here(uid: int, **changes: Any) -> Picture:
    held = altered(OUTSIDE, uid=uid)
    return replace(BASE, first=held, held=held, address="127.0.0.1", **changes)


UNPAIRED = replace(BASE, device=None)
NO_DEVICE = replace(BASE, proof=None, device=None, connect=saying(device=None))
NO_SECRET = ConnectAuth()
BY_DEVICE_TOKEN = saying(auth=ConnectAuth(device_token="tok"))
BY_SETUP = saying(auth=ConnectAuth(bootstrap_token="boot"))
OPEN = replace(UNPAIRED, shared=Shown("none"))
PROXIED = replace(NO_DEVICE, shared=Shown("trusted-proxy", "", True), user="ann")
LOCKED = {"shared-secret": 7000}
UI = ClientInfo("openclaw-control-ui", "1", "web", "webchat")
