"""What is asked of cron under an idempotency key: the answer is on disk with what it tells of, and is given again."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from gateway.protocol.calls.cron import JobPatch
from gateway.protocol.cron import Owner
from gateway.services.idempotency import Keep
from gateway.services.work import Record
from gateway.store import cron as rows
from tests.support.jobs import JobBox, open_jobs, wish

MAIN = "agent:main:main"


@pytest.fixture
async def idle(tmp_path):
    """Services whose workers never come."""
    tree = {"agents": {"defaults": {"subagents": {"spawnTimeoutMs": 86_400_000}}}}
    async with open_jobs(tmp_path, tree=tree) as box:
        yield box


def mail_waiting(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM mailbox").fetchone()[0])


def kept(box: JobBox, key: str) -> tuple[Keep, Callable[[], Any]]:
    """What is said to be kept under a key, and a look at what is."""
    return lambda answer: Record("s", key, "d", dict(answer)), lambda: box.services.idempotency.recall("s", key, "d")


async def test_an_answer_is_on_disk_with_what_it_tells_of(idle, mock_clock):
    job = await idle.add()
    acts: dict[str, Callable[[Keep], Awaitable[Any]]] = {
        "add": lambda keep: idle.cron.add(wish(name="another"), keep=keep),
        "add, declared": lambda keep: idle.cron.add(wish(declarationKey="k"), keep=keep),
        "add, declared otherwise": lambda keep: idle.cron.add(wish(declarationKey="k", name="new"), keep=keep),
        "run": lambda keep: idle.cron.run(job["id"], keep=keep),
        "run, too early": lambda keep: idle.cron.run(job["id"], "due", keep=keep),
        "wake now": lambda keep: idle.cron.wake("now", "x", keep=keep),
        "wake later": lambda keep: idle.cron.wake("next-heartbeat", "x", keep=keep),
        "update": lambda keep: idle.cron.update(job["id"], JobPatch(name="other"), keep=keep),
        "remove": lambda keep: idle.cron.remove(job["id"], keep=keep),
        "remove what is gone": lambda keep: idle.cron.remove(job["id"], keep=keep),
    }
    for name, act in acts.items():
        keep, look = kept(idle, name)
        told = await act(keep)
        assert look() == (None if name in ("run, too early", "remove what is gone") else told), name


async def test_a_call_that_comes_again_before_its_answer_runs_a_job_once(idle, mock_clock):
    job, answers = await idle.add(overlap="allow"), list[Any]()
    keep, look = kept(idle, "k")

    async def ask() -> None:
        answers.append(await idle.cron.run(job["id"], keep=keep))

    async with trio.open_nursery() as calls:
        for _ in range(3):
            calls.start_soon(ask)
    assert answers == [look()] * 3
    assert idle.services.database.read(mail_waiting) == 1


async def test_a_call_that_comes_again_before_its_answer_makes_one_job(idle, mock_clock):
    answers = list[Any]()
    keep, look = kept(idle, "k")

    async def ask() -> None:
        answers.append(await idle.cron.add(wish(), keep=keep))

    async with trio.open_nursery() as calls:
        for _ in range(3):
            calls.start_soon(ask)
    assert answers == [look()] * 3
    assert [job["id"] for job in await idle.jobs()] == [answers[0]["id"]]


async def test_words_that_come_again_are_left_once(idle, mock_clock):
    keep, _ = kept(idle, "k")
    for _ in range(3):
        assert await idle.cron.wake("next-heartbeat", "once", keep=keep) == {"ok": True}
        assert await idle.cron.wake("now", "once", run_id="r1", keep=keep) == {"ok": True}
    assert idle.services.database.read(lambda db: rows.count_words(db, MAIN)) == 1
    assert idle.services.database.read(mail_waiting) == 1


async def test_what_is_said_in_one_run_of_a_job_is_said_to_the_main_session(idle, mock_clock):
    await idle.cron.wake("next-heartbeat", "tea", who=Owner("main", "agent:main:cron:j:run:1"))
    assert idle.services.database.read(lambda db: rows.count_words(db, MAIN)) == 1
