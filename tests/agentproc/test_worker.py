"""The worker loop as the gateway sees it: take a run, report, finish; abort, steer, lose the gateway, leave."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from agentproc.context import Context, ToolRefused
from agentproc.runtimes.python import PythonRuntime
from agentproc.worker import Duty, Worker
from gateway.client import open_client
from gateway.protocol.errors import forbidden
from tests.support.fake_gateway import FakeGateway, HangUp, open_fake_gateway

TurnFunction = Callable[[Context], Awaitable[Any]]


class Agent(PythonRuntime):
    """The Python runtime with a function that is there already."""

    def __init__(self, function: TurnFunction) -> None:
        super().__init__("tests:turn")
        self._function = function


@asynccontextmanager
async def open_worker(
    directory: Path, function: TurnFunction, *, session: str = "agent:main:main", idle: float = 60
) -> AsyncIterator[tuple[FakeGateway, trio.Event]]:
    """A worker at work for a fake gateway; the event is set when it has left by itself."""
    left = trio.Event()

    async def work(worker: Worker, *, task_status: trio.TaskStatus[None]) -> None:
        await worker.run(task_status=task_status)
        left.set()

    async def ticket() -> str:
        return "t"

    with trio.fail_after(10):
        async with open_fake_gateway(directory) as fake, trio.open_nursery() as nursery:
            opener = lambda given: open_client(str(fake.path), ticket=given)  # noqa: E731
            await nursery.start(work, Worker(Duty("main", session, idle), Agent(function), opener, ticket))
            yield fake, left
            nursery.cancel_scope.cancel()


async def test_a_run_is_taken_done_and_given_back(tmp_path: Path):
    async def turn(ctx: Context) -> str:
        await ctx.say("thinking")
        return f"{ctx.agent_id} {ctx.session_key} {ctx.run_id} {ctx.attempt}: {ctx.message}"

    async with open_worker(tmp_path, turn) as (fake, _):
        await fake.hand_out({"runId": "r1", "message": "hello"})
        finish = await fake.wait_for("worker.finish")
        assert finish == {
            "runId": "r1", "attempt": 1, "status": "done", "text": "main agent:main:main r1 1: hello",
            "error": None, "unread": [],
        }  # fmt: skip
        (emit,) = fake.asked("worker.emit")
        assert (emit["seq"], emit["events"][0]["data"]) == (1, {"delta": "thinking"})
        names = [name for name, _ in fake.calls]
        assert names.index("worker.emit") < names.index("worker.finish")  # progress is on disk before the end is told


async def test_one_worker_does_one_run_after_the_other(tmp_path: Path):
    async def turn(ctx: Context) -> None:
        return None

    async with open_worker(tmp_path, turn) as (fake, left):
        for id in ("r1", "r2", "r3"):
            await fake.hand_out({"runId": id, "message": "x"})
        await fake.wait_for("worker.finish", 3)
        assert [one["runId"] for one in fake.asked("worker.finish")] == ["r1", "r2", "r3"]
        assert not left.is_set()


async def test_an_agents_error_fails_its_run_and_not_the_worker(tmp_path: Path):
    async def turn(ctx: Context) -> str:
        if ctx.message == "bad":
            raise ValueError("what a pity")
        return "fine"

    async with open_worker(tmp_path, turn) as (fake, _):
        await fake.hand_out({"runId": "r1", "message": "bad"})
        failed = await fake.wait_for("worker.finish")
        assert failed["status"] == "failed"
        assert failed["error"].startswith("ValueError: what a pity\n  in turn, ")
        await fake.hand_out({"runId": "r2", "message": "good"})
        assert (await fake.wait_for("worker.finish", 2))["text"] == "fine"


async def test_what_cannot_be_a_reply_fails_the_run_with_a_reason(tmp_path: Path):
    replies: dict[str, Any] = {"dict": {"a": 1}, "huge": "x" * (1024 * 1024), "surrogate": "\udcff"}

    async def turn(ctx: Context) -> Any:
        return replies[ctx.message]

    async with open_worker(tmp_path, turn) as (fake, _):
        for number, message in enumerate(replies, 1):
            await fake.hand_out({"runId": f"r{number}", "message": message})
        await fake.wait_for("worker.finish", 3)
        told = [(one["status"], one["text"] or one["error"]) for one in fake.asked("worker.finish")]
        assert told[0] == ("failed", "the turn returned dict; it must return str or None")
        assert told[1][0] == "failed"
        assert "write a file" in told[1][1]
        assert told[2] == ("done", "\\udcff")


async def test_an_abort_cancels_the_turn_lets_it_clean_up_and_gives_the_run_back(tmp_path: Path):
    cleaned = []

    async def turn(ctx: Context) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cleaned.append(ctx.run_id)

    async with open_worker(tmp_path, turn) as (fake, _):
        await fake.hand_out({"runId": "r1", "message": "x"})
        await fake.wait_for("worker.next")
        while not cleaned:
            await fake.post("worker.abort", {"runId": "another", "status": "aborted"})
            await fake.post("worker.abort", {"runId": "r1", "status": "aborted", "reason": "enough"})
            await trio.sleep(0.01)
        finish = await fake.wait_for("worker.finish")
        assert (finish["status"], finish["error"]) == ("aborted", "enough")


async def test_a_turn_ends_at_its_deadline(tmp_path: Path):
    async def turn(ctx: Context) -> None:
        assert ctx.seconds_left is not None
        await trio.sleep_forever()

    async with open_worker(tmp_path, turn) as (fake, _):
        await fake.hand_out({"runId": "r1", "message": "x", "deadlineMs": int(time.time() * 1000) + 50})
        assert (await fake.wait_for("worker.finish"))["status"] == "timed_out"


async def test_a_result_reaches_a_gateway_that_dies_again_and_again(tmp_path: Path):
    died = [0]

    def die(params: dict[str, Any]) -> dict[str, Any]:
        died[0] += 1
        if died[0] < 4:
            raise HangUp
        return {"ok": True}

    async def turn(ctx: Context) -> str:
        return "precious"

    async with open_worker(tmp_path, turn) as (fake, _):
        fake.answers["worker.finish"] = die
        await fake.hand_out({"runId": "r1", "message": "x"})
        assert (await fake.wait_for("worker.finish", 4))["text"] == "precious"
        holding = [one["holding"] for one in fake.asked("worker.next") if one.get("holding")]
        assert holding == ["r1"] * 3


async def test_progress_not_acknowledged_is_sent_again_under_the_same_numbers(tmp_path: Path):
    async def turn(ctx: Context) -> str:
        await ctx.say("one")
        return "done"

    died = [False]

    def die_once(params: dict[str, Any]) -> dict[str, Any]:
        if not died[0]:
            died[0] = True
            raise HangUp
        return {"acked": 1}

    async with open_worker(tmp_path, turn) as (fake, _):
        fake.answers["worker.emit"] = die_once
        await fake.hand_out({"runId": "r1", "message": "x"})
        await fake.wait_for("worker.finish")
        first, second = fake.asked("worker.emit")
        assert first == second


async def test_a_run_the_gateway_gave_up_meanwhile_is_dropped_and_the_next_one_done(tmp_path: Path):
    async def turn(ctx: Context) -> str | None:
        if ctx.run_id == "r1":
            await trio.sleep_forever()
        return ctx.run_id

    async with open_worker(tmp_path, turn) as (fake, _):
        await fake.hand_out({"runId": "r1", "message": "x"})
        await fake.wait_for("worker.next")
        plain = fake.answers["worker.next"]

        def gone(params: dict[str, Any]) -> Any:
            if "holding" not in params:
                return plain(params)
            return {"runId": "r1", "attempt": 1, "message": "", "provenance": {}, "abandoned": True}

        fake.answers["worker.next"] = gone
        while len(fake.asked("worker.next")) < 3:
            await fake.hang_up()
            await trio.sleep(0.02)
        await fake.hand_out({"runId": "r2", "message": "x"})
        assert (await fake.wait_for("worker.finish"))["text"] == "r2"


async def test_steered_messages_reach_the_turn_once_and_what_it_did_not_read_goes_back(tmp_path: Path):
    last_was_sent = trio.Event()

    async def turn(ctx: Context) -> str:
        async with ctx.steer() as inbox:
            first = await inbox.get()
            second = await inbox.get()
            assert first is not None
            assert second is not None
            await last_was_sent.wait()
            await ctx.save_state()  # its answer comes after the event that was sent before it
        return first.text + second.text

    def mails(*ids: int) -> dict[str, Any]:
        return {"runId": "r1", "attempt": 1, "mails": [{"id": id, "message": f"m{id}", "provenance": {}} for id in ids]}

    async with open_worker(tmp_path, turn) as (fake, _):
        earlier = {"id": 1, "message": "m1", "provenance": {}}
        await fake.hand_out({"runId": "r1", "message": "x", "steered": [earlier]})
        await fake.wait_for("worker.steering")
        await fake.post("worker.steer", mails(1, 2))
        await fake.post("worker.steer", mails(2, 3))
        last_was_sent.set()
        finish = await fake.wait_for("worker.finish")
        assert (finish["text"], finish["unread"]) == ("m1m2", [3])
        assert [one["open"] for one in fake.asked("worker.steering")] == [True, False]


async def test_tools_are_called_with_a_key_and_refusals_are_told(tmp_path: Path):
    async def turn(ctx: Context) -> str:
        result = await ctx.invoke("agents_list", {"b": 1, "a": 2})
        try:
            await ctx.invoke("forbidden_tool")
        except ToolRefused as refused:
            return f"{result['answer']} {refused.code} {refused}"
        return "not refused"

    def tools(params: dict[str, Any]) -> dict[str, Any]:
        if params["name"] == "forbidden_tool":
            raise forbidden("not for you")
        return {"answer": list(params["args"])}

    async with open_worker(tmp_path, turn) as (fake, _):
        fake.answers["tools.invoke"] = tools
        await fake.hand_out({"runId": "r1", "message": "x"})
        assert (await fake.wait_for("worker.finish"))["text"] == "['a', 'b'] FORBIDDEN not for you"
        assert fake.asked("tools.invoke")[0]["idempotencyKey"].startswith("r1:")
        assert "sessionKey" not in fake.asked("tools.invoke")[0]


async def test_state_is_what_was_kept(tmp_path: Path):
    async def turn(ctx: Context) -> str:
        ctx.state["count"] = ctx.state.get("count", 0) + 1
        await ctx.save_state()
        return str(ctx.state["count"])

    async with open_worker(tmp_path, turn) as (fake, _):
        await fake.hand_out({"runId": "r1", "message": "x", "state": {"count": 4}})
        assert (await fake.wait_for("worker.finish"))["text"] == "5"
        assert fake.asked("worker.state") == [{"runId": "r1", "state": {"count": 5}}]


async def test_a_sub_agents_worker_leaves_with_its_run(tmp_path: Path):
    async def turn(ctx: Context) -> str:
        return str(ctx.is_subagent)

    async with open_worker(tmp_path, turn, session="agent:main:subagent:1") as (fake, left):
        await fake.hand_out({"runId": "r1", "message": "x"})
        await left.wait()
        assert fake.asked("worker.finish")[0]["text"] == "True"


async def test_an_idle_worker_leaves(tmp_path: Path):
    async def turn(ctx: Context) -> None:
        return None

    async with open_worker(tmp_path, turn, idle=0.05) as (_, left):
        await left.wait()


async def test_sigterm_ends_the_turn_and_leaves_its_run_to_the_gateway(tmp_path: Path):
    cleaned = []

    async def turn(ctx: Context) -> None:
        try:
            await ctx.say("begun")
            await trio.sleep_forever()
        finally:
            cleaned.append(True)

    async with open_worker(tmp_path, turn) as (fake, left):
        await fake.hand_out({"runId": "r1", "message": "x"})
        await fake.wait_for("worker.emit")
        os.kill(os.getpid(), signal.SIGTERM)
        await left.wait()
        assert cleaned
        assert fake.asked("worker.finish") == []


async def test_sigterm_ends_an_idle_worker_at_once(tmp_path: Path):
    async def turn(ctx: Context) -> None:
        return None

    async with open_worker(tmp_path, turn) as (fake, left):
        await fake.wait_for("worker.next")
        os.kill(os.getpid(), signal.SIGTERM)
        await left.wait()
