"""A tree becomes settings or a list of every problem: bad values, misspelt keys, missing ones, at their real paths."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.agent_settings import CommandRuntime
from gateway.config.kinds import every_key
from gateway.config.problem import Problem
from gateway.config.settings import Settings
from gateway.config.validate import validate


def problem_of(tree: dict[str, object]) -> Problem:
    settings, problems = validate(tree)
    assert settings is None
    assert len(problems) == 1, problems
    return problems[0]


def nested(path: str, value: object) -> dict[str, object]:
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


BAD_VALUES = [
    ("gateway", 5, "5", "a table (mode, port"),
    ("gateway.port", "80", '"80"', "a whole number from 0 to 65535"),
    ("gateway.port", -1, "-1", "a whole number from 0 to 65535"),
    ("gateway.port", 65536, "65536", "a whole number from 0 to 65535"),
    ("gateway.port", True, "true", "a whole number from 0 to 65535"),
    ("gateway.port", 1.5, "1.5", "a whole number from 0 to 65535"),
    ("gateway.port", None, "null", "a whole number from 0 to 65535"),
    ("gateway.port", [1], "a list", "a whole number from 0 to 65535"),
    ("gateway.port", {"a": 1}, "a table", "a whole number from 0 to 65535"),
    ("gateway.bind", "0.0.0.0", '"0.0.0.0"', "one of"),
    ("gateway.mode", "lokal", '"lokal"', "one of"),
    ("gateway.customBindHost", "", '""', "a string that is not empty"),
    ("gateway.auth.mode", "open", '"open"', "one of"),
    ("gateway.auth.token", 12345, "a number", "a string"),
    ("gateway.auth.allowInsecureNone", "yes", '"yes"', "true or false"),
    ("gateway.auth.rateLimit.maxAttempts", 0, "0", "a whole number, 1 or more"),
    ("gateway.auth.trustedProxy.userHeader", "", '""', "a string that is not empty"),
    ("gateway.tls.enabled", 1, "1", "true or false"),
    ("gateway.tls.certPath", 1, "1", "a string that is not empty"),
    ("gateway.trustedProxies", "10.0.0.0/8", '"10.0.0.0/8"', "a list"),
    ("gateway.unix.operators", ["root", -1], "-1", "a whole number from 0"),
    ("gateway.unix.operatorGroup", [], "a list", "a whole number from 0"),
    ("gateway.unix.foreign.one", "operator", 'the key "one"', "a key matching"),
    ("gateway.unix.foreign.01000", "operator", 'the key "01000"', "a key matching"),
    ("gateway.unix.foreign.1000", "admin", '"admin"', "operator or a list (one of operator.admin"),
    ("gateway.unix.foreign.1000", ["operator.root"], '"operator.root"', "one of operator.admin"),
    ("agents.defaults.maxConcurrent", 0, "0", "a whole number, 1 or more"),
    ("agents.defaults.timeoutSeconds", -1, "-1", "a whole number from 0"),
    ("agents.defaults.subagents.maxSpawnDepth", 6, "6", "a whole number from 1 to 5"),
    ("agents.defaults.subagents.maxChildrenPerAgent", 1001, "1001", "a whole number from 1 to 1000"),
    ("agents.defaults.subagents.allowAgents", "*", '"*"', "a list"),
    ("agents.defaults.subagents.allowAgents", [1], "1", "a string"),
    ("agents.defaults.limits.pids", 0, "0", "a whole number, 1 or more"),
    ("agents.entries.Main", {}, 'the key "Main"', "a key matching"),
    ("agents.entries.main", [], "a list", "a table (name, workspace"),
    ("agents.entries.main.env.A", 1, "a number", "a string"),
    ("agents.entries.main.model", 1, "1", "a string that is not empty or a table (primary, fallbacks)"),
    ("agents.entries.main.model", {}, "nothing", "a string that is not empty"),
    ("agents.entries.main.runtime", "python", '"python"', "a table"),
    ("agents.entries.main.runtime", {}, "nothing", "one of python, command, model, acp"),
    ("agents.entries.main.runtime", {"type": "pyhton"}, '"pyhton"', "one of python, command, model, acp"),
    ("agents.entries.main.runtime", {"type": [1]}, "a list", "one of python, command, model, acp"),
    ("agents.entries.main.runtime", {"type": "python", "entry": "x.y"}, '"x.y"', "a string such as hello:turn"),
    (
        "session.maintenance.pruneAfter",
        "1m",
        '"1m"',
        "a string such as 12h, 30d, 4w or a whole number from 1 to 36500",
    ),
    ("cron.sessionRetention", "soon", '"soon"', "true or false or a string such as 90m, 24h, 7d"),
    ("agents.entries.main.runtime", {"type": "command"}, "nothing", "a list"),
    ("agents.entries.main.runtime", {"type": "command", "argv": []}, "an empty list", "with something in it"),
    ("agents.entries.main.runtime", {"type": "command", "argv": ["x", ""]}, '""', "a string that is not empty"),
    ("agents.entries.main.runtime", {"type": "command", "argv": ["x"], "protocol": "xml"}, '"xml"', "one of"),
    ("agents.entries.main.subagents.maxSpawnDepth", 0, "0", "a whole number from 1 to 5"),
    ("agents.entries.main.tools.subprocessGateway", None, "null", "true or false"),
    ("agents.entries.main.env", {"A=B": "x"}, 'the key "A=B"', "a key matching"),
    ("agents.entries.main.env", {"A": "x\0"}, "a string", "a string"),
    ("gateway.auth.token", "caf\udce9", "a string", "a string"),
    ("tools.agentToAgent.allow", "main", '"main"', "a list"),
    ("tools.sessions.visibility", "everything", '"everything"', "one of"),
    ("session.agentToAgent.maxPingPongTurns", 6, "6", "a whole number from 0 to 5"),
    ("supervisor.spawn.method", "fork", '"fork"', "one of"),
    ("supervisor.spawn.warmSpares", 17, "17", "a whole number from 0 to 16"),
    ("supervisor.stopSeconds", 0, "0", "a whole number from 1"),
    ("supervisor.cgroup", "on", '"on"', "one of"),
    ("supervisor.uids", {"first": 0, "count": 1, "gid": 1}, "0", "a whole number from 1"),
    ("supervisor.uids", {"first": 70000, "count": 5}, "nothing", "a whole number from 1"),
    ("logging.level", "loud", '"loud"', "one of"),
    ("logging.file", 3, "3", "a string that is not empty or true or false"),
    ("logging.maxBytes", 1, "1", "a whole number from 65536"),
]


@pytest.mark.parametrize(("path", "value", "found", "allowed"), BAD_VALUES)
def test_a_bad_value_is_named_with_what_is_allowed(path, value, found, allowed):
    problem = problem_of(nested(path, value))
    assert problem.path.startswith(path)
    assert problem.found == found
    assert problem.allowed.startswith(allowed) or allowed in problem.allowed


@pytest.mark.parametrize(
    ("tree", "path", "hint"),
    [
        ({"gatway": {}}, "gatway", '"gateway"'),
        ({"gateway": {"prot": 1}}, "gateway.prot", '"port"'),
        ({"gateway": {"custom_bind_host": "x"}}, "gateway.custom_bind_host", '"customBindHost"'),
        ({"gateway": {"controlUI": {}}}, "gateway.controlUI", '"controlUi"'),
        ({"gateway": {"bind": "lna"}}, "gateway.bind", '"lan"'),
        ({"gateway": {"bind": "loopbak"}}, "gateway.bind", '"loopback"'),
        ({"agents": {"entries": {"main": {"runtim": {}}}}}, "agents.entries.main.runtim", '"runtime"'),
        ({"agents": {"entries": {"My Agent": {}}}}, "agents.entries.My Agent", '"my-agent"'),
        ({"maxSpawnDepths": 3}, "maxSpawnDepths", ""),
        ({"port": 3}, "port", "gateway.port"),
        ({"gateway": {"maxPingPongTurns": 1}}, "gateway.maxPingPongTurns", "session.agentToAgent.maxPingPongTurns"),
        ({"xyzzy": 3}, "xyzzy", ""),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest_one(tree, path, hint):
    problem = problem_of(tree)
    assert problem.path == path
    assert problem.hint == (f"did you mean {hint}?" if hint else "")


def test_the_value_under_an_unknown_key_is_not_repeated():
    assert "hunter2" not in str(problem_of({"gateway": {"auth": {"pasword": "hunter2"}}}))


def test_every_problem_is_reported_not_only_the_first():
    _, problems = validate(
        {
            "gateway": {"port": -1, "bnd": "lan", "tls": {"enabled": "yes"}},
            "agents": {"entries": {"a": {"runtime": {"type": "nope"}}, "b": {"limits": {"pids": 0, "cpu": 1}}}},
            "extra": 1,
        }
    )
    assert [problem.path for problem in problems] == [
        "gateway.port",
        "gateway.bnd",
        "gateway.tls.enabled",
        "agents.entries.a.runtime.type",
        "agents.entries.b.limits.pids",
        "agents.entries.b.limits.cpu",
        "extra",
    ]


def test_the_schema_key_is_allowed_at_the_root_only():
    assert validate({"$schema": "https://example.org/schema.json"})[1] == []
    assert problem_of({"gateway": {"$schema": "x"}}).path == "gateway.$schema"


def test_an_include_is_refused_because_half_a_file_would_be_applied():
    assert "cannot be split" in problem_of({"gateway": {"$include": "./gateway.json5"}}).hint


def test_file_paths_go_through_the_anchor_and_nothing_else_does():
    tree = {
        "gateway": {"tls": {"certPath": "c", "keyPath": "k"}, "auth": {"token": "t"}},
        "agents": {"entries": {"main": {"cwd": "w", "runtime": {"type": "command", "argv": ["a"], "cwd": "r"}}}},
        "logging": {"file": "l"},
    }
    settings, problems = validate(tree, lambda path: f"/at/{path}")
    assert problems == []
    assert settings is not None
    main = settings.agents.entries["main"]
    assert (settings.gateway.tls.cert_path, settings.gateway.auth.token) == ("/at/c", "t")
    assert main.runtime == CommandRuntime(argv=("a",), cwd="/at/r")
    assert (main.cwd, settings.logging.file) == ("/at/w", "/at/l")


def test_a_path_the_anchor_refuses_is_a_problem():
    def refuse(path: str) -> str:
        raise ValueError("not here")

    settings, problems = validate({"logging": {"file": "l"}}, refuse)
    assert settings is None
    assert [(problem.path, problem.hint) for problem in problems] == [("logging.file", "not here")]


def test_a_number_beyond_64_bits_is_a_problem_not_a_traceback():
    assert validate({"agents": {"defaults": {"limits": {"memoryBytes": 2**70}}}})[0] is None


KEYS = sorted({key for key, _ in every_key()} | {"main", "type", "1000", "$schema", "x"})
WORDS = st.sampled_from(["python", "command", "lan", "operator", "", "*", "~", "a:b"]) | st.text(
    string.printable, max_size=5
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["gateway", "agents", "tools", "session", "supervisor", "logging"]), TREES))
def test_any_tree_is_settings_or_problems_and_never_an_exception(tree):
    settings, problems = validate(tree)
    assert isinstance(settings, Settings) is not bool(problems)
    assert all(problem.path or problem.found for problem in problems)
