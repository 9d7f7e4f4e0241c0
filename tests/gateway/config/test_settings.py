"""The defaults, what completes them, what an agent inherits, and that secrets hide."""

from typing import get_args

import msgspec
import pytest

from gateway.config.agent_settings import MAIN_ENTRY, SCOUT_ENTRY, PythonRuntime, default_max_concurrent
from gateway.config.section import Scope
from gateway.config.settings import Settings, complete
from gateway.protocol.scopes import OPERATOR_SCOPES


def settings_of(tree: dict[str, object]) -> Settings:
    return complete(msgspec.convert(tree, Settings))


def test_nothing_configured_gives_two_agents_on_loopback_with_a_token():
    settings = settings_of({})
    runtimes = {name: agent.runtime for name, agent in settings.agents.entries.items()}
    assert runtimes == {"main": PythonRuntime(entry=MAIN_ENTRY), "scout": PythonRuntime(entry=SCOUT_ENTRY)}
    assert (MAIN_ENTRY, SCOUT_ENTRY) == ("agentproc.builtin.main:turn", "agentproc.builtin.scout:turn")
    assert (settings.gateway.port, settings.gateway.bind, settings.gateway.auth.mode) == (18789, "loopback", "token")
    assert settings.gateway.tls.enabled is False
    assert settings.agents.defaults.max_concurrent == default_max_concurrent() >= 8


def test_an_agent_without_a_runtime_is_the_builtin_one():
    assert settings_of({"agents": {"entries": {"x": {}}}}).agents.entries["x"].runtime == PythonRuntime(
        entry=MAIN_ENTRY
    )


@pytest.mark.parametrize(
    ("gateway", "enabled"),
    [
        ({"bind": "loopback"}, False),
        ({"bind": "lan"}, True),
        ({"bind": "tailnet"}, True),
        ({"bind": "auto"}, True),
        ({"bind": "custom", "customBindHost": "127.0.0.1"}, False),
        ({"bind": "custom", "customBindHost": "10.0.0.1"}, True),
        ({"bind": "custom", "customBindHost": "127.0.0.1,::1"}, False),
        ({"bind": "custom", "customBindHost": "127.0.0.1,10.0.0.1"}, True),
        ({"bind": "custom", "customBindHost": "::ffff:127.0.0.1"}, True),
        ({"bind": "off"}, False),
        ({"bind": "custom", "customBindHost": "nonsense"}, True),
        ({"bind": "loopback", "tls": {"enabled": True}}, True),
        ({"bind": "lan", "tls": {"enabled": False}}, False),
    ],
)
def test_tls_is_on_wherever_the_network_can_listen(gateway, enabled):
    assert settings_of({"gateway": gateway}).gateway.tls.enabled is enabled


@pytest.mark.parametrize(
    ("auth", "mode"),
    [({}, "token"), ({"token": "t"}, "token"), ({"password": "p"}, "password"), ({"mode": "none"}, "none")],
)
def test_the_auth_mode_follows_from_the_secret_that_is_there(auth, mode):
    assert settings_of({"gateway": {"auth": auth}}).gateway.auth.mode == mode


def test_a_token_that_is_empty_is_not_one_that_is_absent():
    assert settings_of({}).gateway.auth.token is None
    assert settings_of({"gateway": {"auth": {"token": ""}}}).gateway.auth.token == ""


def test_an_agent_inherits_what_it_does_not_say():
    settings = settings_of(
        {
            "agents": {
                "defaults": {"subagents": {"maxConcurrent": 3}, "limits": {"pids": 9}, "cwd": "/d", "workspace": "/w"},
                "entries": {
                    "a": {"subagents": {"maxSpawnDepth": 2, "requireAgentId": True}, "limits": {"memoryBytes": 7}},
                    "b": {"cwd": "/b", "workspace": "/v", "tools": {"subprocessGateway": False}},
                },
            }
        }
    )
    rules = settings.subagents_of("a")
    assert (rules.max_concurrent, rules.max_spawn_depth, rules.require_agent_id) == (3, 2, True)
    assert settings.subagents_of("b").max_spawn_depth == 5
    assert (settings.limits_of("a").pids, settings.limits_of("a").memory_bytes) == (9, 7)
    assert (settings.cwd_of("a"), settings.cwd_of("b")) == ("/d", "/b")
    assert (settings.workspace_of("a"), settings.workspace_of("b")) == ("/w-a", "/v")
    assert (settings.subprocess_gateway_of("a"), settings.subprocess_gateway_of("b")) == (True, False)


def test_switching_subprocesses_off_for_all_cannot_be_undone_by_one():
    tree = {"tools": {"subprocessGateway": False}, "agents": {"entries": {"a": {"tools": {"subprocessGateway": True}}}}}
    assert settings_of(tree).subprocess_gateway_of("a") is False


def test_secrets_do_not_show_in_a_repr():
    settings = settings_of(
        {
            "gateway": {"auth": {"mode": "token", "token": "s3cret", "password": "pa55"}},
            "agents": {"entries": {"a": {"env": {"KEY": "k3y"}, "runtime": {"type": "acp", "env": {"K": "acp3"}}}}},
        }
    )
    settings_command = settings_of(
        {"agents": {"entries": {"a": {"runtime": {"type": "command", "argv": ["x"], "env": {"K": "cmd3"}}}}}}
    )
    text = repr(settings) + repr(settings_command)
    assert not any(secret in text for secret in ("s3cret", "pa55", "k3y", "acp3", "cmd3"))
    assert "<hidden>" in text


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        settings_of({}).gateway.port = 1  # type: ignore[misc]


def test_the_scopes_are_those_of_the_wire():
    assert set(get_args(Scope)) == OPERATOR_SCOPES


@pytest.mark.parametrize(("written", "hours"), [(30, 720), ("12h", 12), ("2d", 48), ("1w", 168)])
def test_ages_are_days_or_say_what_they_are(written, hours):
    settings = settings_of({"session": {"maintenance": {"pruneAfter": written}}})
    assert settings.session.maintenance.prune_after_ms == hours * 3_600_000


def test_a_limit_names_the_place_it_is_written_at():
    limits = {"defaults": {"limits": {"pids": 9}}, "entries": {"a": {"limits": {"memoryBytes": 7}}}}
    settings = settings_of({"agents": limits})
    assert settings.limit_key("a", "memoryBytes") == "agents.entries.a.limits.memoryBytes"
    assert settings.limit_key("a", "pids") == "agents.defaults.limits.pids"
    assert settings.limit_key("gone", "wallSeconds") == "agents.defaults.limits.wallSeconds"
