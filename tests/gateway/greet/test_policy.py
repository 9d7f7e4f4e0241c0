"""What the configuration makes of the outer door, and the token that is made when none is set."""

from __future__ import annotations

import stat
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.auth.ratelimit import Rule
from gateway.greet.policy import TOKEN_FILE, OuterPolicy, generated_token, lasts, needs_token, outer_policy
from tests.support.engine import settings_from
from tests.support.syncs import watch_syncs


def policy(tree: dict[str, Any], token: str | None = None) -> OuterPolicy:
    return outer_policy(settings_from({"gateway": tree}).gateway, operators=frozenset({7}), token=token)


@pytest.mark.parametrize(
    ("auth", "mode", "token", "generated"),
    [
        ({}, "token", "made", True),
        ({"mode": "token"}, "token", "made", True),
        ({"token": "t"}, "token", "t", False),
        ({"token": ""}, "token", "", False),
        ({"password": "p"}, "password", "made", False),
        ({"mode": "none"}, "none", "made", False),
    ],
)
def test_whether_a_token_has_to_be_made(auth: dict[str, str], mode: str, token: str, generated: bool):
    made = policy({"auth": auth}, "made")
    assert (made.secrets.mode, made.secrets.token) == (mode, token)
    assert needs_token(settings_from({"gateway": {"auth": auth}}).gateway) is generated


def test_every_part_of_the_configuration_arrives():
    made = policy(
        {
            "trustedProxies": ["10.0.0.0/8"], "controlUi": {"allowedOrigins": ["https://A.example:443"]},
            "auth": {
                "mode": "trusted-proxy", "rateLimit": {"maxAttempts": 3, "windowMs": 4, "lockoutMs": 5,
                                                       "exemptLoopback": False},
                "trustedProxy": {"userHeader": "X-User", "requiredHeaders": ["X-Proof"], "allowUsers": ["ann"],
                                 "allowLoopback": True, "proxyUids": [33]},
            },
        }
    )  # fmt: skip
    assert made.rate == Rule(3, 4, 5, exempt_loopback=False)
    assert made.origins == {"https://a.example"}
    assert [str(network) for network in made.proxies] == ["10.0.0.0/8"]
    rule = made.proxy_rule
    assert rule is not None
    assert (rule.user_header, rule.required_headers, set(rule.allow_users)) == ("x-user", ("x-proof",), {"ann"})
    assert (rule.allow_loopback, set(rule.proxy_uids), set(made.operators)) == (True, {33}, {7})


def test_a_policy_does_not_show_its_secrets():
    assert "hush" not in repr(policy({"auth": {"token": "hush", "password": "hush", "mode": "token"}}))


ANN = policy(
    {"trustedProxies": ["10.0.0.1"], "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "X-User"}}}
)
ONLY_BOB = policy(
    {
        "trustedProxies": ["10.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "X-User", "allowUsers": ["bob"]}},
    }
)
TOKEN = policy({"auth": {"token": "t"}})
OPEN = policy({"auth": {"mode": "none"}})


@pytest.mark.parametrize(
    ("method", "before", "now", "stays"),
    [
        ("token", TOKEN, TOKEN, True),
        ("token", TOKEN, policy({"auth": {"token": "u"}}), False),
        ("token", TOKEN, replace(TOKEN, proxies=ANN.proxies, operators=frozenset()), True),
        ("device-token", TOKEN, policy({"auth": {"token": "u"}}), True),
        ("device-token", ANN, ONLY_BOB, True),
        ("bootstrap-token", TOKEN, policy({"auth": {"token": "u"}}), False),
        ("trusted-proxy", ANN, ANN, True),
        ("trusted-proxy", ANN, ONLY_BOB, False),
        ("trusted-proxy", ANN, replace(ANN, proxies=()), False),
        ("trusted-proxy", ANN, TOKEN, False),
        ("none", OPEN, OPEN, True),
        ("none", OPEN, TOKEN, False),
        ("none", OPEN, replace(OPEN, operators=frozenset()), False),
    ],
)
def test_who_came_in_by_a_rule_that_is_gone_does_not_stay(
    method: str, before: OuterPolicy, now: OuterPolicy, stays: bool
):
    assert lasts(method, before, now) is stays


def test_a_token_is_made_once_for_its_owner_alone(tmp_path):
    token = generated_token(tmp_path)
    file = tmp_path / TOKEN_FILE
    assert len(token) == 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    assert generated_token(tmp_path) == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [TOKEN_FILE]


def test_a_token_is_given_when_it_and_its_name_are_on_the_disk(tmp_path, monkeypatch):
    syncs = watch_syncs(monkeypatch, tmp_path)
    generated_token(tmp_path)
    assert [one.of for one in syncs][1:] == [str(tmp_path)]
    assert TOKEN_FILE in syncs[-1].names
    generated_token(tmp_path)
    assert len(syncs) == 2


def test_a_token_that_cannot_be_one_is_said_to_be_none(tmp_path):
    (tmp_path / TOKEN_FILE).write_text("\n")
    with pytest.raises(ValueError, match="holds no token"):
        generated_token(tmp_path)


def test_a_token_is_not_read_through_a_link(tmp_path):
    (tmp_path / "elsewhere").write_text("known to somebody")
    (tmp_path / TOKEN_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        generated_token(tmp_path)
