"""A survey: one sub-agent per file, results by announce, the sum by another agent."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from agentproc.builtin import reporter, survey
from agentproc.context import NO_REPLY
from tests.support.fake_turn import FakeTurn

AGENTS = {"main": survey.turn, "alecar": reporter.turn}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("print(1)\n")
    (tmp_path / "copy.py").write_text("print(1)\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "bin").write_bytes(b"\0\1\2")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / os.fsdecode(b"odd\xff")).write_text("odd")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("not ours")
    return tmp_path


FILES = ["a.py", "copy.py", "empty", "bin", "fifo", os.fsdecode(b"odd\xff"), "gone"]


def task(folder: Path, **more: Any) -> str:
    base = {"task": "survey", "root": str(folder), "files": FILES, "concurrency": 3, "reporter": "alecar"}
    return json.dumps(base | more)


async def done(fake: FakeTurn) -> dict[str, Any]:
    with trio.fail_after(20):
        reply = await survey.turn(fake.context)
    assert reply is not None
    reply.encode("ascii")  # it travels as it is, whatever the names are
    result: dict[str, Any] = json.loads(reply)
    return result


async def test_every_file_is_reported_by_a_sub_agent_of_its_own(folder: Path):
    fake = FakeTurn(task(folder), AGENTS)
    result = await done(fake)
    assert [file["path"] for file in result["files"]] == FILES
    kinds = [file["kind"] for file in result["files"]]
    assert kinds == ["text", "text", "empty", "binary", "fifo", "text", "missing"]
    spawned = [args for tool, args in fake.calls if tool == "sessions_spawn"]
    assert len(spawned) == len({args["taskName"] for args in spawned}) == len(FILES)
    assert fake.steering == [True, False]


async def test_the_other_agent_adds_up_and_finds_the_copies(folder: Path):
    result = await done(FakeTurn(task(folder), AGENTS))
    digest = hashlib.sha256(b"print(1)\n").hexdigest()
    assert result["duplicates"] == [{"sha256": digest, "bytes": 9, "paths": ["a.py", "copy.py"]}]
    assert (result["totals"]["files"], result["totals"]["unread"], result["totals"]["bytes"]) == (7, 2, 24)
    assert result["reporter"] == {"agent": "alecar", "status": "ok", "parts": 1}


async def test_the_limit_on_children_is_waited_out(folder: Path):
    fake = FakeTurn(task(folder, concurrency=5), AGENTS, limit=2)
    result = await done(fake)
    assert len(result["files"]) == len(FILES)
    refused = sum(tool == "sessions_spawn" for tool, _ in fake.calls) - len(FILES)
    assert refused > 0


async def test_results_that_were_not_steered_in_are_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(survey, "QUIET_SECONDS", 0.01)
    fake = FakeTurn(task(folder), AGENTS, lose=lambda number: number % 2 == 0)
    assert len((await done(fake))["files"]) == len(FILES)


async def test_a_later_attempt_first_takes_what_waits(folder: Path):
    fake = FakeTurn(task(folder), AGENTS, attempt=2)
    await done(fake)
    assert fake.calls[0] == ("subagents", {"action": "wait", "timeoutSeconds": 0})


async def test_a_policy_that_forbids_sub_agents_is_told_per_file(folder: Path):
    class Forbidden(FakeTurn):
        async def _spawn(self, args: dict[str, Any]) -> dict[str, Any]:
            return {"status": "forbidden", "error": "agents.defaults.subagents.maxSpawnDepth is 1"}

    result = await done(Forbidden(task(folder), AGENTS))
    assert all("maxSpawnDepth" in file["error"] for file in result["files"])


async def test_a_sub_agent_that_fails_is_told_in_its_files_row(folder: Path):
    async def fails(ctx: Any) -> str:
        raise RuntimeError("disk on fire")

    result = await done(FakeTurn(task(folder), {"main": fails, "alecar": reporter.turn}))
    assert result["files"][0]["error"] == "its sub-agent ended with error: disk on fire"


async def test_a_reporter_that_refuses_is_told_and_not_replaced(folder: Path):
    result = await done(FakeTurn(task(folder, reporter="nobody"), AGENTS))
    assert result["totals"] is None
    told = {"agent": "nobody", "status": "forbidden", "error": "nobody may not be written to"}
    assert result["reporter"] == told


async def test_without_a_reporter_it_adds_up_itself(folder: Path):
    result = await done(FakeTurn(task(folder, reporter=None), AGENTS))
    assert result["totals"]["files"] == 7
    assert result["reporter"] is None


async def test_words_are_enough_and_version_control_is_left_out(folder: Path):
    result = await done(FakeTurn(f"survey {folder}", AGENTS))
    assert sorted(file["path"] for file in result["files"]) == sorted(FILES[:-1])
    assert result["root"] == str(folder)


async def test_an_empty_folder_is_surveyed_too(tmp_path: Path):
    result = await done(FakeTurn(task(tmp_path, files=[]), AGENTS))
    assert (result["files"], result["totals"]["files"]) == ([], 0)


async def test_five_hundred_files(tmp_path: Path):
    names = [f"file-{number:03}.txt" for number in range(500)]
    for name in names:
        (tmp_path / name).write_text(name)
    result = await done(FakeTurn(task(tmp_path, files=names, concurrency=8), AGENTS))
    assert (len(result["files"]), result["totals"]["files"], result["duplicates"]) == (500, 500, [])


async def test_an_announce_nobody_waits_for_any_more_is_not_answered():
    late = {"sourceTool": "sessions_spawn", "childRunId": "c", "taskName": "report-x", "status": "ok", "result": "{}"}
    assert await survey.turn(FakeTurn("done", provenance=late).context) == NO_REPLY


async def test_anything_else_is_answered_like_the_built_in_agent():
    assert "help" in str(await survey.turn(FakeTurn("hello").context))


async def test_the_reporter_says_what_it_expects():
    assert "I add up tables" in str(await reporter.turn(FakeTurn("hello").context))
