"""What is damaged on disk, or came there by an older version, concerns itself alone."""

from __future__ import annotations

import trio

from gateway.store import cron
from tests.support.jobs import JobBox, open_jobs


async def answer_for_a_second(box: JobBox) -> None:
    async with trio.open_nursery() as workers:
        await workers.start(box.answer_all)
        await box.pass_time(1)
        workers.cancel_scope.cancel()


async def test_an_alert_to_what_is_no_session_stops_nothing(tmp_path, mock_clock):
    alert = {"after": 1, "to": "agent:main:ops"}
    async with open_jobs(tmp_path) as box:
        job = await box.add(failureAlert=alert)
        sql = "UPDATE cron_jobs SET record = replace(record, 'agent:main:ops', 'ops')"  # as it could be made once
        await box.services.database.write(lambda db: db.execute(sql).rowcount)
    async with open_jobs(tmp_path, generation=2) as box:
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all, {"status": "failed", "error": "broken"})
            await box.pass_time(62)
            workers.cancel_scope.cancel()
        (entry,) = await box.log(job["id"])
        assert (entry.status, entry.error) == ("error", "broken")


async def test_a_run_whose_line_of_the_log_is_damaged_stops_nobody_else(tmp_path, mock_clock):
    async with open_jobs(tmp_path) as box:
        job, other = await box.add(), await box.add(name="other")
        await box.pass_time(61)
        sql = "UPDATE cron_runs SET entry = '{' WHERE job = ?"
        await box.services.database.write(lambda db: db.execute(sql, (job["id"],)).rowcount)
        await answer_for_a_second(box)
        assert [entry.status for entry in await box.log(other["id"])] == ["ok"]
        assert "CRON_JOB_BROKEN" in [one["code"] for one in box.listener.of("notice")]


async def test_a_damaged_job_keeps_neither_the_others_nor_its_last_run_from_an_end(tmp_path, mock_clock):
    async with open_jobs(tmp_path) as box:
        job, other = await box.add(), await box.add(name="other")
        await box.pass_time(61)
        sql = "UPDATE cron_jobs SET record = '{' WHERE id = ?"
        await box.services.database.write(lambda db: db.execute(sql, (job["id"],)).rowcount)
    async with open_jobs(tmp_path, generation=2) as box:
        await answer_for_a_second(box)
        assert {entry.job_id: entry.status for entry in await box.log()} == {job["id"]: "ok", other["id"]: "ok"}
        assert [one["name"] for one in await box.jobs()] == ["other"]


async def test_a_call_whose_run_is_damaged_is_made_once_and_ends_no_gateway(tmp_path, mock_clock):
    heard: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            heard.append(bytes(await stream.receive_some()))
            await damage()
            await stream.send_all(b"HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n")

    async def damage() -> None:
        await box.services.database.write(lambda db: db.execute("UPDATE cron_runs SET entry = '{'").rowcount)

    tree = {"cron": {"webhookSsrfPolicy": {"allowPrivateNetwork": True}}}
    async with open_jobs(tmp_path, tree=tree) as box, trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        to = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
        await nursery.start(box.answer_all)
        job = await box.add(schedule={"kind": "every", "everyMs": 86_400_000}, delivery={"mode": "webhook", "to": to})
        await box.cron.run(job["id"])
        for _ in range(2000):  # the other end is a real socket
            if heard and not box.services.database.read(cron.count_calls):
                break
            await trio.to_thread.run_sync(lambda: None)
        await box.pass_time(300)
        assert len([one for one in heard if b"asked:" in one]) == 1
        assert "CRON_JOB_BROKEN" in [one["code"] for one in box.listener.of("notice")]
        nursery.cancel_scope.cancel()
