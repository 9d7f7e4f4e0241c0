"""How OpenClaw 2026.9.6, bound to a LAN address, treats one device from its first knock to its removal.

Owns that story, restated from an observed conversation: each step is a knock as in `tests.compat.handshake`, in order,
with the same key unless it says otherwise, and what a person does before it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.compat.handshake import ADMIN, BACKEND, NODE, READ, RIGHT, WRITE, Case, greeted, refused, unauthorized
from tests.compat.outcome import CUT_OFF, Fields

OWN = "<own>"
"""Stands for the device's token."""
DEVICE = "the phone"
REQUIRED = {
    "not-paired": "device is not approved yet",
    "scope-upgrade": "device is asking for more scopes than currently approved",
    "metadata-upgrade": "device identity changed and must be re-approved",
}
UUID_LENGTH, CLOSE_BYTES = 36, 120
HINT = {
    "not-paired": "Approve this device from the pending pairing requests.",
    "scope-upgrade": "Review the requested scopes, then approve the pending upgrade.",
    "metadata-upgrade": "Review the refreshed device details, then approve the pending request.",
}


@dataclass(frozen=True)
class Step:
    """One knock; `before`: approve, revoke or remove the device first. `same_request`: the request is the one of the
    step before."""

    case: Case
    before: str = ""
    same_request: bool = False
    stranger: bool = False


def pairing_required(reason: str, asked: tuple[str, ...], approved: tuple[str, ...] = ()) -> Fields:
    """NOT_PAIRED, with a request that waits."""
    details: Fields = {
        "reason": reason, "requestId": "<id>", "remediationHint": HINT[reason], "deviceId": "<device>",
        "requestedRole": "operator", "requestedScopes": list(asked),
    }  # fmt: skip
    details |= {"approvedRoles": ["operator"], "approvedScopes": list(approved)} if approved else {}
    said = f"pairing required: {REQUIRED[reason]}"
    fields = refused(said, "PAIRING_REQUIRED", details, code="NOT_PAIRED")
    whole = len(f"{said} (requestId: )") + UUID_LENGTH <= CLOSE_BYTES
    return fields | {"close.reason": f"{said} (requestId: <id>)" if whole else CUT_OFF}


def by_own_token(*scopes: str) -> Fields:
    """hello-ok by the device's own token."""
    return greeted(*scopes, token=True) | {"auth.method": "device-token"}


_MISMATCH = unauthorized(
    "device token mismatch (rotate/reissue device token)", "AUTH_DEVICE_TOKEN_MISMATCH", "device_token_mismatch",
    "update_auth_credentials",
)  # fmt: skip
_TOO_MUCH = unauthorized(
    "device token scope mismatch (re-pair or approve scope upgrade)", "AUTH_SCOPE_MISMATCH", "scope_mismatch",
    "review_auth_configuration",
)  # fmt: skip
_BOTH = (READ, WRITE)
_OWN = {"deviceToken": OWN}

STEPS = (
    Step(Case("the token alone", greeted())),
    Step(Case("the token alone, as a backend", greeted(), BACKEND)),
    Step(Case("an unknown device", pairing_required("not-paired", _BOTH), scopes=_BOTH, device=True)),
    Step(Case("the same again", pairing_required("not-paired", _BOTH), scopes=_BOTH, device=True), same_request=True),
    Step(Case("approved", greeted(*_BOTH, token=True), scopes=_BOTH, device=True), before="approve"),
    Step(Case("by its own token", by_own_token(*_BOTH), scopes=_BOTH, device=True, auth=_OWN)),
    Step(Case("its own token in the shared one's place", by_own_token(*_BOTH), scopes=_BOTH, device=True,
              auth={"token": OWN})),
    Step(Case("less than approved", by_own_token(READ), device=True, auth=_OWN)),
    Step(Case("more than approved, by its own token", _TOO_MUCH, scopes=(READ, ADMIN), device=True, auth=_OWN)),
    Step(Case("more than approved, by the shared token", pairing_required("scope-upgrade", (READ, ADMIN), _BOTH),
              scopes=(READ, ADMIN), device=True, auth={"token": RIGHT})),
    Step(Case("its token with another key", _MISMATCH, device=True, auth=_OWN), stranger=True),
    Step(Case("another platform", pairing_required("metadata-upgrade", (READ,), _BOTH), device=True, auth=_OWN,
              more={"client": {"id": "cli", "mode": "cli", "version": "2026.9.6", "platform": "darwin",
                               "deviceFamily": "Linux"}}), same_request=True),
    Step(Case("another client id", by_own_token(READ), BACKEND, device=True, auth=_OWN)),
    Step(Case("another role", _MISMATCH, NODE, (), device=True, auth=_OWN, role="node")),
    Step(Case("after its token was revoked", _MISMATCH, device=True, auth=_OWN), before="revoke"),
    Step(Case("after it was removed", _MISMATCH, device=True, auth=_OWN), before="remove"),
)  # fmt: skip
