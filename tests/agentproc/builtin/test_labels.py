"""Whatever a file is called, the sub-agent that reads it gets a label the session tools take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentproc.builtin.survey import label_of
from gateway.services.policy import judge_label


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("src/one.py", "src/one.py"),
        ("a name\twith\nall kinds", "a name\\twith\\nall kinds"),
        ("caf\udce9.txt", "caf\\udce9.txt"),
        ("   ", "'   '"),
        ("ünï.md", "ünï.md"),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_name_as_a_label(path: str, label: str):
    assert label_of(path) == label


@given(st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_every_name_makes_a_label_that_is_taken(path: str):
    assert judge_label(label_of(path)) is None
