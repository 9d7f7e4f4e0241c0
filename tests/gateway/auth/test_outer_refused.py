"""Who is refused at the outer door: every kind of client, by name, with what it is told and what is counted."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from gateway.auth import proof as proofs
from gateway.auth.asking import close_text, pairing_required
from gateway.auth.outer import decide
from gateway.auth.picture import Ask, Picture, Refused
from gateway.auth.secrets import Shown
from gateway.protocol.calls.system import ClientInfo, Connect, ConnectAuth
from gateway.protocol.errors import CloseReason
from supervisor.messages import Held
from tests.gateway.auth.pictures import (
    ADMIN,
    BASE,
    BY_DEVICE_TOKEN,
    BY_SETUP,
    DEVICE,
    LOCKED,
    MISSING,
    NO_DEVICE,
    NODE,
    OPEN,
    OUTSIDE,
    SETUP,
    UI,
    UNPAIRED,
    WRONG,
    here,
    saying,
)
from tests.support.altered import altered

INVALID, UNAVAILABLE, NOT_PAIRED = "INVALID_REQUEST", "UNAVAILABLE", "NOT_PAIRED"
# picture, rule, error code, details.code, kinds of secret counted as guessed
REFUSED: dict[str, tuple[Picture, str, str, str | None, tuple[str, ...]]] = {
    "a process of ours": (replace(BASE, held=Held(1, "ours")), "descent", INVALID, "AUTH_UNAUTHORIZED", ()),
    "a process of ours at the accept": (
        replace(BASE, first=Held(1, "ours")), "descent", INVALID, "AUTH_UNAUTHORIZED", (),
    ),
    "a process of ours, mode none": (replace(OPEN, held=Held(1, "ours")), "descent", INVALID, "AUTH_UNAUTHORIZED", ()),
    "nobody knows whose process": (
        replace(BASE, first=Held(1, "unknown"), held=Held(1, "unknown")), "holder-unknown", UNAVAILABLE, None, (),
    ),
    "a word of the supervisor's that means nothing": (
        replace(BASE, first=Held(1, "new"), held=Held(1, "new")), "holder-unknown", UNAVAILABLE, None, (),
    ),
    "another socket than at the accept": (
        replace(here(0), held=altered(OUTSIDE, cookie="d")), "holder-changed", UNAVAILABLE, None, (),
    ),
    "from here, then from afar": (replace(BASE, first=OUTSIDE), "holder-changed", UNAVAILABLE, None, ()),
    "older than we speak": (
        replace(BASE, connect=saying(min_protocol=1, max_protocol=2)), "protocol", INVALID, "PROTOCOL_MISMATCH", (),
    ),
    "newer than we speak": (
        replace(BASE, connect=saying(min_protocol=5, max_protocol=6)), "protocol", INVALID, "PROTOCOL_MISMATCH", (),
    ),
    "a role that does not exist": (replace(BASE, connect=saying(role="king")), "role", INVALID, None, ()),
    "a worker by role": (replace(BASE, connect=saying(role="worker")), "worker", INVALID, None, ()),
    "a worker by name": (
        replace(BASE, connect=saying(client=ClientInfo("openclaw-worker"))), "worker", INVALID, None, (),
    ),
    "a page nobody allowed": (
        replace(BASE, origin="https://a.example"), "origin", INVALID, "CONTROL_UI_ORIGIN_NOT_ALLOWED", (),
    ),
    "a page nobody allowed, mode none": (
        replace(OPEN, origin="null"), "origin", INVALID, "CONTROL_UI_ORIGIN_NOT_ALLOWED", (),
    ),
    "a bad proof": (
        replace(BASE, proof=proofs.BAD_SIGNATURE), "proof: device-signature", INVALID,
        "DEVICE_AUTH_SIGNATURE_INVALID", (),
    ),
    "a bad proof and a wrong token": (
        replace(BASE, proof=proofs.STALE, shared=WRONG), "proof: device-signature-stale", INVALID,
        "DEVICE_AUTH_SIGNATURE_EXPIRED", ("shared-secret",),
    ),
    "a bad proof where none is needed": (
        replace(OPEN, proof=proofs.WRONG_NONCE), "proof: device-nonce-mismatch", INVALID,
        "DEVICE_AUTH_NONCE_MISMATCH", (),
    ),
    "a wrong token": (
        replace(UNPAIRED, shared=WRONG), "auth: token_mismatch", INVALID, "AUTH_TOKEN_MISMATCH", ("shared-secret",),
    ),
    "a wrong token, paired": (
        replace(BASE, shared=WRONG), "auth: token_mismatch", INVALID, "AUTH_TOKEN_MISMATCH", ("shared-secret",),
    ),
    "no secret": (
        replace(BASE, connect=saying(auth=None), shared=MISSING), "auth: token_missing", INVALID,
        "AUTH_TOKEN_MISSING", (),
    ),
    "no token configured": (
        replace(UNPAIRED, shared=Shown("token", "token_missing_config", True)), "auth: token_missing_config", INVALID,
        "AUTH_TOKEN_NOT_CONFIGURED", (),
    ),
    "no token configured, no device": (
        replace(NO_DEVICE, shared=Shown("token", "token_missing_config")), "auth: token_missing_config", INVALID,
        "AUTH_TOKEN_NOT_CONFIGURED", (),
    ),
    "the right token while locked out": (
        replace(BASE, locked=LOCKED), "auth: rate_limited", INVALID, "AUTH_RATE_LIMITED", (),
    ),
    "the right token while locked out, no device": (
        replace(NO_DEVICE, locked=LOCKED), "auth: rate_limited", INVALID, "AUTH_RATE_LIMITED", (),
    ),
    "a wrong device token": (
        replace(BASE, connect=BY_DEVICE_TOKEN, shared=MISSING), "auth: device_token_mismatch", INVALID,
        "AUTH_DEVICE_TOKEN_MISMATCH", ("device-token",),
    ),
    "wrong tokens of both kinds": (
        replace(BASE, connect=saying(auth=ConnectAuth(token="x", device_token="y")), shared=WRONG),
        "auth: device_token_mismatch", INVALID, "AUTH_DEVICE_TOKEN_MISMATCH", ("shared-secret", "device-token"),
    ),
    "the right device token while locked out": (
        replace(BASE, connect=BY_DEVICE_TOKEN, shared=MISSING, device_token="", locked={"device-token": 1}),
        "auth: rate_limited", INVALID, "AUTH_RATE_LIMITED", (),
    ),
    "a device token for less": (
        replace(BASE, connect=BY_DEVICE_TOKEN, shared=MISSING, device_token="scope_mismatch"), "auth: scope_mismatch",
        INVALID, "AUTH_SCOPE_MISMATCH", (),
    ),
    "a device token without its device": (
        replace(NO_DEVICE, connect=saying(device=None, auth=ConnectAuth(device_token="tok")), shared=MISSING,
                device_token="", device=DEVICE),
        "device identity", NOT_PAIRED, "DEVICE_IDENTITY_REQUIRED", (),
    ),
    "a setup code nobody made": (
        replace(UNPAIRED, connect=BY_SETUP, shared=MISSING), "auth: bootstrap_token_invalid", INVALID,
        "AUTH_BOOTSTRAP_TOKEN_INVALID", ("bootstrap-token",),
    ),
    "a setup code of another device": (
        replace(UNPAIRED, connect=BY_SETUP, shared=MISSING, setup=msgspec.structs.replace(SETUP, bound_to="x")),
        "auth: bootstrap_token_invalid", INVALID, "AUTH_BOOTSTRAP_TOKEN_INVALID", ("bootstrap-token",),
    ),
    "a setup code too late": (
        replace(UNPAIRED, connect=BY_SETUP, shared=MISSING, setup=SETUP, now_ms=100), "auth: bootstrap_token_invalid",
        INVALID, "AUTH_BOOTSTRAP_TOKEN_INVALID", ("bootstrap-token",),
    ),
    "a setup code for another role": (
        replace(UNPAIRED, connect=msgspec.structs.replace(BY_SETUP, role="node"), shared=MISSING, setup=SETUP),
        "auth: bootstrap_token_invalid", INVALID, "AUTH_BOOTSTRAP_TOKEN_INVALID", ("bootstrap-token",),
    ),
    "a setup code while locked out": (
        replace(UNPAIRED, connect=BY_SETUP, shared=MISSING, setup=SETUP, locked={"bootstrap-token": 1}),
        "auth: rate_limited", INVALID, "AUTH_RATE_LIMITED", (),
    ),
    "a setup code without a device": (
        replace(NO_DEVICE, connect=saying(device=None, auth=ConnectAuth(bootstrap_token="b")), shared=MISSING,
                setup=SETUP),
        "device identity", NOT_PAIRED, "DEVICE_IDENTITY_REQUIRED", (),
    ),
    "a setup code that gives nothing asked for": (
        replace(UNPAIRED, connect=msgspec.structs.replace(BY_SETUP, scopes=[ADMIN]), shared=MISSING, setup=SETUP),
        "no scopes", NOT_PAIRED, "PAIRING_REQUIRED", (),
    ),
    "the right token without a device": (
        NO_DEVICE, "device identity", NOT_PAIRED, "DEVICE_IDENTITY_REQUIRED", (),
    ),
    "the right token without a device, from here, as the cli": (
        here(0, proof=None, device=None, connect=saying(device=None)), "device identity", NOT_PAIRED,
        "DEVICE_IDENTITY_REQUIRED", (),
    ),
    "nothing at all": (
        replace(NO_DEVICE, connect=Connect(), shared=MISSING), "device identity", NOT_PAIRED,
        "DEVICE_IDENTITY_REQUIRED", (),
    ),
    "a wrong token without a device": (
        replace(NO_DEVICE, shared=WRONG), "auth: token_mismatch", INVALID, "AUTH_TOKEN_MISMATCH", ("shared-secret",),
    ),
    "control ui without a device": (
        replace(NO_DEVICE, connect=saying(device=None, client=UI)), "device identity", INVALID,
        "CONTROL_UI_DEVICE_IDENTITY_REQUIRED", (),
    ),
    "control ui without a device, wrong token": (
        replace(NO_DEVICE, connect=saying(device=None, client=UI), shared=WRONG), "device identity", INVALID,
        "CONTROL_UI_DEVICE_IDENTITY_REQUIRED", ("shared-secret",),
    ),
    "mode none, stranger's process here": (
        here(1001, shared=Shown("none"), operators=frozenset({0, 1000}), device=None),
        "auth: local_process_not_operator", INVALID, "AUTH_UNAUTHORIZED", (),
    ),
    "mode none, a process here nobody can name": (
        here(-1, shared=Shown("none"), operators=frozenset({0}), proof=None, device=None,
             connect=saying(device=None, auth=None)),
        "auth: local_process_not_operator", INVALID, "AUTH_UNAUTHORIZED", (),
    ),
    "mode none, a node without a device": (
        replace(NO_DEVICE, shared=Shown("none"), connect=msgspec.structs.replace(NODE, device=None)), "device identity",
        NOT_PAIRED, "DEVICE_IDENTITY_REQUIRED", (),
    ),
    "mode none, no scopes": (
        replace(OPEN, connect=saying(scopes=["operator.fly"])), "no scopes", NOT_PAIRED, "PAIRING_REQUIRED", (),
    ),
    "a proxy that vouches for nobody": (
        replace(NO_DEVICE, shared=Shown("trusted-proxy", "trusted_proxy_user_missing", True)),
        "auth: trusted_proxy_user_missing", INVALID, "AUTH_UNAUTHORIZED", (),
    ),
    "paired, no scopes": (replace(BASE, connect=saying(scopes=[])), "no scopes", NOT_PAIRED, "PAIRING_REQUIRED", ()),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_who_is_refused(name: str):
    picture, rule, code, details, failed = REFUSED[name]
    verdict = decide(picture)
    assert isinstance(verdict, Refused), verdict
    assert (verdict.rule, verdict.error.code, verdict.failed) == (rule, code, failed)
    assert (verdict.error.details or {}).get("code") == details
    assert verdict.error.message
    assert verdict.error.retryable is (code == UNAVAILABLE or rule == "auth: rate_limited")


def test_a_client_that_showed_only_a_wrong_token_may_try_its_device_token():
    def details(picture: Picture) -> dict[str, object]:
        verdict = decide(picture)
        assert isinstance(verdict, Refused)
        return verdict.error.details or {}

    assert details(replace(BASE, shared=WRONG))["canRetryWithDeviceToken"] is True
    both = saying(auth=ConnectAuth(token="t", password="p"))
    assert details(replace(BASE, shared=WRONG, connect=both))["canRetryWithDeviceToken"] is False
    assert details(replace(NO_DEVICE, shared=WRONG))["canRetryWithDeviceToken"] is False


def test_every_end_fits_into_a_close_frame():
    for picture, *_ in REFUSED.values():
        verdict = decide(picture)
        assert isinstance(verdict, Refused)
        assert 0 < len(close_text(verdict.error).encode()) <= 120
    ask = decide(UNPAIRED)
    assert isinstance(ask, Ask)
    assert len(close_text(pairing_required(ask, "ü" * 100)).encode()) <= 120


def test_who_is_ours_hears_how_to_call_and_leaves_no_request():
    verdict = decide(replace(BASE, held=Held(1, "ours", agent="main")))
    assert isinstance(verdict, Refused)
    assert verdict.close is CloseReason.OURS
    assert "PEERGATE_SOCKET" in verdict.error.message
    assert "main" in verdict.detail
    assert "main" not in verdict.error.message
