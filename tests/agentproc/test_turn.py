"""The end of a turn that was steered: no message counts as read that it never saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from agentproc.context import Context
from gateway.protocol.frames import Event, encode, pack
from tests.agentproc.test_worker import open_worker


def mails(*ids: int) -> dict[str, Any]:
    return {"runId": "r1", "attempt": 1, "mails": [{"id": id, "message": f"m{id}", "provenance": {}} for id in ids]}


async def listen_for_a_moment(ctx: Context) -> str:
    async with ctx.steer() as inbox:
        await inbox.get(0.01)
    return "done"


async def test_a_turn_is_not_over_before_the_gateway_says_that_its_steer_channel_is_closed(tmp_path: Path):
    async with open_worker(tmp_path, listen_for_a_moment) as (fake, _):

        async def close_late(params: dict[str, Any]) -> dict[str, bool]:
            if not params["open"]:
                await trio.sleep(1.3)  # stopped, or busy with a disk
                assert fake.asked("worker.finish") == []
                await fake.post("worker.steer", mails(1))
            return {"ok": True}

        fake.answers["worker.steering"] = close_late
        await fake.hand_out({"runId": "r1", "message": "x"})
        assert (await fake.wait_for("worker.finish"))["unread"] == [1]


async def test_a_turn_that_is_aborted_closes_its_steer_channel_before_it_is_given_back(tmp_path: Path):
    async def listen(ctx: Context) -> None:
        async with ctx.steer():
            await trio.sleep_forever()

    async with open_worker(tmp_path, listen) as (fake, _):

        async def close_late(params: dict[str, Any]) -> dict[str, bool]:
            if not params["open"]:
                await trio.sleep(0.05)
                await fake.post("worker.steer", mails(1))
            return {"ok": True}

        fake.answers["worker.steering"] = close_late
        await fake.hand_out({"runId": "r1", "message": "x"})
        await fake.wait_for("worker.steering")
        await fake.post("worker.abort", {"runId": "r1", "status": "aborted", "reason": "enough"})
        finish = await fake.wait_for("worker.finish")
        assert (finish["status"], finish["unread"]) == ("aborted", [1])


async def test_many_messages_right_before_the_answer_to_closing_are_all_known_at_the_end(tmp_path: Path):
    async with open_worker(tmp_path, listen_for_a_moment) as (fake, _):

        async def close_behind_many(params: dict[str, Any]) -> dict[str, bool]:
            if not params["open"]:
                together = b"".join(pack(encode(Event("worker.steer", mails(id)))) for id in range(1, 101))
                for stream in fake._streams:
                    await stream.send_all(together)
            return {"ok": True}

        fake.answers["worker.steering"] = close_behind_many
        await fake.hand_out({"runId": "r1", "message": "x"})
        assert len((await fake.wait_for("worker.finish"))["unread"]) >= 99  # the turn may have taken the first


async def test_a_result_that_a_turn_waited_for_is_not_among_its_messages_as_well(tmp_path: Path):
    heard: list[str] = []

    async def wait(ctx: Context) -> str:
        async with ctx.steer() as inbox:
            heard.extend(f"waited for {one.run_id}" for one in await ctx.wait_children(timeout=1))
            if (mail := await inbox.get(0.05)) is not None:
                heard.append(mail.text)
        return "done"

    async with open_worker(tmp_path, wait) as (fake, _):

        async def answer(params: dict[str, Any]) -> dict[str, Any]:
            announce = {
                "kind": "internal_system",
                "sourceTool": "sessions_spawn",
                "childRunId": "kid",
                "status": "ok",
                "result": "42",
            }
            mail = {"id": 1, "message": "kid is done", "provenance": announce}
            await fake.post("worker.steer", {"runId": "r1", "attempt": 1, "mails": [mail]})
            row = {"taskId": "kid", "childSessionKey": "k", "status": "ok", "result": "42"}
            return {"status": "ok", "action": "wait", "results": [row], "pending": 0}

        fake.answers["tools.invoke"] = answer
        await fake.hand_out({"runId": "r1", "message": "x"})
        assert (await fake.wait_for("worker.finish"))["unread"] == []
    assert heard == ["waited for kid"]
