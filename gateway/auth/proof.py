"""Whether a device holds the key it names: OpenClaw's signed payloads v3 and v2, checked in its order. Pure.

Owns the texts, codes and reasons of a proof that does not hold. Rule: nothing here says what a device may do; a proof
that holds says only which key is at the other end of this one connection (the nonce is its own, the time is now)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import string
from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.protocol.calls.system import Connect, ConnectAuth

MAX_SKEW_MS = 120_000
"""How far a signature's time may be from ours, either way."""
KEY_BYTES = 32
MAX_KEY_CHARS = 1024
"""A PEM of such a key has 113 characters."""

# What JavaScript's trim() takes away (ECMA-262, WhiteSpace and LineTerminator): the other end signs what that leaves.
_BLANKS = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*")
_SPKI = bytes.fromhex("302a300506032b6570032100")  # RFC 8410, section 4: what stands before the 32 bytes of the key
# Points of small order, without the sign bit (RFC 7748 section 7 names them for X25519; as a public key each verifies
# signatures nobody made, so that anyone could be that device).
_WEAK = frozenset(
    bytes.fromhex(one)
    for one in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


class Proven(msgspec.Struct, frozen=True):
    """The device at the other end. `public_key` is base64url without padding of its 32 bytes, `version` that of the
    payload it signed: platform and family were signed in 3, only claimed in 2."""

    device_id: str
    public_key: str
    version: int = 3


class BadProof(msgspec.Struct, frozen=True):
    """A proof that does not hold: the sentence, `details.code` and `details.reason` the client is told."""

    message: str
    code: str
    reason: str


ID_MISMATCH = BadProof("device identity mismatch", "DEVICE_AUTH_DEVICE_ID_MISMATCH", "device-id-mismatch")
STALE = BadProof("device signature expired", "DEVICE_AUTH_SIGNATURE_EXPIRED", "device-signature-stale")
NO_NONCE = BadProof("device nonce required", "DEVICE_AUTH_NONCE_REQUIRED", "device-nonce-missing")
WRONG_NONCE = BadProof("device nonce mismatch", "DEVICE_AUTH_NONCE_MISMATCH", "device-nonce-mismatch")
BAD_KEY = BadProof("device public key invalid", "DEVICE_AUTH_PUBLIC_KEY_INVALID", "device-public-key")
BAD_SIGNATURE = BadProof("device signature invalid", "DEVICE_AUTH_SIGNATURE_INVALID", "device-signature")


def check_proof(connect: Connect, nonce: str, now_ms: int) -> Proven | BadProof | None:
    """Whether the device that `connect` names holds its key; None when it names none. `nonce` is this connection's."""
    device = connect.device
    if device is None:
        return None
    raw = key_bytes(device.public_key)
    if raw is None or hashlib.sha256(raw).hexdigest() != device.id:
        return ID_MISMATCH
    if abs(now_ms - device.signed_at) > MAX_SKEW_MS:
        return STALE
    shown = device.nonce.strip(_BLANKS)
    if not shown:
        return NO_NONCE
    if shown != nonce:
        return WRONG_NONCE
    if len(raw) != KEY_BYTES or is_weak(raw):
        return BAD_KEY
    version = _signed_version(connect, raw, shown)
    return Proven(device.id, encode_key(raw), version) if version else BAD_SIGNATURE


def _signed_version(connect: Connect, raw: bytes, nonce: str) -> int:
    """3 or 2; 0 when it signed neither."""
    device = connect.device
    assert device is not None
    signature = _decode(device.signature)
    if signature is None or _is_ambiguous(connect):
        return 0
    key = Ed25519PublicKey.from_public_bytes(raw)
    for version in (3, 2):
        try:
            key.verify(signature, payload(connect, version, nonce=nonce).encode())
        except (InvalidSignature, UnicodeEncodeError):
            continue
        return version
    return 0


def payload(connect: Connect, version: int, *, nonce: str) -> str:
    """What a device signs: fields joined by `|`, an absent one left empty. `connect.device` must be there."""
    device, client = connect.device, connect.client
    assert device is not None
    fields = [
        f"v{version}", device.id, client.id, client.mode, connect.role, ",".join(connect.scopes or ()),
        str(device.signed_at), signed_token(connect.auth), nonce,
    ]  # fmt: skip
    if version >= 3:
        fields += [normalise(client.platform), normalise(client.device_family)]
    return "|".join(fields)


def signed_token(auth: ConnectAuth | None) -> str:
    """The secret that goes into the payload. A password never does."""
    if auth is None:
        return ""
    return next((one for one in (auth.token, auth.device_token, auth.bootstrap_token) if one is not None), "")


def normalise(text: str | None) -> str:
    """A platform or device family as it is signed and compared: trimmed, A to Z in lower case and nothing else."""
    return (text or "").strip(_BLANKS).translate(_LOWER)


def _is_ambiguous(connect: Connect) -> bool:
    """Whether two different connects would have this payload: a separator inside a field could move its borders. The
    token may hold one: what follows it, the nonce, is ours."""
    client = connect.client
    fields: Sequence[str | None] = (client.id, client.mode, connect.role, client.platform, client.device_family)
    return any("|" in (field or "") for field in fields) or any(
        "|" in scope or "," in scope for scope in connect.scopes or ()
    )


# --- keys -------------------------------------------------------------------------------------------------------------


def key_bytes(text: str) -> bytes | None:
    """The bytes of a public key given as base64url, base64 or PEM; None when they cannot be read."""
    if len(text) > MAX_KEY_CHARS:
        return None
    pem = _PEM.fullmatch(text.strip(_BLANKS))
    if pem is None:
        return _decode(text)
    der = _decode("".join(pem[1].split()))
    return der.removeprefix(_SPKI) if der is not None and der.startswith(_SPKI) else None


def encode_key(raw: bytes) -> str:
    """A key as it is kept and compared."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def device_id(raw: bytes) -> str:
    """The name of the device that has this key."""
    return hashlib.sha256(raw).hexdigest()


def is_weak(raw: bytes) -> bool:
    """Whether this key verifies signatures that nobody made."""
    return raw[:31] + bytes([raw[31] & 0x7F]) in _WEAK


def _decode(text: str) -> bytes | None:
    """Bytes of base64url or base64, padded or not."""
    plain = text.strip(_BLANKS).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None
