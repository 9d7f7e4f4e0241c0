"""Who comes in through the outer door and who may ask to: every kind of client, by name."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from gateway.auth.asking import close_text, facts_of, pairing_required, pin_of
from gateway.auth.outer import decide
from gateway.auth.picture import Admit, Ask, Picture
from gateway.auth.principal import Kind
from gateway.auth.secrets import Shown
from gateway.protocol.calls.system import ClientInfo, ConnectAuth
from gateway.protocol.devices import DeviceToken
from tests.gateway.auth.pictures import (
    ADMIN,
    BASE,
    BY_DEVICE_TOKEN,
    BY_SETUP,
    CLIENT,
    DEVICE,
    LOCKED,
    ME,
    MISSING,
    NO_DEVICE,
    NODE,
    OPEN,
    PROXIED,
    READ,
    SETUP,
    TOKEN,
    UI,
    UNPAIRED,
    WRITE,
    WRONG,
    here,
    saying,
)

ADMITTED: dict[str, tuple[Picture, Kind, str, tuple[str, ...]]] = {
    "paired, shared token": (BASE, Kind.DEVICE, "token", (READ,)),
    "paired, from this machine": (here(1000), Kind.DEVICE, "token", (READ,)),
    "paired, asks for what its approval implies": (
        replace(BASE, connect=saying(scopes=[READ, WRITE])), Kind.DEVICE, "token", (READ, WRITE),
    ),
    "paired, asks twice and for what does not exist": (
        replace(BASE, connect=saying(scopes=[READ, "operator.fly", READ, "worker", "session", "public"])),
        Kind.DEVICE, "token", (READ,),
    ),
    "paired, its own token": (
        replace(BASE, connect=BY_DEVICE_TOKEN, shared=MISSING, device_token=""), Kind.DEVICE, "device-token", (READ,),
    ),
    "paired, its own token where the shared one goes": (
        replace(BASE, connect=saying(auth=ConnectAuth(token="tok")), shared=WRONG, device_token=""),
        Kind.DEVICE, "device-token", (READ,),
    ),
    "paired, its own token while shared secrets are not listened to": (
        replace(BASE, shared=WRONG, device_token="", locked=LOCKED), Kind.DEVICE, "device-token", (READ,),
    ),
    "paired, its own token, no shared one configured": (
        replace(BASE, connect=BY_DEVICE_TOKEN, shared=Shown("token", "token_missing_config"), device_token=""),
        Kind.DEVICE, "device-token", (READ,),
    ),
    "paired, an allowed page": (
        replace(BASE, origin="https://ui.example", origins=frozenset({"https://ui.example"})),
        Kind.DEVICE, "token", (READ,),
    ),
    "paired, newer system": (
        replace(BASE, device=msgspec.structs.replace(DEVICE, platform="iOS 18.1"),
                connect=saying(client=msgspec.structs.replace(CLIENT, platform="iOS 18.2"))),
        Kind.DEVICE, "token", (READ,),
    ),
    "paired, other client program": (
        replace(BASE, connect=saying(client=msgspec.structs.replace(CLIENT, id="gateway-client", mode="backend"))),
        Kind.DEVICE, "token", (READ,),
    ),
    "paired before platforms were known": (
        replace(BASE, device=msgspec.structs.replace(DEVICE, platform=None, device_family=None)),
        Kind.DEVICE, "token", (READ,),
    ),
    "protocol 3": (replace(BASE, connect=saying(min_protocol=3, max_protocol=3)), Kind.DEVICE, "token", (READ,)),
    "setup code": (replace(UNPAIRED, connect=BY_SETUP, shared=MISSING, setup=SETUP), Kind.DEVICE, "bootstrap-token",
                   (READ,)),
    "setup code beside a wrong token": (
        replace(UNPAIRED, connect=saying(auth=ConnectAuth(token="x", bootstrap_token="b")), shared=WRONG, setup=SETUP),
        Kind.DEVICE, "bootstrap-token", (READ,),
    ),
    "setup code, more asked than it gives": (
        replace(UNPAIRED, connect=msgspec.structs.replace(BY_SETUP, scopes=[ADMIN, WRITE]), shared=MISSING,
        setup=SETUP),
        Kind.DEVICE, "bootstrap-token", (WRITE,),
    ),
    "setup code in mode none": (replace(OPEN, connect=BY_SETUP, setup=SETUP), Kind.DEVICE, "bootstrap-token", (READ,)),
    "mode none": (replace(OPEN, connect=saying(scopes=[ADMIN, READ])), Kind.OPEN, "none", (ADMIN, READ)),
    "mode none, no device": (replace(NO_DEVICE, shared=Shown("none")), Kind.OPEN, "none", (READ,)),
    "mode none, control ui, no device": (
        replace(NO_DEVICE, shared=Shown("none"), connect=saying(device=None, client=UI)), Kind.OPEN, "none", (READ,),
    ),
    "mode none, operator's process here": (
        here(1000, shared=Shown("none"), operators=frozenset({0, 1000}), device=None), Kind.OPEN, "none", (READ,),
    ),
    "mode none, stranger's process here, paired": (
        here(1001, shared=Shown("none"), operators=frozenset({0}), connect=BY_DEVICE_TOKEN, device_token=""),
        Kind.DEVICE, "device-token", (READ,),
    ),
    "trusted proxy": (PROXIED, Kind.OPEN, "trusted-proxy", (READ,)),
    "paired, proxy vouches for nobody": (
        replace(BASE, shared=Shown("trusted-proxy", "trusted_proxy_user_missing", True), connect=BY_DEVICE_TOKEN,
                device_token=""),
        Kind.DEVICE, "device-token", (READ,),
    ),
}  # fmt: skip
AS_NODE = msgspec.structs.replace(DEVICE, roles=("node", "operator"), tokens=(DeviceToken("n", "node", (), 1), TOKEN))
ADMITTED["node"] = (replace(BASE, connect=NODE, device=AS_NODE), Kind.DEVICE, "token", ())
ADMITTED["node that asks for an operator's scopes"] = (
    replace(BASE, connect=msgspec.structs.replace(NODE, scopes=[ADMIN]), device=AS_NODE), Kind.DEVICE, "token", (),
)  # fmt: skip


@pytest.mark.parametrize("name", ADMITTED)
def test_who_is_let_in(name: str):
    picture, kind, method, scopes = ADMITTED[name]
    verdict = decide(picture)
    assert isinstance(verdict, Admit), verdict
    assert (verdict.principal.kind, verdict.method, verdict.scopes) == (kind, method, scopes)
    assert verdict.principal.scopes == frozenset(scopes)
    assert verdict.setup is (method == "bootstrap-token")
    assert verdict.principal.door == "outer:0"
    assert verdict.principal.address == picture.address
    assert (verdict.principal.uid, verdict.principal.pid) == (-1, 0)
    assert verdict.principal.device == (ME.device_id if picture.proof else "")
    assert verdict.principal.role == picture.connect.role


ASKING: dict[str, tuple[Picture, str]] = {
    "unknown device": (UNPAIRED, "not-paired"),
    "unknown device, from this machine": (here(0, device=None), "not-paired"),
    "unknown device that says it is the backend": (
        here(0, device=None, connect=saying(client=ClientInfo("gateway-client", "1", "linux", "backend"))),
        "not-paired",
    ),
    "unknown device that asks for nothing": (replace(UNPAIRED, connect=saying(scopes=None)), "not-paired"),
    "unknown node": (replace(UNPAIRED, connect=NODE), "not-paired"),
    "unknown node, mode none": (replace(UNPAIRED, connect=NODE, shared=Shown("none")), "not-paired"),
    "a record of another device": (
        replace(BASE, device=msgspec.structs.replace(DEVICE, device_id="e" * 64)), "not-paired",
    ),
    "a record with another key": (replace(BASE, device=msgspec.structs.replace(DEVICE, public_key="k")), "not-paired"),
    "another platform": (
        replace(BASE, connect=saying(client=msgspec.structs.replace(CLIENT, platform="darwin"))), "metadata-upgrade",
    ),
    "another device family": (
        replace(BASE, connect=saying(client=msgspec.structs.replace(CLIENT, device_family=None))), "metadata-upgrade",
    ),
    "another platform, by its own token": (
        replace(BASE, shared=MISSING, device_token="", connect=msgspec.structs.replace(
            BY_DEVICE_TOKEN, client=msgspec.structs.replace(CLIENT, platform="darwin"))),
        "metadata-upgrade",
    ),
    "operator as node": (replace(BASE, connect=NODE), "role-upgrade"),
    "its only token revoked": (
        replace(BASE, device=msgspec.structs.replace(
            DEVICE, tokens=(msgspec.structs.replace(TOKEN, revoked_at_ms=9),))),
        "role-upgrade",
    ),
    "more scopes": (replace(BASE, connect=saying(scopes=[READ, ADMIN])), "scope-upgrade"),
    "a scope that write does not imply": (replace(BASE, connect=saying(scopes=["operator.pairing"])), "scope-upgrade"),
    "no scope was approved": (replace(BASE, device=msgspec.structs.replace(DEVICE, scopes=())), "scope-upgrade"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKING)
def test_who_may_ask(name: str):
    picture, reason = ASKING[name]
    verdict = decide(picture)
    assert isinstance(verdict, Ask), verdict
    assert (verdict.reason, verdict.proven, verdict.role) == (reason, ME, picture.connect.role)
    assert verdict.scopes == picture.wanted
    shape = pairing_required(verdict, "r-1")
    assert shape.code == "NOT_PAIRED"
    assert shape.message.startswith("pairing required: device ")
    assert shape.details is not None
    assert (shape.details["code"], shape.details["requestId"]) == ("PAIRING_REQUIRED", "r-1")
    assert "peergate devices approve r-1" in str(shape.details["remediationHint"])
    assert ("approvedScopes" in shape.details) is (reason != "not-paired")
    assert "(requestId: r-1)" in close_text(shape)


@pytest.mark.parametrize(
    ("text", "pin"),
    [(None, ""), ("Linux", "linux"), ("macOS 15.1", "macos"), ("darwin", "macos"), ("win32", "windows"),
     ("windows 11", "windows 11"), ("iOS", "ios"), ("li\x1b[31mnux", "li[31mnux")],
)  # fmt: skip
def test_what_is_pinned(text: str | None, pin: str):
    assert pin_of(text) == pin


def test_what_a_client_says_of_itself_is_cut_and_cannot_act_on_a_terminal():
    client = ClientInfo("a" * 500, "1", "\x1b]0;x\x07", "cli", display_name="\u202egnp.exe", device_family=" ")
    facts = facts_of(saying(client=client), "192.0.2.1", "https://a.example")
    assert facts.client_id == "a" * 128
    assert (facts.platform, facts.display_name, facts.device_family) == ("]0;x", "gnp.exe", None)
    assert (facts.remote_ip, facts.browser_origin) == ("192.0.2.1", "https://a.example")
