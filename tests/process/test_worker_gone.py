"""The real gateway and a worker that dies on its way in: its death may be told before its greeting is over."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from gateway.client import CallFailed, ConnectionLost, open_client
from supervisor.messages import Claim, Claimed, Exited, Identity, Message, Spawn
from tests.support.overseer import Overseer, overseen

TIMES = 8
"""Which of two tasks that wake together goes first, the event loop decides by lot."""


async def knock(overseer: Overseer, spawn: str) -> None:
    """Come in with this worker's ticket, as far as that goes."""
    try:
        async with open_client(overseer.path("agents"), ticket="t") as worker:
            await worker.wait_closed()
    except (ConnectionLost, CallFailed):
        return


async def test_a_worker_that_is_dead_before_it_is_greeted_keeps_no_session_waiting(tmp_path: Path, monkeypatch):
    async with overseen(tmp_path) as overseer, open_client(overseer.path("operator")) as client:
        answer = overseer._answer

        def answer_and_bury(message: Message) -> Message | None:
            """The ticket is good, and with the next datagram the worker is gone."""
            if not isinstance(message, Claim):
                return answer(message)
            known = overseer.identities[os.getpid()]
            overseer.channel.send_nowait(Claimed(message.id, True))
            overseer.channel.send_nowait(Exited(known.spawn, known.agent, known.session, None, 9))
            return None

        monkeypatch.setattr(overseer, "_answer", answer_and_bury)
        sessions = [f"agent:main:s{number}" for number in range(TIMES)]
        for session in sessions:
            overseer.identities[os.getpid()] = Identity(0, "worker", session, "main", session)
            await knock(overseer, session)
        for session in sessions:
            await client.call("chat.send", {"sessionKey": session, "message": "hello", "idempotencyKey": session})
        with trio.move_on_after(3):
            while {one.session for one in overseer.heard if isinstance(one, Spawn)} != set(sessions):
                await trio.sleep(0.05)
        asked = {one.session for one in overseer.heard if isinstance(one, Spawn)}
        assert asked == set(sessions)
        assert (await client.call("health"))["workers"] == 0
