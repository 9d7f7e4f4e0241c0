"""A session and its sub-agents with the tool `subagents`: results are taken once, each in its turn."""

from __future__ import annotations

from typing import Any

import pytest

MAIN = "agent:main:main"


@pytest.fixture
async def family(box, hands_of):
    """A parent at work with two children that announce and one that does not: (its hands, the children's workers)."""
    await box.send("hello")
    parent, _ = await box.take()
    kids = {}
    for name, announces in (("a", True), ("b", True), ("c", False)):
        await box.spawn(name, parent_run="hello", expects_completion=announces)
        kids[f"run-{name}"] = await box.take(f"agent:main:subagent:{name}")
    return hands_of(parent), kids


async def test_waiting_for_all_of_them_gives_each_result_once(box, family, nursery):
    parent, kids = family
    got: list[Any] = []

    async def finish_one_after_the_other():
        for name, (worker, run) in kids.items():
            await worker.finish(run, f"{name} is done")
            await box.settle()

    nursery.start_soon(finish_one_after_the_other)
    while len(got) < len(kids):
        answer = await parent.use("subagents", action="wait", taskIds=[*kids], timeoutSeconds=60)
        assert answer["results"], answer
        got += answer["results"]
    assert sorted(one["result"] for one in got) == [f"{name} is done" for name in kids]
    await box.settle()
    assert box.state("announce:run-a") == "done"


async def test_results_that_were_all_taken_before_are_answered_at_once(box, family):
    parent, kids = family
    worker, run = kids.pop("run-c")
    await worker.finish(run, "done")
    assert (await parent.use("subagents", action="wait", taskId="run-c"))["results"]
    again = await parent.use("subagents", action="wait", taskId="run-c", timeoutSeconds=60)
    assert (again["results"], again["pending"], again["status"]) == ([], 0, "ok")


async def test_asking_again_with_the_same_key_gives_what_was_taken(box, family):
    parent, kids = family
    worker, run = kids["run-c"]
    await worker.finish(run, "done")
    first = await parent.use("subagents", action="wait", taskId="run-c", key="k")
    assert first["results"]
    assert await parent.use("subagents", action="wait", taskId="run-c", key="k") == first


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (["run-b"], "b"), (["agent:main:subagent:b"], "b"), (["dig"], "ca"), (["last"], "c"), (["all"], "cba"),
        (["run-a", "dig"], "ac"), (["run-a", "all"], "cba"),
    ],
)  # fmt: skip
async def test_a_child_goes_by_its_run_its_session_and_its_task_and_some_by_last_and_all(box, hands, names, meant):
    for child, task in (("a", "dig"), ("b", "rest"), ("c", "dig")):
        await box.spawn(child, task_name=task)
    told = await hands.use("subagents", acting=MAIN, action="cancel", taskIds=names)
    assert told["cancelled"] == [f"run-{child}" for child in meant]


@pytest.mark.parametrize("name", ["run-other", "agent:main:subagent:other", "dig", "run-turn", "last"])
async def test_nothing_is_a_sessions_child_but_what_it_spawned(box, hands, name):
    await box.spawn("other", "agent:main:second", task_name="dig")
    await box.send("turn")
    told = await hands.use("subagents", acting=MAIN, action="cancel", taskId=name)
    assert (told["status"], told["error"]) == (
        "error", f'"{name}" is no sub-agent of this session; action "list" shows them'
    )  # fmt: skip
    assert box.state("run-other") == "starting"
