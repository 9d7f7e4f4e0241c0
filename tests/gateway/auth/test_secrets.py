"""What each secret is worth, and what a client without the right one is told."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from gateway.auth import secrets
from gateway.auth.secrets import Mode, Secrets, check_device_token, check_setup, check_shared, unauthorized
from gateway.protocol.calls.system import ConnectAuth
from gateway.protocol.devices import Device, DeviceToken, SetupCode

TOKEN, PASSWORD, NEITHER = ConnectAuth(token="t"), ConnectAuth(password="p"), ConnectAuth()
BOTH = ConnectAuth(token="t", password="p")
WRONG = ConnectAuth(token="no", password="no")


@pytest.mark.parametrize(
    ("mode", "auth", "reason", "given"),
    [
        ("token", None, "token_missing", False),
        ("token", NEITHER, "token_missing", False),
        ("token", ConnectAuth(token=""), "token_missing", False),
        ("token", TOKEN, "", True),
        ("token", BOTH, "", True),
        ("token", ConnectAuth(password="t"), "", True),
        ("token", PASSWORD, "token_mismatch", True),
        ("token", WRONG, "token_mismatch", True),
        ("token", ConnectAuth(token="t\u0000"), "token_mismatch", True),
        ("password", None, "password_missing", False),
        ("password", PASSWORD, "", True),
        ("password", BOTH, "", True),
        ("password", ConnectAuth(token="p"), "", True),
        ("password", TOKEN, "password_mismatch", True),
        ("none", None, "", False),
        ("none", WRONG, "", False),
    ],
)
def test_the_shared_secret_in_each_mode(mode: Mode, auth: ConnectAuth | None, reason: str, given: bool):
    shown = check_shared(Secrets(mode, "t", "p"), auth)
    assert (shown.method, shown.reason, shown.given, shown.ok) == (mode, reason, given, not reason)


@pytest.mark.parametrize("auth", [None, ConnectAuth(token=""), WRONG])
@pytest.mark.parametrize("mode", ["token", "password"])
def test_a_secret_that_is_not_configured_matches_nothing(mode: Mode, auth: ConnectAuth | None):
    assert check_shared(Secrets(mode), auth).reason == f"{mode}_missing_config"


def test_secrets_do_not_show_in_logs():
    assert "hush" not in repr(Secrets("token", "hush", "hush"))
    assert "hush" not in repr(ConnectAuth(token="hush", password="hush", device_token="hush", bootstrap_token="hush"))


def test_a_generation_changes_with_the_secret_and_does_not_tell_it():
    generations = {Secrets("token", one).generation for one in ("a", "b", "")} | {Secrets("password", "a").generation}
    assert len(generations) == 4
    assert {len(one) for one in generations} == {8}


LIVE = DeviceToken("tok", "operator", ("operator.write",), 1)
DEVICE = Device("d", "k", ("operator",), ("operator.write",), 1, 1, "owner", tokens=(LIVE,))


def having(**changes: object) -> Device:
    return msgspec.structs.replace(DEVICE, tokens=(msgspec.structs.replace(LIVE, **changes),))


@pytest.mark.parametrize(
    ("device", "role", "shown", "wanted", "reason"),
    [
        (DEVICE, "operator", "tok", ["operator.read", "operator.write"], ""),
        (DEVICE, "operator", "tok", [], ""),
        (DEVICE, "operator", "toc", ["operator.read"], "device_token_mismatch"),
        (DEVICE, "operator", "", [], "device_token_mismatch"),
        (DEVICE, "node", "tok", [], "device_token_mismatch"),
        (None, "operator", "tok", [], "device_token_mismatch"),
        (None, "operator", "", [], "device_token_mismatch"),
        (having(revoked_at_ms=5), "operator", "tok", [], "device_token_mismatch"),
        (having(generation="old"), "operator", "tok", [], "device_token_mismatch"),
        (having(generation="now"), "operator", "tok", [], ""),
        (msgspec.structs.replace(DEVICE, roles=("node",)), "operator", "tok", [], "device_token_mismatch"),
        (DEVICE, "operator", "tok", ["operator.admin"], "scope_mismatch"),
        (having(scopes=("operator.admin",)), "operator", "tok", ["operator.read"], "scope_mismatch"),
    ],
)
def test_a_device_token(device: Device | None, role: str, shown: str, wanted: list[str], reason: str):
    assert check_device_token(device, role, shown, wanted, "now") == reason


SETUP = SetupCode("s", "h", "limited", ("operator",), ("operator.read",), 1, 100)


MINE = msgspec.structs.replace(SETUP, bound_to="me", used_at_ms=50)


@pytest.mark.parametrize(
    ("setup", "device", "role", "now", "right"),
    [
        (SETUP, None, "operator", 99, True),
        (SETUP, DEVICE, "operator", 99, True),
        (SETUP, None, "operator", 100, False),
        (SETUP, None, "node", 99, False),
        (None, DEVICE, "operator", 99, False),
        (msgspec.structs.replace(SETUP, used_at_ms=50), DEVICE, "operator", 99, False),
        (msgspec.structs.replace(SETUP, bound_to="other"), DEVICE, "operator", 99, False),
        (MINE, DEVICE, "operator", 99, True),
        (MINE, DEVICE, "operator", 100, False),
        (MINE, None, "operator", 99, False),
        (MINE, having(revoked_at_ms=60), "operator", 99, False),
        (MINE, msgspec.structs.replace(DEVICE, roles=("node",)), "operator", 99, False),
    ],
)
def test_a_setup_code(setup: SetupCode | None, device: Device | None, role: str, now: int, right: bool):
    assert check_setup(setup, "me", device, role, now) is right


STEMS = {
    "token_missing": ("AUTH_TOKEN_MISSING", "unauthorized: gateway token missing (", "update_auth_configuration"),
    "token_mismatch": ("AUTH_TOKEN_MISMATCH", "unauthorized: gateway token mismatch (", "update_auth_credentials"),
    "token_missing_config": (
        "AUTH_TOKEN_NOT_CONFIGURED",
        "unauthorized: gateway token not configured on gateway (",
        "update_auth_configuration",
    ),
    "password_missing": (
        "AUTH_PASSWORD_MISSING",
        "unauthorized: gateway password missing (",
        "update_auth_configuration",
    ),
    "password_mismatch": (
        "AUTH_PASSWORD_MISMATCH",
        "unauthorized: gateway password mismatch (",
        "update_auth_credentials",
    ),
    "password_missing_config": (
        "AUTH_PASSWORD_NOT_CONFIGURED",
        "unauthorized: gateway password not configured on gateway (",
        "update_auth_configuration",
    ),
    "bootstrap_token_invalid": ("AUTH_BOOTSTRAP_TOKEN_INVALID", "unauthorized: bootstrap token ", ""),
    "device_token_mismatch": (
        "AUTH_DEVICE_TOKEN_MISMATCH",
        "unauthorized: device token mismatch (rotate/reissue device token)",
        "update_auth_credentials",
    ),
    "scope_mismatch": (
        "AUTH_SCOPE_MISMATCH",
        "unauthorized: device token scope mismatch (re-pair or approve scope upgrade)",
        "review_auth_configuration",
    ),
    "rate_limited": (
        "AUTH_RATE_LIMITED",
        "unauthorized: too many failed authentication attempts (retry later)",
        "wait_then_retry",
    ),
    "local_process_not_operator": ("AUTH_UNAUTHORIZED", "unauthorized: mode none ", "review_auth_configuration"),
    "trusted_proxy_missing_header_x-user": ("AUTH_IDENTITY_HEADER_REQUIRED", "unauthorized: identity header", ""),
    "trusted_proxy_untrusted_source": ("AUTH_UNAUTHORIZED", "unauthorized: trusted proxy required (", ""),
    "something else": ("AUTH_UNAUTHORIZED", "unauthorized", "review_auth_configuration"),
}


@pytest.mark.parametrize("reason", STEMS)
def test_what_a_client_without_the_right_secret_is_told(reason: str):
    code, stem, step = STEMS[reason]
    shape = unauthorized(reason)
    assert shape.code == "INVALID_REQUEST"
    assert shape.message.startswith(stem)
    assert shape.details is not None
    assert (shape.details["code"], shape.details["authReason"]) == (code, reason)
    assert shape.details["canRetryWithDeviceToken"] is False
    assert shape.details["recommendedNextStep"] == step or not step
    assert len(shape.message.encode()) <= 123, "it must fit into a Close frame"


def test_only_a_wrong_shared_token_is_worth_trying_the_device_token():
    for reason in STEMS:
        details = unauthorized(reason, may_retry_with_device=True).details or {}
        assert details["canRetryWithDeviceToken"] is (reason == "token_mismatch")
        assert (details["recommendedNextStep"] == "retry_with_device_token") is (reason == "token_mismatch")


def test_who_is_locked_out_hears_for_how_long():
    shape = unauthorized(secrets.RATE_LIMITED, retry_after_ms=1234)
    assert (shape.retryable, shape.retry_after_ms) == (True, 1234)
    assert (shape.details or {})["retryAfterMs"] == 1234
    assert replace(secrets.Shown("token")).ok
