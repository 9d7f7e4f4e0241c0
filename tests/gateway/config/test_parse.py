"""Text to tree: where a syntax error is, how deep and how long a file may be, and what `${VAR}` becomes."""

import pytest

from gateway.config.parse import MAX_TEXT, parse, substitute
from gateway.config.problem import ConfigError


@pytest.mark.parametrize(
    ("text", "toml", "where", "found"),
    [
        ("a = 1\nb = \n", True, "line 2, column 5", "Invalid value"),
        ("a = ", True, "end of document", "Invalid value"),
        ("a = 1\na = 2\n", True, "line 2, column 6", "Cannot overwrite a value"),
        ("{a: 1,\n  b: !}", False, "line 2, column 6", "JSON5Value"),
        ('{a: "é😀", b: !}', False, "line 1, column 14", "JSON5Value"),
        ("{a: 1", False, "line 1", "Unclosed object"),
        ("{} x", False, "line 1", "Extra data"),
        ("", False, "line 1, column 1", "No JSON data found"),
    ],
)
def test_a_syntax_error_says_where(text, toml, where, found):
    with pytest.raises(ConfigError) as caught:
        parse(text, toml=toml)
    [problem] = caught.value.problems
    assert where in problem.path
    assert found in problem.found


@pytest.mark.parametrize(
    ("text", "toml"),
    [
        ("[1, 2]", False),
        ("null", False),
        ("[" * 5000, False),
        ("a = " + "[" * 5000, True),
        (".".join("a" * 70) + " = 1", True),
        ("a = " + "9" * 5000, True),
        ("#" * (MAX_TEXT + 1), True),
    ],
    ids=["list", "null", "json5 depth", "toml depth", "toml dotted depth", "huge number", "huge file"],
)
def test_what_is_no_table_of_a_sane_size_is_refused(text, toml):
    with pytest.raises(ConfigError):
        parse(text, toml=toml)


def test_json5_may_have_comments_trailing_commas_and_plain_keys():
    assert parse("{// so\n a: 1, 'b': [0x10,],}", toml=False) == {"a": 1, "b": [16]}


def test_variables_are_replaced_in_every_string_and_escapes_are_kept():
    tree = {"a": "x${ONE}y", "b": ["${ONE}", {"c": "$${ONE}"}], "d": "${lower} $ONE", "e": 5}
    filled, problems = substitute(tree, {"ONE": "1"})
    assert filled == {"a": "x1y", "b": ["1", {"c": "${ONE}"}], "d": "${lower} $ONE", "e": 5}
    assert problems == []


@pytest.mark.parametrize("environ", [{}, {"GONE": ""}], ids=["missing", "empty"])
def test_a_missing_variable_is_a_problem_of_its_key(environ):
    _, problems = substitute({"agents": {"list": [{"cwd": "${GONE}"}]}}, environ)
    assert [(problem.path, problem.hint) for problem in problems] == [("agents.list[0].cwd", "set GONE")]
    assert "${GONE}" in problems[0].found


def test_a_secret_may_be_a_reference_to_the_environment():
    tree: dict[str, object] = {"gateway": {"auth": {"token": {"source": "env", "provider": "default", "id": "TOK"}}}}
    assert substitute(tree, {"TOK": "s"})[0] == {"gateway": {"auth": {"token": "s"}}}


def test_a_substituted_value_is_not_substituted_again():
    assert substitute({"a": "${ONE}"}, {"ONE": "${TWO}"})[0] == {"a": "${TWO}"}
