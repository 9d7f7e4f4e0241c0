"""The names of tool calls: what is the same call again and what is another one."""

from __future__ import annotations

import pytest

from agentproc.journal import Journal, canonical, did_nothing


def test_another_attempt_that_asks_the_same_gets_the_same_keys():
    asked = [
        ("sessions_send", {"message": "a"}),
        ("sessions_spawn", {"task": "b"}),
        ("sessions_send", {"message": "a"}),
    ]
    first, second = Journal("run"), Journal("run")
    assert [first.key(*one) for one in asked] == [second.key(*one) for one in asked]


def test_the_order_of_different_calls_does_not_matter():
    first, second = Journal("run"), Journal("run")
    a, b = first.key("t", {"x": 1}), first.key("t", {"x": 2})
    assert (second.key("t", {"x": 2}), second.key("t", {"x": 1})) == (b, a)


def test_asking_the_same_twice_is_two_calls():
    journal = Journal("run")
    assert journal.key("t", {}) != journal.key("t", {})


def test_the_order_of_arguments_does_not_make_another_call():
    assert Journal("r").key("t", {"a": 1, "b": 2}) == Journal("r").key("t", {"b": 2, "a": 1})


def test_the_key_has_the_shape_the_gateway_reads_the_run_from():
    run, digest, occurrence = Journal("run-1").key("t", {}).split(":")
    assert (run, len(digest), occurrence) == ("run-1", 16, "1")


def test_a_call_that_did_nothing_leaves_its_key_to_the_next_one():
    journal = Journal("run")
    first = journal.key("t", {})
    journal.forget("t", {})
    assert journal.key("t", {}) == first


def test_arguments_travel_with_their_keys_in_order_and_as_json_has_them():
    assert list(canonical({"b": (1, 2), "a": {"d": 1, "c": 2}}).items()) == [("a", {"c": 2, "d": 1}), ("b", [1, 2])]
    with pytest.raises(TypeError):
        canonical({"a": object()})


@pytest.mark.parametrize(
    ("tool", "status", "nothing"),
    [
        ("sessions_spawn", "forbidden", True),
        ("sessions_spawn", "accepted", False),
        ("sessions_spawn", "error", False),
        ("sessions_send", "forbidden", True),
        ("sessions_send", "timeout", False),  # the message was delivered
        ("subagents", "timeout", True),
        ("subagents", "ok", False),
    ],
)
def test_which_answers_say_that_nothing_happened(tool: str, status: str, nothing: bool):
    assert did_nothing(tool, {"status": status}) is nothing
