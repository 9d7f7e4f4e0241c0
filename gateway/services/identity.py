"""The gateway's own Ed25519 key, by which a client can tell gateways apart. Owns `identity.json` in the state
directory (0600), made when somebody first asks.

The private half never leaves the file; nothing is signed with it yet. A file that is not a whole key is not
overwritten: somebody has to look at it."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import msgspec
import trio

from gateway.protocol.errors import unavailable
from gateway.store.backup import sync

FILE = "identity.json"


class _Key(msgspec.Struct, rename="camel", frozen=True):
    version: int
    device_id: str
    public_key: str
    private_key: str


class Identity:
    """The key of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE
        self._known: dict[str, str] | None = None

    async def public(self) -> dict[str, str]:
        """`{deviceId, publicKey}`: the SHA-256 of the raw public key in hexadecimal, and the key in base64url. Raises
        Refusal UNAVAILABLE when the file can neither be read nor made."""
        if self._known is None:
            self._known = await trio.to_thread.run_sync(_public_of, self._path)
        return self._known


def _public_of(path: Path) -> dict[str, str]:
    try:
        key = _read(path) or _make(path)
    except (OSError, msgspec.DecodeError) as error:
        raise unavailable(f"the gateway's key {path} cannot be used: {error}; move it away to have a new one") from None
    return {"deviceId": key.device_id, "publicKey": key.public_key}


def _read(path: Path) -> _Key | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Key)
    except FileNotFoundError:
        return None


def _make(path: Path) -> _Key:
    # Slow to import, and nobody needs it before somebody asks.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    key = _Key(1, hashlib.sha256(public).hexdigest(), _text(public), _text(private.private_bytes_raw()))
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)  # left by a gateway that was killed here
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(msgspec.json.encode(key))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync(path.parent)
    return key


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
