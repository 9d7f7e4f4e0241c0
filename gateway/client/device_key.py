"""This device's key: made once, kept in `device.json`, and what it signs when a gateway asks who we are.

Owns the file `{version, deviceId, publicKey, privateKey}` (base64url of 32 bytes each, Ed25519) and the payload v3 of
OpenClaw's protocol (2026.9.6). The id is the SHA-256 of the public key; the key never leaves this machine."""

from __future__ import annotations

import base64
import binascii
import hashlib
import string
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.client.keep import BadKeep, opened, read, write

FILE = "device.json"
_KEY_BYTES = 32
# What JavaScript's trim() takes away (ECMA-262): the gateway compares what that leaves.
_BLANKS = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class DeviceKey(msgspec.Struct, frozen=True):
    """A device's identity. `id` is lower-case hexadecimal, `public_key` base64url without padding."""

    id: str
    public_key: str
    _private: Ed25519PrivateKey

    def proof(
        self, *, client: Mapping[str, Any], role: str, scopes: Sequence[str], token: str, nonce: str, signed_at_ms: int
    ) -> dict[str, Any]:
        """The `device` of a connect: signed over what else it says. `token` is the secret shown beside it, never a
        password."""
        fields = [
            "v3", self.id, str(client["id"]), str(client["mode"]), role, ",".join(scopes), str(signed_at_ms), token,
            nonce, _plain(client.get("platform")), _plain(client.get("deviceFamily")),
        ]  # fmt: skip
        signature = self._private.sign("|".join(fields).encode())
        return {
            "id": self.id, "publicKey": self.public_key, "signature": _text(signature), "signedAt": signed_at_ms,
            "nonce": nonce,
        }  # fmt: skip


def device_key(directory: str) -> DeviceKey:
    """The key kept in `directory`; made there when there is none. Blocks as a disk does. Raises BadKeep."""
    with opened(directory) as handle:
        told = read(handle, directory, FILE)
    if told is None:
        with opened(directory, alone=True) as handle:
            told = read(handle, directory, FILE)  # another process may have been quicker
            if told is None:
                told = _new()
                write(handle, FILE, told)
    return _key(told, f"{directory}/{FILE}")


def _new() -> dict[str, Any]:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return {
        "version": 1, "deviceId": hashlib.sha256(public).hexdigest(), "publicKey": _text(public),
        "privateKey": _text(private.private_bytes_raw()),
    }  # fmt: skip


def _key(told: Mapping[str, Any], path: str) -> DeviceKey:
    try:
        raw = base64.urlsafe_b64decode(str(told.get("privateKey")) + "=")
    except (binascii.Error, ValueError):
        raw = b""
    if told.get("version") != 1 or len(raw) != _KEY_BYTES:
        raise BadKeep(f"{path} holds no key of ours: move it away; this device will have to be paired again")
    private = Ed25519PrivateKey.from_private_bytes(raw)
    public = private.public_key().public_bytes_raw()
    if told.get("publicKey") != _text(public) or told.get("deviceId") != hashlib.sha256(public).hexdigest():
        raise BadKeep(f"{path}: key and name do not belong together: move it away and pair this device again")
    return DeviceKey(hashlib.sha256(public).hexdigest(), _text(public), private)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _plain(text: object) -> str:
    """A platform or device family as it is signed."""
    return str(text or "").strip(_BLANKS).translate(_LOWER)
