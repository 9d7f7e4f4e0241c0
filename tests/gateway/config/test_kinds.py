"""Two readings of the schema agree: what `fits` accepts, msgspec accepts; what `locate` finds is spelt as files do."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from gateway.config.kinds import choices, describe, elsewhere, every_key, fits, is_path, locate, members
from gateway.config.section import AgentId, FilePath, Port, Scope, Text

SCALARS = [Port, Text, AgentId, FilePath, Scope, bool, None, str, int]


@given(st.sampled_from(SCALARS), st.none() | st.booleans() | st.integers(-5, 70000) | st.text(max_size=4))
def test_fits_never_accepts_what_msgspec_refuses(kind, value):
    if fits(inspect.type_info(kind), value):
        msgspec.convert(value, kind)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Port, "a whole number from 0 to 65535"),
        (Port | None, "a whole number from 0 to 65535"),
        (bool | Text, "true or false or a string that is not empty"),
        (tuple[Text, ...], "a list (a string that is not empty)"),
        (dict[str, bool], "a table (true or false for each key)"),
        (None, "null"),
        (int, "a whole number"),
    ],
)
def test_a_kind_is_described_in_words(kind, said):
    assert describe(inspect.type_info(kind)) == said


@pytest.mark.parametrize(
    ("names", "spelt", "known"),
    [
        ("GATEWAY PORT", "gateway.port", True),
        ("AGENTS DEFAULTS MAXCONCURRENT", "agents.defaults.maxConcurrent", True),
        ("AGENTS ENTRIES MAIN RUNTIME TYPE", "agents.entries.main.runtime.type", True),
        ("AGENTS ENTRIES MAIN CWD", "agents.entries.main.cwd", True),
        ("agents entries main env HomeDir", "agents.entries.main.env.HomeDir", True),
        ("GATEWAY UNIX FOREIGN 1000", "gateway.unix.foreign.1000", True),
        ("GATEWAY PROT", "gateway.PROT", False),
        ("NOPE AT ALL", "NOPE.AT.ALL", False),
    ],
)
def test_a_loose_spelling_is_located(names, spelt, known):
    keys, kind = locate(names.split())
    assert (".".join(keys), kind is not None) == (spelt, known)


def test_paths_are_known_as_such_through_alternatives():
    assert any(is_path(part) for part in members(inspect.type_info(FilePath | bool)))
    assert not is_path(inspect.type_info(Text))


def test_the_words_of_a_literal_are_its_choices():
    assert "operator.read" in choices(inspect.type_info(Scope))


def test_a_key_in_the_wrong_table_is_found_elsewhere_only_when_there_is_one_place():
    assert elsewhere("warmSpares") == "supervisor.spawn.warmSpares"
    assert elsewhere("enabled") is None


def test_every_key_has_one_path():
    paths = [path for _, path in every_key()]
    assert "agents.entries.<id>.runtime.argv" in paths
    assert "gateway.auth.token" in paths
