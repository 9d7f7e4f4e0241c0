"""Who may come in through the outer door. Owns that decision: one function, a picture in, a verdict out. Pure.

The picture holds everything that was looked up before; nothing is looked up here. In this order, and the first that
objects is heard:

1. Descent outranks every credential: a peer held by a process of ours, or by one that could not be found out, is
   refused whatever it proves. The lookup only ever takes away; being on this machine gives nothing.
2. Protocol version, role, the page's origin.
3. The device's proof. One that does not hold is refused even where none is needed.
4. A secret: the shared one, a setup code, the device's own token.
5. A device at all; then its record: known, unchanged, approved for this role and these scopes. Who is not may ask.

No client is let in for what it says it is, no address for being near. Two modes let a client in without a record,
because the operator wrote their names: `none` and `trusted-proxy`. The last line refuses."""

from __future__ import annotations

import msgspec

from gateway.auth import secrets
from gateway.auth.asking import clean, facts_of, pin_of
from gateway.auth.origin import ORIGIN_CODE, ORIGIN_REASON, ORIGIN_REFUSED, is_allowed_origin
from gateway.auth.picture import Admit, Ask, Picture, Refused, Verdict
from gateway.auth.principal import Kind, Principal
from gateway.auth.proof import BadProof, Proven
from gateway.auth.ratelimit import BOOTSTRAP_TOKEN, DEVICE_TOKEN, SHARED_SECRET
from gateway.auth.secrets import Shown
from gateway.protocol.devices import OPERATOR_ROLE, ROLES, Device
from gateway.protocol.errors import CloseReason, ErrorCode, ErrorShape
from gateway.protocol.limits import OLDEST_PROTOCOL, PROTOCOL_VERSION
from gateway.protocol.scopes import uncovered

OPEN_METHODS = ("none", "trusted-proxy")
OUTSIDE, REMOTE = "outside", "remote"
CONTROL_UI_CLIENTS = ("openclaw-control-ui", "openclaw-tui")


class _Known(msgspec.Struct, frozen=True):
    """It knows a secret of ours, or needs none."""

    method: str
    proved: str | None = None


def decide(picture: Picture) -> Verdict:
    """What becomes of this connect."""
    for check in (_who_holds_it, _handshake, _page, _proof):
        refused = check(picture)
        if refused is not None:
            return refused
    known = _authenticate(picture)
    if isinstance(known, Refused):
        return known
    if known.method in OPEN_METHODS and picture.connect.role == OPERATOR_ROLE:
        return _by_name(picture, known)
    if isinstance(picture.proof, Proven):
        if known.method == "bootstrap-token":
            return _by_setup_code(picture, known)
        return _by_record(picture, picture.proof, known)
    return _no_device(picture, Shown(known.method))


# --- before any credential --------------------------------------------------------------------------------------------


def _who_holds_it(picture: Picture) -> Refused | None:
    kinds = {picture.first.kind, picture.held.kind}
    if "ours" in kinds:
        detail = "; ".join(
            f"{one.kind} {one.agent} {one.session} {one.detail}" for one in (picture.first, picture.held)
        )
        said = "this process was started by an agent of this gateway (it calls by PEERGATE_SOCKET, without a token)"
        return _refuse("descent", CloseReason.OURS, f"unauthorized: {said}", {"code": "AUTH_UNAUTHORIZED"}, detail)
    same = picture.first.kind == picture.held.kind and picture.first.cookie == picture.held.cookie
    if same and picture.held.kind in (OUTSIDE, REMOTE):
        return None
    said = "it could not be found out which process of this machine is calling (try again)"
    detail = f"{picture.first.kind} {picture.first.detail}, then {picture.held.kind} {picture.held.detail}"
    shape = ErrorShape(ErrorCode.UNAVAILABLE, said, {"reason": "holder-unknown"}, retryable=True, retry_after_ms=1000)
    return Refused("holder-unknown" if same else "holder-changed", CloseReason.STRANGER, shape, detail)


def _handshake(picture: Picture) -> Refused | None:
    connect = picture.connect
    if connect.max_protocol < OLDEST_PROTOCOL or connect.min_protocol > PROTOCOL_VERSION:
        details: dict[str, object] = {
            "code": "PROTOCOL_MISMATCH",
            "clientMinProtocol": connect.min_protocol,
            "clientMaxProtocol": connect.max_protocol,
            "expectedProtocol": PROTOCOL_VERSION,
            "minimumProbeProtocol": OLDEST_PROTOCOL,
        }
        return _refuse("protocol", CloseReason.PROTOCOL_MISMATCH, "protocol mismatch", details)
    if "worker" in (connect.role, connect.client.mode) or connect.client.id == "openclaw-worker":
        return _refuse("worker", CloseReason.STRANGER, "invalid-handshake", None, "a worker has a door of its own")
    if connect.role not in ROLES:
        return _refuse("role", CloseReason.BAD_FRAME, "invalid role", None, f"role {connect.role[:64]!r}")
    return None


