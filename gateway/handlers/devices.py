"""Devices that come over the network, for operators and for the devices themselves."""

from __future__ import annotations

from typing import Any

import trio

from gateway.protocol.calls.devices import (
    AuditList,
    OneDevice,
    OneRequest,
    PairApprove,
    PairRename,
    SetupCodeNew,
    SetupStatus,
    TokenRevoke,
    TokenRotate,
    UpgradeRequest,
)
from gateway.protocol.errors import unavailable
from gateway.router import Call, Handler
from gateway.services.pairing import codes, shapes

MAX_PICTURE = 16_384
"""A data URL that is longer is left out, as OpenClaw does; the code itself is always there."""


def pair_list(call: Call) -> dict[str, Any]:
    connected = call.services.counters.get("connectedDevices")
    return call.services.pairing.list(call.principal, frozenset(connected() if connected is not None else ()))


async def pair_approve(call: Call) -> dict[str, Any]:
    params: PairApprove = call.params
    device = await call.services.pairing.approve(params.request_id, call.principal, params.digest)
    return {"requestId": params.request_id, "device": shapes.device(device)}


async def pair_reject(call: Call) -> dict[str, Any]:
    params: OneRequest = call.params
    one = await call.services.pairing.reject(params.request_id, call.principal)
    return {"requestId": one.request_id, "deviceId": one.device_id}


async def pair_remove(call: Call) -> dict[str, Any]:
    params: OneDevice = call.params
    return {"deviceId": await call.services.pairing.remove(params.device_id, call.principal)}


async def pair_rename(call: Call) -> dict[str, Any]:
    params: PairRename = call.params
    label = await call.services.pairing.rename(params.device_id, params.label, call.principal)
    return {"deviceId": params.device_id, "label": label}


async def setup_code(call: Call) -> dict[str, Any]:
    params: SetupCodeNew = call.params
    door = _door(call)
    urls = [codes.gateway_url(params.public_url)] if params.public_url else list(door["urls"])
    wanted = params.bootstrap_profile or "full"
    profile = codes.profile_for(wanted, urls)
    code = await call.services.pairing.new_setup_code(profile, call.principal)
    text = codes.text_of(code, urls, door.get("fingerprint"))
    settings = call.services.settings.gateway
    told: dict[str, Any] = {
        "setupId": code.record.setup_id, "setupCode": text, "gatewayUrl": urls[0],
        "auth": settings.auth.mode or ("password" if settings.auth.password and not settings.auth.token else "token"),
        "urlSource": "request.publicUrl" if params.public_url else f"gateway.bind={settings.bind}",
        "access": codes.access_of(profile), "expiresAtMs": code.record.expires_at_ms,
    }  # fmt: skip
    if len(urls) > 1:
        told["gatewayUrls"] = urls[: codes.MAX_URLS]
    if profile != wanted:
        told["accessDowngraded"] = True
    if params.include_qr is not False:
        picture = await trio.to_thread.run_sync(_picture, text)
        told |= {"qrDataUrl": picture} if picture is not None else {}
    return told


def _door(call: Call) -> dict[str, Any]:
    """Where devices can reach us, as the composition root knows it. Raises Refusal when they cannot."""
    door = call.services.counters.get("door")
    found: dict[str, Any] = door() if door is not None else {}
    if not found.get("urls"):
        raise unavailable(
            "there is no outer door: gateway.bind is off, or it is not open yet; a device could not connect",
            code="NO_OUTER_DOOR",
        )
    return found


def _picture(text: str) -> str | None:
    """None when the code is longer than a picture holds, or the picture than a client takes."""
    import segno  # half a millisecond of work needs thirty of imports

    try:
        picture = str(segno.make(text, error="l").png_data_uri(scale=4))
    except segno.DataOverflowError:
        return None
    return picture if len(picture) <= MAX_PICTURE else None


def setup_status(call: Call) -> dict[str, Any]:
    params: SetupStatus = call.params
    code = call.services.pairing.setup_status(params.setup_id)
    if code is None or code.bound_to is None:
        return {}
    device = call.services.pairing.device(code.bound_to)
    told: dict[str, Any] = {"deviceId": code.bound_to, "completedAtMs": code.used_at_ms}
    if device is not None and device.display_name:
        told["displayName"] = device.display_name
    return {"completion": told}


async def token_rotate(call: Call) -> dict[str, Any]:
    params: TokenRotate = call.params
    token, in_band = await call.services.pairing.rotate(
        params.device_id, params.role, call.principal, scopes=params.scopes
    )
    told: dict[str, Any] = {"deviceId": params.device_id, "role": token.role, "scopes": list(token.scopes)}
    told |= {"rotatedAtMs": token.rotated_at_ms, "tokenDelivery": "in-band" if in_band else "withheld-cross-device"}
    return {**told, "token": token.token} if in_band else told


async def token_revoke(call: Call) -> dict[str, Any]:
    params: TokenRevoke = call.params
    token = await call.services.pairing.revoke(params.device_id, params.role, call.principal)
    return {"deviceId": params.device_id, "role": token.role, "revokedAtMs": token.revoked_at_ms}


async def request_upgrade(call: Call) -> dict[str, Any]:
    params: UpgradeRequest = call.params
    return {"requestId": (await call.services.pairing.request_upgrade(call.principal, params.scopes)).request_id}


async def wait_upgrade(call: Call) -> dict[str, Any]:
    params: OneRequest = call.params
    return await call.services.pairing.wait_upgrade(call.principal, params.request_id)


def audit_list(call: Call) -> dict[str, Any]:
    params: AuditList = call.params
    return call.services.pairing.audit.lines(event=params.event, since=params.since, limit=params.limit)


HANDLERS: dict[str, Handler] = {
    "device.pair.list": pair_list,
    "device.pair.approve": pair_approve,
    "device.pair.reject": pair_reject,
    "device.pair.remove": pair_remove,
    "device.pair.rename": pair_rename,
    "device.pair.setupCode": setup_code,
    "device.pair.setupStatus": setup_status,
    "device.token.rotate": token_rotate,
    "device.token.revoke": token_revoke,
    "device.scopes.requestUpgrade": request_upgrade,
    "device.scopes.waitUpgrade": wait_upgrade,
    "audit.list": audit_list,
}
