"""Every line a program may write, in both spellings, and what it is told of every other."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from agentproc.runtimes.lines import KINDS, Ack, Done, Failed, Invoke, Line, Once, Reply, Say, Steer, parse

SPELLED: list[tuple[dict[str, Any], dict[str, Any], Line]] = [
    ({"say": "x"}, {"type": "say", "text": "x"}, Say("x")),
    ({"reply": "x"}, {"type": "reply", "text": "x"}, Reply("x")),
    ({"invoke": {"tool": "t"}}, {"type": "invoke", "tool": "t"}, Invoke("t")),
    (
        {"invoke": {"tool": "t", "args": {"a": 1}, "id": [1]}},
        {"type": "invoke", "tool": "t", "args": {"a": 1}, "id": [1]},
        Invoke("t", {"a": 1}, [1]),
    ),
    ({"once": {"name": "n", "id": 1}}, {"type": "once", "name": "n", "id": 1}, Once("n", 1)),
    (
        {"once": {"name": "n", "id": "b", "effect": "pure"}},
        {"type": "once", "name": "n", "id": "b", "effect": "pure"},
        Once("n", "b", "pure"),
    ),
    ({"done": {"id": 1}}, {"type": "done", "id": 1}, Done(1)),
    ({"done": {"id": 1, "result": [2]}}, {"type": "done", "id": 1, "result": [2]}, Done(1, [2])),
    ({"failed": {"id": 1}}, {"type": "failed", "id": 1}, Failed(1)),
    ({"failed": {"id": 1, "error": "e"}}, {"type": "failed", "id": 1, "error": "e"}, Failed(1, "e")),
    ({"steer": {}}, {"type": "steer"}, Steer()),
    ({"steer": True}, {"type": "steer", "open": True}, Steer()),
    ({"steer": False}, {"type": "steer", "open": False}, Steer(False)),
    ({"steer": {"open": False, "id": 2}}, {"type": "steer", "open": False, "id": 2}, Steer(False, 2)),
    ({"ack": 5}, {"type": "ack", "id": 5}, Ack(5)),
    ({"ack": {"id": 5}}, {"type": "ack", "id": 5}, Ack(5)),
]


@pytest.mark.parametrize(("short", "flat", "meant"), SPELLED)
def test_both_spellings_of_a_line_mean_the_same(short: dict[str, Any], flat: dict[str, Any], meant: Line):
    assert parse(json.dumps(short).encode()) == meant
    assert parse(json.dumps(flat).encode()) == meant


def test_every_kind_is_spelled_here_and_keys_nobody_knows_are_left_alone():
    assert {flat["type"] for _, flat, _ in SPELLED} == set(KINDS)
    assert parse(b'{"say": "x", "ts": 5}') == Say("x")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"hello", "a line that is no JSON: hello"),
        (b"\xff", "a line that is no JSON: \\xff"),
        (b"[" * 100_000, "a line that is no JSON: [[["),
        (b"[1]", "a line that is none of say, reply, "),
        (b'{"sing": 1}', "a line that is none of say, reply, "),
        (b'{"type": "sing"}', "a line that is none of say, reply, "),
        (b'{"type": ["say"]}', "a line that is none of say, reply, "),
        (b'{"say": "x", "reply": "y"}', "a line that is none of say, reply, "),
        (b'{"say": 1}', "a wrong say line (Expected `str`, got `int` - at `$.text`)"),
        (b'{"invoke": {}}', "a wrong invoke line (Object missing required field `tool`)"),
        (b'{"invoke": {"tool": "t", "args": []}}', "a wrong invoke line (Expected `object`, got `array`"),
        (b'{"once": {"name": "n"}}', "a wrong once line (Object missing required field `id`)"),
        (b'{"once": {"name": "n", "id": 1, "effect": "odd"}}', "a wrong once line (Invalid enum value 'odd'"),
        (b'{"done": {"id": null}}', "a wrong done line (Expected `int | str`, got `null`"),
        (b'{"steer": 1}', "a wrong steer line (Expected `bool`, got `int`"),
        (b'{"invoke": "t"}', "a line that is none of say, reply, "),
        (b'{"ack": {"id": "5"}}', "a wrong ack line (Expected `int`, got `str`"),
    ],
)
def test_a_line_that_is_wrong_is_told_what_is_wrong_with_it(line: bytes, told: str):
    with pytest.raises(ValueError, match=f"^{re.escape(told)}") as info:
        parse(line)
    assert len(str(info.value)) < 400
