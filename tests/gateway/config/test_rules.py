"""Rules between values: what contradicts itself stops the start; what merely does nothing is told."""

import pytest

from gateway.config.rules import OVERFLOW_UID, notices
from gateway.config.settings import Settings
from gateway.config.validate import validate

RANGE = {"first": 70000, "count": 10, "gid": 70000}
PROXY = {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user"}}


def declaring(**fields: object) -> dict[str, object]:
    """A configuration with a job; a turn every hour unless said otherwise."""
    usual = {"schedule": {"kind": "every", "everyMs": 3_600_000}, "payload": {"kind": "agentTurn", "message": "x"}}
    return {"cron": {"jobs": {"tidy": {**usual, **fields}}}}


NINE = ",".join(f"10.0.0.{last}" for last in range(1, 10))

CONTRADICTIONS = [
    ({"gateway": {"mode": "remote"}}, "gateway.mode"),
    ({"gateway": {"bind": "custom"}}, "gateway.customBindHost"),
    ({"gateway": {"bind": "custom", "customBindHost": "::ffff:10.0.0.1"}}, "gateway.customBindHost"),
    ({"gateway": {"bind": "custom", "customBindHost": " , "}}, "gateway.customBindHost"),
    ({"gateway": {"bind": "custom", "customBindHost": "ff02::1"}}, "gateway.customBindHost"),
    ({"gateway": {"bind": "custom", "customBindHost": "10.0.0.1,10.0.0.2:80"}}, "gateway.customBindHost"),
    ({"gateway": {"bind": "custom", "customBindHost": "0.0.0.0,10.0.0.1"}}, "gateway.customBindHost"),
    ({"gateway": {"bind": "custom", "customBindHost": NINE}}, "gateway.customBindHost"),
    ({"gateway": {"hostNames": ["box.lan", "https://box.lan"]}}, "gateway.hostNames[1]"),
    ({"gateway": {"hostNames": ["box.lan:18789"]}}, "gateway.hostNames[0]"),
    ({"gateway": {"controlUi": {"allowedOrigins": ["box.lan"]}}}, "gateway.controlUi.allowedOrigins[0]"),
    ({"gateway": {"controlUi": {"allowedOrigins": ["https://box.lan/x"]}}}, "gateway.controlUi.allowedOrigins[0]"),
    ({"gateway": {"bind": "custom", "customBindHost": "my-host"}}, "gateway.customBindHost"),
    ({"gateway": {"auth": {"token": "t", "password": "p"}}}, "gateway.auth.mode"),
    ({"gateway": {"auth": {"mode": "password"}}}, "gateway.auth.password"),
    ({"gateway": {"auth": {"mode": "password", "password": ""}}}, "gateway.auth.password"),
    ({"gateway": {"bind": "lan", "auth": {"mode": "none"}}}, "gateway.auth.mode"),
    ({"gateway": {"bind": "auto", "auth": {"mode": "none"}}}, "gateway.auth.mode"),
    ({"gateway": {"bind": "custom", "customBindHost": "10.0.0.1", "auth": {"mode": "none"}}}, "gateway.auth.mode"),
    ({"gateway": {"trustedProxies": ["10.0.0.0/8", "proxy"]}}, "gateway.trustedProxies[1]"),
    ({"gateway": {"auth": {"mode": "trusted-proxy"}, "trustedProxies": ["10.0.0.1"]}}, "gateway.auth.trustedProxy"),
    ({"gateway": {"auth": PROXY}}, "gateway.trustedProxies"),
    (
        {
            "gateway": {
                "trustedProxies": ["127.0.0.1"],
                "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x", "allowLoopback": True}},
            }
        },
        "gateway.auth.trustedProxy.proxyUids",
    ),
    ({"gateway": {"tls": {"certPath": "/c"}}}, "gateway.tls.keyPath"),
    ({"gateway": {"tls": {"keyPath": "/k"}}}, "gateway.tls.certPath"),
    ({"gateway": {"bind": "lan", "tls": {"enabled": False}}}, "gateway.tls.enabled"),
    ({"gateway": {"unix": {"operators": ["a", OVERFLOW_UID]}}}, "gateway.unix.operators[1]"),
    ({"gateway": {"unix": {"operatorGroup": OVERFLOW_UID}}}, "gateway.unix.operatorGroup"),
    ({"gateway": {"unix": {"foreign": {"0": "operator"}}}}, "gateway.unix.foreign.0"),
    ({"gateway": {"unix": {"foreign": {"65534": "operator"}}}}, "gateway.unix.foreign.65534"),
    ({"gateway": {"unix": {"foreign": {"4294967295": "operator"}}}}, "gateway.unix.foreign.4294967295"),
    ({"gateway": {"unix": {"foreign": {"70009": []}}}, "supervisor": {"uids": RANGE}}, "gateway.unix.foreign.70009"),
    ({"cron": {"failureAlert": {"to": "ops"}}}, "cron.failureAlert.to"),
    ({"cron": {"failureAlert": {"mode": "webhook", "to": "agent:main:main"}}}, "cron.failureAlert.to"),
    ({"cron": {"failureAlert": {"enabled": True, "mode": "webhook"}}}, "cron.failureAlert.to"),
    (declaring(agentId="mian"), "cron.jobs.tidy.agentId"),
    (declaring(schedule={"kind": "cron", "expr": "61 9 * * *"}), "cron.jobs.tidy"),
    (declaring(schedule={"kind": "cron", "expr": "0 0 30 2 *"}), "cron.jobs.tidy"),  # never comes
    (declaring(schedule={"kind": "cron", "expr": "@daily", "tz": "Europe/Berln"}), "cron.jobs.tidy"),
    (declaring(schedule={"kind": "at", "at": "tomorrow"}), "cron.jobs.tidy"),
    (declaring(schedule={"kind": "stream", "command": ["x"]}), "cron.jobs.tidy"),
    (declaring(sessionTarget="main"), "cron.jobs.tidy"),
    (declaring(delivery={"mode": "webhook", "to": "here"}), "cron.jobs.tidy"),
    ({"supervisor": {"uids": {**RANGE, "count": 1}}}, "supervisor.uids.count"),
    ({"supervisor": {"uids": {**RANGE, "first": 65530}}}, "supervisor.uids.first"),
    ({"supervisor": {"uids": {**RANGE, "first": 2**32 - 4}}}, "supervisor.uids.first"),
    ({"gateway": {"unix": {"operators": [70003]}}, "supervisor": {"uids": RANGE}}, "supervisor.uids.first"),
    ({"gateway": {"unix": {"operatorGroup": 70000}}, "supervisor": {"uids": RANGE}}, "supervisor.uids.gid"),
]


