"""Older spellings move to today's place, and a person is told about the key they wrote."""

import pytest

from gateway.config.older import modernise


def test_the_list_of_agents_becomes_entries_and_remembers_where_they_stood():
    tree: dict[str, object] = {"agents": {"list": [{"id": "main"}, {"id": "alecar", "cwd": "/a"}]}}
    modern = modernise(tree)
    assert modern.tree == {"agents": {"entries": {"main": {}, "alecar": {"cwd": "/a"}}}}
    assert modern.as_written("agents.entries.alecar.cwd") == "agents.list[1].cwd"
    assert modern.as_written("agents.entries.alecar") == "agents.list[1]"
    assert modern.as_written("agents.entries.alecarx.cwd") == "agents.entries.alecarx.cwd"
    assert tree == {"agents": {"list": [{"id": "main"}, {"id": "alecar", "cwd": "/a"}]}}, "the tree given was changed"


def test_older_defaults_move_key_by_key_beside_the_new_ones():
    tree = {
        "agentDefaults": {"subagents": {"spawnTimeoutMs": 1}},
        "agents": {"defaults": {"subagents": {"model": "m"}}},
    }
    modern = modernise(tree)
    assert modern.tree == {"agents": {"defaults": {"subagents": {"model": "m", "spawnTimeoutMs": 1}}}}
    spelt = "agents.defaults.subagents.spawnTimeoutMs"
    assert modern.as_written(spelt) == "agentDefaults.subagents.spawnTimeoutMs"


def test_the_older_log_size_moves():
    assert modernise({"logging": {"maxFileBytes": 7}}).tree == {"logging": {"maxBytes": 7}}


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ({"agents": {"list": {}}}, "agents.list"),
        ({"agents": {"list": [{}]}}, "agents.list[0].id"),
        ({"agents": {"list": [{"id": 3}]}}, "agents.list[0].id"),
        ({"agents": {"list": ["main"]}}, "agents.list[0].id"),
        ({"agents": {"list": [{"id": "a"}], "entries": []}}, "agents.list[0]"),
        ({"agents": {"list": [{"id": "a", "cwd": "x"}, {"id": "a", "cwd": "y"}]}}, "agents.list[1].cwd"),
        ({"logging": {"maxFileBytes": 1, "maxBytes": 2}}, "logging.maxFileBytes"),
        ({"agentDefaults": {"cwd": "x"}, "agents": 3}, "agentDefaults"),
    ],
)
def test_what_cannot_be_moved_is_a_problem(tree, path):
    assert [problem.path for problem in modernise(tree).problems] == [path]


def test_a_tree_without_older_spellings_stays_as_it_is():
    tree = {"gateway": {"port": 1}, "agents": {"entries": {"a": {}}}}
    modern = modernise(tree)
    assert (modern.tree, modern.written, modern.problems) == (tree, {}, [])
