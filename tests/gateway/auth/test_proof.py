"""What a device signs and what is made of it: the payloads, every way a proof can fail, in OpenClaw's order."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.auth import proof
from gateway.auth.proof import MAX_SKEW_MS, BadProof, Proven, check_proof, device_id, is_weak, key_bytes, payload
from gateway.protocol.calls.system import Connect
from tests.gateway.auth.signing import NONCE, NOW, TestDevice

DEVICE = TestDevice()

# One connect of OpenClaw 2026.9.6's own client, as it was seen on the wire.
SEEN: dict[str, Any] = {
    "minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": ["operator.read"], "caps": [],
    "client": {"id": "gateway-client", "version": "2026.9.6", "platform": "linux", "deviceFamily": "Linux",
               "mode": "backend", "instanceId": "692d955b-e640-47fc-9498-727aa064c2c0"},
    "auth": {"deviceToken": "83NfzlD__iB7mObmscTguCUmHkN_eyGnD93GAPFzjzQ"},
    "device": {
        "id": "56475aa75463474c0285df5dbf2bcab73da651358839e9b77481b2eab107708c",
        "publicKey": "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg",
        "signature": "yPC2pIvL8m3v18b18LUM2oAu68-_T-JaunDNxkxAd5bQkhtDOrKpTct4zgLmhdPEUZKhOqmSWBvE6d2hjf1oAA",
        "signedAt": 1795204174766, "nonce": "3271afa9-2e2f-4cd1-be1a-1940beed38d9",
    },
}  # fmt: skip


def check(tree: dict[str, Any], nonce: str = NONCE, now: int = NOW) -> Proven | BadProof | None:
    return check_proof(msgspec.convert(tree, Connect), nonce, now)


def altered(**device: Any) -> dict[str, Any]:
    """A good proof with something else in `device`."""
    tree = DEVICE.tree()
    return tree | {"device": tree["device"] | device}


def test_what_openclaws_own_client_signs_is_accepted():
    seen = check(SEEN, SEEN["device"]["nonce"], SEEN["device"]["signedAt"])
    assert seen == Proven(SEEN["device"]["id"], SEEN["device"]["publicKey"], 3)


def test_the_payload_names_every_field_in_order_and_keeps_empty_ones():
    connect = msgspec.convert(SEEN, Connect)
    said = payload(connect, 3, nonce="n")
    assert said == (
        f"v3|{SEEN['device']['id']}|gateway-client|backend|operator|operator.read|1795204174766|"
        f"{SEEN['auth']['deviceToken']}|n|linux|linux"
    )
    assert payload(connect, 2, nonce="n") == "v2" + said[2:].removesuffix("|linux|linux")
    bare = msgspec.convert({"device": SEEN["device"], "client": {"id": "a", "mode": "b"}}, Connect)
    assert payload(bare, 3, nonce="n") == f"v3|{SEEN['device']['id']}|a|b|operator||1795204174766||n||"


@pytest.mark.parametrize(
    ("auth", "token"),
    [
        (None, ""),
        ({}, ""),
        ({"password": "p"}, ""),
        ({"token": "t", "deviceToken": "d", "bootstrapToken": "b"}, "t"),
        ({"deviceToken": "d", "bootstrapToken": "b"}, "d"),
        ({"bootstrapToken": "b", "password": "p"}, "b"),
    ],
)
def test_which_secret_is_signed(auth: dict[str, str] | None, token: str):
    connect = DEVICE.connect(auth=auth)
    assert proof.signed_token(connect.auth) == token
    assert check_proof(connect, NONCE, NOW) == Proven(DEVICE.id, DEVICE.public_key, 3)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (None, ""),
        ("  Linux ", "linux"),
        ("\ufeffmacOS 15\u00a0", "macos 15"),
        ("\x1cA", "\x1ca"),
        ("ÄB", "Äb"),
        ("\u0130", "\u0130"),
    ],
)
def test_a_platform_is_trimmed_as_javascript_does_and_lowered_in_ascii_alone(text: str | None, plain: str):
    assert proof.normalise(text) == plain


def test_scopes_are_signed_in_the_order_they_are_sent():
    tree = DEVICE.tree(scopes=["operator.write", "operator.read"])
    assert isinstance(check(tree), Proven)
    assert check(tree | {"scopes": ["operator.read", "operator.write"]}) == proof.BAD_SIGNATURE


def test_payload_two_is_taken_and_said_to_be_two():
    assert check(DEVICE.tree(version=2)) == Proven(DEVICE.id, DEVICE.public_key, 2)


def test_who_names_no_device_proves_nothing():
    assert check_proof(Connect(), NONCE, NOW) is None


@pytest.mark.parametrize("scheme", ["base64url", "padded", "base64", "pem"])
def test_a_key_may_be_written_in_several_ways(scheme: str):
    public = Ed25519PublicKey.from_public_bytes(DEVICE.raw)
    text = {
        "base64url": DEVICE.public_key,
        "padded": base64.urlsafe_b64encode(DEVICE.raw).decode(),
        "base64": base64.b64encode(DEVICE.raw).decode(),
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    }[scheme]
    assert check(altered(publicKey=text)) == Proven(DEVICE.id, DEVICE.public_key, 3)


SHORT = b"x" * 31
WEAK = bytes(32)
BAD: dict[str, tuple[dict[str, Any], BadProof]] = {
    "another device's id": (altered(id=TestDevice().id), proof.ID_MISMATCH),
    "its id in capitals": (altered(id=DEVICE.id.upper()), proof.ID_MISMATCH),
    "a key that cannot be read": (altered(publicKey="?"), proof.ID_MISMATCH),
    "an empty key": (altered(publicKey="", id=device_id(b"")), proof.ID_MISMATCH),
    "an endless key": (altered(publicKey="A" * 5000), proof.ID_MISMATCH),
    "signed too early": (DEVICE.tree(now=NOW - MAX_SKEW_MS - 1), proof.STALE),
    "signed too late": (DEVICE.tree(now=NOW + MAX_SKEW_MS + 1), proof.STALE),
    "no nonce": (DEVICE.tree(nonce=""), proof.NO_NONCE),
    "a blank nonce": (DEVICE.tree(nonce=" \ufeff"), proof.NO_NONCE),
    "another connection's nonce": (DEVICE.tree(nonce="x"), proof.WRONG_NONCE),
    "a short key": (altered(publicKey=base64.b64encode(SHORT).decode(), id=device_id(SHORT)), proof.BAD_KEY),
    "a key that signs everything": (altered(publicKey="A" * 43, id=device_id(WEAK)), proof.BAD_KEY),
    "no signature": (altered(signature=""), proof.BAD_SIGNATURE),
    "a signature that cannot be read": (altered(signature="!"), proof.BAD_SIGNATURE),
    "a signature of something else": (DEVICE.tree() | {"role": "node"}, proof.BAD_SIGNATURE),
    "a token that was not signed": (DEVICE.tree() | {"auth": {"token": "t"}}, proof.BAD_SIGNATURE),
    "another time": (altered(signedAt=NOW + 1), proof.BAD_SIGNATURE),
    "a separator in a scope": (DEVICE.tree(scopes=["a|b"]), proof.BAD_SIGNATURE),
    "two scopes in one": (DEVICE.tree(scopes=["a,b"]), proof.BAD_SIGNATURE),
    "a separator in the client": (DEVICE.tree(client={"id": "a|b", "mode": "cli"}), proof.BAD_SIGNATURE),
}


@pytest.mark.parametrize(("tree", "why"), BAD.values(), ids=BAD.keys())
def test_a_proof_that_does_not_hold(tree: dict[str, Any], why: BadProof):
    assert check(tree) == why


def test_the_first_objection_in_openclaws_order_is_heard():
    everything = DEVICE.tree(nonce="", now=0) | {"role": "node"}
    everything["device"] |= {"id": "x"}
    heard = []
    for mend in ({"id": DEVICE.id}, {"signedAt": NOW}, {"nonce": "x"}, {"nonce": NONCE}, {}):
        heard.append(check(everything))
        everything["device"] |= mend
    assert heard == [proof.ID_MISMATCH, proof.STALE, proof.NO_NONCE, proof.WRONG_NONCE, proof.BAD_SIGNATURE]


@pytest.mark.parametrize("skew", [-MAX_SKEW_MS, MAX_SKEW_MS])
def test_two_minutes_of_skew_are_allowed_either_way(skew: int):
    assert isinstance(check(DEVICE.tree(now=NOW + skew)), Proven)


def test_a_separator_in_the_token_moves_no_border():
    assert isinstance(check(DEVICE.tree(auth={"token": "a|b"})), Proven)


def test_a_point_of_small_order_is_no_key():
    """OpenSSL takes it, and then signatures that nobody made: with A the neutral point, R = B and S = 1 verify all."""
    neutral = (1).to_bytes(32, "little")
    base = bytes.fromhex("5866666666666666666666666666666666666666666666666666666666666666")
    Ed25519PublicKey.from_public_bytes(neutral).verify(base + (1).to_bytes(32, "little"), b"anything")
    assert is_weak(neutral)
    assert is_weak(neutral[:31] + b"\x80")
    assert not is_weak(DEVICE.raw)


@pytest.mark.parametrize("text", ["", "A", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "\x00"])
def test_what_is_no_key_is_read_as_none(text: str):
    assert key_bytes(text) is None