@pytest.mark.parametrize(("tree", "path"), CONTRADICTIONS)
def test_a_contradiction_stops_the_start_at_its_key(tree, path):
    settings, problems = validate(tree)
    assert settings is None
    assert [problem.path for problem in problems] == [path]


@pytest.mark.parametrize(
    "tree",
    [
        {"gateway": {"auth": {"mode": "token", "token": "t", "password": "p"}}},
        {"gateway": {"auth": {"mode": "none"}}},
        {"gateway": {"bind": "lan", "auth": {"mode": "none", "allowInsecureNone": True}}},
        {"gateway": {"bind": "custom", "customBindHost": "127.0.0.2", "auth": {"mode": "none"}}},
        {"gateway": {"bind": "custom", "customBindHost": "127.0.0.2,::1", "auth": {"mode": "none"}}},
        {"gateway": {"bind": "off", "auth": {"mode": "none"}, "tls": {"enabled": False}}},
        {"gateway": {"bind": "custom", "customBindHost": "0.0.0.0, fe80::1%eth0, 0.0.0.0"}},
        {"gateway": {"port": 0, "hostNames": ["box", "box.lan.", "10.0.0.1", "fd00::1"]}},
        {"gateway": {"controlUi": {"allowedOrigins": ["*", "http://[::1]:18789", "tauri://localhost/"]}}},
        {"gateway": {"bind": "lan", "tls": {"enabled": False, "allowPlaintext": True}}},
        {"gateway": {"auth": PROXY, "trustedProxies": ["10.0.0.1", "fd00::/8"]}},
        {"gateway": {"unix": {"foreign": {"1000": "operator", "1001": ["operator.admin"]}}}},
        declaring(),
        declaring(schedule={"kind": "at", "at": "2020-01-01T00:00:00Z"}),  # it ran; that is no reason not to start
        {"gateway": {"unix": {"operators": ["alice", 1000], "operatorGroup": "adm"}}, "supervisor": {"uids": RANGE}},
    ],
)
def test_what_an_operator_says_by_name_is_accepted(tree):
    assert validate(tree)[1] == []


def settings_of(tree: dict[str, object]) -> Settings:
    settings, problems = validate(tree)
    assert settings is not None, problems
    return settings


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"agents": {"defaults": {"model": "a/b"}}}, ["agents.defaults.model"]),
        ({"agents": {"entries": {"x": {"model": {"primary": "a/b"}}}}}, ["agents.entries.x.model"]),
        ({"agents": {"entries": {"x": {"runtime": {"type": "acp"}}}}}, ["agents.entries.x.runtime.type"]),
        ({"agents": {"entries": {"x": {"runtime": {"type": "model"}}}}}, ["agents.entries.x.runtime.type"]),
        ({"gateway": {"tls": {"fingerprint": "abc"}}}, ["gateway.tls.fingerprint"]),
        ({"gateway": {"tls": {"fingerprint": "sha256:" + "AB:" * 31 + "CD"}}}, []),
        ({"gateway": {"bind": "lan", "tls": {"enabled": False, "allowPlaintext": True}}}, ["gateway.tls: off"]),
        ({"gateway": {"tls": {"enabled": False}}}, []),
        ({"gateway": {"auth": {"mode": "none"}}}, ["gateway.auth.mode: none with bind loopback: every operator's"]),
        (
            {"gateway": {"bind": "lan", "auth": {"mode": "none", "allowInsecureNone": True}}},
            ["gateway.auth.mode: none with bind lan: everybody"],
        ),
        ({"gateway": {"bind": "off", "auth": {"mode": "none"}}}, []),
        ({"gateway": {"auth": {"token": ""}}}, ["gateway.auth.token: empty"]),
        ({"gateway": {"auth": {"token": "t"}}}, []),
        ({"gateway": {"controlUi": {"allowedOrigins": ["*"]}}}, ["gateway.controlUi.allowedOrigins"]),
        ({"agents": {"defaults": {"subagents": {"allowAgents": ["*", "scuot"]}}}}, ["agents.defaults.subagents"]),
        ({"agents": {"entries": {"x": {"subagents": {"allowAgents": ["y"]}}}}}, ["agents.entries.x.subagents"]),
        ({"tools": {"agentToAgent": {"allow": ["main", "sc*", " "]}}}, []),
    ],
)
def test_what_does_nothing_or_should_be_known_is_told(tree, told):
    found = list(notices(settings_of(tree)))
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True))


def test_an_unknown_agent_is_answered_with_the_nearest_one():
    [line] = notices(settings_of({"tools": {"agentToAgent": {"allow": ["scuot"]}}}))
    assert line.endswith('no agent "scuot" is configured; did you mean "scout"?')