def _page(picture: Picture) -> Refused | None:
    if is_allowed_origin(picture.origin, picture.origins):
        return None
    details: dict[str, object] = {"code": ORIGIN_CODE, "reason": ORIGIN_REASON}
    return _refuse("origin", CloseReason.BAD_ORIGIN, ORIGIN_REFUSED, details, f"origin {(picture.origin or '')[:200]}")


def _proof(picture: Picture) -> Refused | None:
    bad = picture.proof
    if not isinstance(bad, BadProof):
        return None
    details: dict[str, object] = {"code": bad.code, "reason": bad.reason}
    refused = _refuse(f"proof: {bad.reason}", CloseReason.BAD_PROOF, bad.message, details)
    # A wrong shared secret counts although nothing is said about it: with a bad proof it could be guessed for nothing.
    return Refused(refused.rule, refused.close, refused.error, failed=_guessed(picture.shared))


# --- secrets ----------------------------------------------------------------------------------------------------------


def _authenticate(picture: Picture) -> _Known | Refused:
    shared, proven = _listen(picture), isinstance(picture.proof, Proven)
    if proven and _setup_is_right(picture):
        return _Known("bootstrap-token", BOOTSTRAP_TOKEN)
    if shared.ok:
        return _Known(shared.method, SHARED_SECRET if shared.given else None)
    if not proven:
        return _no_device(picture, shared)
    token, explicit = secrets.device_token_candidate(picture.connect.auth)
    if token and not picture.device_token and DEVICE_TOKEN not in picture.locked:
        return _Known("device-token", DEVICE_TOKEN)
    return _unauthorized(picture, *_what_was_wrong(picture, shared, token=token, explicit=explicit))


def _listen(picture: Picture) -> Shown:
    """What its shared secret is worth, once lockout and the uid of a process on this machine have been looked at."""
    shared = picture.shared
    if shared.method == "none" and picture.held.kind == OUTSIDE and picture.held.uid not in picture.operators:
        return Shown("none", secrets.NOT_AN_OPERATOR, given=True)
    if shared.method not in OPEN_METHODS and shared.given and SHARED_SECRET in picture.locked:
        return Shown(shared.method, secrets.RATE_LIMITED, given=True)
    return shared


def _setup_is_right(picture: Picture) -> bool:
    proof, auth = picture.proof, picture.connect.auth
    if not isinstance(proof, Proven) or auth is None or not auth.bootstrap_token or BOOTSTRAP_TOKEN in picture.locked:
        return False
    return secrets.check_setup(picture.setup, proof.device_id, picture.device, picture.connect.role, picture.now_ms)


def _what_was_wrong(picture: Picture, shared: Shown, *, token: str, explicit: bool) -> tuple[str, str, tuple[str, ...]]:
    """The reason to tell, the kind of secret it is about, and the kinds that count as guessed wrong."""
    auth = picture.connect.auth
    bootstrap = bool(auth and auth.bootstrap_token)
    failed = _guessed(shared)
    if bootstrap and BOOTSTRAP_TOKEN not in picture.locked:
        failed += (BOOTSTRAP_TOKEN,)
    if token and DEVICE_TOKEN not in picture.locked:
        if picture.device_token == secrets.SCOPE_MISMATCH:  # the token is right: nothing was guessed
            return secrets.SCOPE_MISMATCH, DEVICE_TOKEN, ()
        if explicit:
            return secrets.DEVICE_TOKEN_MISMATCH, DEVICE_TOKEN, (*failed, DEVICE_TOKEN)
    if explicit:
        return secrets.RATE_LIMITED, DEVICE_TOKEN, failed
    if bootstrap and not shared.given:
        limited = BOOTSTRAP_TOKEN in picture.locked
        return secrets.RATE_LIMITED if limited else secrets.BOOTSTRAP_INVALID, BOOTSTRAP_TOKEN, failed
    return shared.reason, SHARED_SECRET, failed


def _guessed(shared: Shown) -> tuple[str, ...]:
    return (SHARED_SECRET,) if shared.reason in ("token_mismatch", "password_mismatch") else ()


def _unauthorized(picture: Picture, reason: str, scope: str, failed: tuple[str, ...]) -> Refused:
    auth = picture.connect.auth
    only_token = auth is not None and bool(auth.token) and not auth.device_token and not auth.password
    retry = isinstance(picture.proof, Proven) and only_token
    shape = secrets.unauthorized(reason, may_retry_with_device=retry, retry_after_ms=picture.locked.get(scope))
    return Refused(f"auth: {reason}", CloseReason.UNAUTHORIZED, shape, failed=failed)


