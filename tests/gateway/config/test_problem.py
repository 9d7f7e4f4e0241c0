"""A problem is one readable line, and never shows a secret."""

import datetime

import pytest

from gateway.config.problem import ConfigError, Problem, did_you_mean, is_secret, nearest, shown


def test_a_problem_says_where_what_and_how_to_mend_it():
    problem = Problem("gateway.prot", "an unknown key", "port, bind", 'did you mean "port"?', "/etc/p.toml")
    expected = '/etc/p.toml: gateway.prot: found an unknown key; allowed: port, bind; did you mean "port"?'
    assert str(problem) == expected


def test_an_error_has_one_line_for_each_problem():
    error = ConfigError([Problem("a", "1", "2"), Problem("b", "3", "4")])
    assert str(error).splitlines() == ["a: found 1; allowed: 2", "b: found 3; allowed: 4"]


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [
        ("lann", "gateway.bind", '"lann"'),
        (7, "gateway.port", "7"),
        (True, "gateway.port", "true"),
        (None, "gateway.port", "null"),
        ({"a": 1}, "gateway.port", "a table"),
        ([1], "gateway.port", "a list"),
        (datetime.date(2026, 1, 1), "gateway.port", "a date"),
        ("hunter2", "gateway.auth.password", "a string"),
        (12345, "gateway.auth.token", "a number"),
        (5, "agents.entries.main.env.KEY", "a number"),
    ],
)
def test_a_value_is_quoted_only_where_it_is_no_secret(value, path, text):
    assert shown(value, path) == text


def test_a_long_value_is_cut():
    assert len(shown("x" * 5000, "logging.level")) < 70


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("gateway.auth.token", True),
        ("gateway.auth.password", True),
        ("models.apiKey", True),
        ("agents.entries.main.env.HOME", True),
        ("agents.entries.main.env", False),
        ("gateway.port", False),
    ],
)
def test_what_is_secret(path, secret):
    assert is_secret(path) is secret


@pytest.mark.parametrize(
    ("word", "meant"),
    [("max_spawn_depth", "maxSpawnDepth"), ("maxSpwanDepth", "maxSpawnDepth"), ("PORT", "port"), ("zzz", None)],
)
def test_the_nearest_spelling_forgives_case_dashes_and_slips(word, meant):
    assert nearest(word, ["port", "maxSpawnDepth", "bind"]) == meant


def test_a_hint_is_empty_when_nothing_is_near():
    assert did_you_mean("zzz", ["port"]) == ""
    assert did_you_mean("prt", ["port"]) == 'did you mean "port"?'
