"""The configurations of the five OpenClaw reports load unchanged, from a file, in a container and out of one."""

from pathlib import Path

import pytest

from gateway.config import ConfigError, Settings, load

FINGERPRINT = "ab" * 32

WRITTEN_22226 = """{"gateway": {"bind": "loopback", "tls": {"enabled": true, "autoGenerate": true},
  "auth": {"mode": "none"}}, "tools": {"agentToAgent": {"enabled": true, "allow": ["main", "alecar"]},
  "sessions": {"visibility": "all"}}}"""
DEFAULTS_22226 = """{agents: {list: [{id: "main", default: true}, {id: "alecar"}]},
  tools: {agentToAgent: {enabled: true, allow: ["main", "alecar"]}}}"""
WRITTEN_30740 = f"""{{"gateway": {{"mode": "local", "bind": "lan", "tls": {{"enabled": true, "autoGenerate": true,
  "fingerprint": "{FINGERPRINT}"}}, "auth": {{"mode": "token", "token": "my-token"}}}}}}"""
WRITTEN_55067 = """{
  // three bots, a channel and models that are somebody else's business
  gateway: {mode: "local", bind: "loopback", auth: {mode: "token", token: "${GATEWAY_TOKEN}"}, remote: {url: "ws://x"}},
  channels: {telegram: {accounts: {a: {botToken: "${NOT_SET}"}}}, discord: {token: "x"}},
  models: {providers: {anthropic: {}, moonshot: {}, ollama: {}}}, cron: {enabled: true},
  agents: {defaults: {model: {primary: "anthropic/claude-opus-4"}, workspace: "~/.openclaw/workspace"}},
}"""
WRITTEN_29186 = """{"gateway": {"bind": "tailnet"}, "agentDefaults": {"subagents": {"spawnTimeoutMs": 45000}}}"""
WRITTEN_70053_TOKEN = """{"gateway": {"auth": {"mode": "token", "token": ""}}}"""
WRITTEN_70053_NONE = """{"gateway": {"bind": "loopback", "auth": {"mode": "none"}}}"""


def loaded(tmp_path: Path, text: str, **environ: str) -> tuple[Settings, tuple[str, ...]]:
    file = tmp_path / "openclaw.json"
    file.write_text(text)
    file.chmod(0o600)
    result = load(file, environ={"HOME": "/home/node", **environ}, root=tmp_path)
    return result.settings, result.warnings


def test_22226_the_file_its_user_had_to_write_loads(tmp_path):
    settings, warnings = loaded(tmp_path, WRITTEN_22226)
    assert settings.gateway.bind == "loopback"
    assert settings.gateway.auth.mode == "none"
    assert settings.gateway.tls.enabled is True
    assert settings.tools.agent_to_agent.allow == ("main", "alecar")
    assert [warning.partition(":")[0] for warning in warnings] == ["gateway.auth.mode", "tools.agentToAgent.allow"]


def test_22226_two_agents_in_a_container_need_only_their_names(tmp_path):
    settings, warnings = loaded(tmp_path, DEFAULTS_22226, container="docker", PEERGATE_GATEWAY_BIND="lan")
    assert list(settings.agents.entries) == ["main", "alecar"]
    assert settings.gateway.bind == "lan"
    assert settings.gateway.tls.enabled is True
    assert settings.gateway.auth.mode == "token"
    assert warnings == ("agents.list[0].default: known to OpenClaw, not served here; ignored",)


def test_22226_a_bind_from_the_environment_cannot_open_mode_none_to_the_network(tmp_path):
    with pytest.raises(ConfigError, match=r"gateway\.auth\.mode: found \"none\" with bind lan"):
        loaded(tmp_path, WRITTEN_22226, PEERGATE_GATEWAY_BIND="lan")


def test_30740_lan_with_tls_and_a_pinned_fingerprint_loads(tmp_path):
    settings, warnings = loaded(tmp_path, WRITTEN_30740)
    assert settings.gateway.tls.fingerprint == FINGERPRINT
    assert settings.gateway.auth.token == "my-token"
    assert warnings == ()


def test_30740_a_fingerprint_that_is_a_placeholder_is_only_warned_about(tmp_path):
    _, warnings = loaded(tmp_path, WRITTEN_30740.replace(FINGERPRINT, "<sha256>"))
    assert "gateway.tls.fingerprint" in warnings[0]


def test_55067_channels_and_models_are_named_and_do_not_stop_the_start(tmp_path):
    settings, warnings = loaded(tmp_path, WRITTEN_55067, GATEWAY_TOKEN="t0ken")
    assert settings.gateway.auth.token == "t0ken"
    assert settings.workspace_of("main") == "/home/node/.openclaw/workspace"
    assert settings.workspace_of("scout") == "/home/node/.openclaw/workspace-scout"
    named = [warning.partition(":")[0] for warning in warnings]
    assert named == ["gateway.remote", "channels", "models", "agents.defaults.model"]


def test_29186_the_spawn_timeout_is_found_where_it_was_written_then(tmp_path):
    settings, warnings = loaded(tmp_path, WRITTEN_29186)
    assert settings.subagents_of("main").spawn_timeout_ms == 45_000
    assert settings.gateway.bind == "tailnet"
    assert warnings == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [(WRITTEN_70053_TOKEN, ["gateway.auth.token"]), (WRITTEN_70053_NONE, ["gateway.auth.mode"]), ("{}", [])],
    ids=["token", "none", "empty"],
)
def test_70053_a_fresh_install_without_a_secret_loads(tmp_path, text, named):
    settings, warnings = loaded(tmp_path, text)
    assert not settings.gateway.auth.token
    assert set(settings.agents.entries) == {"main", "scout"}
    assert [warning.partition(":")[0] for warning in warnings] == named
