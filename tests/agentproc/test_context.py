"""What a turn gets back from its context: results of children that carry what is still to come."""

from __future__ import annotations

from typing import Any

import pytest

from agentproc.context import Child, Finished, ToolRefused
from tests.support.fake_turn import FakeTurn

ROW = {"taskId": "r1", "childSessionKey": "agent:main:subagent:1", "status": "ok", "result": "42", "label": "l"}


class Answering(FakeTurn):
    """A turn whose tool calls all get one answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__("x")
        self.answer = answer

    async def invoke(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((tool, args))
        return self.answer


@pytest.mark.parametrize(
    ("answer", "runs", "pending"),
    [
        ({"status": "ok", "results": [ROW], "pending": 3}, ["r1"], 3),
        ({"status": "ok", "results": [], "pending": 0}, [], 0),
        ({"status": "timeout", "results": [], "pending": 2}, [], 2),
        ({"status": "timeout"}, [], 0),
    ],
)
async def test_waiting_for_children_tells_who_finished_and_how_many_go_on(
    answer: dict[str, Any], runs: list[str], pending: int
):
    turn = Answering(answer)
    found = await turn.context.wait_children([Child("agent:main:subagent:1", "r1")], timeout=5)
    assert isinstance(found, Finished)
    assert [one.run_id for one in found] == runs
    assert found.pending == pending
    assert bool(found) is bool(runs)
    assert turn.calls == [("subagents", {"action": "wait", "timeoutSeconds": 5, "taskIds": ["r1"]})]


async def test_what_finished_is_still_a_list_like_any_other():
    found = await Answering({"status": "ok", "results": [ROW], "pending": 1}).context.wait_children()
    (one,) = found
    assert (one.status, one.result, one.label, found[0], found == [one]) == ("ok", "42", "l", one, True)


async def test_waiting_for_a_child_nobody_knows_is_refused():
    turn = Answering({"status": "error", "error": '"r9" is no sub-agent of this session'})
    with pytest.raises(ToolRefused, match="no sub-agent"):
        await turn.context.wait_children([Child("k", "r9")])


async def test_a_reminder_is_made_with_the_tool_and_its_refusal_is_raised():
    turn = Answering({"id": "j1", "nextRunAtMs": 5})
    job = {"schedule": {"kind": "at", "at": "20m"}, "payload": {"kind": "agentTurn", "message": "tea"}}
    assert await turn.context.cron("add", job=job) == {"id": "j1", "nextRunAtMs": 5}
    assert turn.calls == [("cron", {"action": "add", "job": job})]
    with pytest.raises(ToolRefused, match="needs job"):
        await Answering({"status": "error", "error": "add needs job"}).context.cron("add")
    with pytest.raises(TypeError, match=r"ctx\.cron: action"):
        await turn.context.cron(5)  # type: ignore[arg-type]
