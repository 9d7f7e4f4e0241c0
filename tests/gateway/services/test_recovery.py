"""Gateways that die at every step, and what the next one makes of it: nothing lost, nothing twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import trio

from gateway.protocol.errors import Refusal
from gateway.services.work import NewMessage, SpawnInfo
from gateway.store.database import open_database
from gateway.store.faults import EpochLost
from tests.support.engine import Born, Worker, open_box

MAIN = "agent:main:main"
KID = "agent:main:subagent:kid"


@pytest.fixture(autouse=True)
def _time_stands_still(mock_clock):
    pass


async def test_an_accepted_message_is_carried_out_by_the_next_gateway(tmp_path):
    async with open_box(tmp_path) as box:
        await box.send("hello")
    async with open_box(tmp_path, generation=2) as box:
        worker, run = await box.take()
        assert (run.message, run.attempt) == ("hello", 1)
        await worker.finish(run, "hi")
    async with open_box(tmp_path, generation=3) as box:
        assert (await box.services.runs.wait("hello", 0)).text == "hi"
        assert box.texts() == [("user", "hello"), ("assistant", "hi")]
        assert box.services.info.epoch == 3


async def test_a_run_in_progress_goes_on_through_a_gateways_death(tmp_path):
    async with open_box(tmp_path) as box:
        await box.send("hello")
        worker, run = await box.take()
        await worker.say(run, "half")
    async with open_box(tmp_path, live=[worker], generation=2) as box:
        assert box.state("hello") == "running"
        worker.connect()
        back = await worker.next(holding=run)
        assert (back.resumed, back.attempt) == (True, 1)
        assert await worker.say(run, "half", " done", seq=1) == {"acked": 2}
        told = [one["data"]["delta"] for one in box.listener.of("agent") if one["stream"] == "assistant"]
        assert told == [" done"]
        await worker.finish(run, "hi")
        assert box.supervisor.asked == []


async def test_a_message_that_lost_its_worker_comes_before_a_younger_one(tmp_path):
    async with open_box(tmp_path) as box:
        await box.send("elsewhere", KID)
        await box.take(KID)
        await box.send("first")
        await box.take()
        await box.send("second")
    async with open_box(tmp_path, generation=2) as box:
        worker, run = await box.take()
        assert (run.message, run.attempt) == ("first", 2)
        await worker.finish(run, "1")
        assert (await worker.next()).message == "second"


async def test_a_run_whose_worker_died_meanwhile_is_tried_again(tmp_path):
    async with open_box(tmp_path) as box:
        await box.send("hello")
        await box.take()
    async with open_box(tmp_path, generation=2) as box:
        worker, run = await box.take()
        assert run.attempt == 2
        await worker.finish(run, "hi")


async def test_a_lease_written_and_never_delivered_is_delivered(tmp_path):
    async with open_box(tmp_path) as box:
        await box.send("hello")
        worker, run = await box.take()
    async with open_box(tmp_path, live=[worker], generation=2) as box:
        worker.connect()
        again = await worker.next()  # it never heard of the run
        assert (again.run_id, again.attempt) == (run.run_id, 1)


async def test_a_result_is_announced_once_whenever_the_gateway_dies(tmp_path):
    async with open_box(tmp_path) as box:
        await box.send("hello")
        parent, turn = await box.take()
        await parent.finish(turn, "hi")
        await box.spawn("kid")
        child, run = await box.take(KID)
        await child.finish(run, "42")
    async with open_box(tmp_path, live=[child], generation=2) as box:
        child.connect()
        assert (await child.finish(run, "42"))["ok"]  # the answer to finish was lost: it says it again
        child.die(code=0)
        parent, told = await box.take()
        assert told.provenance["result"] == "42"
    async with open_box(tmp_path, live=[parent], generation=3) as box:
        parent.connect()
        back = await parent.next(holding=told)
        assert back.resumed
        await parent.finish(told, "it is 42")
        assert box.services.runs.counts() == {}
        assert [run.run_id for run in box.services.runs.list_runs()] == ["announce:run-kid", "run-kid", "hello"]


async def test_a_turn_that_listened_before_listens_after(tmp_path):
    async with open_box(tmp_path) as box:
        await box.send("hello")
        parent, turn = await box.take()
        await parent.steer(turn)
        await box.spawn("kid", parent_run="hello")
        child, run = await box.take(KID)
    async with open_box(tmp_path, live=[parent, child], generation=2) as box:
        child.connect()
        await child.finish(run, "42")
        parent.connect()
        back = await parent.next(holding=turn)
        assert [mail.provenance["result"] for mail in back.steered] == ["42"]
        await parent.steer(turn, open=False)
        await parent.finish(turn, "it is 42")
        assert box.state("announce:run-kid") == "done"
        assert box.services.runs.counts() == {}


async def test_a_worker_that_comes_back_with_an_ended_run_is_told_so(tmp_path):
    async with open_box(tmp_path) as box:
        await box.send("hello")
        worker, run = await box.take()
        await box.services.runs.abort(run_id="hello")
    async with open_box(tmp_path, live=[worker], generation=2) as box:
        worker.connect()
        assert (await worker.next(holding=run)).abandoned


async def test_a_deadline_is_kept_by_the_next_gateway(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        await box.send("hello", timeout_s=60)
        worker, _ = await box.take()
    async with open_box(tmp_path, live=[worker], generation=2) as box:
        mock_clock.jump(61)
        assert (await box.services.runs.wait("hello", 1e6)).state == "timed_out"


async def test_an_older_gateway_can_write_nothing_once_a_newer_one_is_there(tmp_path):
    path = tmp_path / "peergate.db"
    async with open_database(path) as older:
        await older.write(lambda db: db.execute("UPDATE meta SET epoch = epoch"))
        async with open_database(path):
            with pytest.raises(EpochLost, match="this one was epoch 1"):
                await older.write(lambda db: db.execute("DELETE FROM runs"))
            assert older.broken.is_set()


async def test_the_services_of_an_older_gateway_end_by_themselves(tmp_path):
    with pytest.RaisesGroup(EpochLost, flatten_subgroups=True):
        async with open_box(tmp_path) as box:
            async with open_database(tmp_path / "peergate.db"):
                with pytest.raises(EpochLost):
                    await box.send("hello")
                await trio.sleep_forever()


async def test_a_process_killed_at_any_write_leaves_a_state_the_next_one_can_finish(tmp_path):
    """The disk as it is after each commit of a whole story is copied, and a gateway is started on every copy."""
    copies: list[sqlite3.Connection] = []
    async with open_box(tmp_path) as box:
        database = box.services.database

        def photograph() -> None:
            copy = sqlite3.connect(":memory:", check_same_thread=False)
            database.read(lambda db: db.backup(copy))
            copies.append(copy)

        await box.send("hello")
        photograph()
        parent, turn = await box.take()
        photograph()
        await parent.steer(turn)
        await box.services.runs.accept(
            NewMessage("run-kid", KID, "do", lane="subagent", kind="task", parent_run="hello", spawn=SpawnInfo(MAIN, 1))
        )
        photograph()
        child, run = await box.take(KID)
        photograph()
        await child.finish(run, "42")
        photograph()
        await parent.steer(turn, open=False)
        await parent.finish(turn, "over")
        photograph()
    for number, copy in enumerate(copies):
        (tmp_path / str(number)).mkdir()
        await _finish_from(copy, tmp_path / str(number))


async def _finish_from(copy: sqlite3.Connection, state_dir: Path) -> None:
    """Everything died. Carry out whatever there is to do, then the child's result must have reached its parent once."""
    with sqlite3.connect(state_dir / "peergate.db") as target:
        copy.backup(target)
    target.close()
    async with open_box(state_dir, generation=2) as box:
        delivered: list[str] = []
        known = {run.run_id for run in box.services.runs.list_runs()}
        while box.services.runs.counts():
            await box.settle()
            for born in [one for one in box.supervisor.born if one.spawn not in box.hired]:
                await _work(Worker(box, born), born, delivered)
        wanted = ["42"] if "run-kid" in known and box.state("announce:run-kid") == "done" else []
        assert box.state("hello") == "done"
        assert delivered in (wanted, [])  # [] where the first parent had read it before everything died
        copy.close()


async def _work(worker: Worker, born: Born, delivered: list[str]) -> None:
    """One worker: every turn it is given is carried out, until there is none; then it leaves."""
    while True:
        await worker.box.settle()
        if worker.box.services.runs.active_run(born.session) is None:
            break
        run = await worker.next()
        if "result" in run.provenance:
            delivered.append(run.provenance["result"])
        delivered.extend(mail.provenance["result"] for mail in run.steered)
        await worker.finish(run, "42" if born.session == KID else "over")
    worker.die(code=0)


async def test_a_quarantine_keeps_its_reason_over_a_gateways_death(tmp_path):
    async with open_box(tmp_path, generation=2, quarantined={"main": "5 deaths within 3 s; the last: code 3"}) as box:
        with pytest.raises(Refusal, match=r"5 deaths within 3 s; the last: code 3.*peergate agents release main"):
            await box.send("hello")
