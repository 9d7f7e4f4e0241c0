"""Rows about devices that come over the network: who waits, who is paired, their tokens, setup codes; and the audit."""

from __future__ import annotations

from typing import Any, Literal

from gateway.protocol import scopes
from gateway.protocol.calls.row import Count, Params, Row

Profile = Literal["limited", "full", "node", "voice-node", "control-ui-owner"]


class PairApprove(Params, frozen=True):
    """`digest` is what device.pair.list said the approval would grant; with it, a request that has changed since is not
    approved."""

    request_id: str
    digest: str | None = None


class OneRequest(Params, frozen=True):
    """A request by its id."""

    request_id: str


class OneDevice(Params, frozen=True):
    """A paired device by its id."""

    device_id: str


class PairRename(Params, frozen=True):
    """`label` has 1 to 64 characters."""

    device_id: str
    label: str


class SetupCodeNew(Params, frozen=True):
    """`bootstrapProfile` is what the device may do, full when it is not given. `publicUrl` is the address the code
    names, else those of the outer door. `includeQr` adds a picture as a data URL. `preferRemoteUrl` and `joinUrl` are
    accepted and change nothing."""

    public_url: str | None = None
    bootstrap_profile: Profile | None = None
    include_qr: bool | None = None
    prefer_remote_url: bool | None = None
    join_url: bool | None = None


class SetupStatus(Params, frozen=True):
    """`setupId` as device.pair.setupCode told it."""

    setup_id: str


class TokenRotate(Params, frozen=True):
    """`scopes` of the new token, else those of the old one; at most what the device was approved for,
    which they lower."""

    device_id: str
    role: str
    scopes: tuple[str, ...] | None = None


class TokenRevoke(Params, frozen=True):
    """The role of a device that ends."""

    device_id: str
    role: str


class UpgradeRequest(Params, frozen=True):
    """1 to 8 scopes, those of the connection among them."""

    scopes: tuple[str, ...]


class AuditList(Params, frozen=True):
    """The newest `limit` entries, or the first behind the id `since`; of one `event`, or of all."""

    limit: Count = 100
    since: Count | None = None
    event: str | None = None


ANSWER = dict[str, Any]

ROWS = (
    Row("device.pair.list", scopes.PAIRING, "Devices that wait and devices that are paired.", result=ANSWER),
    Row("device.pair.approve", scopes.PAIRING, "Grant a device all that it asks for.", PairApprove, result=ANSWER),
    Row("device.pair.reject", scopes.PAIRING, "Take a request away.", OneRequest, result=ANSWER),
    Row("device.pair.remove", scopes.PAIRING, "Take a device away; its connections end.", OneDevice, result=ANSWER),
    Row("device.pair.rename", scopes.PAIRING, "Give a device a name.", PairRename, result=ANSWER),
    Row("device.pair.setupCode", scopes.ADMIN, "Approve a device beforehand.", SetupCodeNew, result=ANSWER),
    Row("device.pair.setupStatus", scopes.ADMIN, "Whether a setup code was used.", SetupStatus, result=ANSWER),
    Row("device.token.rotate", scopes.PAIRING, "Give a device's role a new token.", TokenRotate, result=ANSWER),
    Row("device.token.revoke", scopes.PAIRING, "End a device's role.", TokenRevoke, result=ANSWER),
    Row(
        "device.scopes.requestUpgrade",
        scopes.READ,
        "Ask for more scopes for the device that calls.",
        UpgradeRequest,
        result=ANSWER,
        or_scope=scopes.PAIRING,
    ),
    Row(
        "device.scopes.waitUpgrade",
        scopes.READ,
        "Wait for the answer to device.scopes.requestUpgrade.",
        OneRequest,
        result=ANSWER,
        waits=True,
        or_scope=scopes.PAIRING,
    ),
    # Its lines name devices and addresses, as device.pair.list does.
    Row(
        "audit.list",
        scopes.PAIRING,
        "What was asked, granted and refused at the outer door.",
        AuditList,
        result=ANSWER,
    ),
)
