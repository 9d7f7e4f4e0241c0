"""Environment and command line: which key a name means, what text becomes, and what lies over what."""

import pytest
from msgspec import inspect

from gateway.config.kinds import locate
from gateway.config.layers import Layer, environment_layers, lay_over, override_layers, value_of


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("PEERGATE_GATEWAY_PORT", "19000", "gateway.port", 19000),
        ("PEERGATE_GATEWAY_PORT", "many", "gateway.port", "many"),
        ("PEERGATE_GATEWAY_BIND", "lan", "gateway.bind", "lan"),
        ("PEERGATE_GATEWAY_TOKEN", "12345", "gateway.auth.token", "12345"),
        ("PEERGATE_GATEWAY_TOKEN", "${HOME}", "gateway.auth.token", "${HOME}"),
        ("PEERGATE_GATEWAY_PASSWORD", "{x", "gateway.auth.password", "{x"),
        ("PEERGATE_LOG_LEVEL", "debug", "logging.level", "debug"),
        ("PEERGATE__GATEWAY__UNIX__FOREIGN", '{"1000": "operator"}', "gateway.unix.foreign", {"1000": "operator"}),
        ("PEERGATE__GATEWAY__UNIX__OPERATORGROUP", "100", "gateway.unix.operatorGroup", 100),
        ("PEERGATE__GATEWAY__UNIX__OPERATORGROUP", "adm", "gateway.unix.operatorGroup", "adm"),
        ("PEERGATE__GATEWAY__TLS__ENABLED", "False", "gateway.tls.enabled", False),
        ("PEERGATE__TOOLS__AGENTTOAGENT__ALLOW", '["a"]', "tools.agentToAgent.allow", ["a"]),
        ("PEERGATE__AGENTS__ENTRIES__MAIN__MODEL", "a/b", "agents.entries.main.model", "a/b"),
        ("PEERGATE__AGENTS__ENTRIES__MAIN__MODEL", "{primary: 'a/b'}", "agents.entries.main.model", {"primary": "a/b"}),
        ("PEERGATE__SUPERVISOR__UIDS", "null", "supervisor.uids", None),
        ("PEERGATE__LOGGING__FILE", "false", "logging.file", False),
        ("PEERGATE__LOGGING__FILE", "/var/log/p", "logging.file", "/var/log/p"),
        ("PEERGATE__GATEWAY__PROT", "1", "gateway.PROT", "1"),
        ("PEERGATE__", "1", "", "1"),
    ],
)
def test_a_variable_sets_its_key(name, text, path, value):
    assert list(environment_layers({name: text})) == [Layer(tuple(path.split(".")), value, f"environment {name}")]


def test_empty_and_foreign_variables_are_not_settings():
    assert list(environment_layers({"PEERGATE_GATEWAY_PORT": "", "PEERGATE_SOCKET": "/x", "HOME": "/"})) == []


def test_a_command_line_may_give_text_or_values():
    layers = list(override_layers({"gateway.port": "1", "agents.defaults.maxConcurrent": 3, "logging.level": "info"}))
    assert [(layer.path, layer.value) for layer in layers] == [
        ("gateway.port", 1),
        ("agents.defaults.maxConcurrent", 3),
        ("logging.level", "info"),
    ]


def test_a_value_is_laid_over_without_touching_the_tree_below():
    tree: dict[str, object] = {"gateway": {"port": 1, "bind": "lan"}}
    assert lay_over(tree, Layer(("gateway", "port"), 2, "")) == {"gateway": {"port": 2, "bind": "lan"}}
    assert lay_over(tree, Layer(("agents", "entries", "a"), {}, ""))["agents"] == {"entries": {"a": {}}}
    assert tree == {"gateway": {"port": 1, "bind": "lan"}}


def test_a_plain_value_in_the_way_is_left_for_the_check():
    assert lay_over({"gateway": 5}, Layer(("gateway", "port"), 2, "")) == {"gateway": 5}


def test_text_that_is_no_json5_stays_text_for_the_check_to_refuse():
    kind = locate(["gateway", "trustedProxies"])[1]
    assert isinstance(kind, inspect.Type)
    assert value_of("10.0.0.1", kind) == "10.0.0.1"
