"""What can never happen at the outer door, whatever a client shows and whatever is on record."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.auth import proof as proofs
from gateway.auth.outer import decide
from gateway.auth.picture import Admit, Ask, Picture, Refused
from gateway.auth.principal import Kind
from gateway.auth.proof import Proven
from gateway.auth.secrets import Shown
from gateway.protocol.calls.system import ClientInfo, Connect, ConnectAuth
from gateway.protocol.devices import Device, DeviceToken, SetupCode
from gateway.protocol.scopes import KNOWN_SCOPES, uncovered
from supervisor.messages import Held
from tests.gateway.auth.pictures import BASE, CLIENT, ME, UI
from tests.support.altered import altered

kinds = st.sampled_from(["remote", "outside", "ours", "unknown", "new"])
helds = st.builds(Held, st.just(1), kinds, uid=st.sampled_from([-1, 0, 1000]), cookie=st.sampled_from(["", "c", "d"]))
scopes = st.lists(st.sampled_from([*sorted(KNOWN_SCOPES), "worker", "session", "public", "operator.fly"]), max_size=4)
texts = st.none() | st.sampled_from(["", "t", "tok"])
proof_of = st.sampled_from([None, ME, Proven("e" * 64, "key"), Proven(ME.device_id, "other"), proofs.BAD_SIGNATURE])
auths = st.none() | st.builds(ConnectAuth, texts, texts, texts, texts)
clients = st.sampled_from([CLIENT, UI, ClientInfo("gateway-client", mode="backend"), ClientInfo("openclaw-worker")])
connects = st.builds(
    Connect, st.sampled_from([1, 3, 4, 5]), st.sampled_from([2, 3, 4, 9]), clients,
    role=st.sampled_from(["operator", "node", "worker", "admin"]), scopes=st.none() | scopes, auth=auths,
)  # fmt: skip
tokens = st.builds(
    DeviceToken, st.just("tok"), st.sampled_from(["operator", "node"]), scopes.map(tuple), st.just(1),
    revoked_at_ms=st.sampled_from([None, 5]),
)  # fmt: skip
devices = st.none() | st.builds(
    Device, st.sampled_from([ME.device_id, "f" * 64]), st.just("key"),
    st.sampled_from([("operator",), ("node",), ("node", "operator"), ()]), scopes.map(tuple), st.just(1), st.just(1),
    st.just("owner"), platform=st.sampled_from([None, "linux", "windows"]), tokens=st.lists(tokens,
    max_size=2).map(tuple),
)  # fmt: skip
setups = st.none() | st.builds(
    SetupCode, st.just("s"), st.just("h"), st.just("p"), st.sampled_from([("operator",), ("node",)]), scopes.map(tuple),
    st.just(1), st.sampled_from([10, 100]), bound_to=st.sampled_from([None, ME.device_id, "x"]),
    used_at_ms=st.sampled_from([None, 5]),
)  # fmt: skip
reasons = st.sampled_from(["", "token_mismatch", "token_missing", "token_missing_config"])
shareds = st.builds(Shown, st.sampled_from(["token", "password", "none", "trusted-proxy"]), reasons, st.booleans())
pictures = st.builds(
    Picture, st.just("outer:0"), st.just("192.0.2.1"), helds, helds, connects, st.just(50), proof_of, shareds,
    st.sampled_from(["", "device_token_mismatch", "scope_mismatch"]), devices, setups,
    origin=st.sampled_from([None, "https://a.example", "null"]), origins=st.just(frozenset({"https://a.example"})),
    operators=st.sampled_from([frozenset(), frozenset({0, 1000})]),
    locked=st.dictionaries(st.sampled_from(["shared-secret", "device-token", "bootstrap-token"]), st.just(1)),
)  # fmt: skip
outside_pictures = st.one_of(
    pictures,
    # Most of the above is refused early; these differ from somebody who is let in by a few things only.
    st.builds(
        lambda picture, few: replace(BASE, **{name: getattr(picture, name) for name in few}),
        pictures,
        st.sets(
            st.sampled_from(["proof", "shared", "device_token", "device", "setup", "connect", "locked"]), max_size=4
        ),
    ),
)


@given(pictures, st.sampled_from(["ours", "unknown"]), st.booleans())
def test_no_credential_outranks_descent(picture: Picture, kind: str, early: bool):
    held = altered(picture.held, kind=kind)
    verdict = decide(replace(picture, first=held) if early else replace(picture, held=held))
    assert isinstance(verdict, Refused)
    assert verdict.failed == ()


@given(outside_pictures)
def test_nobody_is_let_in_without_an_approval_or_a_mode_that_was_chosen_by_name(picture: Picture):
    verdict = decide(picture)
    if not isinstance(verdict, Admit):
        return
    connect, granted = picture.connect, verdict.principal.scopes
    assert granted <= set(connect.scopes or ()) & KNOWN_SCOPES
    assert granted or connect.role == "node"
    if verdict.principal.kind is Kind.OPEN:
        assert connect.role == "operator"
        assert picture.shared.ok
        assert picture.shared.method in ("none", "trusted-proxy")
        return
    assert isinstance(picture.proof, Proven)
    if verdict.setup:
        setup = picture.setup
        assert setup is not None
        assert setup.expires_at_ms == 100
        assert (setup.bound_to, setup.used_at_ms) == (None, None) or (
            setup.bound_to == picture.proof.device_id and picture.device is not None
        )
        assert connect.role in setup.roles
        assert not uncovered(granted, setup.scopes)
        return
    device = picture.device
    assert device is not None
    assert (device.device_id, device.public_key) == (picture.proof.device_id, picture.proof.public_key)
    assert connect.role in device.roles
    assert device.token(connect.role) is not None
    assert not uncovered(granted, device.scopes)


@given(outside_pictures)
def test_only_who_proved_a_key_and_a_secret_may_ask(picture: Picture):
    verdict = decide(picture)
    if isinstance(verdict, Ask):
        assert verdict.proven == picture.proof
        assert picture.shared.ok or not picture.device_token
        assert {picture.first.kind, picture.held.kind} <= {"remote", "outside"}