def _no_device(picture: Picture, shared: Shown) -> Refused:
    """It showed no device. Who showed a wrong secret as well hears of that."""
    failed = _guessed(shared)
    if picture.connect.client.id in CONTROL_UI_CLIENTS:
        said = "control ui requires device identity (use HTTPS or localhost secure context)"
        details: dict[str, object] = {"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}
        shape = ErrorShape(ErrorCode.INVALID_REQUEST, said, details)
        return Refused("device identity", CloseReason.NOT_PAIRED, shape, failed=failed)
    if not shared.ok and (shared.given or shared.reason.endswith("_missing_config")):
        return _unauthorized(picture, shared.reason, SHARED_SECRET, failed)
    details = {"code": "DEVICE_IDENTITY_REQUIRED"}
    shape = ErrorShape(ErrorCode.NOT_PAIRED, "device identity required", details)
    return Refused("device identity", CloseReason.NOT_PAIRED, shape, failed=failed)


# --- what it may do ---------------------------------------------------------------------------------------------------


def _by_name(picture: Picture, known: _Known) -> Verdict:
    """The operator wrote that such a client needs no record."""
    if not picture.wanted:
        return _nothing_wanted(picture)
    return _admit(picture, Kind.OPEN, picture.wanted, known)


def _by_setup_code(picture: Picture, known: _Known) -> Verdict:
    """What the code allows of what it asks; the code was made by an operator for whoever shows it first."""
    setup = picture.setup
    granted = tuple(one for one in picture.wanted if setup is not None and not uncovered([one], setup.scopes))
    if not granted and picture.connect.role == OPERATOR_ROLE:
        return _nothing_wanted(picture)
    return _admit(picture, Kind.DEVICE, granted, known, setup=True)


def _by_record(picture: Picture, proven: Proven, known: _Known) -> Verdict:
    """What a person approved."""
    device, role, wanted = picture.device, picture.connect.role, picture.wanted
    if device is None or (device.device_id, device.public_key) != (proven.device_id, proven.public_key):
        return Ask("not-paired", proven, role, wanted, known.method, proved=known.proved)
    reason = _why_ask(device, picture)
    if reason:
        return Ask(reason, proven, role, wanted, known.method, device, known.proved)
    if not wanted and role == OPERATOR_ROLE:
        return _nothing_wanted(picture)
    return _admit(picture, Kind.DEVICE, wanted, known)


def _why_ask(device: Device, picture: Picture) -> str:
    """What a person would have to approve first; empty when nothing."""
    facts, role = facts_of(picture.connect), picture.connect.role
    pinned = ((device.platform, facts.platform), (device.device_family, facts.device_family))
    if any(was and pin_of(was) != pin_of(claimed) for was, claimed in pinned):
        return "metadata-upgrade"
    if role not in device.roles or device.token(role) is None:
        return "role-upgrade"
    if uncovered(picture.wanted, device.scopes):
        return "scope-upgrade"
    return ""


def _admit(
    picture: Picture, kind: Kind, granted: tuple[str, ...], known: _Known, *, setup: bool = False
) -> Admit:  # fmt: skip
    role, proof = picture.connect.role, picture.proof
    device = proof if isinstance(proof, Proven) else None
    principal = Principal(
        kind, frozenset(granted), picture.door, -1, -1, 0, device=device.device_id if device else "",
        address=picture.address, role=role, method=known.method, client=clean(picture.connect.client.id),
        user=picture.user,
    )  # fmt: skip
    return Admit(principal, granted, role, known.method, setup, known.proved, device)


def _nothing_wanted(picture: Picture) -> Refused:
    """Greeting a client that may do nothing would only hide from it why nothing works."""
    said = "pairing required: none of the requested scopes exists or is granted here (ask for operator.read)"
    details: dict[str, object] = {"code": "PAIRING_REQUIRED", "reason": "no-scopes", "requestedScopes": []}
    shape = ErrorShape(ErrorCode.NOT_PAIRED, said, details)
    asked = ", ".join(clean(scope) for scope in (picture.connect.scopes or ())[:16])
    return Refused("no scopes", CloseReason.NOT_PAIRED, shape, f"asked for: {asked}")


def _refuse(
    rule: str, close: CloseReason, message: str, details: dict[str, object] | None, detail: str = ""
) -> Refused:
    return Refused(rule, close, ErrorShape(ErrorCode.INVALID_REQUEST, message, details), detail)
