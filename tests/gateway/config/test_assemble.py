"""The order of layers, whole or not at all, and a problem named after the layer it came from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.assemble import assemble
from gateway.config.layers import Layer
from gateway.config.problem import ConfigError, Problem


def problems_of(tree: dict[str, object], *layers: Layer, **environ: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        assemble(tree, layers, environ=environ, origin="file")
    return caught.value.problems


def port(value: object, origin: str) -> Layer:
    return Layer(("gateway", "port"), value, origin)


def test_a_later_layer_wins():
    tree: dict[str, object] = {"gateway": {"port": 1}}
    settings, _ = assemble(tree, [port(2, "environment"), port(3, "command line")], environ={})
    assert settings.gateway.port == 3


def test_a_problem_names_the_layer_it_came_from():
    [problem] = problems_of({"gateway": {"port": 1}}, port("x", "environment PEERGATE_GATEWAY_PORT"))
    assert str(problem).startswith('environment PEERGATE_GATEWAY_PORT: gateway.port: found "x"')
    [problem] = problems_of({"gateway": {"bind": "x"}}, port(2, "environment"))
    assert problem.origin == "file"


def test_a_bad_value_below_a_good_one_does_not_count():
    assert assemble({"gateway": {"port": "bad"}}, [port(2, "flag")], environ={})[0].gateway.port == 2


def test_problems_of_every_stage_come_together():
    tree: dict[str, object] = {
        "agents": {"list": [{"name": "no id"}, {"id": "a", "cwd": "${GONE}", "limits": {"pids": 0}}]},
        "gateway": {"prt": 1},
    }
    found = problems_of(tree, port(-1, "flag"))
    assert sorted((problem.origin, problem.path) for problem in found) == [
        ("file", "agents.list[0].id"),
        ("file", "agents.list[1].cwd"),
        ("file", "agents.list[1].limits.pids"),
        ("file", "gateway.prt"),
        ("flag", "gateway.port"),
    ]


def test_a_missing_variable_is_one_problem_and_not_two():
    assert len(problems_of({"agents": {"entries": {"a": {"cwd": "${GONE}"}}}})) == 1


def test_a_missing_variable_in_a_section_we_do_not_serve_is_no_problem():
    _, warnings = assemble({"channels": {"token": "${GONE}"}}, environ={})
    assert warnings == ["channels: known to OpenClaw, not served here; ignored"]


def test_a_variables_text_in_the_environment_layer_is_taken_literally():
    layer = Layer(("gateway", "auth", "token"), "a${HOME}b", "environment")
    assert assemble({}, [layer], environ={"HOME": "/x"})[0].gateway.auth.token == "a${HOME}b"


def test_an_unserved_key_in_a_layer_is_warned_about_too():
    layer = Layer(("hooks", "enabled"), True, "environment")
    assert assemble({}, [layer], environ={})[1] == ["hooks: known to OpenClaw, not served here; ignored"]


WORDS = """agents list entries defaults agentDefaults subagents spawnTimeoutMs id logging maxFileBytes maxBytes gateway
    auth token source channels main env runtime type"""
KEYS = st.sampled_from(WORDS.split())
TEXTS = st.sampled_from(["main", "env", "${HOME}", "$${X}", "${GONE}", "~"])
VALUES = st.none() | st.booleans() | st.integers() | TEXTS
TREES = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


@given(st.dictionaries(KEYS, TREES, max_size=4), KEYS, VALUES)
def test_any_tree_and_layer_load_or_are_refused_and_nothing_else(tree, key, value):
    layer = Layer(("agents", key), value, "flag")
    try:
        settings, _ = assemble(tree, [layer], environ={"HOME": "/h"})
    except ConfigError as refused:
        lines = str(refused).splitlines()
    else:
        lines = list(settings.agents.entries)
    assert lines


def test_a_configuration_in_todays_spelling_and_in_the_older_one_is_the_same():
    today, _ = assemble({"agents": {"entries": {"a": {"cwd": "/x"}}}, "logging": {"maxBytes": 70000}}, environ={})
    older, _ = assemble(
        {"agents": {"list": [{"id": "a", "cwd": "/x"}]}, "logging": {"maxFileBytes": 70000}}, environ={}
    )
    assert today == older
