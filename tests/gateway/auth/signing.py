"""A device of the tests: a key, and connects signed with it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.auth.proof import device_id, encode_key, payload
from gateway.protocol.calls.system import Connect

NONCE = "4c8aa098-e3b9-4d91-9f71-0159802f0184"
NOW = 1_795_204_160_679
CLIENT = {"id": "cli", "version": "2026.9.6", "platform": "linux", "deviceFamily": "Linux", "mode": "cli"}


@dataclass(frozen=True)
class TestDevice:
    """Holds its key. `tree` is a signed connect as it travels, `connect` the same decoded."""

    __test__ = False

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def raw(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def public_key(self) -> str:
        return encode_key(self.raw)

    @property
    def id(self) -> str:
        return device_id(self.raw)

    def tree(self, *, version: int = 3, nonce: str = NONCE, now: int = NOW, **more: Any) -> dict[str, Any]:
        tree: dict[str, Any] = {
            "minProtocol": 4, "maxProtocol": 4, "client": CLIENT, "role": "operator", "scopes": ["operator.read"],
        }  # fmt: skip
        device = {"id": self.id, "publicKey": self.public_key, "signature": "", "signedAt": now, "nonce": nonce}
        tree |= {"device": device, **more}
        said = payload(msgspec.convert(tree, Connect), version, nonce=nonce)
        signature = base64.urlsafe_b64encode(self.key.sign(said.encode())).rstrip(b"=").decode()
        return tree | {"device": device | {"signature": signature}}

    def connect(self, *, version: int = 3, nonce: str = NONCE, now: int = NOW, **more: Any) -> Connect:
        return msgspec.convert(self.tree(version=version, nonce=nonce, now=now, **more), Connect)
