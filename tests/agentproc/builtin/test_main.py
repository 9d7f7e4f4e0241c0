"""The built-in agents main and scout: few words, each of which does what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentproc.builtin import main, scout
from agentproc.context import NO_REPLY
from tests.support.fake_turn import FakeTurn

AGENTS = {"main": main.turn, "scout": scout.turn}


async def say(message: str, **options: object) -> str | None:
    return await main.turn(FakeTurn(message, AGENTS, **options).context)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("hello", "You said: hello"),
        ("help", "send AGENT TEXT"),
        ("HELP", "send AGENT TEXT"),
        ("spawn time", "Started agent:main:subagent:1 (run child-1)"),
        ("spawn", "Say what"),
        ("send scout a few words", "scout answered: the text: text, 1 lines, 3 words"),
        ("send scout", "Say whom"),
        ("send NOT/AN/AGENT hi", "Say whom"),
        ("send nobody hi", "nobody: forbidden (nobody may not be written to)"),
        ("sessions", "I see no sessions."),
        ("history", "Nothing was said yet."),
        ("time", "It is 2"),
        ("wait 0", "Waited 0 s."),
        ("wait long", "Say how long"),
    ],
)
async def test_each_word_does_what_it_says(message: str, told: str):
    assert told in str(await say(message))


async def test_fail_fails():
    with pytest.raises(RuntimeError, match="as asked"):
        await say("fail as asked")


async def test_a_finished_sub_agent_is_told_about():
    word = {"sourceTool": "sessions_spawn", "childRunId": "c", "status": "ok", "result": "42", "label": "answer"}
    assert await say("done", provenance=word) == "Sub-agent answer finished (ok): 42"


async def test_scout_reports_on_a_file_a_task_or_a_text(tmp_path: Path):
    (tmp_path / "x.py").write_text("a = 1\n")
    path = str(tmp_path / "x.py")
    assert str(await scout.turn(FakeTurn(path).context)).startswith(f"{path}: Python, text, 1 lines, 3 words, 6 bytes")
    by_task = await scout.turn(FakeTurn(json.dumps({"root": str(tmp_path), "path": "x.py"})).context)
    assert json.loads(str(by_task))["language"] == "Python"
    assert json.loads(str(await scout.turn(FakeTurn(json.dumps({"path": path})).context)))["lines"] == 1
    assert "the text: text" in str(await scout.turn(FakeTurn("{not json").context))
    assert "directory" in str(await scout.turn(FakeTurn(str(tmp_path)).context))


async def test_scout_leaves_announces_alone():
    word = {"sourceTool": "sessions_spawn", "childRunId": "c", "status": "ok", "result": "42"}
    assert await scout.turn(FakeTurn("done", provenance=word).context) == NO_REPLY
